//! StatsD's configuration file: an object literal of JavaScript, read without running anything.
//!
//! Keys with or without quotes, texts in either quotes, comments, a comma behind the last member, hexadecimal numbers,
//! `Infinity`; a `module.exports =` before it or parentheses around it are skipped. Whatever would have to be computed
//! (`process.env.X`, a call, `+`) is an error with its line.
//!
//! Limits: [`DEPTH_MAX`]; the length is the caller's matter.

use crate::number;

/// Objects and lists inside each other.
pub const DEPTH_MAX: usize = 32;

/// A value and its line, from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub line: usize,
}

/// What a literal is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `undefined`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// Never NaN.
    Number(f64),
    /// Without its quotes.
    Text(String),
    /// `[...]`
    List(Vec<Node>),
    /// `{...}`, in the order of the file.
    Object(Vec<(String, Node)>),
}

/// What cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Error {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads the file's one object.
///
/// # Errors
/// [`Error`], with the line.
pub fn parse(text: &str) -> Result<Vec<(String, Node)>, Error> {
    let mut reader = Reader { rest: text, line: 1 };
    reader.skip_blank()?;
    for word in ["module.exports", "exports"] {
        if let Some(rest) = reader.rest.strip_prefix(word) {
            reader.rest = rest;
            reader.skip_blank()?;
            reader.expect('=')?;
            break;
        }
    }
    reader.skip_blank()?;
    let parentheses = reader.eat('(');
    let node = reader.node(0)?;
    reader.skip_blank()?;
    if parentheses {
        reader.expect(')')?;
    }
    reader.skip_blank()?;
    reader.eat(';');
    reader.skip_blank()?;
    match node.value {
        Value::Object(members) if reader.rest.is_empty() => Ok(members),
        Value::Object(_) => Err(reader.error("more than one object")),
        _ => Err(Error { line: node.line, message: "not an object".to_owned() }),
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error { line: self.line, message: message.into() }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self, bytes: usize) {
        self.line += self.rest[..bytes].matches('\n').count();
        self.rest = &self.rest[bytes..];
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.advance(c.len_utf8());
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), Error> {
        if self.eat(c) { Ok(()) } else { Err(self.error(format!("`{c}` is missing before {}", self.here()))) }
    }

    /// What stands here, for messages.
    fn here(&self) -> String {
        let line = self.rest.lines().next().unwrap_or_default();
        if line.is_empty() { "the end".to_owned() } else { format!("`{}`", line.chars().take(20).collect::<String>()) }
    }

    fn skip_blank(&mut self) -> Result<(), Error> {
        loop {
            let blank =
                self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').len();
            self.advance(blank);
            if self.rest.starts_with("//") {
                self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").ok_or_else(|| self.error("a comment does not end"))?;
                self.advance(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node, Error> {
        self.skip_blank()?;
        let line = self.line;
        let value = match self.peek() {
            Some('{') if depth < DEPTH_MAX => self.object(depth)?,
            Some('[') if depth < DEPTH_MAX => self.list(depth)?,
            Some('{' | '[') => return Err(self.error("too many objects inside each other")),
            Some(quote @ ('"' | '\'' | '`')) => Value::Text(self.text(quote)?),
            _ => self.word()?,
        };
        Ok(Node { value, line })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Error> {
        self.expect('{')?;
        let mut members = Vec::new();
        loop {
            self.skip_blank()?;
            if self.eat('}') {
                return Ok(Value::Object(members));
            }
            let name = match self.peek() {
                Some(quote @ ('"' | '\'')) => self.text(quote)?,
                _ => self.name()?,
            };
            self.skip_blank()?;
            self.expect(':')?;
            members.push((name, self.node(depth + 1)?));
            self.skip_blank()?;
            if !self.eat(',') {
                self.expect('}')?;
                return Ok(Value::Object(members));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Error> {
        self.expect('[')?;
        let mut items = Vec::new();
        loop {
            self.skip_blank()?;
            if self.eat(']') {
                return Ok(Value::List(items));
            }
            items.push(self.node(depth + 1)?);
            self.skip_blank()?;
            if !self.eat(',') {
                self.expect(']')?;
                return Ok(Value::List(items));
            }
        }
    }

    fn name(&mut self) -> Result<String, Error> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.error(format!("a name is missing before {}", self.here())));
        }
        let name = self.rest[..end].to_owned();
        self.advance(end);
        Ok(name)
    }

    fn text(&mut self, quote: char) -> Result<String, Error> {
        self.expect(quote)?;
        let mut out = String::new();
        loop {
            let Some(c) = self.peek() else { return Err(self.error("a text does not end")) };
            self.advance(c.len_utf8());
            match c {
                _ if c == quote => return Ok(out),
                '\n' if quote != '`' => return Err(self.error("a text does not end")),
                '\\' => {
                    let Some(escaped) = self.peek() else { return Err(self.error("a text does not end")) };
                    self.advance(escaped.len_utf8());
                    out.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    });
                }
                c => out.push(c),
            }
        }
    }

    fn word(&mut self) -> Result<Value, Error> {
        let end = self.rest.find([',', '}', ']', ')', ';', '\n', '/']).unwrap_or(self.rest.len());
        let word = self.rest[..end].trim();
        let value = match word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" | "undefined" => Value::Null,
            _ => match number::parse(word.as_bytes()).filter(|n| !n.is_nan() && !word.is_empty()) {
                Some(number) => Value::Number(number),
                None => return Err(self.error(format!("{} is no plain value", self.here()))),
            },
        };
        self.advance(end);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) => n.to_string(),
            Value::Text(t) => format!("{t:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(|i| shown(&i.value)).collect::<Vec<_>>().join(" ")),
            Value::Object(members) => {
                let members = members.iter().map(|(k, n)| format!("{k}@{}={}", n.line, shown(&n.value)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn what_people_write_is_read() {
        for (text, want) in [
            ("{port: 8125}", "{port@1=8125}"),
            (
                "// c\n({\n  'a': \"x\\\"y\", /* b\n */ b: [1, 2.5, 'z',],\n c: {d: true},\n})",
                "{a@3=\"x\\\"y\" b@4=[1 2.5 \"z\"] c@5={d@5=true}}",
            ),
            ("module.exports = { a: 0x10, b: Infinity, c: null, d: -1 };", "{a@1=16 b@1=inf c@1=null d@1=-1}"),
            ("{ a: 'x' // end\n, b: 1 /* c */ }", "{a@1=\"x\" b@2=1}"),
            ("{}", "{}"),
        ] {
            assert_eq!(parse(text).map(|o| shown(&Value::Object(o))).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_would_have_to_be_computed_is_told_with_its_line() {
        for (text, want) in [
            ("{\n port: process.env.PORT }", "line 2: `process.env.PORT }` is no plain value"),
            ("{a: 1} {b: 2}", "line 1: more than one object"),
            ("[1]", "line 1: not an object"),
            ("{a: 'x", "line 1: a text does not end"),
            ("{a 1}", "line 1: `:` is missing before `1}`"),
            ("{a: 1", "line 1: `}` is missing before the end"),
            ("/* x", "line 1: a comment does not end"),
            ("", "line 1: the end is no plain value"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), want, "{text}");
        }
        let deep = "{a:".repeat(10_000);
        assert!(parse(&deep).unwrap_err().message.starts_with("too many objects"));
    }
}
