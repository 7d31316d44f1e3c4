//! The text of an export, cut where its comments say that what follows is something else.

use rhythmite_influx::line_protocol::line_end;
use rhythmite_model::Result;

use super::input::Input;

/// Longest line; one that does not end by then is taken to end at its first newline.
const LINE_BYTES_MAX: usize = 8 << 20;
/// Text read at a time.
const READ_BYTES: usize = 1 << 20;
/// Lines are given out together up to this size.
const BODY_BYTES: usize = 4 << 20;

/// A part of the text, and the number of its first line, from 1.
pub(super) struct Part<'l> {
    pub(super) line: u64,
    pub(super) kind: Piece<'l>,
}

/// What a part is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'l> {
    /// Whole lines of line protocol.
    Body(&'l [u8]),
    /// A statement between `# DDL` and `# DML`.
    Statement(&'l str),
    /// `# CONTEXT-DATABASE:`
    Database(&'l str),
    /// `# CONTEXT-RETENTION-POLICY:`
    Policy(&'l str),
}

/// Reads parts.
pub(super) struct Lines {
    input: Input,
    buffer: Vec<u8>,
    /// The text before this was given out.
    start: usize,
    ended: bool,
    /// Of the text before `start`.
    offset: u64,
    /// The number of the line at `start`.
    line: u64,
    in_ddl: bool,
    raw_told: u64,
}

impl Lines {
    pub(super) fn new(input: Input) -> Self {
        Self { input, buffer: Vec::new(), start: 0, ended: false, offset: 0, line: 1, in_ddl: false, raw_told: 0 }
    }

    /// Goes on at a place that [`Lines::offset`], [`Lines::line`] and [`Lines::in_ddl`] told.
    ///
    /// # Errors
    /// As [`Input::read`].
    pub(super) fn resume(input: Input, offset: u64, line: u64, in_ddl: bool) -> Result<Self> {
        let mut lines = Self::new(input);
        if offset == 0 {
            return Ok(lines);
        }
        let mut scratch = vec![0; READ_BYTES];
        while lines.offset < offset {
            let most = usize::try_from(offset - lines.offset).unwrap_or(usize::MAX).min(READ_BYTES);
            let count = lines.input.read(&mut scratch[..most])?;
            if count == 0 {
                break;
            }
            lines.offset += count as u64;
        }
        (lines.line, lines.in_ddl) = (line, in_ddl);
        Ok(lines)
    }

    /// How much text was given out.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the line that comes next.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Whether statements come next.
    pub(super) fn in_ddl(&self) -> bool {
        self.in_ddl
    }

    /// Bytes of the file itself that were read since the last call.
    pub(super) fn take_raw_bytes(&mut self) -> u64 {
        let bytes = self.input.raw_bytes();
        bytes - std::mem::replace(&mut self.raw_told, bytes)
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// As [`Input::read`].
    pub(super) fn next(&mut self) -> Result<Option<Part<'_>>> {
        loop {
            let from = self.start;
            let Some(end) = self.line_end(from)? else { return Ok(None) };
            let line = self.line;
            let text = trim(&self.buffer[from..end]);
            if text.is_empty() {
                self.give(end);
                continue;
            }
            if let [b'#', comment @ ..] = text {
                let comment = trim(comment);
                match comment {
                    b"DDL" => self.in_ddl = true,
                    b"DML" => self.in_ddl = false,
                    _ => {}
                }
                let database = after(comment, b"CONTEXT-DATABASE:");
                let policy = after(comment, b"CONTEXT-RETENTION-POLICY:");
                let (range, is_database) = match (database, policy) {
                    (Some(name), _) => (place(&self.buffer, name), true),
                    (None, Some(name)) => (place(&self.buffer, name), false),
                    (None, None) => {
                        self.give(end);
                        continue;
                    }
                };
                self.give(end);
                // A context ends the statements, whether `# DML` was there or not.
                self.in_ddl = false;
                let name = std::str::from_utf8(&self.buffer[range]).unwrap_or_default();
                let kind = if is_database { Piece::Database(name) } else { Piece::Policy(name) };
                return Ok(Some(Part { line, kind }));
            }
            if self.in_ddl {
                let range = place(&self.buffer, text);
                self.give(end);
                let text = std::str::from_utf8(&self.buffer[range]).unwrap_or_default();
                return Ok(Some(Part { line, kind: Piece::Statement(text) }));
            }
            let end = self.body_end(end)?;
            // Reading on may have moved the text.
            let from = self.start;
            self.give(end);
            return Ok(Some(Part { line, kind: Piece::Body(&self.buffer[from..end]) }));
        }
    }

    /// As many lines of line protocol as there are, up to [`BODY_BYTES`]; the first ends at `end`.
    fn body_end(&mut self, mut end: usize) -> Result<usize> {
        while end - self.start < BODY_BYTES {
            let behind = end - self.start;
            let Some(next) = self.line_end(end)? else { return Ok(self.start + behind) };
            end = self.start + behind;
            if trim(&self.buffer[end..next]).first() == Some(&b'#') {
                return Ok(end);
            }
            end = next;
        }
        Ok(end)
    }

    /// The end of the line at `from` (at or behind `start`), behind its newline; reads on where need be, which moves
    /// everything to the front. `None` at the end of the text.
    fn line_end(&mut self, from: usize) -> Result<Option<usize>> {
        let mut behind = from - self.start;
        loop {
            let from = self.start + behind;
            let rest = &self.buffer[from..];
            let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let is_comment = rest.get(blank) == Some(&b'#');
            let newline = memchr::memchr(b'\n', rest);
            let end = if is_comment { newline } else { line_end(rest) };
            // What does not end is damaged: it shall not take all other lines with it.
            let end = end.or_else(|| newline.filter(|_| self.ended || rest.len() >= LINE_BYTES_MAX));
            if let Some(end) = end {
                return Ok(Some(from + end + 1));
            }
            if self.ended {
                return Ok((!rest.is_empty()).then_some(self.buffer.len()));
            }
            self.fill()?;
            behind = from.min(behind);
        }
    }

    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + READ_BYTES, 0);
        let count = self.input.read(&mut self.buffer[length..])?;
        self.buffer.truncate(length + count);
        self.ended = count == 0;
        Ok(())
    }

    fn give(&mut self, end: usize) {
        let given = &self.buffer[self.start..end];
        self.line += memchr::memchr_iter(b'\n', given).count() as u64;
        self.offset += given.len() as u64;
        self.start = end;
    }
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

fn after<'t>(comment: &'t [u8], head: &[u8]) -> Option<&'t [u8]> {
    comment.strip_prefix(head).map(trim)
}

/// Where a part of a text lies in it.
fn place(whole: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}
