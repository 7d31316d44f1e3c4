//! Query text to tokens.
//!
//! A regular expression and a division begin with the same letter, so the parser says where a
//! regular expression may stand: it looks at [`Lexer::peek`] and calls [`Lexer::regex`].
//!
//! Positions are those InfluxDB 1.x reports, oddities included, because its error texts carry them:
//! a quoted string is reported one character early, and the end of the text is counted as a
//! character once it has been read by a word or a run of blanks.

use super::token::{BinaryOp, Pos, Token, is_word_char, is_word_start, word};
use std::borrow::Cow;

/// A token with its place and, where it has one, its text (unescaped, without quotes): mostly a piece of the query.
#[derive(Clone, Debug)]
pub(super) struct Lexed<'a> {
    pub(super) token: Token,
    pub(super) pos: Pos,
    pub(super) text: Cow<'a, str>,
}

impl<'a> Lexed<'a> {
    pub(super) fn bare(token: Token, pos: Pos) -> Self {
        Self { token, pos, text: Cow::Borrowed("") }
    }

    fn made(token: Token, pos: Pos, text: String) -> Self {
        Self { token, pos, text: Cow::Owned(text) }
    }

    /// The token as messages show it: its text, or the name of its kind.
    pub(super) fn shown(&self) -> &str {
        if self.text.is_empty() { self.token.name() } else { &self.text }
    }
}

/// A cursor over the query text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a str,
    /// Place of the next character.
    pos: Pos,
    /// Place of the last character read.
    last: Pos,
    ended: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, pos: Pos::default(), last: Pos::default(), ended: false }
    }

    /// The next character, line ends as `\n`; `None` at the end.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next().map(|ch| if ch == '\r' { '\n' } else { ch })
    }

    /// True if the next two characters open a comment.
    pub(super) fn at_comment(&self) -> bool {
        self.rest.starts_with("/*")
    }

    fn bump(&mut self) -> Option<char> {
        self.last = self.pos;
        let mut chars = self.rest.chars();
        let Some(ch) = chars.next() else {
            // The end takes a place of its own, once.
            if !self.ended {
                self.ended = true;
                self.pos.char = self.pos.char.saturating_add(1);
            }
            return None;
        };
        self.rest = chars.as_str();
        if ch == '\r' || ch == '\n' {
            if ch == '\r' {
                self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest);
            }
            self.pos = Pos { line: self.pos.line.saturating_add(1), char: 0 };
            return Some('\n');
        }
        self.pos.char = self.pos.char.saturating_add(1);
        Some(ch)
    }

    fn bump_if(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.bump();
        }
        found
    }

    /// Takes ASCII characters while they match; line ends must not.
    fn take_while(&mut self, matches: impl Fn(u8) -> bool) -> &'a str {
        let len = self.rest.bytes().take_while(|byte| byte.is_ascii() && matches(*byte)).count();
        let (taken, rest) = self.rest.split_at(len);
        if let Some(before) = u32::try_from(len).unwrap_or(u32::MAX).checked_sub(1) {
            self.last = Pos { char: self.pos.char.saturating_add(before), ..self.pos };
            self.pos.char = self.last.char.saturating_add(1);
        }
        self.rest = rest;
        taken
    }

    /// What was read since `rest` was the rest.
    fn since(&self, rest: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(&rest[..rest.len() - self.rest.len()])
    }

    /// The next token.
    pub(super) fn token(&mut self) -> Lexed<'a> {
        let pos = self.pos;
        let Some(ch) = self.peek() else {
            self.bump();
            return Lexed::bare(Token::Eof, pos);
        };
        if is_blank(ch) {
            return self.blanks(pos);
        }
        if is_word_start(ch) || ch == '"' {
            return self.word(pos, true);
        }
        if ch.is_ascii_digit() || (ch == '.' && self.rest[1..].starts_with(|next: char| next.is_ascii_digit())) {
            return self.number(pos);
        }
        if ch == '\'' {
            return self.string(Token::String);
        }
        self.bump();
        let token = match ch {
            '$' => {
                let name = self.word(self.pos, false);
                let token = if name.token == Token::Ident { Token::BoundParam } else { name.token };
                return Lexed::made(token, pos, format!("${}", name.text));
            }
            '-' if self.peek() == Some('-') => {
                while !matches!(self.bump(), None | Some('\n')) {}
                Token::Comment
            }
            '/' if self.bump_if('*') => self.block_comment(),
            '.' => Token::Dot,
            '+' => Token::Op(BinaryOp::Add),
            '-' => Token::Op(BinaryOp::Sub),
            '*' => Token::Op(BinaryOp::Mul),
            '/' => Token::Op(BinaryOp::Div),
            '%' => Token::Op(BinaryOp::Mod),
            '&' => Token::Op(BinaryOp::BitAnd),
            '|' => Token::Op(BinaryOp::BitOr),
            '^' => Token::Op(BinaryOp::BitXor),
            '=' if self.bump_if('~') => Token::Op(BinaryOp::EqRegex),
            '=' => Token::Op(BinaryOp::Eq),
            '!' if self.bump_if('=') => Token::Op(BinaryOp::NotEq),
            '!' if self.bump_if('~') => Token::Op(BinaryOp::NotEqRegex),
            '>' if self.bump_if('=') => Token::Op(BinaryOp::GtEq),
            '>' => Token::Op(BinaryOp::Gt),
            '<' if self.bump_if('=') => Token::Op(BinaryOp::LtEq),
            '<' if self.bump_if('>') => Token::Op(BinaryOp::NotEq),
            '<' => Token::Op(BinaryOp::Lt),
            '(' => Token::LeftParen,
            ')' => Token::RightParen,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            ':' if self.bump_if(':') => Token::DoubleColon,
            ':' => Token::Colon,
            _ => return Lexed::made(Token::Illegal, pos, ch.to_string()),
        };
        Lexed::bare(token, pos)
    }

    /// The regular expression that begins here, without its slashes and with `\/` unescaped.
    pub(super) fn regex(&mut self) -> Lexed<'a> {
        let pos = self.last;
        let mut text = String::new();
        self.bump();
        loop {
            match self.bump() {
                Some('/') => return Lexed::made(Token::Regex, pos, text),
                Some('\\') => {
                    if self.bump_if('/') {
                        text.push('/');
                    } else {
                        text.push('\\');
                        // The next character is taken as it stands unless it escapes a slash in turn.
                    }
                }
                None | Some('\n') => return Lexed::bare(Token::BadRegex, pos),
                Some(ch) => text.push(ch),
            }
        }
    }

    fn blanks(&mut self, pos: Pos) -> Lexed<'a> {
        let began = self.rest;
        let mut returns = false;
        while self.peek().is_some_and(is_blank) {
            returns |= self.rest.starts_with('\r');
            self.bump();
        }
        let text = match self.since(began) {
            text if returns => text.replace("\r\n", "\n").replace('\r', "\n").into(),
            text => text,
        };
        if self.rest.is_empty() {
            self.bump();
        }
        Lexed { token: Token::Whitespace, pos, text }
    }

    fn word(&mut self, pos: Pos, reserved: bool) -> Lexed<'a> {
        if self.peek() == Some('"') {
            let quoted = self.string(Token::Ident);
            return if quoted.token == Token::Ident { Lexed { pos, ..quoted } } else { quoted };
        }
        let text = self.take_while(|byte| is_word_char(char::from(byte)));
        if self.rest.is_empty() {
            self.bump();
        }
        match if reserved { word(text) } else { Token::Ident } {
            Token::Ident => Lexed { token: Token::Ident, pos, text: text.into() },
            other => Lexed::bare(other, pos),
        }
    }

    /// A quoted run; the opening quote is next.
    fn string(&mut self, token: Token) -> Lexed<'a> {
        let pos = self.last;
        let quote = self.bump();
        // Most are ASCII and have nothing to unescape.
        let plain = |byte| !matches!(byte, b'\n' | b'\r' | b'\0' | b'\\') && Some(char::from(byte)) != quote;
        let begun = self.take_while(plain);
        if self.peek() == quote {
            self.bump();
            return Lexed { token, pos, text: begun.into() };
        }
        let mut text = begun.to_owned();
        loop {
            match self.bump() {
                ch if ch == quote => return Lexed::made(token, pos, text),
                None | Some('\n' | '\0') => return Lexed::made(Token::BadString, pos, text),
                Some('\\') => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some(ch @ ('\\' | '"' | '\'')) => text.push(ch),
                    other => {
                        let mut text = String::from("\\");
                        text.extend(other);
                        return Lexed::made(Token::BadEscape, self.last, text);
                    }
                },
                Some(ch) => text.push(ch),
            }
        }
    }

    fn number(&mut self, pos: Pos) -> Lexed<'a> {
        let began = self.rest;
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        let (token, text) = if self.bump_if('.') {
            // A point without digits behind it is taken and not shown.
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            (Token::Number, if fraction.is_empty() { whole.into() } else { self.since(began) })
        } else if self.peek().is_some_and(is_unit_char) {
            while self.peek().is_some_and(|ch| is_unit_char(ch) || ch.is_ascii_digit()) {
                self.bump();
            }
            (Token::Duration, self.since(began))
        } else {
            (Token::Integer, whole.into())
        };
        Lexed { token, pos, text }
    }

    /// The rest of a `/*` comment; an unclosed one is illegal.
    fn block_comment(&mut self) -> Token {
        loop {
            match self.bump() {
                Some('*') if self.bump_if('/') => return Token::Comment,
                Some(_) => {}
                None => return Token::Illegal,
            }
        }
    }
}

/// Blanks between tokens. Other Unicode spaces are not.
pub(super) fn is_blank(ch: char) -> bool {
    matches!(ch, ' ' | '\t' | '\n')
}

fn is_unit_char(ch: char) -> bool {
    ch.is_ascii_alphabetic() || ch == 'µ'
}
