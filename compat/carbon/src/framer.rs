//! Cuts a TCP byte stream into lines, or into the length-prefixed frames of the pickle protocol.
//!
//! Both are fed bytes as they arrive and never hold more than one line or frame header's worth of limit:
//! an over-long line is passed on cut to one byte above the limit, so that the parser rejects and counts it,
//! and the rest of it is skipped; an over-long frame is an error, since nothing behind it can be trusted.

use std::fmt;

/// Bytes of a frame that carbon accepts.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of the big-endian length before a frame.
const LENGTH_BYTES: usize = 4;

/// Keeps the unfinished line of one connection.
#[derive(Debug)]
pub struct LineFramer {
    line_bytes_max: usize,
    pending: Vec<u8>,
}

impl LineFramer {
    /// A framer at the start of a stream; `line_bytes_max` should be the parser's.
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line_bytes_max, pending: Vec::new() }
    }

    /// Passes every line that `bytes` completes to `lines`, as one or two buffers of whole lines.
    ///
    /// Copies only the bytes of lines that are split over two calls. What is left at the end of the stream is an
    /// unfinished line, which carbon drops.
    pub fn feed(&mut self, mut bytes: &[u8], mut lines: impl FnMut(&[u8])) {
        if !self.pending.is_empty() {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                return self.keep(bytes);
            };
            self.keep(&bytes[..end]);
            lines(&self.pending);
            self.pending.clear();
            bytes = &bytes[end + 1..];
        }
        if let Some(end) = memchr::memrchr(b'\n', bytes) {
            lines(&bytes[..=end]);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// Bytes of the unfinished line, for a caller that wants to count what a closed connection lost.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = (self.line_bytes_max + 1).saturating_sub(self.pending.len());
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A frame's length is above the limit; the connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLong {
    /// The length the frame announced.
    pub announced: u32,
    /// The limit.
    pub frame_bytes_max: usize,
}

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a frame of {} bytes, the limit is {}", self.announced, self.frame_bytes_max)
    }
}

impl std::error::Error for FrameTooLong {}

/// One whole frame and the bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The pickle.
    pub payload: &'a [u8],
    /// What follows.
    pub rest: &'a [u8],
}

/// The first frame of `buf`. `None` until all of it has arrived.
///
/// # Errors
/// As soon as the length is known, if it is above `frame_bytes_max`.
pub fn split_frame(buf: &[u8], frame_bytes_max: usize) -> Result<Option<Frame<'_>>, FrameTooLong> {
    let Some((length, rest)) = buf.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let announced = u32::from_be_bytes(*length);
    if announced as usize > frame_bytes_max {
        return Err(FrameTooLong { announced, frame_bytes_max });
    }
    Ok(rest.split_at_checked(announced as usize).map(|(payload, rest)| Frame { payload, rest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limit: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut framer = LineFramer::new(limit);
        let mut out = Vec::new();
        for chunk in chunks {
            framer.feed(chunk, |buf| {
                let text = String::from_utf8_lossy(buf);
                out.extend(text.lines().map(|line| line.trim_end().to_owned()));
            });
            assert!(framer.pending_bytes() <= limit + 1);
        }
        out
    }

    #[test]
    fn lines_come_out_whole_however_the_stream_is_cut() {
        let stream = b"a 12 3\nbb 4 5\r\n\nc 6 7\nlost 1";
        let whole = lines(50, &[stream]);
        assert_eq!(whole, ["a 12 3", "bb 4 5", "", "c 6 7"]);
        for i in 0..stream.len() {
            for j in i..stream.len() {
                let kept = |v: Vec<String>| v.into_iter().filter(|l| !l.is_empty()).collect::<Vec<_>>();
                let cut = lines(50, &[&stream[..i], &stream[i..j], &stream[j..]]);
                assert_eq!(kept(cut), kept(whole.clone()), "{i} {j}");
            }
        }
    }

    #[test]
    fn an_endless_line_is_cut_above_the_limit_and_the_next_one_is_read() {
        let x = [b'x'; 100];
        assert_eq!(lines(8, &[&x, &x, b"x\nok\n"]), ["xxxxxxxxx", "ok"]);
    }

    #[test]
    fn frames_are_taken_when_complete() {
        let buf = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x03xy";
        let first = split_frame(buf, 2).unwrap().unwrap();
        let Frame { payload, rest } = split_frame(first.rest, 2).unwrap().unwrap();
        assert_eq!((first.payload, payload), (&b"ab"[..], &b""[..]));
        assert_eq!(split_frame(rest, 3), Ok(None));
        assert_eq!(split_frame(rest, 2), Err(FrameTooLong { announced: 3, frame_bytes_max: 2 }));
        assert_eq!(split_frame(&buf[..3], 2), Ok(None));
        assert!(split_frame(b"\xff\xff\xff\xff", FRAME_BYTES_MAX).is_err());
    }
}
