//! `/s/PATH` makes a short link, `/S/LINK` follows it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, Response, StatusCode};
use rhythmite_graphite::answer::Answer;
use rhythmite_model::Error;

use super::Graphite;
use super::reply::{self, reply};

/// Digits of a link's number.
const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz";
/// Bytes of a path.
const PATH_BYTES_MAX: usize = 8 << 10;
/// Parameters that only keep browsers from using what they have.
const SALTS: [&str; 3] = ["_uniq", "_salt", "_dc"];

pub(super) async fn shorten(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    let uri = request.uri();
    let path = uri.path().strip_prefix("/s/").unwrap_or_default();
    let url = tidy(path, uri.query());
    if url.len() > PATH_BYTES_MAX {
        return reply(Err(Error::invalid(format!("the path has more than {PATH_BYTES_MAX} bytes"))));
    }
    let number = state.catalog.links().shorten(url).await;
    reply(number.map(|n| Answer { content_type: "text/plain", body: format!("/S/{}", text(n)).into_bytes() }))
}

pub(super) async fn follow(State(state): State<Arc<Graphite>>, Path(link): Path<String>) -> Response<Body> {
    let found = match number(&link) {
        Some(number) => state.catalog.links().follow(number).await,
        None => Ok(None),
    };
    let location = found.map(|url| url.and_then(|url| HeaderValue::try_from(format!("/{url}")).ok()));
    match location {
        Ok(Some(location)) => {
            let mut response = reply::empty(StatusCode::MOVED_PERMANENTLY);
            response.headers_mut().insert(LOCATION, location);
            response
        }
        Ok(None) => reply(Err(Error::not_found("there is no such link"))),
        Err(e) => reply(Err(e)),
    }
}

/// The path on this server, without salts. It has no slash in front: two of them would name another host.
fn tidy(path: &str, query: Option<&str>) -> String {
    let mut url = path.trim_start_matches(['/', '\\']).to_owned();
    for (i, part) in query.into_iter().flat_map(|q| q.split('&').enumerate()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if i > 0 && is_number && SALTS.contains(&name) {
            continue;
        }
        url.push(if i == 0 { '?' } else { '&' });
        url.push_str(part);
    }
    url
}

fn text(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(DIGITS[(number % 62) as usize]);
        number /= 62;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().map(|b| char::from(*b)).collect()
}

fn number(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |n, b| {
        let digit = DIGITS.iter().position(|d| *d == b)?;
        n.checked_mul(62)?.checked_add(digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_letters() {
        for (n, link) in [(0, "A"), (1, "B"), (61, "z"), (62, "BA"), (62 * 62 + 26, "BA0")] {
            assert_eq!(text(n), link);
            assert_eq!(number(link), Some(n));
        }
        assert_eq!(number(&text(u64::MAX)), Some(u64::MAX));
        for bad in ["", "-", "é", "zzzzzzzzzzzzzz"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_of_this_server() {
        for (path, query, want) in [
            ("render/", Some("target=a&from=-1h&_salt=1.2"), "render/?target=a&from=-1h"),
            ("render", Some("_dc=1&target=a&_uniq=x&_dc=3"), "render?_dc=1&target=a&_uniq=x"),
            ("x", None, "x"),
            ("", None, ""),
            ("//evil.example", None, "evil.example"),
            ("/\\evil.example", None, "evil.example"),
        ] {
            assert_eq!(tidy(path, query), want);
        }
    }
}
