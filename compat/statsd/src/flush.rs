//! What one flush sends: names and values under one timestamp.

use std::net::IpAddr;

/// The series of one flush; kept by the caller and used again, so that a flush like the last
/// allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Flush {
    ts_s: i64,
    text: String,
    ends: Vec<usize>,
    values: Vec<f64>,
    /// Who first sent the keys of the points, and from which point on.
    senders: Vec<(usize, Option<IpAddr>)>,
    stamped: Vec<Stamped>,
}

/// A value that came with a timestamp of its own (DogStatsD `|T`).
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    /// Name of the series.
    pub name: String,
    /// Value of the point.
    pub value: f64,
    /// Seconds since 1970.
    pub ts_s: i64,
    /// Who sent it, if that is known.
    pub sender: Option<IpAddr>,
}

/// What the server knows of its last flush; sent with the next one as the daemon's own series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlushReport {
    /// Milliseconds that [`crate::Aggregator::emit`] took.
    pub processing_ms: f64,
    /// Milliseconds that storing took.
    pub flush_ms: f64,
    /// Bytes that were stored or sent.
    pub flush_bytes: f64,
    /// When storing last failed, seconds since 1970; 0 for never.
    pub last_exception_s: i64,
}

impl Flush {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seconds since 1970, for all points of [`Self::iter`].
    pub fn ts_s(&self) -> i64 {
        self.ts_s
    }

    /// Names and values. A name may come twice when two keys are one series; the later holds.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, f64)> {
        let mut start = 0;
        self.ends.iter().zip(&self.values).map(move |(&end, &value)| {
            let name = &self.text[start..end];
            start = end;
            (name, value)
        })
    }

    /// For each point of [`Self::iter`] who first sent its key; `None` if that is not known, and for the daemon's own.
    pub fn senders(&self) -> impl Iterator<Item = Option<IpAddr>> {
        let (mut changes, mut sender) = (self.senders.iter().peekable(), None);
        (0..self.len()).map(move |point| {
            while let Some((_, next)) = changes.next_if(|(at, _)| *at <= point) {
                sender = *next;
            }
            sender
        })
    }

    /// Points with timestamps of their own.
    pub fn stamped(&self) -> &[Stamped] {
        &self.stamped
    }

    /// Number of points of [`Self::iter`].
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing was sent at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.stamped.is_empty()
    }

    pub(crate) fn clear(&mut self, ts_s: i64) {
        self.ts_s = ts_s;
        self.text.clear();
        self.ends.clear();
        self.values.clear();
        self.senders.clear();
        self.stamped.clear();
    }

    /// What is pushed from now on is of a key that this sender sent first.
    pub(crate) fn begin(&mut self, sender: Option<IpAddr>) {
        if self.senders.last().and_then(|(_, last)| *last) != sender {
            self.senders.push((self.len(), sender));
        }
    }

    /// Adds a point whose name is `parts` in a row; NaN is no point.
    pub(crate) fn push(&mut self, parts: &[&str], value: f64) {
        if value.is_nan() {
            return;
        }
        for part in parts {
            self.text.push_str(part);
        }
        self.ends.push(self.text.len());
        self.values.push(value);
    }

    pub(crate) fn take_stamped(&mut self, stamped: &mut Vec<Stamped>) {
        std::mem::swap(&mut self.stamped, stamped);
    }
}
