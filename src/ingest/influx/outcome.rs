//! What became of a body's lines.

use rhythmite_engine::Commit;
use rhythmite_influx::line_protocol::{LineError, texts};

/// Bytes of refused lines and reasons that are kept as text; further ones are counted.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one refused line that are shown.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// A body that was read; its good lines are with the engine.
#[must_use = "the points are acknowledged only when the commit resolves"]
pub struct Outcome {
    /// Resolves when the points are stored.
    pub commit: Commit,
    /// Points written.
    pub points: usize,
    /// Their values.
    pub values: usize,
    /// Lines that were not written.
    pub refusals: Refusals,
}

/// A line that was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it starts in the body, counted from 1.
    pub line_number: usize,
    /// The line; what is not UTF-8 is replaced, and a very long line is cut.
    pub line: String,
    /// Why.
    pub reason: String,
    /// Where it starts in the body, in bytes.
    pub offset: usize,
}

/// The lines of a body that were not written: counts of all, texts of the first 256 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Lines that are well formed, written or not.
    pub parsed: usize,
    /// Lines that are not.
    pub unparsed: usize,
    /// Well-formed lines whose types, names or number were refused.
    pub dropped: usize,
    /// Well-formed lines with a time that the policy no longer keeps.
    pub too_old: usize,
    unparsed_lines: Vec<Refusal>,
    dropped_lines: Vec<Refusal>,
    text_bytes: usize,
}

impl Refusals {
    /// Whether every line was good.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// The first line that is not well formed, the first that was refused though it is, and the first that is too old.
    pub fn samples(&self) -> [Option<&Refusal>; 3] {
        let of_time = |old| self.dropped_lines.iter().find(move |line| (line.reason == texts::BEYOND_RETENTION) == old);
        [self.unparsed_lines.first(), of_time(false), of_time(true)]
    }

    /// Lines refused.
    pub fn total(&self) -> usize {
        self.unparsed + self.dropped + self.too_old
    }

    /// The lines whose texts were kept, in the order of the body.
    pub fn lines(&self) -> Vec<&Refusal> {
        let mut lines: Vec<_> = self.unparsed_lines.iter().chain(&self.dropped_lines).collect();
        lines.sort_by_key(|line| line.offset);
        lines
    }

    /// The `error` of InfluxDB 1.x's answer: syntax if no line was well formed, else `partial write: ...` with the first
    /// reason of the weightiest kind. `None` if every line was good.
    pub fn error_text(&self) -> Option<String> {
        let first_drop = self.dropped_lines.iter().find(|line| line.reason != texts::BEYOND_RETENTION);
        match first_drop {
            _ if self.is_empty() => None,
            _ if self.parsed == 0 => Some(self.unparsed_text()),
            Some(first) => Some(texts::partial_write(&first.reason, self.dropped + self.too_old)),
            None if self.dropped + self.too_old > 0 => {
                Some(texts::partial_write(texts::BEYOND_RETENTION, self.dropped + self.too_old))
            }
            None => Some(texts::partial_write(self.unparsed_text(), 0)),
        }
    }

    fn unparsed_text(&self) -> String {
        let lines: Vec<_> =
            self.unparsed_lines.iter().map(|l| format!("unable to parse '{}': {}", l.line, l.reason)).collect();
        let more = self.unparsed - lines.len();
        let text = lines.join("\n");
        if more > 0 { format!("{text}\nand {more} more lines") } else { text }
    }

    #[cold]
    pub(super) fn unparsed(&mut self, body: &[u8], error: &LineError<'_>) {
        self.unparsed += 1;
        if let Some(refusal) = self.refusal(body, error.line, || error.reason.to_string()) {
            self.unparsed_lines.push(refusal);
        }
    }

    #[cold]
    pub(super) fn dropped(&mut self, body: &[u8], line: &[u8], reason: String) {
        self.dropped += 1;
        // The first reason is always told, however many lines were bad before.
        if self.dropped_lines.is_empty() {
            self.text_bytes = self.text_bytes.min(TEXT_BYTES_MAX - 1);
        }
        if let Some(refusal) = self.refusal(body, line, || reason) {
            self.dropped_lines.push(refusal);
        }
    }

    #[cold]
    pub(super) fn too_old(&mut self, body: &[u8], line: &[u8]) {
        self.too_old += 1;
        if let Some(refusal) = self.refusal(body, line, || texts::BEYOND_RETENTION.to_owned()) {
            self.dropped_lines.push(refusal);
        }
    }

    fn refusal(&mut self, body: &[u8], line: &[u8], reason: impl FnOnce() -> String) -> Option<Refusal> {
        if self.text_bytes >= TEXT_BYTES_MAX {
            return None;
        }
        let cut = line.len() > LINE_BYTES_MAX;
        let mut shown = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]).into_owned();
        if cut {
            shown.push_str("...");
        }
        let reason = reason();
        self.text_bytes += shown.len() + reason.len();
        // The line is a part of the body.
        let offset = (line.as_ptr().addr()).saturating_sub(body.as_ptr().addr());
        Some(Refusal { line_number: 0, line: shown, reason, offset })
    }

    /// Counts the lines before each refused one.
    pub(super) fn number_lines(&mut self, body: &[u8]) {
        let mut lines: Vec<_> = self.unparsed_lines.iter_mut().chain(&mut self.dropped_lines).collect();
        lines.sort_by_key(|line| line.offset);
        let (mut counted_to, mut number) = (0, 1);
        for line in lines {
            let offset = line.offset.min(body.len());
            number += memchr::memchr_iter(b'\n', &body[counted_to..offset]).count();
            counted_to = offset;
            line.line_number = number;
        }
    }
}
