use std::mem;

use fancy_regex::Captures;

use crate::name::NAME_BYTES_MAX;
use crate::rules::{Pattern, Warning, Warnings};

/// The rules of rewrite-rules.conf.
#[derive(Debug, Default)]
pub struct RewriteRules {
    /// Applied to every name before aggregation.
    pub(super) pre: Vec<Rewrite>,
    /// Applied to the names that are forwarded.
    pub(super) post: Vec<Rewrite>,
}

/// `pattern = replacement`, as Python's `re.sub`.
#[derive(Debug)]
pub(super) struct Rewrite {
    pattern: Pattern,
    replacement: Vec<Piece>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl RewriteRules {
    /// Reads the file's text: `[pre]` and `[post]`, a rule a line, `#` begins a comment line.
    ///
    /// A section that is there again starts afresh, as in carbon. A line that is no rule is skipped with a warning.
    pub fn parse(text: &str, file: &str) -> (Self, Vec<Warning>) {
        let mut warnings = Warnings::new(file);
        let mut rules = Self::default();
        let mut section = String::new();
        for (i, line) in text.lines().enumerate() {
            let (line, at) = (line.trim(), i + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_lowercase();
                match rules.section(&section) {
                    None => warnings.add(at, Some(&section), "section skipped: only [pre] and [post] have a meaning"),
                    Some(rules) if rules.is_empty() => {}
                    Some(rules) => {
                        rules.clear();
                        warnings.add(at, Some(&section), "the section is there twice; only this one counts");
                    }
                }
                continue;
            }
            let rule = match (line.split_once('='), rules.section(&section)) {
                (None, _) => Err("a rule is: pattern = replacement".to_owned()),
                (_, None) if section.is_empty() => Err("it stands before [pre] or [post]".to_owned()),
                (_, None) => continue,
                (Some((pattern, replacement)), Some(rules)) => {
                    Rewrite::new(pattern.trim(), replacement.trim()).map(|rule| rules.push(rule))
                }
            };
            if let Err(why) = rule {
                let section = Some(section.as_str()).filter(|s| !s.is_empty());
                warnings.add(at, section, format_args!("rule skipped: {why}"));
            }
        }
        (rules, warnings.list)
    }

    /// How often a pattern reached the limit on backtracking.
    pub fn patterns_exhausted(&self) -> u64 {
        self.pre.iter().chain(&self.post).map(|rule| rule.pattern.exhausted()).sum()
    }

    fn section(&mut self, name: &str) -> Option<&mut Vec<Rewrite>> {
        match name {
            "pre" => Some(&mut self.pre),
            "post" => Some(&mut self.post),
            _ => None,
        }
    }
}

/// Applies all rules in order, each to the result of the one before; `None` once a name outgrows its limit.
pub(super) fn apply(rules: &[Rewrite], name: &str) -> Option<String> {
    let mut name = name.to_owned();
    let mut out = String::new();
    for rule in rules {
        out.clear();
        rule.substitute(&name, &mut out);
        mem::swap(&mut name, &mut out);
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
    }
    Some(name)
}

impl Rewrite {
    fn new(pattern: &str, replacement: &str) -> Result<Self, String> {
        let pattern = Pattern::new(pattern)?;
        let replacement = template(replacement, &pattern)?;
        Ok(Self { pattern, replacement })
    }

    /// Replaces every match. An empty match counts too, also right behind another match, as since Python 3.7.
    fn substitute(&self, name: &str, out: &mut String) {
        let mut at = 0;
        while let Some(groups) = self.pattern.captures(name, at) {
            let whole = groups.get(0).expect("group 0 is the match");
            out.push_str(&name[at..whole.start()]);
            self.expand(&groups, out);
            at = whole.end();
            if whole.start() == whole.end() {
                let Some(next) = name[at..].chars().next() else { return };
                out.push(next);
                at += next.len_utf8();
            }
        }
        out.push_str(&name[at..]);
    }

    fn expand(&self, groups: &Captures<'_>, out: &mut String) {
        for piece in &self.replacement {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Group(group) => out.push_str(groups.get(*group).map_or("", |m| m.as_str())),
            }
        }
    }
}

/// Reads a replacement: `\1` to `\99`, `\g<name>`, `\g<1>`, `\\`; a backslash before anything but a letter or
/// digit is one itself.
fn template(text: &str, pattern: &Pattern) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        literal.push_str(before);
        let reference = if let Some(named) = after.strip_prefix("g<") {
            let (name, behind) = named.split_once('>').ok_or_else(|| format!("'{text}': \\g<name> is not closed"))?;
            rest = behind;
            Some(name)
        } else {
            let digits = after.bytes().take(2).take_while(u8::is_ascii_digit).count();
            rest = &after[digits..];
            (digits > 0).then(|| &after[..digits])
        };
        let Some(name) = reference else {
            match after.chars().next() {
                Some('\\') => rest = &after[1..],
                Some(c) if c.is_ascii_alphabetic() => return Err(format!("'{text}': \\{c} has no meaning")),
                _ => {}
            }
            literal.push('\\');
            continue;
        };
        let group = name.parse().ok().filter(|n| *n < pattern.groups()).or_else(|| pattern.group(name));
        let group = group.ok_or_else(|| format!("'{text}': the pattern has no group '{name}'"))?;
        pieces.push(Piece::Text(mem::take(&mut literal)));
        pieces.push(Piece::Group(group));
    }
    literal.push_str(rest);
    pieces.push(Piece::Text(literal));
    Ok(pieces)
}
