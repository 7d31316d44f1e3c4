//! Tag expressions: `tag=value`, `tag!=value`, `tag=~regex`, `tag!=~regex`.
//!
//! A missing tag has the empty value. Regular expressions are anchored at the start only.

use crate::python::regex::Regex;
use rhythmite_model::{Error, Result};

/// How a tag's value is compared.
#[derive(Debug)]
pub enum Test {
    /// `=`
    Equal(String),
    /// `!=`
    NotEqual(String),
    /// `=~`
    Match(Regex),
    /// `!=~`
    NotMatch(Regex),
}

/// One tag expression.
#[derive(Debug)]
pub struct TagExpr {
    /// The tag; `name` is the metric's name.
    pub tag: String,
    /// What its value must satisfy.
    pub test: Test,
}

impl TagExpr {
    /// Parses one expression.
    ///
    /// # Errors
    /// `Invalid` when there is no operator, no tag, or the regular expression is malformed.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("Invalid tagspec {text}"));
        let at = text.find(['=', '!']).filter(|at| *at > 0).ok_or_else(bad)?;
        let (tag, rest) = text.split_at(at);
        if text.contains(';') {
            return Err(bad());
        }
        let test = if let Some(pattern) = rest.strip_prefix("!=~") {
            Test::NotMatch(Regex::new(&anchored(pattern))?)
        } else if let Some(pattern) = rest.strip_prefix("=~") {
            Test::Match(Regex::new(&anchored(pattern))?)
        } else if let Some(value) = rest.strip_prefix("!=") {
            Test::NotEqual(value.to_owned())
        } else if let Some(value) = rest.strip_prefix('=') {
            Test::Equal(value.to_owned())
        } else {
            return Err(bad());
        };
        Ok(Self { tag: tag.to_owned(), test })
    }

    /// Does a value satisfy the test? A missing tag is the empty text.
    ///
    /// # Errors
    /// `Invalid` when a regular expression takes too many steps.
    pub fn holds(&self, value: &str) -> Result<bool> {
        match &self.test {
            Test::Equal(v) => Ok(value == v),
            Test::NotEqual(v) => Ok(value != v),
            Test::Match(regex) => regex.is_match(value),
            Test::NotMatch(regex) => Ok(!regex.is_match(value)?),
        }
    }

    /// Does the empty value fail the test? Then the tag must be present.
    ///
    /// # Errors
    /// `Invalid` when a regular expression takes too many steps.
    pub fn needs_tag(&self) -> Result<bool> {
        Ok(!self.holds("")?)
    }
}

/// A pattern that begins with `^` is taken as it is.
fn anchored(pattern: &str) -> String {
    if pattern.starts_with('^') { pattern.to_owned() } else { format!("^(?:{pattern})") }
}

/// Parses the expressions of one query.
///
/// # Errors
/// `Invalid` for a malformed expression, or when none of them needs its tag to be present: such
/// a query would mean nearly every series.
pub fn parse_query(expressions: &[impl AsRef<str>]) -> Result<Vec<TagExpr>> {
    let parsed = expressions.iter().map(|e| TagExpr::parse(e.as_ref())).collect::<Result<Vec<_>>>()?;
    for expr in &parsed {
        if expr.needs_tag()? {
            return Ok(parsed);
        }
    }
    Err(Error::invalid("At least one tagspec must require a non-empty value"))
}

#[cfg(test)]
mod tests {
    use super::{TagExpr, parse_query};

    #[test]
    fn expressions() {
        for (expr, value, want) in [
            ("a=b", "b", Some(true)),
            ("a=b", "", Some(false)),
            ("a=", "", Some(true)),
            ("a!=b", "", Some(true)),
            ("a!=", "", Some(false)),
            ("a=~b|c", "cd", Some(true)),
            ("a=~b", "ab", Some(false)),
            ("a!=~b", "ab", Some(true)),
            ("a=b=c", "b=c", Some(true)),
            ("a", "", None),
            ("=b", "", None),
            ("a!b", "", None),
            ("a=~(", "", None),
            ("a=b;c", "", None),
        ] {
            assert_eq!(TagExpr::parse(expr).and_then(|e| e.holds(value)).ok(), want, "{expr} on {value:?}");
        }
    }

    #[test]
    fn one_tag_must_be_there() {
        for (query, ok) in [
            (&["a=b", "c!=d"][..], true),
            (&["a=~b.*"], true),
            (&["a!=b"], false),
            (&["a="], false),
            (&["a=~.*"], false),
            (&["a!="], true),
            (&[], false),
        ] {
            assert_eq!(parse_query(query).is_ok(), ok, "{query:?}");
        }
    }
}
