//! Query text to tokens.
//!
//! A regular expression and a division begin with the same letter, so the parser says where a
//! regular expression may stand: it looks at [`Lexer::peek`] and calls [`Lexer::regex`].
//!
//! Positions are those InfluxDB 1.x reports, oddities included, because its error texts carry them:
//! a quoted string is reported one character early, and the end of the text is counted as a
//! character once it has been read by a word or a run of blanks.

use super::token::{BinaryOp, Pos, Token, is_word_char, is_word_start, word};

/// A token with its place and, where it has one, its text (unescaped, without quotes).
#[derive(Clone, Debug)]
pub(super) struct Lexed {
    pub(super) token: Token,
    pub(super) pos: Pos,
    pub(super) text: String,
}

impl Lexed {
    fn bare(token: Token, pos: Pos) -> Self {
        Self { token, pos, text: String::new() }
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

    /// Takes characters while they match; reads the end of the text too if it gets there.
    fn take_while(&mut self, text: &mut String, matches: impl Fn(char) -> bool) {
        while let Some(ch) = self.peek().filter(|ch| matches(*ch)) {
            text.push(ch);
            self.bump();
        }
    }

    /// The next token.
    pub(super) fn token(&mut self) -> Lexed {
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
                return Lexed { token, pos, text: format!("${}", name.text) };
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
            _ => return Lexed { token: Token::Illegal, pos, text: ch.to_string() },
        };
        Lexed::bare(token, pos)
    }

    /// The regular expression that begins here, without its slashes and with `\/` unescaped.
    pub(super) fn regex(&mut self) -> Lexed {
        let pos = self.last;
        let mut text = String::new();
        self.bump();
        loop {
            match self.bump() {
                Some('/') => return Lexed { token: Token::Regex, pos, text },
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

    fn blanks(&mut self, pos: Pos) -> Lexed {
        let mut text = String::new();
        self.take_while(&mut text, is_blank);
        if self.rest.is_empty() {
            self.bump();
        }
        Lexed { token: Token::Whitespace, pos, text }
    }

    fn word(&mut self, pos: Pos, reserved: bool) -> Lexed {
        if self.peek() == Some('"') {
            let quoted = self.string(Token::Ident);
            return if quoted.token == Token::Ident { Lexed { pos, ..quoted } } else { quoted };
        }
        let mut text = String::new();
        self.take_while(&mut text, is_word_char);
        if self.rest.is_empty() {
            self.bump();
        }
        match if reserved { word(&text) } else { Token::Ident } {
            Token::Ident => Lexed { token: Token::Ident, pos, text },
            other => Lexed::bare(other, pos),
        }
    }

    /// A quoted run; the opening quote is next.
    fn string(&mut self, token: Token) -> Lexed {
        let pos = self.last;
        let mut text = String::new();
        let quote = self.bump();
        loop {
            match self.bump() {
                ch if ch == quote => return Lexed { token, pos, text },
                None | Some('\n' | '\0') => return Lexed { token: Token::BadString, pos, text },
                Some('\\') => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some(ch @ ('\\' | '"' | '\'')) => text.push(ch),
                    other => {
                        let mut text = String::from("\\");
                        text.extend(other);
                        return Lexed { token: Token::BadEscape, pos: self.last, text };
                    }
                },
                Some(ch) => text.push(ch),
            }
        }
    }

    fn number(&mut self, pos: Pos) -> Lexed {
        let digit = |ch: char| ch.is_ascii_digit();
        let mut text = String::new();
        self.take_while(&mut text, digit);
        let token = if self.bump_if('.') {
            if self.peek().is_some_and(digit) {
                text.push('.');
                self.take_while(&mut text, digit);
            }
            Token::Number
        } else if self.peek().is_some_and(is_unit_char) {
            self.take_while(&mut text, |ch| is_unit_char(ch) || digit(ch));
            Token::Duration
        } else {
            Token::Integer
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
