//! Parameters of a request: in its address, in a form, or in the parts of a multipart body.

use std::borrow::Cow;

use memchr::memmem;
use percent_encoding::percent_decode;

/// Parts of a multipart body that are read.
const PARTS_MAX: usize = 64;
/// Pairs of a form; more is 400.
const PAIRS_MAX: usize = 10_000;

/// Names and values in the order sent; the first of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Those of an address, `a=1&b=2`. Bytes that are not UTF-8 are replaced. An address is short; of what it holds
    /// beyond [`PAIRS_MAX`] pairs nothing is read.
    pub(super) fn from_query(query: Option<&str>) -> Self {
        Self(pairs(query.unwrap_or_default().as_bytes()).take(PAIRS_MAX).collect())
    }

    /// Those of a body with the type `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// A text for more than [`PAIRS_MAX`] pairs: a pair takes many times the bytes that it has in a form.
    pub(super) fn from_form(form: &[u8]) -> Result<Self, String> {
        let mut all = pairs(form);
        let params = Self(all.by_ref().take(PAIRS_MAX).collect());
        match all.next() {
            None => Ok(params),
            Some(_) => Err(format!("the form has more than {PAIRS_MAX} parameters")),
        }
    }

    /// Those of a body with the type `multipart/form-data`, files among them.
    pub(super) fn from_multipart(content_type: &str, body: &[u8]) -> Self {
        let Some(boundary) = attribute(content_type, "boundary").filter(|b| !b.is_empty() && b.len() <= 70) else {
            return Self::default();
        };
        let delimiter = format!("--{boundary}");
        let mut starts = memmem::find_iter(body, delimiter.as_bytes()).map(|at| (at, at + delimiter.len()));
        let Some((_, mut start)) = starts.next() else { return Self::default() };
        let mut params = Vec::new();
        for (end, next) in starts.take(PARTS_MAX) {
            if let Some(part) = body.get(start..end).and_then(part) {
                params.push(part);
            }
            start = next;
        }
        Self(params)
    }

    /// These, and `more` for names that are not here.
    pub(super) fn then(mut self, more: Params) -> Self {
        self.0.extend(more.0);
        self
    }

    /// Adds a value.
    pub(super) fn push(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }

    /// The first value of a name; empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

fn pairs(form: &[u8]) -> impl Iterator<Item = (String, String)> {
    form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (decode(&pair[..at]), decode(pair.get(at + 1..).unwrap_or_default()))
    })
}

/// The value of a header's attribute: `form-data; name="q"`.
fn attribute<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    header.split(';').skip(1).find_map(|attribute| {
        let (key, value) = attribute.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// Name and value of a part, from behind its boundary to before the next.
fn part(part: &[u8]) -> Option<(String, String)> {
    let part = part.strip_prefix(b"\r\n")?.strip_suffix(b"\r\n")?;
    let head_end = memmem::find(part, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&part[..head_end]).ok()?;
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let name = attribute(disposition, "name")?;
    Some((name.to_owned(), String::from_utf8_lossy(&part[head_end + 4..]).into_owned()))
}

fn decode(text: &[u8]) -> String {
    let spaced: Cow<'_, [u8]> = if memchr::memchr(b'+', text).is_some() {
        text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect()
    } else {
        text.into()
    };
    percent_decode(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        for (form, expected) in [
            ("", &[][..]),
            ("db=d&q=SELECT+%2A+FROM+cpu", &[("db", "d"), ("q", "SELECT * FROM cpu")]),
            ("a&b=&&c=1=2", &[("a", ""), ("b", ""), ("c", "1=2")]),
            ("q=%zz%c3%a4%ff", &[("q", "%zzä\u{fffd}")]),
            ("a=1&a=2", &[("a", "1"), ("a", "2")]),
        ] {
            let params = Params::from_query(Some(form));
            let got: Vec<_> = params.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(got, expected, "{form}");
        }
        assert_eq!(Params::from_query(Some("a=1&a=2")).get("a"), "1");
        assert_eq!(Params::from_query(None).get("a"), "");
    }

    #[test]
    fn pairs_have_a_limit() {
        let all = Params::from_form("a&".repeat(PAIRS_MAX).as_bytes()).unwrap();
        assert_eq!(all.0.len(), PAIRS_MAX);
        let more = "a&".repeat(PAIRS_MAX + 1);
        let refused = Params::from_form(more.as_bytes()).unwrap_err();
        assert_eq!(refused, "the form has more than 10000 parameters");
        assert_eq!(Params::from_query(Some(&more)), all);
    }

    #[test]
    fn parts_are_found() {
        let body = "--XX\r\nContent-Disposition: form-data; name=\"q\"; filename=\"q.txt\"\r\n\r\nSELECT v FROM cpu;\n\r\n\
                    --XX\r\ncontent-disposition: form-data; name=db\r\nContent-Type: text/plain\r\n\r\nd\r\n--XX--\r\n";
        let params = Params::from_multipart("multipart/form-data; boundary=XX", body.as_bytes());
        assert_eq!((params.get("q"), params.get("db")), ("SELECT v FROM cpu;\n", "d"));
        let quoted = Params::from_multipart("multipart/form-data; boundary=\"XX\"", body.as_bytes());
        assert_eq!(quoted, params);
    }

    #[test]
    fn damaged_parts_are_left_out() {
        for (content_type, body) in [
            ("multipart/form-data", "--XX\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nv\r\n--XX--"),
            ("multipart/form-data; boundary=", "--\r\n--"),
            ("multipart/form-data; boundary=XX", ""),
            ("multipart/form-data; boundary=XX", "--XX"),
            ("multipart/form-data; boundary=XX", "--XX--XX--XX"),
            ("multipart/form-data; boundary=XX", "--XX\r\n--XX"),
            ("multipart/form-data; boundary=XX", "--XX\r\n\r\n--XX"),
            ("multipart/form-data; boundary=XX", "--XX\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nno end"),
            ("multipart/form-data; boundary=XX", "--XX\r\nContent-Disposition: form-data\r\n\r\nv\r\n--XX--"),
        ] {
            assert_eq!(Params::from_multipart(content_type, body.as_bytes()), Params::default(), "{body:?}");
        }
    }
}
