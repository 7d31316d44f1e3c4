//! Bound parameters: values that take the place of `$name` in a query.

use super::duration::DurationLiteral;
use super::token::{Keyword, Token};
use serde_json::Value;
use std::collections::HashMap;

/// Values by name, without the `$`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(HashMap<String, Param>);

/// A value that takes the place of `$name`.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A name.
    Identifier(String),
    /// A string literal.
    String(String),
    /// A regular expression.
    Regex(String),
    /// A number.
    Number(f64),
    /// A whole number.
    Integer(i64),
    /// true or false.
    Boolean(bool),
    /// A duration literal like `10s`.
    Duration(String),
    /// A value that cannot be bound: the message, given when the parameter is used.
    Unusable(String),
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the `params` of a request: a JSON object of plain values and of objects with one entry
    /// that names the kind (`identifier`, `string`, `regex`, `float`, `integer`, `duration`).
    ///
    /// # Errors
    /// The text that follows `error parsing query parameters: ` in 1.x's answer.
    pub fn from_json(text: &str) -> Result<Self, String> {
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(map)) => {
                Ok(Self(map.into_iter().map(|(name, value)| (name, Param::from_json(&value))).collect()))
            }
            Ok(Value::Null) => Ok(Self::new()),
            Ok(other) => {
                let kind = match other {
                    Value::Bool(_) => "bool",
                    Value::Number(_) => "number",
                    Value::String(_) => "string",
                    _ => "array",
                };
                Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
            }
            Err(error) => Err(syntax_error(text, &error)),
        }
    }

    /// Binds a value; an earlier one of the name is replaced.
    pub fn bind(&mut self, name: impl Into<String>, value: Param) {
        self.0.insert(name.into(), value);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Param> {
        self.0.get(name)
    }
}

impl Param {
    /// Reads a JSON value; what cannot be bound becomes [`Param::Unusable`].
    pub fn from_json(value: &Value) -> Self {
        let unusable = |text: &str| Self::Unusable(text.to_owned());
        match value {
            Value::Bool(value) => Self::Boolean(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Self::Integer(value),
                (None, Some(value)) if !number.is_u64() => Self::Number(value),
                _ => Self::Unusable(format!("strconv.ParseInt: parsing \"{number}\": value out of range")),
            },
            Value::String(value) => Self::String(value.clone()),
            Value::Object(map) if map.len() == 1 => {
                map.iter().next().map_or_else(|| unusable(""), |(kind, value)| Self::from_kind(kind, value))
            }
            Value::Object(_) => unusable("bound object parameter value must have exactly one entry"),
            Value::Array(_) => unusable("unable to bind parameter with type []interface {}"),
            Value::Null => unusable("unable to bind parameter with type <nil>"),
        }
    }

    fn from_kind(kind: &str, value: &Value) -> Self {
        let text = |make: fn(String) -> Self, otherwise: &str| match value {
            Value::String(text) => make(text.clone()),
            _ => Self::Unusable(otherwise.to_owned()),
        };
        match kind {
            "ident" | "identifier" => text(Self::Identifier, "identifier must be a string value"),
            "regex" => text(Self::Regex, "regex literal must be a string value"),
            "string" => text(Self::String, "string literal must be a string value"),
            "float" | "number" => match value.as_f64() {
                Some(value) => Self::Number(value),
                None => Self::Unusable("number literal must be a float value".to_owned()),
            },
            "int" | "integer" => match value.as_i64() {
                Some(value) => Self::Integer(value),
                None => Self::Unusable("integer literal must be an integer value".to_owned()),
            },
            "duration" => match value {
                Value::String(text) => Self::Duration(text.clone()),
                Value::Number(number) if number.is_i64() => {
                    Self::Duration(DurationLiteral(number.as_i64().unwrap_or_default()).to_string())
                }
                _ => Self::Unusable("duration literal must be a string or integer value".to_owned()),
            },
            _ => Self::Unusable(format!("unknown bind object type: {kind}")),
        }
    }

    /// The token and text that stand in place of the parameter.
    pub(super) fn token(&self) -> (Token, String) {
        match self {
            Self::Identifier(text) => (Token::Ident, text.clone()),
            Self::String(text) => (Token::String, text.clone()),
            Self::Regex(text) => (Token::Regex, text.clone()),
            Self::Number(value) => (Token::Number, value.to_string()),
            Self::Integer(value) => (Token::Integer, value.to_string()),
            Self::Boolean(true) => (Token::Keyword(Keyword::True), String::new()),
            Self::Boolean(false) => (Token::Keyword(Keyword::False), String::new()),
            Self::Duration(text) => (Token::Duration, text.clone()),
            Self::Unusable(message) => (Token::BoundParam, message.clone()),
        }
    }
}

/// What Go's decoder says of the character at which reading failed.
fn syntax_error(text: &str, error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    if error.classify() == Category::Eof {
        return if text.trim().is_empty() { "EOF".to_owned() } else { "unexpected EOF".to_owned() };
    }
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = error.column().saturating_sub(1);
    let Some(ch) = line.get(at..).and_then(|rest| rest.chars().next()) else {
        return error.to_string();
    };
    let message = error.to_string();
    let place = if message.starts_with("key must be a string") {
        "looking for beginning of object key string"
    } else if message.starts_with("expected `:`") {
        "after object key"
    } else if message.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if message.starts_with("expected `,` or `]`") {
        "after array element"
    } else if message.starts_with("trailing characters") {
        "after top-level value"
    } else if message.starts_with("control character") || message.starts_with("invalid escape") {
        "in string literal"
    } else {
        "looking for beginning of value"
    };
    format!("invalid character {} {place}", Quote(ch))
}

/// A character in the quotes Go's messages put around it.
struct Quote(char);

impl std::fmt::Display for Quote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            '\'' => f.write_str(r"'\''"),
            '"' => f.write_str("'\"'"),
            ch => write!(f, "'{}'", ch.escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_values_become_parameters() {
        let json = r#"{"s":"a","i":1,"f":1.5,"b":true,"r":{"regex":"^a"},"n":{"identifier":"x"},"d":{"duration":"10s"},
                       "e":{"duration":60000000000},"g":{"float":2},"x":null,"y":{"what":1},"z":{},"h":18446744073709551615}"#;
        let params = Params::from_json(json).unwrap();
        for (name, expected) in [
            ("s", Param::String("a".into())),
            ("i", Param::Integer(1)),
            ("f", Param::Number(1.5)),
            ("b", Param::Boolean(true)),
            ("r", Param::Regex("^a".into())),
            ("n", Param::Identifier("x".into())),
            ("d", Param::Duration("10s".into())),
            ("e", Param::Duration("1m".into())),
            ("g", Param::Number(2.0)),
            ("x", Param::Unusable("unable to bind parameter with type <nil>".into())),
            ("y", Param::Unusable("unknown bind object type: what".into())),
            ("z", Param::Unusable("bound object parameter value must have exactly one entry".into())),
            ("h", Param::Unusable("strconv.ParseInt: parsing \"18446744073709551615\": value out of range".into())),
        ] {
            assert_eq!(params.get(name), Some(&expected), "{name}");
        }
    }

    #[test]
    fn malformed_json_is_refused_in_the_words_of_1_x() {
        for (text, message) in [
            ("{not json", "invalid character 'n' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("{\"a\":x}", "invalid character 'x' looking for beginning of value"),
            ("{\"a\":", "unexpected EOF"),
            ("", "EOF"),
            ("[1]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ] {
            assert_eq!(Params::from_json(text), Err(message.to_owned()), "{text}");
        }
    }
}
