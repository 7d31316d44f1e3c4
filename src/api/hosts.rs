//! By which names this server may be called.
//!
//! Without authentication it trusts whoever reaches it, on loopback the programs of this machine. A browser is one of them,
//! and a page of a foreign site can let its own name point to 127.0.0.1 (DNS rebinding): then the browser takes this
//! server for the page's own, and `Origin` tells nothing. What stays is the name in `Host`. Addresses cannot be made to
//! point elsewhere, nor can `localhost`; other names must be in `[http] allowed_hosts`.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::header;

/// Names that are answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// `None`: all.
    allowed: Option<Vec<String>>,
}

impl Hosts {
    /// Any name: who may ask is found out otherwise.
    pub fn any() -> Self {
        Self { allowed: None }
    }

    /// Addresses, `localhost` and these names; `*` for all.
    pub fn only(allowed: Vec<String>) -> Self {
        Self { allowed: (!allowed.iter().any(|name| name == "*")).then_some(allowed) }
    }

    /// The name that a request calls this server by, if it is not one of its own.
    pub(super) fn refused(&self, request: &Request) -> Option<String> {
        let allowed = self.allowed.as_ref()?;
        let header = request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
        let authority = request.uri().authority().map(|authority| authority.as_str().into());
        // Before HTTP/1.1 there was no name; no browser sends such requests.
        let host = authority.or(header)?;
        (!is_own(&host, allowed)).then(|| host.into_owned())
    }
}

fn is_own(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host);
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is = |known: &str| bare.eq_ignore_ascii_case(known);
    let local =
        bare.len() > 10 && bare.get(bare.len() - 10..).is_some_and(|end| end.eq_ignore_ascii_case(".localhost"));
    bare.parse::<IpAddr>().is_ok()
        || name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
        || is("localhost")
        || local
        || allowed.iter().any(|known| is(known))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_own_and_other_names_if_they_are_allowed() {
        let hosts = Hosts::only(vec!["metrics.example".to_owned()]);
        for (host, own) in [
            ("127.0.0.1:8086", true),
            ("127.0.0.1", true),
            ("10.1.2.3:80", true),
            ("[::1]:8086", true),
            ("[::1]", true),
            ("localhost:8086", true),
            ("LocalHost", true),
            ("localhost.", true),
            ("a.localhost:1", true),
            ("metrics.example:8086", true),
            ("Metrics.Example.", true),
            ("evil.example:8086", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evillocalhost", false),
            ("metrics.example.evil.example", false),
            ("[::1].evil.example", false),
            ("evil.example:80:80", false),
            ("", false),
            (".localhost", false),
            ("\u{e4}.localhost", true),
        ] {
            let request = |host: &str| {
                let value = axum::http::HeaderValue::from_bytes(host.as_bytes()).unwrap();
                Request::builder().uri("/query").header(header::HOST, value).body(axum::body::Body::empty()).unwrap()
            };
            assert_eq!(hosts.refused(&request(host)).is_none(), own, "{host}");
            assert_eq!(Hosts::any().refused(&request(host)), None);
            assert_eq!(Hosts::only(vec!["*".to_owned()]).refused(&request(host)), None);
        }
        let nameless = Request::builder().uri("/query").body(axum::body::Body::empty()).unwrap();
        assert_eq!(hosts.refused(&nameless), None);
    }
}
