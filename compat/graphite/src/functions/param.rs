use crate::series::AggFunc;

/// One parameter of a function.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name, usable as keyword.
    pub name: &'static str,
    /// What it takes.
    pub kind: ParamType,
    /// Listed as required; whether its absence is an error is up to the function.
    pub required: bool,
    /// Takes all remaining arguments; only the last parameter can.
    pub multiple: bool,
    /// Listed default.
    pub default: Default,
    /// Values offered by editors, the only ones that make sense.
    pub options: &'static [&'static str],
    /// Values offered by editors, among others.
    pub suggestions: &'static [&'static str],
}

/// Types of parameters, by the names of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ParamType {
    AggFunc,
    AggOrSeriesFunc,
    Any,
    Boolean,
    Date,
    Float,
    IntOrInf,
    IntOrInterval,
    Integer,
    Interval,
    Node,
    NodeOrTag,
    SeriesList,
    SeriesLists,
    String,
    Tag,
}

/// A default value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// There is none.
    None,
    /// A whole number.
    Int(i64),
    /// A decimal number.
    Float(f64),
    /// A text.
    Text(&'static str),
    /// True or false.
    Flag(bool),
}

impl ParamType {
    /// The name in the function list.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AggFunc => "aggFunc",
            Self::AggOrSeriesFunc => "aggOrSeriesFunc",
            Self::Any => "any",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Float => "float",
            Self::IntOrInf => "intOrInf",
            Self::IntOrInterval => "intOrInterval",
            Self::Integer => "integer",
            Self::Interval => "interval",
            Self::Node => "node",
            Self::NodeOrTag => "nodeOrTag",
            Self::SeriesList => "seriesList",
            Self::SeriesLists => "seriesLists",
            Self::String => "string",
            Self::Tag => "tag",
        }
    }
}

impl Param {
    const fn new(name: &'static str, kind: ParamType, required: bool) -> Self {
        Self { name, kind, required, multiple: false, default: Default::None, options: &[], suggestions: &[] }
    }

    /// A parameter that must be given.
    #[must_use]
    pub const fn required(name: &'static str, kind: ParamType) -> Self {
        Self::new(name, kind, true)
    }

    /// A parameter that may be left out.
    #[must_use]
    pub const fn optional(name: &'static str, kind: ParamType) -> Self {
        Self::new(name, kind, false)
    }

    /// The same, with a default.
    #[must_use]
    pub const fn or(self, default: Default) -> Self {
        Self { default, ..self }
    }

    /// The same, taking all remaining arguments.
    #[must_use]
    pub const fn many(self) -> Self {
        Self { multiple: true, ..self }
    }

    /// The same, with the values that make sense.
    #[must_use]
    pub const fn one_of(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    /// The same, with values to offer.
    #[must_use]
    pub const fn such_as(self, suggestions: &'static [&'static str]) -> Self {
        Self { suggestions, ..self }
    }

    /// The first parameter of most functions.
    pub(crate) const SERIES: Self = Self::required("seriesList", ParamType::SeriesList);

    /// All values that make sense, sorted; empty when there are too many to list.
    #[must_use]
    pub fn choices(&self) -> Vec<&'static str> {
        let mut choices = self.options.to_vec();
        if matches!(self.kind, ParamType::AggFunc | ParamType::AggOrSeriesFunc) {
            choices.extend(AggFunc::NAMES.map(|(name, _)| name));
        }
        if self.kind == ParamType::AggOrSeriesFunc {
            choices.extend(super::all().filter(|f| f.aggregator).flat_map(|f| f.names));
        }
        choices.sort_unstable();
        choices
    }
}
