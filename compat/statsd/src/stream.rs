//! Packets out of a byte stream: a chunk's complete lines, the rest kept for the next.

use memchr::{memchr, memrchr};

/// Cuts a TCP or Unix stream into packets of whole lines. A line that is not finished when the
/// connection ends is lost, as in the reference.
///
/// Keeps at most `limit` bytes; a longer line is skipped up to its line feed and counted.
#[derive(Debug)]
pub struct LineBuffer {
    pending: Vec<u8>,
    limit: usize,
    skipping: bool,
    skipped: u64,
}

impl LineBuffer {
    /// `limit`: bytes of the longest unfinished line that is kept.
    pub fn new(limit: usize) -> Self {
        LineBuffer { pending: Vec::new(), limit, skipping: false, skipped: 0 }
    }

    /// Gives the complete lines that `chunk` ends to `packet`, all in one piece, if there are any.
    pub fn feed(&mut self, mut chunk: &[u8], packet: impl FnOnce(&[u8])) {
        if self.skipping {
            let Some(end) = memchr(b'\n', chunk) else { return };
            self.skipping = false;
            chunk = &chunk[end + 1..];
        }
        if let Some(last) = memrchr(b'\n', chunk) {
            let (complete, rest) = chunk.split_at(last + 1);
            if self.pending.is_empty() {
                packet(complete);
            } else {
                self.pending.extend_from_slice(complete);
                packet(&self.pending);
                self.pending.clear();
            }
            chunk = rest;
        }
        if self.pending.len() + chunk.len() > self.limit {
            self.pending = Vec::new();
            self.skipping = true;
            self.skipped += 1;
        } else {
            self.pending.extend_from_slice(chunk);
        }
    }

    /// Lines skipped because they were too long.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: usize, chunks: &[&str], want: &[&str], skipped: u64) {
        let mut buffer = LineBuffer::new(limit);
        let mut got = Vec::new();
        for chunk in chunks {
            buffer.feed(chunk.as_bytes(), |p| got.push(String::from_utf8(p.to_vec()).unwrap()));
        }
        assert_eq!(got, want);
        assert_eq!(buffer.skipped(), skipped);
    }

    #[test]
    fn packets_are_whole_lines() {
        check(100, &["a:1|c\nb:2|c\n"], &["a:1|c\nb:2|c\n"], 0);
        check(100, &["a:1", "2|c\nb:3|", "g\nlost"], &["a:12|c\n", "b:3|g\n"], 0);
        check(100, &["a", "b", "\n", "\n"], &["ab\n", "\n"], 0);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        check(4, &["abcde", "fgh\nok\n"], &["ok\n"], 1);
        check(4, &["abc", "de", "f", "g\n", "ok\n"], &["ok\n"], 1);
        check(4, &["ok\nabcde", "f\nx\n"], &["ok\n", "x\n"], 1);
    }
}
