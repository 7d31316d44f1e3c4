//! What a request asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use rhythmite_model::{Error, Result};
use serde_json::Value;

use super::format::Format;
use super::{Failure, invalid};
use crate::api::body::{Bodies, BodyError, BodyMax};
use crate::query::sql::Param;

/// Bytes of a body: a statement of its longest and parameters.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

/// Why a question could not be read.
#[derive(Debug)]
pub(in crate::api) enum Unread {
    Body(BodyError),
    Asked(Error),
}

impl From<Error> for Unread {
    fn from(e: Error) -> Self {
        Self::Asked(e)
    }
}

/// A question as sent.
#[derive(Debug, PartialEq)]
pub(in crate::api) struct Asked {
    pub database: String,
    pub sql: String,
    pub params: BTreeMap<String, Param>,
    pub format: Format,
}

impl Asked {
    /// Reads query string, headers and body.
    ///
    /// # Errors
    /// `Invalid`, with the name of what is missing or wrong; a body that is too long or does not come.
    pub(super) async fn read(bodies: &Arc<Bodies>, request: Request) -> Result<Self, Failure> {
        let asked = Self::read_influxql(bodies, request).await.map_err(|e| match e {
            Unread::Body(e) => Failure::Body(e),
            Unread::Asked(e) => Failure::Query(e.into()),
        })?;
        if asked.database.is_empty() {
            return Err(invalid("missing parameter \"db\": the database").into());
        }
        Ok(asked)
    }

    /// The same for InfluxQL, of which some statements need no database: its name may be empty.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_influxql(bodies: &Arc<Bodies>, request: Request) -> Result<Self, Unread> {
        let (head, body) = request.into_parts();
        let (uri, headers) = (head.uri, head.headers);
        let mut given = Given::default();
        given.form(uri.query().unwrap_or("").as_bytes())?;
        let body = bodies.read(&headers, body, BodyMax::both(BODY_BYTES_MAX)).await.map_err(Unread::Body)?;
        if !body.is_empty() {
            let form = header(&headers, &CONTENT_TYPE)
                .is_some_and(|t| t.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
            // curl says "form" of whatever it sends.
            if form && !body.trim_ascii_start().starts_with(b"{") {
                given.form(&body)?;
            } else {
                given.json(&body)?;
            }
        }
        let format = match &given.format {
            Some(name) => Format::named(name)?,
            None => Format::accepted(header(&headers, &ACCEPT).unwrap_or(""))?,
        };
        Ok(Self {
            database: given.database.unwrap_or_default(),
            sql: given.sql.ok_or_else(|| invalid("missing parameter \"q\": the statement"))?,
            params: given.params,
            format,
        })
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &axum::http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[derive(Default)]
struct Given {
    database: Option<String>,
    sql: Option<String>,
    format: Option<String>,
    params: BTreeMap<String, Param>,
}

impl Given {
    fn form(&mut self, text: &[u8]) -> Result<()> {
        for pair in text.split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |&b| b == b'=');
            let name = decoded(halves.next().unwrap_or_default())?;
            let value = decoded(halves.next().unwrap_or_default())?;
            match name.as_str() {
                "db" => self.database = Some(value),
                "q" => self.sql = Some(value),
                "format" => self.format = Some(value),
                "params" => {
                    let value: Value = serde_json::from_str(&value).map_err(|e| invalid(format!("params: {e}")))?;
                    self.params = params(&value)?;
                }
                // Proxies and clients add their own.
                _ => {}
            }
        }
        Ok(())
    }

    fn json(&mut self, body: &[u8]) -> Result<()> {
        let value: Value = serde_json::from_slice(body).map_err(|e| invalid(format!("the body is not JSON: {e}")))?;
        let Value::Object(object) = value else { return Err(invalid("the body is not a JSON object")) };
        for (name, value) in &object {
            let text = || match value {
                Value::String(text) => Ok(Some(text.clone())),
                Value::Null => Ok(None),
                _ => Err(invalid(format!("{name:?} must be a text"))),
            };
            match name.as_str() {
                "db" => self.database = text()?.or(self.database.take()),
                "q" => self.sql = text()?.or(self.sql.take()),
                "format" => self.format = text()?.or(self.format.take()),
                "params" => self.params = params(value)?,
                _ => return Err(invalid(format!("unknown field {name:?}: there are db, q, format and params"))),
            }
        }
        Ok(())
    }
}

/// `+` and `%XX` of a form.
fn decoded(bytes: &[u8]) -> Result<String> {
    let spaced: Vec<u8> = bytes.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    let decoded = percent_encoding::percent_decode(&spaced).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| invalid("a parameter is not UTF-8"))
}

fn params(value: &Value) -> Result<BTreeMap<String, Param>> {
    let object = match value {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(object) => object,
        _ => return Err(invalid("params must be a JSON object")),
    };
    let param = |(name, value): (&String, &Value)| {
        let param = match value {
            Value::Null => Param::Null,
            Value::Bool(b) => Param::Boolean(*b),
            Value::String(text) => Param::Text(text.clone()),
            Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(i), _, _) => Param::Integer(i),
                (None, Some(u), _) => Param::Unsigned(u),
                (None, None, Some(f)) => Param::Float(f),
                _ => return Err(invalid(format!("params: the number of {name:?} is out of range"))),
            },
            _ => return Err(invalid(format!("params: {name:?} must be a text, a number, true, false or null"))),
        };
        Ok((name.clone(), param))
    };
    object.iter().map(param).collect()
}
