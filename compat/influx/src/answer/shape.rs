use std::borrow::Cow;

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer, in full digits.
    Int(i64),
    /// An unsigned integer, in full digits.
    UInt(u64),
    /// A float; NaN and infinities are written as null.
    Float(f64),
    /// Text.
    String(Cow<'a, str>),
    /// Nanoseconds since 1970, UTC.
    Time(i64),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Cell::String(Cow::Borrowed(text))
    }
}

/// What stands before a series' rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesHead<'a> {
    /// The measurement, or what the statement calls its result; empty if it has no name.
    pub name: Cow<'a, str>,
    /// Key and value of the tags grouped by, in any order; a value may be empty.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The columns' names, `time` among them.
    pub columns: Vec<Cow<'a, str>>,
}

impl SeriesHead<'_> {
    /// The head as a value of its own.
    pub(super) fn to_owned_head(&self) -> SeriesHead<'static> {
        let own = |text: &Cow<'_, str>| Cow::Owned(text.clone().into_owned());
        SeriesHead {
            name: own(&self.name),
            tags: self.tags.iter().map(|(key, value)| (own(key), own(value))).collect(),
            columns: self.columns.iter().map(own).collect(),
        }
    }

    /// The tags in the order of their keys.
    pub(super) fn sorted_tags(&self) -> Vec<(&str, &str)> {
        let mut tags: Vec<_> = self.tags.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        tags.sort_unstable();
        tags
    }
}

/// A series that is there as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series<'a> {
    /// Name, tags and columns.
    pub head: SeriesHead<'a>,
    /// Rows, each as long as the columns.
    pub values: Vec<Vec<Cell<'a>>>,
    /// A limit cut the rows short.
    pub partial: bool,
}

/// Something the client should know about a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `warning` and the like.
    pub level: String,
    /// What happened.
    pub text: String,
}

/// What stands behind a statement's series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatementEnd {
    /// Messages.
    pub messages: Vec<Message>,
    /// More results of the statement follow in another answer.
    pub partial: bool,
    /// Why the statement failed, perhaps behind some series.
    pub error: Option<String>,
}

/// The result of one statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatementResult<'a> {
    /// The statement's place in the query, from 0.
    pub statement_id: u32,
    /// Its series.
    pub series: Vec<Series<'a>>,
    /// The rest.
    pub end: StatementEnd,
}

/// An answer that is there as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response<'a> {
    /// One per statement executed.
    pub results: Vec<StatementResult<'a>>,
}
