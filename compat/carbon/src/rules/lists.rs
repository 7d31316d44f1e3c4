use super::{Pattern, Warning, Warnings};

/// The patterns of whitelist.conf or blacklist.conf, one a line.
#[derive(Debug, Default)]
pub struct NameList {
    patterns: Vec<Pattern>,
}

impl NameList {
    /// Reads the file's text: empty lines and lines that begin with `#` mean nothing; a line that is no pattern is
    /// skipped with a warning.
    pub fn parse(text: &str, file: &str) -> (Self, Vec<Warning>) {
        let mut warnings = Warnings::new(file);
        let mut patterns = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let pattern = line.trim();
            if line.starts_with('#') || pattern.is_empty() {
                continue;
            }
            match Pattern::new(pattern) {
                Ok(pattern) => patterns.push(pattern),
                Err(why) => warnings.add(i + 1, None, format_args!("line skipped: {why}")),
            }
        }
        (Self { patterns }, warnings.list)
    }

    /// Whether any pattern is found in `path`.
    pub fn matches(&self, path: &str) -> bool {
        self.patterns.iter().any(|p| p.matches(path))
    }

    /// A list without patterns says nothing about any name.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// How often a pattern reached the limit on backtracking.
    pub fn patterns_exhausted(&self) -> u64 {
        self.patterns.iter().map(Pattern::exhausted).sum()
    }
}

/// What the lists say about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Accepted,
    /// The blacklist holds it.
    Blacklisted,
    /// There is a whitelist, and it does not hold the name.
    NotWhitelisted,
}

/// Both lists; the blacklist wins. An empty list lets everything pass.
#[derive(Debug, Default)]
pub struct Filter {
    /// Only names it holds are accepted.
    pub whitelist: NameList,
    /// Names it holds are refused.
    pub blacklist: NameList,
}

impl Filter {
    /// Decides about one name. The patterns are tried one after the other, so keep the answer per series.
    pub fn check(&self, path: &str) -> Verdict {
        if self.blacklist.matches(path) {
            Verdict::Blacklisted
        } else if !self.whitelist.is_empty() && !self.whitelist.matches(path) {
            Verdict::NotWhitelisted
        } else {
            Verdict::Accepted
        }
    }
}
