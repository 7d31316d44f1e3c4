//! Every render function: what it is called, what it takes, what it does.
//!
//! One function is one constant of type [`Function`]; its file is its group. The declaration of
//! the parameters serves twice: [`Invocation`] binds arguments by it, and `/functions` lists it.
//! Argument values are converted when they are read, so a function that never reads an argument
//! accepts anything, as the reference does.
//!
//! Names of results are part of the interface: dashboards match on them.

mod alias;
mod calculate;
mod carbonapi;
mod combine;
mod filter_data;
mod filter_series;
mod graph;
mod group_by;
mod invocation;
mod own;
mod param;
mod percent;
mod sorting;
mod special;
mod support;
mod transform;
pub mod units;

pub(crate) use combine::of_folded;
pub(crate) use invocation::{Invocation, Node};
pub use param::{Default, Param, ParamType};

use crate::eval::{Stop, Value};
use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

/// A render function.
pub struct Function {
    /// Names it can be called by; the first is the proper one.
    pub names: &'static [&'static str],
    /// The heading it is listed under.
    pub group: Group,
    /// What it does, for people.
    pub about: &'static str,
    /// Parameters in order.
    pub params: &'static [Param],
    /// May `groupByNode()` and its kin use it as a callback?
    pub aggregator: bool,
    pub(crate) run: fn(&mut Invocation<'_, '_, '_>) -> Result<Value, Stop>,
}

/// Headings of the function list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Group {
    Alias,
    Calculate,
    Carbonapi,
    Combine,
    FilterData,
    FilterSeries,
    Graph,
    Own,
    Sorting,
    Special,
    Transform,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FilterData => "Filter Data",
            Self::FilterSeries => "Filter Series",
            Self::Alias => "Alias",
            Self::Calculate => "Calculate",
            Self::Carbonapi => "carbonapi",
            Self::Combine => "Combine",
            Self::Graph => "Graph",
            Self::Own => "Rhythmite",
            Self::Sorting => "Sorting",
            Self::Special => "Special",
            Self::Transform => "Transform",
        })
    }
}

/// Functions that evaluate their first argument again in another range, by their proper names.
const ELSEWHERE: [&str; 20] = [
    "baseline",
    "baselineAberration",
    "exponentialMovingAverage",
    "hitcount",
    "holtWintersAberration",
    "holtWintersConfidenceArea",
    "holtWintersConfidenceBands",
    "holtWintersForecast",
    "linearRegression",
    "movingAverage",
    "movingMax",
    "movingMedian",
    "movingMin",
    "movingSum",
    "movingWindow",
    "slo",
    "sloErrorBudget",
    "smartSummarize",
    "timeShift",
    "timeStack",
];

impl Function {
    /// Does it evaluate its first argument again in another range?
    pub(crate) fn looks_elsewhere(&self) -> bool {
        ELSEWHERE.contains(&self.names[0])
    }

    /// The aggregation function by which it makes one series of all that it is given; `None` for others.
    pub(crate) fn folds_by(&self) -> Option<&'static str> {
        combine::folds_by(self)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}()", self.names[0])
    }
}

/// The files of this folder, each with its functions.
const FILES: [&[Function]; 9] = [
    alias::ALL,
    combine::ALL,
    group_by::ALL,
    percent::ALL,
    filter_data::ALL,
    filter_series::ALL,
    graph::ALL,
    sorting::ALL,
    special::ALL,
];

static BY_NAME: LazyLock<HashMap<&'static str, &'static Function>> =
    LazyLock::new(|| all().flat_map(|f| f.names.iter().map(move |n| (*n, f))).collect());

/// All functions, file by file: graphite-web's, then carbonapi's, then ours.
pub fn all() -> impl Iterator<Item = &'static Function> {
    of_graphite().chain(of_carbonapi()).chain(own())
}

/// Functions that graphite-web has.
pub fn of_graphite() -> impl Iterator<Item = &'static Function> {
    FILES.into_iter().chain(calculate::FILES).chain(transform::FILES).flatten()
}

/// Functions that only carbonapi has.
pub fn of_carbonapi() -> impl Iterator<Item = &'static Function> {
    carbonapi::FILES.into_iter().flatten()
}

/// Functions that only we have.
pub fn own() -> impl Iterator<Item = &'static Function> {
    own::ALL.iter()
}

/// The function of that name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Function> {
    BY_NAME.get(name).copied()
}
