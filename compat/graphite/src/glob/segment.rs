use super::{VARIANT_BYTES_MAX, VARIANTS_MAX};
use rhythmite_model::{Error, Result};

/// One segment of a pattern, compiled.
#[derive(Clone, Debug)]
pub struct SegmentPattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Globstar,
    /// Variants without wildcards, sorted: at least one.
    Literals(Vec<String>),
    Any,
    Variants(Vec<Vec<Token>>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    One,
    Many,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl SegmentPattern {
    /// Compiles the text between two dots.
    ///
    /// # Errors
    /// `Invalid` when its braces stand for more than [`VARIANTS_MAX`] variants, or [`VARIANT_BYTES_MAX`] bytes of them.
    pub fn new(text: &str) -> Result<Self> {
        let mut variants = Vec::new();
        expand(text, &mut variants)?;
        variants.sort_unstable();
        variants.dedup();
        let kind = match variants.as_slice() {
            [one] if one == "**" => Kind::Globstar,
            [one] if one == "*" => Kind::Any,
            _ => {
                let tokens: Vec<Vec<Token>> = variants.iter().map(|v| tokenize(v)).collect();
                let plain = |t: &Vec<Token>| t.iter().all(|t| matches!(t, Token::Text(_)));
                if tokens.iter().all(plain) { Kind::Literals(variants) } else { Kind::Variants(tokens) }
            }
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// The segment as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many texts its braces stand for.
    #[must_use]
    pub fn variants(&self) -> usize {
        match &self.kind {
            Kind::Globstar | Kind::Any => 1,
            Kind::Literals(texts) => texts.len(),
            Kind::Variants(variants) => variants.len(),
        }
    }

    /// Is this `**`, which matches any number of segments?
    #[must_use]
    pub fn is_globstar(&self) -> bool {
        matches!(self.kind, Kind::Globstar)
    }

    /// The only text that matches, if there is only one.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match &self.kind {
            Kind::Literals(texts) if texts.len() == 1 => texts.first().map(String::as_str),
            _ => None,
        }
    }

    /// All texts that match, sorted, if the segment has no wildcard.
    #[must_use]
    pub fn literals(&self) -> Option<&[String]> {
        match &self.kind {
            Kind::Literals(texts) => Some(texts),
            _ => None,
        }
    }

    /// Does one of its braces' texts mean nothing at all, as `{,b}` and an empty segment do? No segment of a path is
    /// empty, so this is no match.
    #[must_use]
    pub fn has_empty_variant(&self) -> bool {
        match &self.kind {
            Kind::Globstar | Kind::Any => false,
            Kind::Literals(texts) => texts.iter().any(String::is_empty),
            Kind::Variants(variants) => variants.iter().any(Vec::is_empty),
        }
    }

    /// Everything that matches starts with this text.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match &self.kind {
            Kind::Literals(texts) => common_prefix(texts.iter().map(String::as_str)),
            Kind::Variants(variants) => common_prefix(variants.iter().map(|tokens| match tokens.first() {
                Some(Token::Text(text)) => text.as_str(),
                _ => "",
            })),
            Kind::Globstar | Kind::Any => "",
        }
    }

    /// Does one segment of a path match? `**` matches every segment.
    #[must_use]
    pub fn matches(&self, segment: &str) -> bool {
        match &self.kind {
            Kind::Globstar | Kind::Any => true,
            Kind::Literals(texts) => texts.binary_search_by(|t| t.as_str().cmp(segment)).is_ok(),
            Kind::Variants(variants) => variants.iter().any(|tokens| matches(tokens, segment)),
        }
    }
}

fn common_prefix<'a>(mut texts: impl Iterator<Item = &'a str>) -> &'a str {
    let Some(first) = texts.next() else { return "" };
    texts.fold(first, |prefix, text| {
        let same = prefix.char_indices().zip(text.chars()).find(|((_, a), b)| a != b);
        let len = same.map_or(prefix.len().min(text.len()), |((i, _), _)| i);
        &prefix[..len]
    })
}

/// Replaces the innermost braces first, like a shell; text that has none is the only variant.
fn expand(text: &str, out: &mut Vec<String>) -> Result<()> {
    let shown = || text.chars().take(100).collect::<String>();
    let mut todo = vec![text.to_owned()];
    let mut bytes = text.len();
    while let Some(next) = todo.pop() {
        let Some((open, close)) = innermost_braces(&next) else {
            out.push(next);
            continue;
        };
        bytes -= next.len();
        for part in next[open + 1..close].split(',') {
            let variant = [&next[..open], part, &next[close + 1..]].concat();
            bytes += variant.len();
            todo.push(variant);
            // Counted one by one: a single pair of braces may hold hundreds of thousands.
            if out.len() + todo.len() > VARIANTS_MAX {
                return Err(Error::invalid(format!("{:?}... stands for more than {VARIANTS_MAX} variants", shown())));
            }
            if bytes > VARIANT_BYTES_MAX {
                return Err(Error::invalid(format!("{:?}... stands for more than {VARIANT_BYTES_MAX} bytes", shown())));
            }
        }
    }
    Ok(())
}

/// The first `{...}` without a brace inside.
fn innermost_braces(text: &str) -> Option<(usize, usize)> {
    let mut open = None;
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'{' => open = Some(i),
            b'}' => {
                if let Some(open) = open {
                    return Some((open, i));
                }
            }
            _ => {}
        }
    }
    None
}

fn tokenize(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let token = match c {
            '*' => Some(Token::Many),
            '?' => Some(Token::One),
            '[' => set(rest).map(|(token, len)| {
                rest = &rest[len..];
                token
            }),
            _ => None,
        };
        let Some(token) = token else {
            plain.push(c);
            continue;
        };
        if !plain.is_empty() {
            tokens.push(Token::Text(std::mem::take(&mut plain)));
        }
        if token != Token::Many || tokens.last() != Some(&Token::Many) {
            tokens.push(token);
        }
    }
    if !plain.is_empty() {
        tokens.push(Token::Text(plain));
    }
    tokens
}

/// What follows `[`: the set and the bytes it takes, or `None` when it is not closed. A `]` in
/// first place belongs to the set; a range that runs backwards is empty.
fn set(text: &str) -> Option<(Token, usize)> {
    let negated = text.starts_with('!');
    let body = &text[usize::from(negated)..];
    let skip = usize::from(body.starts_with(']'));
    let len = body[skip..].find(']')? + skip;
    let chars: Vec<char> = body[..len].chars().collect();
    let mut ranges = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        if i + 2 < chars.len() && chars[i + 1] == '-' {
            ranges.push((chars[i], chars[i + 2]));
            i += 3;
        } else {
            ranges.push((chars[i], chars[i]));
            i += 1;
        }
    }
    Some((Token::Set { negated, ranges }, usize::from(negated) + len + 1))
}

/// Back-tracks to the last `*` only, so the time is at most pattern times text.
fn matches(tokens: &[Token], text: &str) -> bool {
    let (mut t, mut rest) = (0, text);
    let mut star: Option<(usize, &str)> = None;
    loop {
        let step = match tokens.get(t) {
            None if rest.is_empty() => return true,
            None => None,
            Some(Token::Many) => {
                if t + 1 == tokens.len() {
                    return true;
                }
                star = Some((t + 1, rest));
                Some(rest)
            }
            Some(Token::Text(text)) => rest.strip_prefix(text.as_str()),
            Some(one) => rest.chars().next().filter(|c| holds(one, *c)).map(|c| &rest[c.len_utf8()..]),
        };
        if let Some(after) = step {
            rest = after;
            t += 1;
            continue;
        }
        let Some((after_star, from)) = star else { return false };
        let Some(skipped) = from.chars().next() else { return false };
        rest = &from[skipped.len_utf8()..];
        star = Some((after_star, rest));
        t = after_star;
    }
}

fn holds(token: &Token, c: char) -> bool {
    match token {
        Token::Set { negated, ranges } => ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != *negated,
        _ => true,
    }
}
