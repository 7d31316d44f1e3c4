//! Which series a pattern means: `servers.web[0-3]*.{cpu,mem}.**`.
//!
//! A pattern is split at its dots into [`SegmentPattern`]s, each compiled once. Semantics of one
//! segment: `*` any text, `?` one character, `[abc]` `[a-z]` `[!a]` one of a set, `{a,b*}` either
//! alternative, nested. Matching is by character and case-sensitive; a `[` that is never closed
//! and a `{` that is never closed stand for themselves. `**` matches any number of segments,
//! also none; at the end of a pattern it stands for `**.*`, so `a.**` is what lies below `a`.
//!
//! An index walk needs three questions answered quickly: [`SegmentPattern::literal`] (one look-up
//! instead of a scan), [`SegmentPattern::literals`] (a few look-ups) and
//! [`SegmentPattern::prefix`] (a range scan).
//!
//! Limits: [`VARIANTS_MAX`] alternatives after brace expansion and [`VARIANT_BYTES_MAX`] of them, [`SEGMENTS_MAX`].

mod segment;
#[cfg(test)]
mod tests;

pub use segment::SegmentPattern;

use rhythmite_model::{Error, Result};

/// Most alternatives that the braces of one pattern may stand for, all its segments together.
pub const VARIANTS_MAX: usize = 10_000;

/// Most bytes of these alternatives, for each segment.
pub const VARIANT_BYTES_MAX: usize = 4 << 20;

/// Most dots in a pattern.
pub const SEGMENTS_MAX: usize = 1_024;

/// Splits a path pattern at its dots and compiles each segment.
///
/// # Errors
/// `Invalid` when it has more than [`VARIANTS_MAX`] variants or too many segments.
pub fn split_pattern(pattern: &str) -> Result<Vec<SegmentPattern>> {
    let mut segments = Vec::new();
    let mut variants = 0;
    for text in pattern.split('.') {
        if segments.len() == SEGMENTS_MAX {
            return Err(Error::invalid(format!("pattern has more than {SEGMENTS_MAX} segments")));
        }
        let segment = SegmentPattern::new(text)?;
        variants += segment.variants();
        if variants > VARIANTS_MAX + SEGMENTS_MAX {
            return Err(Error::invalid(format!("the pattern stands for more than {VARIANTS_MAX} variants")));
        }
        segments.push(segment);
    }
    if segments.last().is_some_and(SegmentPattern::is_globstar) {
        segments.push(SegmentPattern::new("*")?);
    }
    Ok(segments)
}

/// Has the text any wildcard in it?
#[must_use]
pub fn has_wildcards(text: &str) -> bool {
    text.bytes().any(|b| matches!(b, b'*' | b'?' | b'[' | b'{'))
}

/// Does a whole dotted path match? For tests and short lists; an index walks segment by segment.
#[must_use]
pub fn matches_path(pattern: &[SegmentPattern], path: &str) -> bool {
    let segments: Vec<&str> = path.split('.').collect();
    // reached[i]: the pattern so far matches the first i segments.
    let mut reached = vec![false; segments.len() + 1];
    reached[0] = true;
    for p in pattern {
        let mut next = vec![false; segments.len() + 1];
        if p.is_globstar() {
            let mut seen = false;
            for (n, r) in next.iter_mut().zip(&reached) {
                seen |= *r;
                *n = seen;
            }
        } else {
            for (i, segment) in segments.iter().enumerate() {
                next[i + 1] = reached[i] && p.matches(segment);
            }
        }
        reached = next;
    }
    reached[segments.len()]
}
