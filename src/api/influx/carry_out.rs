//! Requests of InfluxDB 2 and 3 that are statements of InfluxQL by another name: carried out as these, by the rights that
//! these need, with their rows collected.

use std::sync::Arc;

use axum::http::StatusCode;
use rhythmite_influx::answer::{Cell, Message, SeriesHead};
use rhythmite_influx::influxql;

use super::InfluxApi;
use super::authorize::authorize;
use super::query::{CancelOnDrop, blocking, turn, visible};
use super::reply::Refused;
use crate::auth::Caller;
use crate::query::influxql::{Interrupt, Request, ResultSink};

/// One series of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::api) struct Series {
    pub(in crate::api) name: String,
    pub(in crate::api) tags: Vec<(String, String)>,
    pub(in crate::api) columns: Vec<String>,
    pub(in crate::api) rows: Vec<Vec<Cell<'static>>>,
}

/// Carries out `text`. Waits for its turn as a query does; when it is dropped, so is a query, at its next look.
///
/// # Errors
/// 400 for what is not understood, 403 for who may not, 404 for what is not there, 409 for what is there already, 413
/// for an answer above the limit of a document.
pub(in crate::api) async fn carry_out(
    api: &Arc<InfluxApi>,
    caller: &Caller,
    database: &str,
    text: &str,
    params: &influxql::Params,
) -> Result<Vec<Series>, Refused> {
    carry_out_within(api, caller, database, None, text, params).await
}

/// The same; a `DELETE` takes points of one policy, if one is named.
///
/// # Errors
/// As [`carry_out`].
pub(in crate::api) async fn carry_out_within(
    api: &Arc<InfluxApi>,
    caller: &Caller,
    database: &str,
    only_policy: Option<String>,
    text: &str,
    params: &influxql::Params,
) -> Result<Vec<Series>, Refused> {
    let query =
        influxql::parse_query(text, params).map_err(|error| Refused::bad(format!("error parsing query: {error}")))?;
    authorize(caller, &query, database).map_err(|reason| {
        api.counters.auth_forbidden.one();
        Refused::new(StatusCode::FORBIDDEN, format!("error authorizing query: {reason}"))
    })?;
    let deadline = api.limits.query_timeout.map(|timeout| api.clock.monotonic() + timeout);
    let request = Request {
        database: Some(database).filter(|name| !name.is_empty()).map(str::to_owned),
        interrupt: Interrupt { deadline, ..Interrupt::default() },
        visible: visible(caller),
        only_policy,
        ..Request::default()
    };
    let permit = turn(api).await?;
    let _cancel = CancelOnDrop(Some(request.interrupt.clone()));
    api.counters.influx_queries.one();
    let (api, bytes_max) = (api.clone(), api.limits.document_bytes_max);
    blocking(move || {
        let _permit = permit;
        let mut rows = Rows { bytes_left: bytes_max, ..Rows::default() };
        api.executor.execute(&request, &query, &mut rows);
        match rows.error {
            _ if rows.too_long => {
                api.counters.influx_cut_documents.one();
                let text = "the answer is too long to be collected: add LIMIT, or ask /query with chunked=true";
                Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, text))
            }
            Some(text) => Err(Refused::new(status_of(&text), text)),
            None => Ok(rows.series),
        }
    })
    .await
}

/// What a statement's error means; 1.x has texts only.
fn status_of(text: &str) -> StatusCode {
    if text.contains("not found") {
        StatusCode::NOT_FOUND
    } else if text.contains("already exists") || text.contains("conflicts with an existing") {
        StatusCode::CONFLICT
    } else if text.contains("timeout") {
        StatusCode::REQUEST_TIMEOUT
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// A name as an identifier of InfluxQL.
pub(in crate::api) fn ident(name: &str) -> String {
    format!("\"{}\"", escaped(name, '"'))
}

/// A text as a string of InfluxQL.
pub(in crate::api) fn string(text: &str) -> String {
    format!("'{}'", escaped(text, '\''))
}

fn escaped(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// Collects an answer within a limit of bytes.
#[derive(Default)]
struct Rows {
    series: Vec<Series>,
    error: Option<String>,
    bytes_left: usize,
    too_long: bool,
}

impl Rows {
    fn spend(&mut self, bytes: usize) -> bool {
        self.too_long |= bytes > self.bytes_left;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        !self.too_long
    }
}

impl ResultSink for Rows {
    fn begin_statement(&mut self, _: u32, _: bool) {}

    fn begin_series(&mut self, head: &SeriesHead<'_>) {
        let tags: usize = head.tags.iter().map(|(key, value)| key.len() + value.len() + 48).sum();
        let columns: usize = head.columns.iter().map(|column| column.len() + 24).sum();
        if self.spend(head.name.len() + tags + columns + 96) {
            self.series.push(Series {
                name: head.name.to_string(),
                tags: head.tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
                columns: head.columns.iter().map(ToString::to_string).collect(),
                rows: Vec::new(),
            });
        }
    }

    fn row(&mut self, cells: &[Cell<'_>]) {
        let bytes = |cell: &Cell<'_>| match cell {
            Cell::String(text) => text.len() + size_of::<Cell<'_>>(),
            _ => size_of::<Cell<'_>>(),
        };
        if self.spend(cells.iter().map(bytes).sum::<usize>() + 24)
            && let Some(series) = self.series.last_mut()
        {
            series.rows.push(cells.iter().map(owned).collect());
        }
    }

    fn end_series(&mut self, _: bool) {}

    fn message(&mut self, _: Message) {}

    fn error(&mut self, text: &str) {
        self.error.get_or_insert_with(|| text.to_owned());
    }

    fn end_statement(&mut self) {}
}

fn owned(cell: &Cell<'_>) -> Cell<'static> {
    match cell {
        Cell::Null => Cell::Null,
        Cell::Bool(v) => Cell::Bool(*v),
        Cell::Int(v) => Cell::Int(*v),
        Cell::UInt(v) => Cell::UInt(*v),
        Cell::Float(v) => Cell::Float(*v),
        Cell::Time(v) => Cell::Time(*v),
        Cell::String(v) => Cell::String(v.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_read_back() {
        for text in ["a", "", "a b", "a\"b", "a'b", "a\\", "\\\"", "a\nb", "ä; DROP DATABASE d"] {
            let query = format!("SELECT {} FROM m WHERE k = {}", ident("v"), string(text));
            let parsed = influxql::parse_query(&query, &influxql::Params::default()).unwrap();
            assert_eq!(parsed.statements.len(), 1, "{query}");
            let query = format!("DROP DATABASE {}", ident(text));
            match influxql::parse_statement(&query).unwrap() {
                influxql::Statement::DropDatabase(name) => assert_eq!(name, text),
                other => panic!("{other}"),
            }
        }
    }
}
