//! Parameters: the query and the form, decoded, in this order; of several with one name the last one counts.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use percent_encoding::percent_decode;
use rhythmite_graphite::answer::Params;
use rhythmite_graphite::carbonapi;
use rhythmite_model::{Error, Result};

use super::FORM_BYTES_MAX;
use crate::api::body::{Bodies, BodyError, BodyMax};

/// Parameters of one request.
const PARAMS_MAX: usize = 10_000;

/// Types of bodies that are no forms.
const MESSAGES: [&str; 2] = ["application/json", carbonapi::CONTENT_TYPE];

/// Why there are no parameters.
pub(super) enum Unread {
    /// The form did not come, or is too long.
    Body(BodyError),
    /// There are more than [`PARAMS_MAX`].
    Params(Error),
}

/// The parameters of one request.
pub(super) struct Form {
    pairs: Vec<(String, String)>,
    /// The body, when its type says that it is no form but JSON or a protocol buffer.
    pub(super) message: Option<Vec<u8>>,
}

impl Form {
    /// Reads the query, and the body of a POST: `application/x-www-form-urlencoded`, whatever its type says unless it
    /// is [`MESSAGES`].
    ///
    /// # Errors
    /// For a body beyond [`FORM_BYTES_MAX`] or one that pauses, and for more than [`PARAMS_MAX`] parameters.
    pub(super) async fn read(bodies: &Arc<Bodies>, request: Request) -> Result<Self, Unread> {
        let mut pairs = Vec::new();
        decode(request.uri().query().unwrap_or_default().as_bytes(), &mut pairs).map_err(Unread::Params)?;
        let mut message = None;
        if request.method() == Method::POST {
            let (head, body) = request.into_parts();
            let max = BodyMax::both(FORM_BYTES_MAX);
            let form = bodies.read(&head.headers, body, max).await.map_err(Unread::Body)?;
            let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
            let content_type = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            if MESSAGES.iter().any(|m| content_type.eq_ignore_ascii_case(m.as_bytes())) {
                message = Some(form.to_vec());
            } else {
                decode(&form, &mut pairs).map_err(Unread::Params)?;
            }
        }
        Ok(Self { pairs, message })
    }

    /// For `rhythmite_graphite`.
    pub(super) fn params(&self) -> Params<'_> {
        Params(&self.pairs)
    }

    /// The last value of a parameter, if it is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.params().get(name).filter(|value| !value.is_empty())
    }

    /// Every value of `name`, or of `name[]` if there is none.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
            self.pairs.iter().filter(|(n, _)| wanted(n)).map(|(_, v)| v.as_str()).collect()
        };
        let plain = of(&|n| n == name);
        if plain.is_empty() { of(&|n| n.strip_suffix("[]") == Some(name)) } else { plain }
    }

    /// A number of things to return.
    ///
    /// # Errors
    /// `Invalid` when it is not a number.
    pub(super) fn limit(&self, default: usize) -> Result<usize> {
        match self.get("limit") {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_| Error::invalid(format!("limit {text:?} is not a number"))),
        }
    }
}

fn decode(text: &[u8], pairs: &mut Vec<(String, String)>) -> Result<()> {
    for part in text.split(|&b| b == b'&').filter(|part| !part.is_empty()) {
        if pairs.len() == PARAMS_MAX {
            return Err(Error::invalid(format!("more than {PARAMS_MAX} parameters")));
        }
        let at = memchr::memchr(b'=', part);
        let (name, value) = at.map_or((part, &[][..]), |at| (&part[..at], &part[at + 1..]));
        pairs.push((decoded(name), decoded(value)));
    }
    Ok(())
}

fn decoded(text: &[u8]) -> String {
    let blanks: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    percent_decode(&blanks).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        for (text, want) in [
            ("", &[][..]),
            ("a=b&c", &[("a", "b"), ("c", "")]),
            ("a=x%20y+z&&a=2", &[("a", "x y z"), ("a", "2")]),
            ("target[]=a%2Bb&t%5Bx%5D=1=2", &[("target[]", "a+b"), ("t[x]", "1=2")]),
            ("a=%ff%zz", &[("a", "\u{fffd}%zz")]),
        ] {
            let mut pairs = Vec::new();
            decode(text.as_bytes(), &mut pairs).unwrap();
            let got: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(got, want, "{text}");
        }
        let many = "a&".repeat(PARAMS_MAX + 1);
        assert!(decode(many.as_bytes(), &mut Vec::new()).is_err());
    }
}
