use std::sync::atomic::{AtomicU64, Ordering};

use fancy_regex::{Captures, Regex, RegexBuilder};

/// Steps a pattern may take on one name before it counts as no match.
pub const BACKTRACK_STEPS_MAX: usize = 100_000;

/// A Python `re` pattern with a limit on backtracking.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    exhausted: AtomicU64,
}

impl Pattern {
    /// Compiles; the error says what is wrong and where in the pattern.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let regex = RegexBuilder::new(pattern).backtrack_limit(BACKTRACK_STEPS_MAX).build();
        let regex = regex.map_err(|e| format!("invalid pattern '{pattern}': {}", last_line(&e.to_string())))?;
        Ok(Self { regex, exhausted: AtomicU64::new(0) })
    }

    /// Whether the pattern is found anywhere in `name`.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name).unwrap_or_else(|_| {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
            false
        })
    }

    /// The groups of the first match at or after byte `from`.
    pub(crate) fn captures<'t>(&self, name: &'t str, from: usize) -> Option<Captures<'t>> {
        self.regex.captures_from_pos(name, from).unwrap_or_else(|_| {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
            None
        })
    }

    /// How many groups there are, the whole match (group 0) included.
    pub(crate) fn groups(&self) -> usize {
        self.regex.captures_len()
    }

    /// The number of the group with this name.
    pub(crate) fn group(&self, name: &str) -> Option<usize> {
        self.regex.capture_names().position(|group| group == Some(name))
    }

    /// How often the limit was reached.
    pub(crate) fn exhausted(&self) -> u64 {
        self.exhausted.load(Ordering::Relaxed)
    }
}

/// The regex engines draw the pattern first; the reason is on the last line.
fn last_line(message: &str) -> &str {
    message.trim().lines().last().unwrap_or_default().trim_start_matches("error: ")
}
