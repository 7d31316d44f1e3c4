use std::fmt::Write as _;

use super::fold::Method;
use crate::rules::{Pattern, Warning, Warnings};

/// The rules of aggregation-rules.conf, in the order of the file.
#[derive(Debug, Default)]
pub struct AggregationRules {
    pub(super) rules: Vec<Rule>,
}

/// `output (frequency) = method input`.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) frequency_s: u32,
    pub(super) method: Method,
    pattern: Pattern,
    output: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Group(usize),
}

impl AggregationRules {
    /// Reads the file's text: a rule a line, `#` begins a comment line.
    ///
    /// In an input pattern `*` is any text within one part, `<field>` names such a text, `<<field>>` spans dots;
    /// anything else is a Python pattern, as it is for carbon. A line that is no rule is skipped with a
    /// warning.
    pub fn parse(text: &str, file: &str) -> (Self, Vec<Warning>) {
        let mut warnings = Warnings::new(file);
        let mut rules = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match rule(line) {
                Ok(rule) => rules.push(rule),
                Err(why) => warnings.add(i + 1, None, format_args!("rule skipped: {why}")),
            }
        }
        (Self { rules }, warnings.list)
    }

    /// The names of the aggregates that points named `path` feed, rule by rule.
    pub fn outputs(&self, path: &str) -> impl Iterator<Item = String> {
        self.rules.iter().filter_map(move |rule| rule.output(path))
    }

    /// How often a pattern reached the limit on backtracking.
    pub fn patterns_exhausted(&self) -> u64 {
        self.rules.iter().map(|rule| rule.pattern.exhausted()).sum()
    }
}

impl Rule {
    /// The output that points named `path` feed.
    pub(super) fn output(&self, path: &str) -> Option<String> {
        let groups = self.pattern.captures(path, 0)?;
        let mut output = String::new();
        for piece in &self.output {
            match piece {
                Piece::Text(text) => output.push_str(text),
                Piece::Group(group) => output.push_str(groups.get(*group).map_or("", |m| m.as_str())),
            }
        }
        Some(output)
    }
}

fn rule(line: &str) -> Result<Rule, String> {
    const FORM: &str = "a rule is: output (frequency) = method input";
    let (left, right) = line.split_once('=').ok_or(FORM)?;
    let (mut left, mut right) = (left.split_whitespace(), right.split_whitespace());
    let (Some(output), Some(frequency), None) = (left.next(), left.next(), left.next()) else {
        return Err(FORM.to_owned());
    };
    let (Some(method), Some(input), None) = (right.next(), right.next(), right.next()) else {
        return Err(FORM.to_owned());
    };
    let seconds = frequency.trim_start_matches('(').trim_end_matches(')').parse().ok().filter(|s| *s > 0);
    let frequency_s = seconds.ok_or_else(|| format!("'{frequency}' is not a number of seconds in parentheses"))?;
    let method = Method::from_name(method).ok_or_else(|| format!("unknown method '{method}'"))?;
    let pattern = Pattern::new(&input_pattern(input)?)?;
    let output = output_pieces(output, &pattern)?;
    Ok(Rule { frequency_s, method, pattern, output })
}

fn input_pattern(input: &str) -> Result<String, String> {
    // The whole name has to match, but an alternative that the writer did not bracket ends where it ends.
    let mut pattern = String::from("^(?:");
    for (i, part) in input.split('.').enumerate() {
        if i > 0 {
            pattern.push_str(r"\.");
        }
        match part {
            "*" => pattern.push_str("[^.]+"),
            _ if field(part).is_none() => pattern.push_str(&part.replace('*', "[^.]*")),
            _ => {
                let mut rest = part;
                while let Some((before, name, deep, after)) = field(rest) {
                    if !is_identifier(name) {
                        return Err(format!("'{name}' is not a name for a field"));
                    }
                    let any = if deep { ".+?" } else { "[^.]+?" };
                    let _ = write!(pattern, "{before}(?P<{name}>{any})");
                    rest = after;
                }
                pattern.push_str(rest);
            }
        }
    }
    pattern.push_str("$)");
    Ok(pattern)
}

fn output_pieces(output: &str, pattern: &Pattern) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = output;
    // `<<field>>` loses the point in carbon; here it means what was meant.
    while let Some((before, name, _, after)) = field(rest) {
        let group = pattern.group(name).ok_or_else(|| format!("the input has no field '{name}'"))?;
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Group(group));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// The first field of `text`: what stands before it, its name, whether it spans dots, what follows.
fn field(text: &str) -> Option<(&str, &str, bool, &str)> {
    let (before, rest) = text.split_once('<')?;
    if let Some((name, after)) = rest.strip_prefix('<').and_then(|deep| deep.split_once(">>")) {
        return Some((before, name, true, after));
    }
    let (name, after) = rest.split_once('>')?;
    Some((before, name, false, after))
}

fn is_identifier(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(word)
}
