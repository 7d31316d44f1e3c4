//! Packets out of a byte stream: a chunk's complete lines, the rest kept for the next.

use memchr::{memchr, memrchr};

/// Cuts a TCP or Unix stream into packets of whole lines. A line that is not finished when the
/// connection ends is lost, as in the reference.
///
/// Keeps little more than `limit` bytes: a longer line that comes in several chunks is cut to one byte above it, so that
/// the [aggregator](crate::Aggregator) refuses and counts it as it does one that comes whole.
#[derive(Debug)]
pub struct LineBuffer {
    pending: Vec<u8>,
    limit: usize,
}

impl LineBuffer {
    /// `limit`: bytes of the longest line that is read, without its line feed.
    pub fn new(limit: usize) -> Self {
        LineBuffer { pending: Vec::new(), limit }
    }

    /// Gives the complete lines that `chunk` ends to `packet`, all in one piece, if there are any.
    pub fn feed(&mut self, mut chunk: &[u8], packet: impl FnOnce(&[u8])) {
        if let Some(last) = memrchr(b'\n', chunk) {
            let (complete, rest) = chunk.split_at(last + 1);
            if self.pending.is_empty() {
                packet(complete);
            } else {
                let (end, others) = complete.split_at(memchr(b'\n', complete).unwrap_or(last));
                self.keep(end);
                self.pending.extend_from_slice(others);
                packet(&self.pending);
                self.pending = Vec::new();
            }
            chunk = rest;
        }
        self.keep(chunk);
    }

    /// Whether there is an unfinished line, for a caller that counts what a closed connection lost.
    pub fn is_unfinished(&self) -> bool {
        !self.pending.is_empty()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_add(1).saturating_sub(self.pending.len());
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: usize, chunks: &[&str], want: &[&str]) {
        let mut buffer = LineBuffer::new(limit);
        let mut got = Vec::new();
        for chunk in chunks {
            buffer.feed(chunk.as_bytes(), |p| got.push(String::from_utf8(p.to_vec()).unwrap()));
            assert!(buffer.pending.len() <= limit + 1);
        }
        assert_eq!(got, want);
        assert_eq!(buffer.is_unfinished(), !chunks.concat().ends_with('\n'));
    }

    #[test]
    fn packets_are_whole_lines() {
        check(100, &["a:1|c\nb:2|c\n"], &["a:1|c\nb:2|c\n"]);
        check(100, &["a:1", "2|c\nb:3|", "g\nlost"], &["a:12|c\n", "b:3|g\n"]);
        check(100, &["a", "b", "\n", "\n"], &["ab\n", "\n"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_above_the_limit() {
        check(4, &["abcde", "fgh\nok\n"], &["abcde\nok\n"]);
        check(4, &["abc", "de", "f", "g\n", "ok\n"], &["abcde\n", "ok\n"]);
        check(4, &["ok\nabcde", "f\nx\n"], &["ok\n", "abcde\nx\n"]);
        check(4, &["abcd", "\nabcdefgh\nx"], &["abcd\nabcdefgh\n"]);
    }
}
