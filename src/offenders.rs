//! The last things that were refused, dropped or lost, for whoever asks why: a few for each reason.
//!
//! A reason is the path of the counter that counts it. Only the beginning of what a sender sent is kept, and it is
//! escaped when it is shown, with the sender where one is known. A note costs a lock that nobody waits for: of two at the same moment one is left out.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use parking_lot::Mutex;

use crate::senders::Sender;

/// Samples kept of one reason.
pub const SAMPLES_MAX: usize = 8;
/// Bytes kept of one sample.
pub const SAMPLE_BYTES_MAX: usize = 200;

/// The samples of all reasons.
#[derive(Debug, Default)]
pub struct Offenders {
    rings: Mutex<BTreeMap<&'static str, VecDeque<Kept>>>,
}

#[derive(Debug, Default)]
struct Kept {
    at_s: i64,
    bytes: Vec<u8>,
    cut: bool,
    /// Who sent it; empty if that is not known.
    sender: String,
}

/// One sample, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offender {
    /// Seconds since 1970.
    pub at_s: i64,
    /// Its beginning, and from whom it is; what is not printable ASCII is escaped.
    pub text: String,
}

impl Offenders {
    /// Keeps a sample of what `reason` (a counter's path) counts, in the place of the oldest.
    pub fn note(&self, reason: &'static str, sample: &[u8], at_s: i64) {
        self.note_from(reason, sample, Sender::Unknown, at_s);
    }

    /// The same of a sender, which is never what is cut off.
    pub fn note_from(&self, reason: &'static str, sample: &[u8], sender: Sender<'_>, at_s: i64) {
        let Some(mut rings) = self.rings.try_lock() else { return };
        let ring = rings.entry(reason).or_default();
        // The oldest gives its memory.
        let mut kept = if ring.len() >= SAMPLES_MAX { ring.pop_front().unwrap_or_default() } else { Kept::default() };
        kept.bytes.clear();
        kept.bytes.extend_from_slice(&sample[..sample.len().min(SAMPLE_BYTES_MAX)]);
        kept.cut = sample.len() > SAMPLE_BYTES_MAX;
        kept.at_s = at_s;
        kept.sender.clear();
        if sender != Sender::Unknown {
            // A text takes whatever is written to it.
            let _ = write!(kept.sender, " from {sender}");
        }
        ring.push_back(kept);
    }

    /// The samples of a reason, the newest first.
    pub fn last(&self, reason: &str) -> Vec<Offender> {
        let rings = self.rings.lock();
        let show = |kept: &Kept| {
            let end = if kept.cut { "..." } else { "" };
            Offender { at_s: kept.at_s, text: format!("{}{end}{}", kept.bytes.escape_ascii(), kept.sender) }
        };
        rings.get(reason).map(|ring| ring.iter().rev().map(show).collect()).unwrap_or_default()
    }
}

/// What a message shows of a text that a sender may have made long: its beginning, and its end, where reasons stand.
pub(crate) fn brief(text: &str) -> Cow<'_, str> {
    if text.len() <= 2 * SAMPLE_BYTES_MAX {
        return text.into();
    }
    let (head, tail) =
        (text.floor_char_boundary(SAMPLE_BYTES_MAX), text.ceil_char_boundary(text.len() - SAMPLE_BYTES_MAX));
    format!("{}...{}", &text[..head], &text[tail..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_named_however_long_the_sample_is() {
        let offenders = Offenders::default();
        for (sample, sender, shown) in [
            ("a\n", Sender::Named("10.0.0.7:4711"), "a\\n from 10.0.0.7:4711".to_owned()),
            (&*"x".repeat(300), Sender::Named("y"), format!("{}... from y", "x".repeat(SAMPLE_BYTES_MAX))),
            ("b", Sender::Unknown, "b".to_owned()),
        ] {
            offenders.note_from("a", sample.as_bytes(), sender, 1);
            assert_eq!(offenders.last("a")[0].text, shown);
        }
    }

    #[test]
    fn a_long_message_keeps_its_reason() {
        assert_eq!(brief("short"), "short");
        let long = format!("series {} is not made", "\u{e9}".repeat(1_000));
        let shown = brief(&long);
        assert!(shown.len() <= 2 * SAMPLE_BYTES_MAX + 3, "{shown}");
        assert!(shown.starts_with("series \u{e9}") && shown.ends_with(" is not made"), "{shown}");
    }

    #[test]
    fn the_last_few_of_each_reason_are_kept_cut_and_escaped() {
        let offenders = Offenders::default();
        for n in 0..20 {
            offenders.note("a", format!("line {n}\n").as_bytes(), n);
        }
        offenders.note("b", &[0xff; 1_000], 7);
        let last = offenders.last("a");
        assert_eq!(last.len(), SAMPLES_MAX);
        assert_eq!(last[0], Offender { at_s: 19, text: "line 19\\n".to_owned() });
        assert_eq!(last[7].at_s, 12);
        let text = &offenders.last("b")[0].text;
        assert_eq!(text.len(), 4 * SAMPLE_BYTES_MAX + 3);
        assert!(text.starts_with("\\xff") && text.ends_with("..."), "{text}");
        assert_eq!(offenders.last("c"), []);
    }
}
