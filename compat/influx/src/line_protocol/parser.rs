use std::ops::Deref;

use memchr::{memchr, memchr2};
use rhythmite_model::FieldValue;

use super::error::{LineError, Reason};
use super::key::{RawKey, SeriesKey};
use super::number::{DIGITS_MAX, digits, number_fast, number_slow};
use super::precision::Precision;
use super::shape::Shape;
use super::unescape::{NAME_SPECIALS, Name, Text, has_escape};

/// How a body is to be read, and what a line may cost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ParseOptions {
    /// The unit of the timestamps.
    pub precision: Precision,
    /// The time of lines that have none; truncated to the precision.
    pub now_ns: i64,
    /// Longest line, newlines inside strings included.
    pub line_bytes_max: usize,
    /// Longest key as sent, and longest key with separator and field name, as InfluxDB 1.x counts.
    pub key_bytes_max: usize,
    /// Most tags of a line.
    pub tags_max: usize,
    /// Most fields of a line.
    pub fields_max: usize,
}

impl ParseOptions {
    /// InfluxDB's limits where it has any, generous ones elsewhere.
    pub fn new(precision: Precision, now_ns: i64) -> Self {
        Self { precision, now_ns, line_bytes_max: 8 << 20, key_bytes_max: 65_535, tags_max: 1_024, fields_max: 32_768 }
    }
}

/// One value as sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Finite.
    Float(f64),
    /// `1i`.
    Integer(i64),
    /// `1u`.
    Unsigned(u64),
    /// `t`, `true` and so on.
    Boolean(bool),
    /// `"text"`.
    String(Text<'a>),
}

impl<'a> Value<'a> {
    /// The value as the model has it. Text with escapes is written into `scratch`, whose former
    /// content is lost.
    pub fn resolve<'s>(self, scratch: &'s mut String) -> FieldValue<'s>
    where
        'a: 's,
    {
        match self {
            Value::Float(value) => FieldValue::Float(value),
            Value::Integer(value) => FieldValue::Integer(value),
            Value::Unsigned(value) => FieldValue::Unsigned(value),
            Value::Boolean(value) => FieldValue::Boolean(value),
            Value::String(text) => FieldValue::String(match text.as_plain() {
                Some(plain) => plain,
                None => {
                    scratch.clear();
                    text.append_to(scratch);
                    scratch
                }
            }),
        }
    }
}

/// One field. A name may occur twice in a line; then the last one counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its name; not empty.
    pub name: Name<'a>,
    /// Its value.
    pub value: Value<'a>,
}

/// The fields of one line, in the order sent. Kept by the caller, so that lines share its memory.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(Vec<Field<'a>>);

impl Fields<'_> {
    /// No fields.
    pub fn new() -> Self {
        Self(Vec::new())
    }
}

impl<'a> Deref for Fields<'a> {
    type Target = [Field<'a>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// What a line holds beside key and fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The point's time: sent, or [`ParseOptions::now_ns`] truncated.
    pub timestamp_ns: i64,
    /// Whether the time was sent.
    pub has_timestamp: bool,
    /// So many fields from the first on have the shape's names.
    pub matched: usize,
    /// The line as sent, without leading blanks and without its end.
    pub line: &'a [u8],
}

/// Reads a body line by line; see the module for the order of calls.
#[derive(Debug)]
pub struct LineParser<'a, 'o> {
    input: &'a [u8],
    options: &'o ParseOptions,
    /// The first byte not read yet.
    pos: usize,
    /// Where the line starts whose key was given out.
    line_start: usize,
    /// A key was given out and its fields are still to be read.
    in_line: bool,
    default_time_ns: i64,
    /// `line_number` is the number of the line that holds the byte at `counted_to`.
    counted_to: usize,
    line_number: usize,
    /// How many bytes may still be read twice to find the end of refused lines. It makes the time
    /// linear in the body: quotes can be set so that each line's string ends with the body.
    reread_budget: usize,
}

impl<'a, 'o> LineParser<'a, 'o> {
    /// A parser at the start of `input`; a byte order mark is skipped.
    pub fn new(input: &'a [u8], options: &'o ParseOptions) -> Self {
        let pos = if input.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        Self {
            input,
            options,
            pos,
            line_start: pos,
            in_line: false,
            default_time_ns: options.precision.truncate(options.now_ns),
            counted_to: 0,
            line_number: 1,
            reread_budget: input.len().saturating_mul(8),
        }
    }

    /// The next line's key, unchecked; blank lines and comments are skipped. `None` at the end.
    ///
    /// `expected` is empty or a key this parser (or an earlier one) gave before: if the line goes on
    /// with it, it is not searched for. A line whose fields were not read is skipped.
    ///
    /// # Errors
    /// A line without fields. Go on with the next call.
    #[inline]
    pub fn next_key(&mut self, expected: &[u8]) -> Option<Result<RawKey<'a>, LineError<'a>>> {
        if self.in_line {
            self.skip_line();
        }
        if let Some((bytes, [b' ', ..])) = self.input[self.pos..].split_at_checked(expected.len())
            && bytes == expected
            && !matches!(expected, [] | [.., b'\\'])
        {
            self.line_start = self.pos;
            self.pos += expected.len();
            self.in_line = true;
            return Some(Ok(RawKey { bytes, expected: true }));
        }
        self.search_key()
    }

    /// Reads fields and time of the line whose key was given last. `fields` holds them afterwards;
    /// after an error it holds nothing of use.
    ///
    /// # Errors
    /// The line is refused. Go on with [`LineParser::next_key`].
    ///
    /// # Panics
    /// If no key was given out before.
    #[inline]
    pub fn read_fields(&mut self, shape: &Shape, fields: &mut Fields<'a>) -> Result<Row<'a>, LineError<'a>> {
        assert!(self.in_line, "next_key comes before read_fields");
        match self.fields_and_time(shape, fields) {
            Ok(row) => Ok(row),
            Err(reason) => Err(self.refuse(reason)),
        }
    }

    /// Refuses the line whose key was given last, for a reason [`RawKey::parse`] found, and skips it.
    #[cold]
    pub fn refuse(&mut self, reason: Reason<'a>) -> LineError<'a> {
        let start = self.line_start;
        let end = self.skip_line();
        self.line_number += memchr::memchr_iter(b'\n', &self.input[self.counted_to..start]).count();
        self.counted_to = start;
        LineError { line: trim_end(&self.input[start..end]), line_number: self.line_number, reason }
    }

    fn search_key(&mut self) -> Option<Result<RawKey<'a>, LineError<'a>>> {
        self.skip_blanks_and_comments();
        let (input, start) = (self.input, self.pos);
        if start >= input.len() {
            return None;
        }
        self.line_start = start;
        self.in_line = true;
        let mut at = start;
        while let Some(found) = memchr2(b' ', b'\n', &input[at..]) {
            at += found;
            if input[at] == b'\n' {
                break;
            }
            if at > start && input[at - 1] == b'\\' {
                at += 1;
                continue;
            }
            self.pos = at;
            return Some(Ok(RawKey { bytes: &input[start..at], expected: false }));
        }
        if at < input.len() && input[at] != b'\n' {
            at = input.len();
        }
        // No fields; but a bad key is named first.
        let key = RawKey::new(trim_end(&input[start..at]));
        let reason = key.parse(self.options).err().unwrap_or(Reason::MissingFields);
        Some(Err(self.refuse(reason)))
    }

    fn skip_blanks_and_comments(&mut self) {
        while let Some(byte) = self.input.get(self.pos) {
            match byte {
                b' ' | b'\t' | b'\n' => self.pos += 1,
                b'\r' if is_line_end(&self.input[self.pos..]) => self.pos += 1,
                b'#' => self.pos = memchr(b'\n', &self.input[self.pos..]).map_or(self.input.len(), |at| self.pos + at),
                _ => break,
            }
        }
    }

    #[inline]
    fn fields_and_time(&mut self, shape: &Shape, fields: &mut Fields<'a>) -> Result<Row<'a>, Reason<'a>> {
        let input = self.input;
        let fields = &mut fields.0;
        fields.clear();
        let mut rest = skip_blanks(&input[self.pos..]);
        let (mut cursor, mut matched, mut in_shape) = (shape.cursor(), 0, true);
        loop {
            let (name, after) = match if in_shape { cursor.strip(rest) } else { None } {
                Some(found) => {
                    matched += 1;
                    found
                }
                None => {
                    in_shape = false;
                    scan_name(rest)?
                }
            };
            let (value, after) = scan_value(after, self.options.line_bytes_max)?;
            if fields.len() == self.options.fields_max {
                return Err(Reason::TooManyFields(self.options.fields_max));
            }
            fields.push(Field { name, value });
            match after.first() {
                Some(b',') => rest = &after[1..],
                _ => {
                    rest = after;
                    break;
                }
            }
        }
        let mut time = None;
        if let [b' ', ..] = rest {
            (time, rest) = scan_time(skip_blanks(rest), self.options.precision)?;
        }
        // Here `rest` is the end of the line or of the body.
        let line_end = input.len() - rest.len();
        let line = &input[self.line_start..line_end];
        if line.len() > self.options.line_bytes_max {
            return Err(Reason::LineTooLong(self.options.line_bytes_max));
        }
        // InfluxDB 1.x stores key, four bytes and field name as one key.
        if line.len() + 4 > self.options.key_bytes_max {
            let key_bytes = self.pos - self.line_start;
            check_stored_keys(key_bytes, fields, self.options.key_bytes_max)?;
        }
        self.pos = line_end + usize::from(rest.first() == Some(&b'\r'));
        self.pos += usize::from(self.pos < input.len());
        self.in_line = false;
        Ok(Row { timestamp_ns: time.unwrap_or(self.default_time_ns), has_timestamp: time.is_some(), matched, line })
    }

    /// Goes behind the line that starts at `line_start` and returns its end.
    ///
    /// A newline inside a string does not end the line: if it did, text somebody logged could become
    /// points of its own. But a string that never ends costs one line only.
    #[cold]
    fn skip_line(&mut self) -> usize {
        let start = self.line_start;
        let rest = &self.input[start..];
        let first_newline = memchr(b'\n', rest).unwrap_or(rest.len());
        let len = if memchr(b'"', &rest[..first_newline]).is_none() {
            first_newline
        } else {
            let window = &rest[..rest.len().min(self.reread_budget.max(first_newline))];
            let end = quoted_line_end(window);
            self.reread_budget = self.reread_budget.saturating_sub(end.unwrap_or(window.len()));
            let saw_all = window.len() == rest.len();
            match end {
                Some(end) if saw_all || rest[end] == b'\n' => end,
                // A quote is open up to the end of the body.
                None if saw_all => first_newline,
                // The budget is spent on hostile quotes: refuse the rest rather than read it as lines.
                _ => rest.len(),
            }
        };
        self.pos = (start + len + 1).min(self.input.len());
        self.in_line = false;
        start + len
    }
}

/// A point with everything checked and taken apart.
#[derive(Clone, Debug)]
pub struct Point<'r, 'a> {
    /// Measurement and tags.
    pub key: SeriesKey<'a>,
    /// At least one field.
    pub fields: &'r [Field<'a>],
    /// Time and the line itself.
    pub row: Row<'a>,
}

/// Reads the whole body; `visit` gets each point or refused line, in order.
///
/// Parses every key, which costs several times what the rest does: for imports and tests.
pub fn for_each_point<'a>(
    input: &'a [u8],
    options: &ParseOptions,
    mut visit: impl FnMut(Result<Point<'_, 'a>, LineError<'a>>),
) {
    let mut lines = LineParser::new(input, options);
    let (mut shape, mut fields) = (Shape::EMPTY, Fields::new());
    while let Some(key) = lines.next_key(b"") {
        let parsed = match key {
            Ok(raw) => raw.parse(options).map_err(|reason| lines.refuse(reason)),
            Err(error) => Err(error),
        };
        let point = parsed.and_then(|key| Ok((key, lines.read_fields(&shape, &mut fields)?)));
        match point {
            Err(error) => visit(Err(error)),
            Ok((key, row)) => {
                if row.matched < fields.len() {
                    shape.learn(&fields);
                }
                visit(Ok(Point { key, fields: &fields, row }));
            }
        }
    }
}

#[inline]
fn skip_blanks(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', after @ ..] = rest {
        rest = after;
    }
    rest
}

fn skip_spaces(mut rest: &[u8]) -> &[u8] {
    while let [b' ', after @ ..] = rest {
        rest = after;
    }
    rest
}

/// Whether `rest` starts with the end of a line: nothing, LF, CR LF, or CR and nothing.
#[inline]
fn is_line_end(rest: &[u8]) -> bool {
    matches!(rest, [] | [b'\n', ..] | [b'\r', b'\n', ..] | [b'\r'])
}

/// Without the CR of a CR LF.
fn trim_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A name up to its `=`, and what follows.
fn scan_name(rest: &[u8]) -> Result<(Name<'_>, &[u8]), Reason<'static>> {
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'=' | b',' | b' ' if at > 0 && rest[at - 1] == b'\\' => {}
            b'=' if at == 0 => return Err(Reason::MissingFieldKey),
            b'=' => {
                let raw = &rest[..at];
                if std::str::from_utf8(raw).is_err() {
                    return Err(Reason::InvalidUtf8);
                }
                return Ok((Name { raw, escaped: has_escape(raw, NAME_SPECIALS) }, &rest[at + 1..]));
            }
            b',' | b' ' | b'\n' => return Err(Reason::InvalidFieldFormat),
            _ => {}
        }
    }
    Err(Reason::InvalidFieldFormat)
}

/// A value, and what follows: `,`, space, or the end of the line.
#[inline]
fn scan_value(rest: &[u8], string_bytes_max: usize) -> Result<(Value<'_>, &[u8]), Reason<'_>> {
    if let Some((value, len)) = number_fast(rest) {
        let after = &rest[len..];
        if ends_value(after) {
            return Ok((value, after));
        }
    }
    match rest.first() {
        Some(b'"') => scan_string(rest, string_bytes_max),
        _ if ends_value(rest) => Err(Reason::MissingFieldValue),
        Some(b'0'..=b'9' | b'-' | b'.' | b'N' | b'n') => {
            let (token, after) = split_token(rest);
            Ok((number_slow(token)?, after))
        }
        _ => {
            let (token, after) = split_token(rest);
            let value = match token {
                b"t" | b"T" | b"true" | b"True" | b"TRUE" => true,
                b"f" | b"F" | b"false" | b"False" | b"FALSE" => false,
                _ => return Err(Reason::InvalidBoolean),
            };
            Ok((Value::Boolean(value), after))
        }
    }
}

#[inline]
fn ends_value(rest: &[u8]) -> bool {
    matches!(rest, [b',' | b' ', ..]) || is_line_end(rest)
}

/// Everything up to the end of a value that is no string.
fn split_token(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = (0..rest.len()).find(|at| ends_value(&rest[*at..])).unwrap_or(rest.len());
    rest.split_at(end)
}

/// A string, from its opening quote on.
fn scan_string(rest: &[u8], bytes_max: usize) -> Result<(Value<'_>, &[u8]), Reason<'_>> {
    let body = &rest[1..];
    let window = &body[..body.len().min(bytes_max)];
    let (mut at, mut escaped) = (0, false);
    let end = loop {
        let Some(found) = window.get(at..).and_then(|tail| memchr2(b'"', b'\\', tail)) else {
            let cut = window.len() < body.len();
            return Err(if cut { Reason::LineTooLong(bytes_max) } else { Reason::UnbalancedQuotes });
        };
        at += found;
        if window[at] == b'"' {
            break at;
        }
        escaped |= matches!(window.get(at + 1), Some(b'"' | b'\\'));
        at += 2;
    };
    let after = &body[end + 1..];
    if !ends_value(after) {
        return Err(Reason::InvalidFieldFormat);
    }
    let raw = std::str::from_utf8(&body[..end]).map_err(|_| Reason::InvalidUtf8)?;
    Ok((Value::String(Text { raw, escaped }), after))
}

/// The timestamp if there is one, in nanoseconds, and the end of the line.
#[inline]
fn scan_time(rest: &[u8], precision: Precision) -> Result<(Option<i64>, &[u8]), Reason<'_>> {
    if is_line_end(rest) {
        return Ok((None, rest));
    }
    let sign = usize::from(rest[0] == b'-');
    let (number, count) = digits(&rest[sign..]);
    let end = sign + count;
    let (time, after) = match i64::try_from(number) {
        Ok(time) if (1..=DIGITS_MAX).contains(&count) => (if sign == 1 { -time } else { time }, &rest[end..]),
        _ => scan_time_slow(rest)?,
    };
    if !is_line_end(after) && after[0] != b' ' {
        return Err(Reason::BadTimestamp);
    }
    let time_ns = precision.to_ns(time).ok_or(Reason::TimeOutsideRange)?;
    let end = skip_spaces(after);
    if !is_line_end(end) {
        return Err(Reason::PointInvalid);
    }
    Ok((Some(time_ns), end))
}

/// A timestamp of any length, and what follows its last digit.
#[cold]
fn scan_time_slow(rest: &[u8]) -> Result<(i64, &[u8]), Reason<'_>> {
    let (token, after) = split_token(rest);
    let text = std::str::from_utf8(token).map_err(|_| Reason::BadTimestamp)?;
    let number = text.strip_prefix('-').unwrap_or(text);
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reason::BadTimestamp);
    }
    Ok((text.parse().map_err(|_| Reason::TimestampRange(text))?, after))
}

#[cold]
fn check_stored_keys<'a>(key_bytes: usize, fields: &[Field<'a>], max: usize) -> Result<(), Reason<'a>> {
    let longest = fields.iter().map(|field| field.name.raw.len()).max().unwrap_or(0);
    let len = key_bytes + 4 + longest;
    if len > max { Err(Reason::KeyTooLong { len, max }) } else { Ok(()) }
}

/// Where the line at the start of `bytes` ends: the place of its newline, which may not be inside a string. `None` if it
/// goes on behind these bytes.
///
/// For readers that take a long text in parts. A comment is a line of its own: look for it before.
pub fn line_end(bytes: &[u8]) -> Option<usize> {
    let newline = memchr(b'\n', bytes)?;
    if memchr(b'"', &bytes[..newline]).is_none() {
        return Some(newline);
    }
    quoted_line_end(bytes).filter(|end| *end < bytes.len())
}

/// Where the line at the start of `bytes` ends if quotes behind a field's `=` enclose text; `None` if
/// a quote is still open at the end.
fn quoted_line_end(bytes: &[u8]) -> Option<usize> {
    let (mut quoted, mut in_fields, mut equals, mut commas, mut at) = (false, false, 0_usize, 0_usize, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if bytes.get(at + 1).is_some_and(|next| *next != b'\n' || quoted) => at += 1,
            b'\n' if !quoted => return Some(at),
            b' ' => in_fields = true,
            b'"' if quoted => quoted = false,
            b'"' if in_fields && equals > commas => quoted = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            _ => {}
        }
        at += 1;
    }
    (!quoted).then_some(bytes.len())
}
