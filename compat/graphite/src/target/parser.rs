//! Recursive descent over bytes. An argument is tried as boolean, none, infinity, number, string
//! and expression, in this order; a word or number must be followed by the argument's end.

use super::{ARGUMENTS_MAX, Call, DEPTH_MAX, Expr, Literal, TARGET_BYTES_MAX};
use rhythmite_model::{Error, Result};

/// Parses a whole target.
///
/// # Errors
/// `Invalid`, naming the byte offset, when the text is not one expression.
pub fn parse(text: &str) -> Result<Expr> {
    let mut parser = Parser::new(text)?;
    let expr = parser.expression()?;
    parser.space();
    if parser.at < text.len() { parser.fail("the end") } else { Ok(expr) }
}

/// Parses the longest expression at the start of `text` and ignores what follows.
///
/// # Errors
/// `Invalid` when no expression starts there.
pub fn parse_prefix(text: &str) -> Result<Expr> {
    let mut parser = Parser::new(text)?;
    parser.expression().or_else(|_| {
        // `scale(a b` starts with the path `scale`.
        (parser.at, parser.depth) = (0, 0);
        parser.space();
        parser.path().map(Expr::Path)
    })
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    arguments: usize,
}

/// Bytes that end a path unless escaped.
fn is_symbol(b: u8) -> bool {
    matches!(b, b'(' | b')' | b'{' | b'}' | b',' | b'.' | b'\'' | b'"' | b'\\' | b'|')
}

fn is_path_char(c: char) -> bool {
    !(c.is_whitespace() || c.is_control() || (c.is_ascii() && is_symbol(c as u8)))
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self> {
        if text.len() > TARGET_BYTES_MAX {
            return Err(Error::invalid(format!("target is longer than {TARGET_BYTES_MAX} bytes")));
        }
        Ok(Self { text, bytes: text.as_bytes(), at: 0, depth: 0, arguments: 0 })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, b: u8) -> bool {
        self.space();
        let hit = self.peek() == Some(b);
        self.at += usize::from(hit);
        hit
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("'{c}'"),
            None => "the end".to_owned(),
        };
        Error::invalid(format!("malformed target: expected {wanted}, found {found} at position {}", self.at))
    }

    fn fail<T>(&self, wanted: &str) -> Result<T> {
        Err(self.unexpected(wanted))
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Error::invalid(format!("target is nested deeper than {DEPTH_MAX} at position {}", self.at)));
        }
        Ok(())
    }

    fn expression(&mut self) -> Result<Expr> {
        self.deeper()?;
        self.space();
        let start = self.at;
        let mut expr = match self.identifier() {
            Some(name)
                if {
                    self.space();
                    self.peek() == Some(b'(')
                } =>
            {
                self.at = start;
                // A failure inside a call is final: to read `f(a` as the path `f` is what the
                // reference does, and hides mistakes.
                if name == "template" { self.template()? } else { Expr::Call(self.call()?) }
            }
            _ => {
                self.at = start;
                Expr::Path(self.path()?)
            }
        };
        let mut pipes = 0;
        loop {
            let before = self.at;
            while self.peek() == Some(b' ') {
                self.at += 1;
            }
            if self.peek() != Some(b'|') {
                self.at = before;
                break;
            }
            self.at += 1;
            self.space();
            self.deeper()?;
            pipes += 1;
            let mut call = self.call()?;
            call.args.insert(0, expr);
            expr = Expr::Call(call);
        }
        self.depth -= 1 + pipes;
        Ok(expr)
    }

    fn identifier(&mut self) -> Option<&'a str> {
        let rest = &self.bytes[self.at..];
        let first = *rest.first()?;
        if !(first.is_ascii_alphabetic() || first == b'_') {
            return None;
        }
        let len = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let name = &self.text[self.at..self.at + len];
        self.at += len;
        Some(name)
    }

    fn call(&mut self) -> Result<Call> {
        self.space();
        let start = self.at;
        let Some(name) = self.identifier() else { return self.fail("a function name") };
        if !self.eat(b'(') {
            return self.fail("'('");
        }
        let mut call = Call { name: name.to_owned(), args: Vec::new(), kwargs: Vec::new(), raw: String::new() };
        if !self.eat(b')') {
            loop {
                match self.keyword() {
                    Some(key) => {
                        let value = self.argument()?;
                        call.kwargs.push((key, value));
                    }
                    None if call.kwargs.is_empty() => call.args.push(self.argument()?),
                    None => return self.fail("a named argument"),
                }
                if self.eat(b')') {
                    break;
                }
                if !self.eat(b',') {
                    return self.fail("',' or ')'");
                }
            }
        }
        call.raw = self.text[start..self.at].to_owned();
        Ok(call)
    }

    /// `name =` in front of an argument.
    fn keyword(&mut self) -> Option<String> {
        self.space();
        let start = self.at;
        if let Some(name) = self.identifier()
            && self.eat(b'=')
        {
            return Some(name.to_owned());
        }
        self.at = start;
        None
    }

    fn argument(&mut self) -> Result<Expr> {
        self.arguments += 1;
        if self.arguments > ARGUMENTS_MAX {
            return Err(Error::invalid(format!(
                "target has more than {ARGUMENTS_MAX} arguments at position {}",
                self.at
            )));
        }
        self.space();
        if let Some(literal) = self.word().or_else(|| self.number()) {
            return Ok(Expr::Literal(literal));
        }
        if matches!(self.peek(), Some(b'"' | b'\'')) {
            return Ok(Expr::Literal(Literal::Str(self.string()?)));
        }
        self.expression()
    }

    /// `true`, `false`, `none`, `inf` in any case, when an argument ends behind it.
    fn word(&mut self) -> Option<Literal> {
        let start = self.at;
        let literal = match self.identifier()?.to_ascii_lowercase().as_str() {
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "none" => Literal::None,
            "inf" => Literal::Float(f64::INFINITY),
            _ => {
                self.at = start;
                return None;
            }
        };
        if self.argument_ends() {
            return Some(literal);
        }
        self.at = start;
        None
    }

    fn argument_ends(&mut self) -> bool {
        let before = self.at;
        self.space();
        let ends = matches!(self.peek(), None | Some(b',' | b')'));
        self.at = before;
        ends
    }

    fn number(&mut self) -> Option<Literal> {
        let start = self.at;
        let digits = |p: &mut Self| {
            let from = p.at;
            while p.peek().is_some_and(|b| b.is_ascii_digit()) {
                p.at += 1;
            }
            p.at > from
        };
        let sign = |p: &mut Self| p.at += usize::from(p.peek() == Some(b'-'));
        sign(self);
        let mut ok = digits(self);
        let mut whole = true;
        if ok && self.peek() == Some(b'.') {
            self.at += 1;
            ok = digits(self);
            whole = false;
        }
        if ok && matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            sign(self);
            ok = digits(self);
            whole = false;
        }
        if ok && self.argument_ends() {
            let text = &self.text[start..self.at];
            let int = if whole { text.parse().ok().map(Literal::Int) } else { None };
            if let Some(literal) = int.or_else(|| text.parse().ok().map(Literal::Float)) {
                return Some(literal);
            }
        }
        self.at = start;
        None
    }

    /// A quoted string. A backslash keeps the next character from ending it but stays in the
    /// value; so do doubled quotes.
    fn string(&mut self) -> Result<String> {
        let start = self.at;
        let quote = self.bytes[start];
        self.at += 1;
        while let Some(b) = self.peek() {
            match b {
                b'\\' => self.at += 1 + usize::from(self.at + 1 < self.bytes.len()),
                b'\n' | b'\r' => break,
                b if b == quote && self.bytes.get(self.at + 1) == Some(&quote) => self.at += 2,
                b if b == quote => {
                    self.at += 1;
                    return Ok(self.text[start + 1..self.at - 1].to_owned());
                }
                _ => self.at += 1,
            }
        }
        self.at = start;
        self.fail("a closing quote for the string that starts here")
    }

    fn template(&mut self) -> Result<Expr> {
        self.identifier();
        self.eat(b'(');
        self.space();
        let start = self.at;
        let is_call = self.identifier().is_some() && {
            self.space();
            self.peek() == Some(b'(')
        };
        self.at = start;
        let body = if is_call { Expr::Call(self.call()?) } else { Expr::Path(self.path()?) };
        let mut params: Vec<(String, Literal)> = Vec::new();
        let mut positional = 0;
        while self.eat(b',') {
            let name = self.keyword();
            self.space();
            let value = match self.number() {
                Some(number) => number,
                None if matches!(self.peek(), Some(b'"' | b'\'')) => Literal::Str(self.string()?),
                None => return self.fail("a number or a string as template parameter"),
            };
            let name = name.unwrap_or_else(|| {
                positional += 1;
                positional.to_string()
            });
            params.push((name, value));
        }
        if !self.eat(b')') {
            return self.fail("',' or ')'");
        }
        Ok(Expr::Template { body: Box::new(body), params })
    }

    /// Path elements joined by dots; no white space inside.
    fn path(&mut self) -> Result<String> {
        let mut path = String::new();
        loop {
            let before = path.len();
            self.path_element(&mut path)?;
            if path.len() == before {
                return self.fail("a series path or a function call");
            }
            if self.peek() != Some(b'.') {
                return Ok(path);
            }
            path.push('.');
            self.at += 1;
        }
    }

    /// One path element up to a dot (or, within braces, up to a comma or the closing brace).
    fn path_element(&mut self, path: &mut String) -> Result<()> {
        while let Some(c) = self.text[self.at..].chars().next() {
            match c {
                '\\' => {
                    let escaped = self.bytes.get(self.at + 1).copied().filter(|b| is_symbol(*b) || *b == b'=');
                    let Some(escaped) = escaped else { return self.fail("a symbol after the backslash") };
                    path.push(char::from(escaped));
                    self.at += 2;
                }
                '{' => {
                    self.deeper()?;
                    path.push('{');
                    self.at += 1;
                    loop {
                        self.path_element(path)?;
                        match self.peek() {
                            Some(b',') => path.push(','),
                            Some(b'}') => break,
                            _ => return self.fail("',' or '}'"),
                        }
                        self.at += 1;
                    }
                    path.push('}');
                    self.at += 1;
                    self.depth -= 1;
                }
                c if is_path_char(c) => {
                    path.push(c);
                    self.at += c.len_utf8();
                }
                _ => break,
            }
        }
        Ok(())
    }
}
