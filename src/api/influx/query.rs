//! `/query`: a shell around the parser, the executor and the answer's writer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use rhythmite_influx::answer::{AnswerOptions, AnswerWriter, Cell, Epoch, Format, Message, SeriesHead, StatementEnd};
use rhythmite_influx::influxql::{self, Query, Statement};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::InfluxApi;
use super::authorize::authorize;
use super::reply::{Refused, no_content};
use crate::api::body::{BodyMax, receive};
use crate::api::query_string::Params;
use crate::auth::Caller;
use crate::query::influxql::{Interrupt, Request, ResultSink, Visible};

/// Bytes of an answer that are sent at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for the client; then the executor waits.
const PIECES_MAX: usize = 4;
/// What a client has at least to take a piece, so that the error of a query whose time is up finds its way.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Bytes of a query that is parsed where it arrives: some ten microseconds.
const BRIEF_BYTES: usize = 1024;

/// `GET /query`.
pub(super) async fn by_get(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let params = Params::from_query(query.as_deref());
    answer(api, caller, params, &headers, Reading::Only).await
}

/// `POST /query`: parameters may be in the body, where they come before those of the address.
pub(super) async fn by_post(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let params = Params::from_query(query.as_deref());
    match body_params(&api, &headers, body).await {
        Ok(more) => answer(api, caller, more.then(params), &headers, Reading::OrChanging).await,
        Err(refused) => refused.in_form(&answer_options(&params, &headers)),
    }
}

async fn body_params(api: &Arc<InfluxApi>, headers: &HeaderMap, body: Body) -> Result<Params, Refused> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !matches!(
        kind.as_str(),
        "application/x-www-form-urlencoded" | "multipart/form-data" | "application/vnd.influxql"
    ) {
        return Ok(Params::default());
    }
    let (sent, unpacked) = (api.limits.body_bytes_max, api.limits.query_bytes_max);
    let received = receive(&api.bodies, headers, body, BodyMax { sent, unpacked }).await?;
    let content_type = content_type.to_owned();
    blocking(move || {
        let body = received.unpack()?;
        Ok(match kind.as_str() {
            "application/x-www-form-urlencoded" => Params::from_form(&body).map_err(Refused::bad)?,
            "multipart/form-data" => Params::from_multipart(&content_type, &body),
            _ => {
                let mut params = Params::default();
                params.push("q", String::from_utf8_lossy(&body).into_owned());
                params
            }
        })
    })
    .await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let panicked = || Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has panicked");
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(panicked()))
}

/// What the method of a request allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Only,
    OrChanging,
}

fn answer_options(params: &Params, headers: &HeaderMap) -> AnswerOptions {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    AnswerOptions {
        format: Format::from_accept(accept),
        pretty: params.get("pretty") == "true",
        epoch: Epoch::from_param(params.get("epoch")),
        chunk_rows: AnswerOptions::chunk_rows_from_params(params.get("chunked"), params.get("chunk_size")),
    }
}

async fn answer(
    api: Arc<InfluxApi>,
    caller: Caller,
    params: Params,
    headers: &HeaderMap,
    reading: Reading,
) -> Response {
    let options = answer_options(&params, headers);
    match run(api, caller, &params, options, reading).await {
        Ok(response) => response,
        Err(refused) => refused.in_form(&options),
    }
}

async fn run(
    api: Arc<InfluxApi>,
    caller: Caller,
    params: &Params,
    options: AnswerOptions,
    reading: Reading,
) -> Result<Response, Refused> {
    let text = params.get("q").trim().to_owned();
    if text.is_empty() {
        return Err(Refused::bad("missing required parameter \"q\""));
    }
    let bound = match params.get("params") {
        "" => influxql::Params::new(),
        json => influxql::Params::from_json(json)
            .map_err(|error| Refused::bad(format!("error parsing query parameters: {error}")))?,
    };
    let named = |name| Some(params.get(name)).filter(|value| !value.is_empty()).map(str::to_owned);
    let deadline = api.limits.query_timeout.map(|timeout| api.clock.monotonic() + timeout);
    let request = Request {
        database: named("db"),
        policy: named("rp"),
        only_policy: None,
        interrupt: Interrupt { deadline, ..Interrupt::default() },
        times_as_text: options.epoch.is_none() && options.format == Format::Json,
        visible: visible(&caller),
        briefly: false,
        by_nobody: caller == Caller::Nobody,
    };
    let permit = turn(&api).await?;
    let is_async = params.get("async") == "true";
    let asked = Asked { api: api.clone(), caller, text, bound, request, options, reading };
    let mut query = None;
    if !is_async && asked.text.len() <= BRIEF_BYTES {
        let parsed = asked.parse()?;
        if let Some(answer) = asked.at_once(&parsed) {
            return Ok(([(header::CONTENT_TYPE, options.format.content_type())], answer).into_response());
        }
        query = Some(parsed);
    }
    let (pieces, received) = mpsc::channel(PIECES_MAX);
    let interrupt = asked.request.interrupt.clone();
    let cancel = CancelOnDrop((!is_async).then(|| interrupt.clone()));
    let pieces = Pieces { sender: pieces, api, interrupt };
    let run = Run { asked, query, is_async, pieces, _permit: permit };
    drop(tokio::task::spawn_blocking(move || run.run()));
    respond(received, cancel, options).await
}

/// The databases that `SHOW DATABASES` lists.
pub(super) fn visible(caller: &Caller) -> Option<Visible> {
    let caller = (!caller.is_admin()).then(|| caller.clone())?;
    Some(Arc::new(move |database| caller.sees(database)))
}

/// Waits until a query may run.
pub(super) async fn turn(api: &InfluxApi) -> Result<OwnedSemaphorePermit, Refused> {
    if let Ok(permit) = api.queries.clone().try_acquire_owned() {
        return Ok(permit);
    }
    let waited = tokio::time::timeout(api.limits.query_wait, api.queries.clone().acquire_owned()).await;
    let busy = || {
        api.counters.influx_busy_queries.one();
        Refused::overloaded("too many queries are running, try again later")
    };
    waited.ok().and_then(Result::ok).ok_or_else(busy)
}

/// Stops the executor when nobody waits for its answer any more.
pub(super) struct CancelOnDrop(pub(super) Option<Interrupt>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(interrupt) = &self.0 {
            interrupt.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

/// A part of what the busy thread has to say.
enum Piece {
    /// The query was not understood.
    Refused(Refused),
    /// It goes on by itself.
    Accepted,
    /// Bytes, and more to come.
    More(Bytes),
    /// The last bytes.
    Last(Bytes),
}

async fn respond(
    mut pieces: mpsc::Receiver<Piece>,
    cancel: CancelOnDrop,
    options: AnswerOptions,
) -> Result<Response, Refused> {
    let content_type = [(header::CONTENT_TYPE, options.format.content_type())];
    match pieces.recv().await {
        None => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the query has panicked")),
        Some(Piece::Refused(refused)) => Err(refused),
        Some(Piece::Accepted) => Ok(no_content()),
        Some(Piece::Last(bytes)) => Ok((content_type, bytes).into_response()),
        Some(Piece::More(first)) => {
            let rest = stream::unfold(Some((pieces, cancel)), |state| async move {
                let (mut pieces, cancel) = state?;
                Some(match pieces.recv().await {
                    Some(Piece::More(bytes)) => (Ok(bytes), Some((pieces, cancel))),
                    Some(Piece::Last(bytes)) => (Ok(bytes), None),
                    // The connection is cut, so that nobody takes the half for the whole.
                    _ => (Err(io::Error::other("the query has panicked, or its client was too slow")), None),
                })
            });
            let first = stream::once(std::future::ready(Ok(first)));
            Ok((content_type, Body::from_stream(first.chain(rest))).into_response())
        }
    }
}

/// What was asked, by whom.
struct Asked {
    api: Arc<InfluxApi>,
    caller: Caller,
    text: String,
    bound: influxql::Params,
    request: Request,
    options: AnswerOptions,
    reading: Reading,
}

/// A query on its way to a thread that may be busy.
struct Run {
    asked: Asked,
    /// If it was parsed already.
    query: Option<Query>,
    is_async: bool,
    pieces: Pieces,
    _permit: OwnedSemaphorePermit,
}

impl Run {
    fn run(self) {
        let Asked { api, request, options, .. } = &self.asked;
        let query = match self.query.map_or_else(|| self.asked.parse(), Ok) {
            Ok(query) => query,
            Err(refused) => {
                let _ = self.pieces.send(Piece::Refused(refused));
                return;
            }
        };
        api.counters.influx_queries.one();
        if self.is_async {
            let _ = self.pieces.send(Piece::Accepted);
            return api.executor.execute(request, &query, &mut LogErrors);
        }
        // Of MessagePack only whole documents can be taken.
        let held_bytes_max = match options.format {
            Format::MsgPack => Some(api.limits.document_bytes_max),
            _ => None,
        };
        let mut sink = AnswerSink::new(options, Some(&self.pieces), held_bytes_max);
        api.executor.execute(request, &query, &mut sink);
        if sink.too_long {
            api.counters.influx_cut_documents.one();
        }
        // Behind a piece that was lost no other may come: the answer would look whole.
        if !sink.lost {
            let last = sink.writer.finish();
            let _ = self.pieces.send(Piece::Last(last.into()));
        }
    }
}

impl Asked {
    /// The whole answer to a query that is short.
    fn at_once(&self, query: &Query) -> Option<Vec<u8>> {
        let mut sink = AnswerSink::new(&self.options, None, None);
        let done = self.api.executor.execute_briefly(&self.request, query, &mut sink);
        done.then(|| {
            self.api.counters.influx_queries.one();
            sink.writer.finish()
        })
    }

    fn parse(&self) -> Result<Query, Refused> {
        let query = influxql::parse_query(&self.text, &self.bound)
            .map_err(|error| Refused::bad(format!("error parsing query: {error}")))?;
        authorize(&self.caller, &query, self.request.database.as_deref().unwrap_or_default()).map_err(|reason| {
            self.api.counters.auth_forbidden.one();
            Refused::new(StatusCode::FORBIDDEN, format!("error authorizing query: {reason}"))
        })?;
        let changes = |statement: &&Statement| !statement.is_read_only();
        match query.statements.iter().find(changes).filter(|_| self.reading == Reading::Only) {
            Some(statement) => Err(Refused::bad(format!(
                "use of '{statement}' in a read only context, please use a POST request instead"
            ))),
            None => Ok(query),
        }
    }
}

/// The way to the client.
struct Pieces {
    sender: mpsc::Sender<Piece>,
    api: Arc<InfluxApi>,
    interrupt: Interrupt,
}

/// A piece did not find its way, and the query is to stop: the client is gone, or does not read.
struct Lost;

impl Pieces {
    /// Blocks while the client is slow: for [`answer_pause`](super::Limits::answer_pause) at most and not beyond the
    /// query's deadline, for a query that waits holds its turn, and what it reads.
    fn send(&self, piece: Piece) -> Result<(), Lost> {
        let piece = match self.sender.try_send(piece) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Full(piece)) => piece,
            Err(mpsc::error::TrySendError::Closed(_)) => return self.lost(),
        };
        let left = self.interrupt.deadline.map(|deadline| deadline.saturating_sub(self.api.clock.monotonic()));
        let wait =
            left.map_or(self.api.limits.answer_pause, |left| left.max(LAST_WAIT).min(self.api.limits.answer_pause));
        match Handle::current().block_on(self.sender.send_timeout(piece, wait)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => self.lost(),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                self.api.counters.influx_stalled.one();
                self.lost()
            }
        }
    }

    fn lost(&self) -> Result<(), Lost> {
        self.interrupt.cancelled.store(true, Ordering::Relaxed);
        Err(Lost)
    }
}

/// Writes an answer and sends it while it is made.
struct AnswerSink<'a> {
    writer: AnswerWriter,
    /// Where it goes; `None` if it is taken whole.
    pieces: Option<&'a Pieces>,
    /// The client has not taken all; nothing more is sent.
    lost: bool,
    end: StatementEnd,
    /// About what the writer holds.
    waiting_bytes: usize,
    /// What it may hold, if nothing can be taken before the end.
    held_bytes_max: Option<usize>,
    /// That was not enough; rows are left out.
    too_long: bool,
}

impl<'a> AnswerSink<'a> {
    fn new(options: &AnswerOptions, pieces: Option<&'a Pieces>, held_bytes_max: Option<usize>) -> Self {
        let (writer, end) = (AnswerWriter::new(options), StatementEnd::default());
        Self { writer, pieces, lost: false, end, waiting_bytes: 0, held_bytes_max, too_long: false }
    }

    fn wrote(&mut self, bytes: usize) {
        self.waiting_bytes += bytes;
        match self.held_bytes_max {
            Some(max) if self.waiting_bytes > max => {
                self.too_long = true;
                if let Some(pieces) = self.pieces {
                    pieces.interrupt.cancelled.store(true, Ordering::Relaxed);
                }
            }
            Some(_) => {}
            None if self.waiting_bytes >= PIECE_BYTES => self.send(),
            None => {}
        }
    }

    fn send(&mut self) {
        let Some(pieces) = self.pieces else { return };
        let bytes = self.writer.take();
        self.waiting_bytes = 0;
        if !bytes.is_empty() && !self.lost {
            self.lost = pieces.send(Piece::More(bytes.into())).is_err();
        }
    }
}

impl ResultSink for AnswerSink<'_> {
    fn begin_statement(&mut self, statement_id: u32, whole: bool) {
        self.end = StatementEnd::default();
        self.writer.begin_statement(statement_id, whole);
    }

    fn begin_series(&mut self, head: &SeriesHead<'_>) {
        self.writer.begin_series(head);
        let tags: usize = head.tags.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
        let columns: usize = head.columns.iter().map(|column| column.len() + 3).sum();
        self.wrote(head.name.len() + tags + columns + 64);
    }

    fn row(&mut self, cells: &[Cell<'_>]) {
        if self.too_long {
            return;
        }
        self.writer.row(cells);
        let bytes = |cell: &Cell<'_>| match cell {
            Cell::String(text) => text.len() + 3,
            _ => 16,
        };
        self.wrote(cells.iter().map(bytes).sum());
    }

    fn end_series(&mut self, partial: bool) {
        self.writer.end_series(partial || self.too_long);
    }

    fn message(&mut self, message: Message) {
        self.end.messages.push(message);
    }

    fn error(&mut self, text: &str) {
        self.end.error = Some(text.to_owned());
    }

    fn end_statement(&mut self) {
        if self.too_long {
            let text = "the answer is too long for one MessagePack document, please ask for chunked=true";
            self.end.error = Some(text.to_owned());
        }
        self.writer.end_statement(&std::mem::take(&mut self.end));
        // In chunks a document ends here, so that even MessagePack can be sent.
        if self.waiting_bytes >= PIECE_BYTES {
            let held = self.waiting_bytes;
            self.send();
            self.waiting_bytes = if self.held_bytes_max.is_some() { held } else { 0 };
        }
    }
}

/// The answer of a query that nobody waits for.
struct LogErrors;

impl ResultSink for LogErrors {
    fn begin_statement(&mut self, _: u32, _: bool) {}
    fn begin_series(&mut self, _: &SeriesHead<'_>) {}
    fn row(&mut self, _: &[Cell<'_>]) {}
    fn end_series(&mut self, _: bool) {}
    fn message(&mut self, _: Message) {}
    fn error(&mut self, text: &str) {
        tracing::warn!("a statement of an asynchronous query has failed: {text}");
    }
    fn end_statement(&mut self) {}
}
