//! `POST /collectd`: what collectd's `write_http` sends, JSON or `PUTVAL` lines.
//!
//! The body says which it is: JSON begins with `[`. Of JSON either every list is taken or none; of `PUTVAL` lines every
//! good one is, and a bad one is told. Naming and types are those of `[collectd]`. It takes the right to write the
//! database that points go to.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rhythmite_collectd::{json, putval};
use rhythmite_engine::{Commit, Durability};
use rhythmite_env::Clock;
use rhythmite_model::{Error, ErrorKind, Result};

use super::body::{Bodies, BodyError, BodyMax};
use super::guard;
use super::routes::{Routes, Rule};
use crate::auth::Caller;
use crate::catalog::Rights;
use crate::counters::Counters;
use crate::ingest::collectd::{CollectdIngest, Intake, Values};

/// What a sender that met a full queue waits, in seconds; `write_http` itself does not ask.
const RETRY_AFTER_S: u32 = 1;

/// What the route needs.
pub struct Collectd {
    /// Naming and types.
    pub ingest: Arc<CollectdIngest>,
    /// The budget of bodies.
    pub bodies: Arc<Bodies>,
    /// Bytes of one body.
    pub body_bytes_max: usize,
    /// When a post is answered.
    pub durability: Durability,
    /// Time of samples.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// The route.
pub fn router(collectd: Arc<Collectd>) -> Routes {
    Routes::new()
        .route("/collectd", Rule::Asks, post(post_values))
        .route("/collectd/", Rule::Asks, post(post_values))
        .with_state(collectd)
}

async fn post_values(State(collectd): State<Arc<Collectd>>, caller: Caller, request: Request) -> Response {
    if let Some(refused) = guard::refuse_unless(&caller, Rights::WRITE, collectd.ingest.database()) {
        return refused;
    }
    match collectd.take(request).await {
        Ok(taken) if taken.refused == 0 => format!("{} value lists\n", taken.lists).into_response(),
        Ok(taken) => {
            let text = format!(
                "{} value lists stored, {} lines refused; the first: {}\n",
                taken.lists,
                taken.refused,
                taken.first.unwrap_or_default()
            );
            (StatusCode::BAD_REQUEST, text).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

/// What became of a body.
#[derive(Default)]
struct Taken {
    lists: usize,
    refused: usize,
    first: Option<String>,
}

/// Why nothing was stored.
enum Failure {
    Body(BodyError),
    Store(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Store(e)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Body(e) => (e.status, e.text),
            Self::Store(e) => {
                let status = match e.kind() {
                    ErrorKind::Invalid => StatusCode::BAD_REQUEST,
                    ErrorKind::NotFound => StatusCode::NOT_FOUND,
                    ErrorKind::Overloaded | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                    ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, e.message().to_owned())
            }
        };
        let mut response = (status, format!("{text}\n")).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        response
    }
}

impl Collectd {
    async fn take(self: &Arc<Self>, request: Request) -> Result<Taken, Failure> {
        let (head, body) = request.into_parts();
        let read = self.bodies.read(&head.headers, body, BodyMax::both(self.body_bytes_max));
        let body = read.await.map_err(Failure::Body)?;
        let busy = self.clone();
        // A large body takes milliseconds; the io runtime goes on meanwhile.
        let stored = tokio::task::spawn_blocking(move || busy.store(&body));
        let stored = stored.await.map_err(|e| Error::internal(format!("values of collectd have panicked: {e}")))?;
        let (taken, commit) = stored?;
        commit.await?;
        Ok(taken)
    }

    fn store(&self, body: &[u8]) -> Result<(Taken, Commit)> {
        let mut values = Values::default();
        let mut intake = self.ingest.intake(&mut values);
        let taken = match body.trim_ascii_start().first() {
            Some(b'[') => self.take_json(body, &mut intake)?,
            _ => self.take_lines(body, &mut intake),
        };
        drop(intake);
        Ok((taken, self.ingest.write(&values, self.durability)?))
    }

    fn take_json(&self, body: &[u8], intake: &mut Intake<'_>) -> Result<Taken> {
        let lists = json::parse(body, self.ingest.types(), |list, sources| intake.list(list, sources));
        let lists = lists.map_err(|e| {
            self.malformed(body);
            Error::invalid(e.to_string())
        })?;
        Ok(Taken { lists, ..Taken::default() })
    }

    fn take_lines(&self, body: &[u8], intake: &mut Intake<'_>) -> Taken {
        let mut taken = Taken::default();
        let now = intake.now();
        for line in body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
            // As the network protocol does it: text that is no UTF-8 is read with replacement characters.
            let text = String::from_utf8_lossy(line);
            match putval::parse(&text, self.ingest.types(), now, |list, sources| intake.list(list, sources)) {
                Ok(lists) => taken.lists += lists,
                Err(e) => {
                    taken.refused += 1;
                    match &e {
                        putval::Error::Reject(reject) => intake.reject(reject),
                        _ => self.malformed(line),
                    }
                    taken.first.get_or_insert_with(|| e.to_string());
                }
            }
        }
        taken
    }

    fn malformed(&self, sample: &[u8]) {
        self.counters.collectd_rejected_malformed.one();
        self.counters.offenders.note("collectd.rejected.malformed", sample, self.clock.now_s());
    }
}
