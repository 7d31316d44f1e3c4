//! What evaluation asks of the store, and the answers.
//!
//! Evaluation goes in rounds: it collects every [`FetchRequest`] that is known so far, asks for
//! all of them at once and starts over with the answers in `Fetched`. So each distinct request
//! is answered once per render request, and nothing in here waits.

use crate::series::{AggFunc, Fold, Tags};
use rhythmite_model::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// Series whose path matches the pattern; see [`crate::glob`].
    Path(String),
    /// Series whose tags satisfy every expression: `tag=v`, `tag!=v`, `tag=~re`, `tag!=~re`.
    Tags(Vec<String>),
    /// Events that carry all of these tags; every event when empty. The answer is one series with
    /// a step of one second whose values count the events, NaN where there is none.
    Events(Vec<String>),
}

/// One question to the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchRequest {
    /// What to look for.
    pub query: Query,
    /// The range, as whisper understands it: the point at `from_s` is excluded, the one at
    /// `until_s` included.
    pub from_s: i64,
    /// See `from_s`.
    pub until_s: i64,
    /// The instant that decides which archive answers.
    pub now_s: i64,
}

/// A series from the store.
#[derive(Clone, Debug)]
pub struct RawSeries {
    /// The dotted path, or `name;tag=value;...`.
    pub name: String,
    /// Tags, if the store knows them better than the name does.
    pub tags: Option<Tags>,
    /// Time of the first value.
    pub start_s: i64,
    /// End, exclusive.
    pub end_s: i64,
    /// Seconds between values.
    pub step_s: i64,
    /// Values; NaN is a gap.
    pub values: Arc<Vec<f64>>,
}

/// All series of a request as one, aggregated in the order of their names.
#[derive(Clone, Debug)]
pub struct Folded {
    /// What they are called, ascending.
    pub names: Vec<String>,
    /// Time of the first value.
    pub start_s: i64,
    /// End, exclusive.
    pub end_s: i64,
    /// Seconds between values.
    pub step_s: i64,
    /// A column for each name.
    pub fold: Fold,
}

/// Where data come from.
pub trait Fetch {
    /// Answers each request with the series found, in any order of names.
    ///
    /// # Errors
    /// Whatever kept the store from answering; it ends the render request.
    fn fetch(&mut self, requests: &[FetchRequest]) -> Result<Vec<Vec<RawSeries>>>;

    /// Answers a request of which only the aggregate by `func` is wanted, bit for bit what its series would come to.
    /// `None` when the store has no shorter way, or when the series differ in start, end or step: fetch them then.
    ///
    /// # Errors
    /// As [`Fetch::fetch`].
    fn fold(&mut self, _request: &FetchRequest, _func: AggFunc) -> Result<Option<Folded>> {
        Ok(None)
    }
}

/// The answers of one render request so far.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    series: HashMap<FetchRequest, Vec<RawSeries>>,
    folded: HashMap<(FetchRequest, AggFunc), Folded>,
}

impl Fetched {
    /// Remembers an answer. Series are sorted by name; of several with one name the one with the
    /// most known values stays.
    pub(crate) fn insert(&mut self, request: FetchRequest, mut series: Vec<RawSeries>) {
        let known = |s: &RawSeries| s.values.iter().filter(|v| !v.is_nan()).count();
        series.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| known(b).cmp(&known(a))));
        series.dedup_by(|b, a| a.name == b.name);
        self.series.insert(request, series);
    }

    /// Remembers the answer to a request of which only an aggregate is wanted.
    pub(crate) fn insert_folded(&mut self, request: FetchRequest, func: AggFunc, folded: Folded) {
        self.folded.insert((request, func), folded);
    }

    /// Every series of every answer.
    pub(crate) fn all(&self) -> impl Iterator<Item = &RawSeries> {
        self.series.values().flatten()
    }

    /// The answer to a request, if it was asked.
    #[must_use]
    pub(crate) fn get(&self, request: &FetchRequest) -> Option<&[RawSeries]> {
        self.series.get(request).map(Vec::as_slice)
    }

    /// An aggregate of the answer to a request, if it was asked.
    #[must_use]
    pub(crate) fn get_folded(&self, request: &FetchRequest, func: AggFunc) -> Option<&Folded> {
        self.folded.get(&(request.clone(), func))
    }
}
