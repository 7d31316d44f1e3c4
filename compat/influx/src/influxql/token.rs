//! Tokens of InfluxQL, their spelling and their places.

use std::fmt;

/// A place in the query text, zero-based; messages print it one-based.
///
/// Characters are counted, not bytes; a carriage return with or without a line feed is one line end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pos {
    /// Lines before this one.
    pub line: u32,
    /// Characters of the line before this place.
    pub char: u32,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, char {}", self.line.saturating_add(1), self.char.saturating_add(1))
    }
}

/// An operator between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `AND`
    And,
    /// `OR`
    Or,
    /// `=`
    Eq,
    /// `!=`, also written `<>`
    NotEq,
    /// `=~`
    EqRegex,
    /// `!~`
    NotEqRegex,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

impl BinaryOp {
    /// The operator as it is written.
    pub fn text(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::BitAnd => "&",
            Self::BitOr => "|",
            Self::BitXor => "^",
            Self::And => "AND",
            Self::Or => "OR",
            Self::Eq => "=",
            Self::NotEq => "!=",
            Self::EqRegex => "=~",
            Self::NotEqRegex => "!~",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
        }
    }

    /// How tightly it binds: 1 (`OR`) to 5 (`*`). Equal ones group from the left.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Add | Self::Sub | Self::BitOr | Self::BitXor => 4,
            Self::Mul | Self::Div | Self::Mod | Self::BitAnd => 5,
            _ => 3,
        }
    }

    /// `AND` and `OR`.
    pub fn is_logical(self) -> bool {
        matches!(self, Self::And | Self::Or)
    }

    /// `=~` and `!~`.
    pub fn is_regex(self) -> bool {
        matches!(self, Self::EqRegex | Self::NotEqRegex)
    }

    /// True if the answer is a boolean: comparisons, `AND`, `OR`.
    pub fn is_condition(self) -> bool {
        self.precedence() <= 3
    }

    /// The comparison that says the same with the sides exchanged.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Gt => Self::Lt,
            Self::Lt => Self::Gt,
            Self::GtEq => Self::LtEq,
            Self::LtEq => Self::GtEq,
            other => other,
        }
    }
}

impl fmt::Display for BinaryOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What the lexer saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Illegal,
    Eof,
    Whitespace,
    Comment,
    Ident,
    BoundParam,
    Number,
    Integer,
    Duration,
    String,
    BadString,
    BadEscape,
    Regex,
    BadRegex,
    Op(BinaryOp),
    LeftParen,
    RightParen,
    Comma,
    Colon,
    DoubleColon,
    Semicolon,
    Dot,
    Keyword(Keyword),
}

impl Token {
    /// How messages name a token that carries no text of its own.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Illegal => "ILLEGAL",
            Self::Eof => "EOF",
            Self::Whitespace => "WS",
            Self::Ident => "IDENT",
            Self::Number => "NUMBER",
            Self::Duration => "DURATIONVAL",
            Self::String => "STRING",
            Self::BadString => "BADSTRING",
            Self::BadEscape => "BADESCAPE",
            Self::Regex => "REGEX",
            Self::Op(op) => op.text(),
            Self::LeftParen => "(",
            Self::RightParen => ")",
            Self::Comma => ",",
            Self::Colon => ":",
            Self::DoubleColon => "::",
            Self::Semicolon => ";",
            Self::Dot => ".",
            Self::Keyword(keyword) => keyword.text(),
            Self::Comment | Self::BoundParam | Self::Integer | Self::BadRegex => "",
        }
    }
}

macro_rules! keywords {
    ($($variant:ident = $text:literal,)*) => {
        /// A reserved word. Reserved words are recognised in any case and need quotes to be names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Keyword { $($variant,)* }

        impl Keyword {
            const ALL: &'static [(&'static str, Keyword)] = &[$(($text, Keyword::$variant),)*];

            pub(super) fn text(self) -> &'static str {
                match self { $(Keyword::$variant => $text,)* }
            }
        }
    };
}

keywords! {
    All = "ALL", Alter = "ALTER", Analyze = "ANALYZE", Any = "ANY", As = "AS", Asc = "ASC", Begin = "BEGIN", By = "BY",
    Cardinality = "CARDINALITY", Create = "CREATE", Continuous = "CONTINUOUS", Database = "DATABASE",
    Databases = "DATABASES", Default = "DEFAULT", Delete = "DELETE", Desc = "DESC", Destinations = "DESTINATIONS",
    Diagnostics = "DIAGNOSTICS", Distinct = "DISTINCT", Drop = "DROP", Duration = "DURATION", End = "END",
    Every = "EVERY", Exact = "EXACT", Explain = "EXPLAIN", Field = "FIELD", For = "FOR", From = "FROM", Grant = "GRANT",
    Grants = "GRANTS", Group = "GROUP", Groups = "GROUPS", In = "IN", Inf = "INF", Insert = "INSERT", Into = "INTO",
    Key = "KEY", Keys = "KEYS", Kill = "KILL", Limit = "LIMIT", Measurement = "MEASUREMENT",
    Measurements = "MEASUREMENTS", Name = "NAME", Offset = "OFFSET", On = "ON", Order = "ORDER", Password = "PASSWORD",
    Policy = "POLICY", Policies = "POLICIES", Privileges = "PRIVILEGES", Queries = "QUERIES", Query = "QUERY",
    Read = "READ", Replication = "REPLICATION", Resample = "RESAMPLE", Retention = "RETENTION", Revoke = "REVOKE",
    Select = "SELECT", Series = "SERIES", Set = "SET", Show = "SHOW", Shard = "SHARD", Shards = "SHARDS",
    Slimit = "SLIMIT", Soffset = "SOFFSET", Stats = "STATS", Subscription = "SUBSCRIPTION",
    Subscriptions = "SUBSCRIPTIONS", Tag = "TAG", To = "TO", User = "USER", Users = "USERS", Values = "VALUES",
    Where = "WHERE", With = "WITH", Write = "WRITE", True = "TRUE", False = "FALSE",
}

/// The token of a bare word: a keyword, an operator word or an identifier.
pub(super) fn word(text: &str) -> Token {
    if text.eq_ignore_ascii_case("and") {
        return Token::Op(BinaryOp::And);
    }
    if text.eq_ignore_ascii_case("or") {
        return Token::Op(BinaryOp::Or);
    }
    let (words, begins) = &BY_LENGTH;
    let alike = match begins.get(text.len()..text.len() + 2) {
        Some(&[begin, end]) => &words[begin..end],
        _ => &[],
    };
    match alike.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        Some((_, keyword)) => Token::Keyword(*keyword),
        None => Token::Ident,
    }
}

/// Bytes of the longest keyword.
const LENGTH_MAX: usize = 13;
const KEYWORDS: usize = Keyword::ALL.len();

/// The keywords in order of their lengths, and where those of each length begin. PERF: every word of a query is looked for;
/// of its length there are some six.
static BY_LENGTH: ([(&str, Keyword); KEYWORDS], [usize; LENGTH_MAX + 2]) = by_length();

const fn by_length() -> ([(&'static str, Keyword); KEYWORDS], [usize; LENGTH_MAX + 2]) {
    let mut words = [Keyword::ALL[0]; KEYWORDS];
    let mut begins = [KEYWORDS; LENGTH_MAX + 2];
    let (mut length, mut found) = (0, 0);
    while length <= LENGTH_MAX {
        begins[length] = found;
        let mut at = 0;
        while at < KEYWORDS {
            if Keyword::ALL[at].0.len() == length {
                words[found] = Keyword::ALL[at];
                found += 1;
            }
            at += 1;
        }
        length += 1;
    }
    assert!(found == KEYWORDS, "a keyword is longer than LENGTH_MAX");
    (words, begins)
}

/// Letters that may begin a bare identifier.
pub(super) fn is_word_start(ch: char) -> bool {
    ch.is_ascii_alphabetic() || ch == '_'
}

/// Letters that may continue a bare identifier.
pub(super) fn is_word_char(ch: char) -> bool {
    ch.is_ascii_alphanumeric() || ch == '_'
}

/// Writes a name as one identifier, quoted where it must be.
#[derive(Clone, Copy, Debug)]
pub struct Ident<'a>(pub &'a str);

impl Ident<'_> {
    /// True if the name cannot be written bare: empty, a reserved word, or with other letters than `[A-Za-z0-9_]`.
    pub fn needs_quotes(&self) -> bool {
        let mut chars = self.0.chars();
        !chars.next().is_some_and(is_word_start) || !chars.all(is_word_char) || word(self.0) != Token::Ident
    }
}

impl fmt::Display for Ident<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.needs_quotes() { write_quoted(f, self.0, '"') } else { f.write_str(self.0) }
    }
}

/// Writes a string literal.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(f, self.0, '\'')
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    use fmt::Write;
    f.write_char(quote)?;
    for ch in text.chars() {
        match ch {
            '\n' => f.write_str("\\n")?,
            '\\' => f.write_str("\\\\")?,
            ch if ch == quote => {
                f.write_char('\\')?;
                f.write_char(ch)?;
            }
            ch => f.write_char(ch)?,
        }
    }
    f.write_char(quote)
}
