//! Pages of other origins: what browsers are told about them, and which may do more than look.
//!
//! A browser sends requests of any page to any server it reaches, also to one on loopback; it says which page it was in
//! `Origin`. A page of this server's own address is its own. Others are foreign unless `[http] allowed_origins` has them.

use axum::http::{HeaderMap, HeaderValue, header};

/// What a page may send, if it may.
const METHODS: HeaderValue = HeaderValue::from_static("DELETE, GET, OPTIONS, POST, PUT");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, X-CSRF-Token, X-HTTP-Method-Override",
);
const EXPOSED: HeaderValue = HeaderValue::from_static("Date, X-InfluxDB-Version, X-InfluxDB-Build");

/// Origins whose pages may do what others may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// `https://grafana.example`; `*` for all.
    allowed: Vec<String>,
}

impl Origins {
    /// These.
    pub fn new(allowed: Vec<String>) -> Self {
        Self { allowed }
    }

    /// The page that a request comes from.
    pub(super) fn page_of(&self, headers: &HeaderMap) -> Page {
        let Some(origin) = headers.get(header::ORIGIN) else { return Page::None };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let text = origin.to_str().unwrap_or_default();
        let authority = text.split_once("://").map_or("", |(_, authority)| authority);
        let is_own = !host.is_empty() && authority.eq_ignore_ascii_case(host);
        let is_allowed = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(text);
        if is_own || self.allowed.iter().any(is_allowed) {
            return Page::Welcome(origin.clone());
        }
        // An answer may name one origin. It is this server's own then: not the page's, as the browser will see.
        let own = HeaderValue::from_str(&format!("http://{host}"));
        Page::Foreign { origin: origin.clone(), own: own.unwrap_or(HeaderValue::from_static("http://localhost")) }
    }
}

/// The page that a request comes from, if a browser sent it for one.
pub(super) enum Page {
    None,
    Welcome(HeaderValue),
    Foreign { origin: HeaderValue, own: HeaderValue },
}

impl Page {
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Page::Foreign { .. })
    }

    /// For messages.
    pub(super) fn origin(&self) -> String {
        match self {
            Page::None => "no origin".to_owned(),
            Page::Welcome(origin) | Page::Foreign { origin, .. } => {
                format!("{:?}", String::from_utf8_lossy(origin.as_bytes()))
            }
        }
    }

    /// Tells the browser. Credentials that it keeps itself are not sent by it, for nothing here allows them.
    ///
    /// To `OPTIONS`, which says what may be sent, every page gets 1.x's answer; what counts is the request that follows,
    /// of which a foreign page may change nothing and see nothing.
    pub(super) fn tell(self, is_options: bool, headers: &mut HeaderMap) {
        let origin = match self {
            Page::None => return,
            Page::Welcome(origin) => origin,
            Page::Foreign { origin, .. } if is_options => origin,
            Page::Foreign { own, .. } => own,
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_foreign_unless_it_is_of_this_server_or_allowed() {
        let origins = |allowed: &[&str]| Origins::new(allowed.iter().map(|s| (*s).to_owned()).collect());
        let grafana = &["https://grafana.example"][..];
        for (allowed, origin, host, foreign) in [
            (&[][..], "http://127.0.0.1:8086", "127.0.0.1:8086", false),
            (&[], "http://LOCALHOST:8086", "localhost:8086", false),
            (&[], "http://127.0.0.1:9000", "127.0.0.1:8086", true),
            (&[], "https://evil.example", "127.0.0.1:8086", true),
            (&[], "null", "127.0.0.1:8086", true),
            (&[], "null", "", true),
            (&[], "", "", true),
            (&[], "x://", "", true),
            (grafana, "https://grafana.example", "db:8086", false),
            (grafana, "https://Grafana.example", "db:8086", false),
            (grafana, "http://grafana.example", "db:8086", true),
            (grafana, "https://grafana.example.evil.example", "db:8086", true),
            (&["*"], "https://evil.example", "db:8086", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            headers.insert(header::HOST, HeaderValue::from_static(host));
            let page = origins(allowed).page_of(&headers);
            assert_eq!(page.is_foreign(), foreign, "{allowed:?} {origin} {host}");
            let mut told = HeaderMap::new();
            page.tell(false, &mut told);
            assert_eq!(told[header::ACCESS_CONTROL_ALLOW_ORIGIN] != origin, foreign, "{origin} {host}");
        }
        assert!(matches!(origins(&[]).page_of(&HeaderMap::new()), Page::None));
    }
}
