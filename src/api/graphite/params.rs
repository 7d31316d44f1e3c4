//! Parameters: the query and the form, decoded, in this order; of several with one name the last one counts.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::Method;
use percent_encoding::percent_decode;
use rhythmite_graphite::answer::Params;
use rhythmite_model::{Error, Result};

use super::FORM_BYTES_MAX;
use crate::api::body::{Bodies, BodyError, BodyMax};

/// Parameters of one request.
const PARAMS_MAX: usize = 10_000;

/// Why there are no parameters.
pub(super) enum Unread {
    /// The form did not come, or is too long.
    Body(BodyError),
    /// There are more than [`PARAMS_MAX`].
    Params(Error),
}

/// The parameters of one request.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the query, and the body of a POST: `application/x-www-form-urlencoded`, whatever its type says.
    ///
    /// # Errors
    /// For a body beyond [`FORM_BYTES_MAX`] or one that pauses, and for more than [`PARAMS_MAX`] parameters.
    pub(super) async fn read(bodies: &Arc<Bodies>, request: Request) -> Result<Self, Unread> {
        let mut pairs = Vec::new();
        decode(request.uri().query().unwrap_or_default().as_bytes(), &mut pairs).map_err(Unread::Params)?;
        if request.method() == Method::POST {
            let (head, body) = request.into_parts();
            let max = BodyMax::both(FORM_BYTES_MAX);
            let form = bodies.read(&head.headers, body, max).await.map_err(Unread::Body)?;
            decode(&form, &mut pairs).map_err(Unread::Params)?;
        }
        Ok(Self(pairs))
    }

    /// For `rhythmite_graphite`.
    pub(super) fn params(&self) -> Params<'_> {
        Params(&self.0)
    }

    /// The last value of a parameter, if it is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.params().get(name).filter(|value| !value.is_empty())
    }

    /// Every value of `name` and of `name[]`.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let bracketed = |n: &str| n.strip_suffix("[]") == Some(name);
        self.0.iter().filter(|(n, _)| n == name || bracketed(n)).map(|(_, v)| v.as_str()).collect()
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
