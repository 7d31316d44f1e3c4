//! From expressions to series.
//!
//! A round walks every target. Where data are missing it notes the request and goes on with the
//! next argument, so that one round finds as many requests as it can; with the answers the walk
//! starts over. Where only the sum (or another aggregate) of a pattern's series is wanted, the store may answer with
//! that. Functions that look at another range (`movingAverage`, `timeShift`) evaluate
//! their first argument again and may need another round.
//!
//! Limits: [`Request::points_max`] points at once (fetched ones and what functions have made of them), the work on
//! them, [`CALLS_MAX`] calls, [`REQUESTS_MAX`] requests per round, [`ROUNDS_MAX`] rounds. Functions that look at another
//! range nest, and each level doubles the work: [`ELSEWHERE_MAX`] levels.

mod points;
mod scope;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use points::Points;
use scope::Replaced;
pub(crate) use scope::{Scope, Stop, Value};
pub(crate) use work::Work;
pub use work::{CALLS_MAX, ROUNDS_MAX};

use crate::fetch::{Fetch, FetchRequest, Fetched, Query};
use crate::functions::{self, Function, Invocation};
use crate::series::{AggFunc, Consolidation, Fold, Look, Series, Tags};
use crate::target::{self, Call, Expr, Literal};
use jiff::tz::TimeZone;
use rhythmite_model::{Error, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Most requests one round may ask.
pub const REQUESTS_MAX: usize = 10_000;

/// Most functions around each other that evaluate their first argument again in another range.
pub const ELSEWHERE_MAX: usize = 10;

/// Most points that a request holds at once, unless it says otherwise.
pub const POINTS_MAX: usize = 50_000_000;

/// A render request, its targets parsed.
#[derive(Clone, Debug)]
pub struct Request {
    targets: Vec<(String, Expr)>,
    /// Start of the range, excluded.
    pub from_s: i64,
    /// End of the range, included.
    pub until_s: i64,
    /// The instant that counts as now.
    pub now_s: i64,
    /// Zone of days and hours in functions' arguments.
    pub zone: TimeZone,
    /// Smallest share of known values for an aggregate to be known.
    pub x_files_factor: f64,
    /// `template[name]=value` parameters; they override the targets' own.
    pub template: Vec<(String, String)>,
    /// Most points held at once: fetched ones, and those that functions have made and not yet
    /// dropped.
    pub points_max: usize,
}

impl Request {
    /// Parses the targets; blank ones are dropped. Zone UTC, factor 0, no template parameters,
    /// [`POINTS_MAX`].
    ///
    /// # Errors
    /// `Invalid` for a malformed target, naming the byte offset, or when the range is empty or
    /// reversed.
    pub fn new(targets: &[impl AsRef<str>], from_s: i64, until_s: i64, now_s: i64) -> Result<Self> {
        if from_s >= until_s {
            return Err(Error::invalid("Invalid empty time range"));
        }
        let mut parsed = Vec::with_capacity(targets.len());
        for text in targets.iter().map(AsRef::as_ref).filter(|t| !t.trim().is_empty()) {
            let expr = target::parse(text).map_err(|e| in_target(e, text))?;
            parsed.push((text.to_owned(), expr));
        }
        Ok(Self {
            targets: parsed,
            from_s,
            until_s,
            now_s,
            zone: TimeZone::UTC,
            x_files_factor: 0.0,
            template: Vec::new(),
            points_max: POINTS_MAX,
        })
    }
}

/// What a round came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The series, in the order of the targets.
    Done(Vec<Series>),
    /// Data are missing; ask for these and evaluate again. With a function only the aggregate by it is wanted.
    Need(Vec<(FetchRequest, Option<AggFunc>)>),
}

/// Evaluates all targets, round by round, with what `store` answers. CPU only. `go_on` is asked before each function
/// runs, and within those that take long; its error ends the request.
///
/// # Errors
/// `Invalid`, naming the target, for unknown functions, bad arguments or a limit that was hit; those of `go_on` and of
/// the store.
pub fn run(request: &Request, store: &mut dyn Fetch, go_on: &dyn Fn() -> Result<()>) -> Result<Vec<Series>> {
    let mut fetched = Fetched::default();
    let mut work = Work::new(request.points_max, go_on);
    loop {
        match evaluate(request, &fetched, &mut work)? {
            Outcome::Done(series) => return Ok(series),
            Outcome::Need(wanted) => {
                let mut requests = Vec::with_capacity(wanted.len());
                for (request, fold) in wanted {
                    let folded = fold.map(|func| store.fold(&request, func)).transpose()?.flatten();
                    match (fold, folded) {
                        (Some(func), Some(folded)) => fetched.insert_folded(request, func, folded),
                        _ => requests.push(request),
                    }
                }
                if requests.is_empty() {
                    continue;
                }
                let answers = store.fetch(&requests)?;
                requests.into_iter().zip(answers).for_each(|(request, series)| fetched.insert(request, series));
            }
        }
    }
}

/// One round: evaluates all targets as far as the fetched data allow.
pub(crate) fn evaluate(request: &Request, fetched: &Fetched, work: &mut Work<'_>) -> Result<Outcome> {
    work.round()?;
    let mut evaluator = Evaluator::new(request, fetched, work);
    let mut scope = Scope::new(request);
    let mut done = Vec::new();
    for (text, expr) in &request.targets {
        match evaluator.series(expr, &mut scope) {
            Ok(series) => done.extend(series),
            Err(Stop::Pending) => {}
            Err(Stop::Failed(e)) => return Err(in_target(e, text)),
        }
    }
    let Evaluator { missing, mut asked, .. } = evaluator;
    if missing.is_empty() {
        return Ok(Outcome::Done(done));
    }
    let wanted = |request: FetchRequest| {
        let fold = asked.remove(&request).flatten();
        (request, fold)
    };
    Ok(Outcome::Need(missing.into_iter().map(wanted).collect()))
}

fn in_target(e: Error, text: &str) -> Error {
    const SHOWN: usize = 200;
    let shown: String = text.chars().take(SHOWN).collect();
    Error::new(e.kind(), format!("{}; target: {shown}", e.message()))
}

/// The state of one round.
pub(crate) struct Evaluator<'a, 'w> {
    pub(crate) request: &'a Request,
    fetched: &'a Fetched,
    missing: Vec<FetchRequest>,
    /// What is missing; with the function if only one aggregate of it is wanted so far.
    asked: HashMap<FetchRequest, Option<AggFunc>>,
    depth: usize,
    /// Functions around this place that look at another range.
    elsewhere: usize,
    pub(crate) points: Points,
    pub(crate) work: &'a mut Work<'w>,
    /// Running totals of `stacked()`, by stack name.
    pub(crate) stacks: HashMap<String, Vec<f64>>,
}

impl<'a, 'w> Evaluator<'a, 'w> {
    fn new(request: &'a Request, fetched: &'a Fetched, work: &'a mut Work<'w>) -> Self {
        Self {
            request,
            fetched,
            missing: Vec::new(),
            asked: HashMap::new(),
            depth: 0,
            elsewhere: 0,
            points: Points::new(request.points_max, fetched),
            work,
            stacks: HashMap::new(),
        }
    }

    /// Evaluates an expression that must be a list of series.
    pub(crate) fn series(&mut self, expr: &Expr, scope: &mut Scope) -> Result<Vec<Series>, Stop> {
        match self.value(expr, scope)? {
            Value::Series(series) => Ok(series),
            Value::Lists(lists) if lists.is_empty() => Ok(Vec::new()),
            other => Err(Error::invalid(format!("{} is not a list of series", other.describe())).into()),
        }
    }

    /// Parses and evaluates a text made up by a function.
    pub(crate) fn text(&mut self, text: &str, scope: &mut Scope) -> Result<Vec<Series>, Stop> {
        self.work.call()?;
        let expr = target::parse(text)?;
        self.series(&expr, scope)
    }

    /// Evaluates an expression once more, in another range.
    pub(crate) fn again(&mut self, expr: &Expr, scope: &mut Scope) -> Result<Vec<Series>, Stop> {
        self.work.call()?;
        self.series(expr, scope)
    }

    fn value(&mut self, expr: &Expr, scope: &mut Scope) -> Result<Value, Stop> {
        self.depth += 1;
        let value = if self.depth > 2 * target::DEPTH_MAX {
            Err(Error::invalid("functions are nested too deeply").into())
        } else {
            self.value_at_depth(expr, scope)
        };
        self.depth -= 1;
        value
    }

    fn value_at_depth(&mut self, expr: &Expr, scope: &mut Scope) -> Result<Value, Stop> {
        match expr {
            Expr::Literal(literal) => Ok(literal.clone().into()),
            Expr::Path(path) => match scope.replace(path)? {
                Replaced::Path(path) => Ok(Value::Series(self.fetch(Query::Path(path.clone()), &path, scope)?)),
                Replaced::Value(value) => Ok(value),
            },
            Expr::Template { body, params } => {
                let outer = scope.enter_template(params, &self.request.template);
                let value = self.value(body, scope);
                scope.template = outer;
                value
            }
            Expr::Call(call) if call.name == "seriesByTag" => self.by_tags(call, scope),
            Expr::Call(call) => {
                let before = self.points.held();
                let value = self.call(call, scope);
                let settled = self.points.settle(before, value.as_ref().ok());
                let value = value?;
                settled.map_err(|e| Stop::from(e).at(&call.name))?;
                Ok(value)
            }
        }
    }

    fn by_tags(&mut self, call: &Call, scope: &Scope) -> Result<Value, Stop> {
        Ok(Value::Series(self.fetch(Self::tags_query(call)?, &call.raw, scope)?))
    }

    fn tags_query(call: &Call) -> Result<Query> {
        let expressions = call.args.iter().map(|arg| match arg {
            Expr::Literal(Literal::Str(s)) => Ok(s.clone()),
            _ => Err(Error::invalid("seriesByTag() takes quoted tag expressions")),
        });
        let expressions = expressions.collect::<Result<Vec<_>>>()?;
        crate::tags::parse_query(&expressions)?;
        Ok(Query::Tags(expressions))
    }

    fn call(&mut self, call: &Call, scope: &mut Scope) -> Result<Value, Stop> {
        self.work.call()?;
        let function = functions::find(&call.name)
            .ok_or_else(|| Error::invalid(format!("Received request for unknown function: {}", call.name)))?;
        let elsewhere = usize::from(function.looks_elsewhere());
        self.elsewhere += elsewhere;
        let value = if self.elsewhere > ELSEWHERE_MAX {
            let message = format!("more than {ELSEWHERE_MAX} functions that look at another range are nested");
            Err(Error::invalid(message).into())
        } else {
            self.call_function(function, call, scope)
        };
        self.elsewhere -= elsewhere;
        value.map_err(|stop: Stop| stop.at(&call.name))
    }

    /// A call that aggregates the series of one pattern, if the store does it. `None` for all others, and where the series
    /// themselves are there already.
    fn folded(&mut self, function: &Function, call: &Call, scope: &Scope) -> Result<Option<Value>, Stop> {
        let (Some(name), [arg], []) = (function.folds_by(), call.args.as_slice(), call.kwargs.as_slice()) else {
            return Ok(None);
        };
        let func = AggFunc::parse(name)?;
        let (query, path) = match arg {
            Expr::Path(path) => match scope.replace(path)? {
                Replaced::Path(path) => (Query::Path(path.clone()), path),
                Replaced::Value(_) => return Ok(None),
            },
            Expr::Call(call) if call.name == "seriesByTag" => (Self::tags_query(call)?, call.raw.clone()),
            _ => return Ok(None),
        };
        let request = self.request(query, scope);
        if !Fold::folds(func) || self.fetched.get(&request).is_some() {
            return Ok(None);
        }
        let Some(folded) = self.fetched.get_folded(&request, func) else {
            return Err(self.ask(request, Some(func)));
        };
        self.points.series(1, 2 * path.len())?;
        self.points.make(i64::try_from(folded.fold.rows()).unwrap_or(i64::MAX))?;
        self.work.charge(folded.fold.rows().saturating_mul(folded.fold.columns()))?;
        Ok(Some(functions::of_folded(name, folded, &path, scope.x_files_factor)))
    }

    fn call_function(&mut self, function: &'static Function, call: &Call, scope: &mut Scope) -> Result<Value, Stop> {
        if let Some(value) = self.folded(function, call, scope)? {
            return Ok(value);
        }
        // Arguments behind a missing one may miss something as well: ask for all in one round.
        let mut pending = false;
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            match self.value(arg, scope) {
                Err(Stop::Pending) => pending = true,
                other => args.push(other?),
            }
        }
        let mut kwargs = Vec::with_capacity(call.kwargs.len());
        for (name, arg) in &call.kwargs {
            match self.value(arg, scope) {
                Err(Stop::Pending) => pending = true,
                other => kwargs.push((name.as_str(), other?)),
            }
        }
        if pending {
            return Err(Stop::Pending);
        }
        let given = || args.iter().chain(kwargs.iter().map(|(_, value)| value));
        self.points.names_of(given())?;
        // Some arguments are looked at for each series: nodes, positions, matchers.
        let others = given().filter(|value| !value.is_series()).count();
        let series: usize = given().map(|value| value.all_series().count()).sum();
        self.work.charge(given().map(Value::points).sum::<usize>().saturating_add(series.saturating_mul(others)))?;
        let mut invocation = Invocation::new(function, args, kwargs, call.args.first(), self, scope)?;
        let value = (function.run)(&mut invocation)?;
        self.work.charge(value.points())?;
        Ok(value)
    }

    fn request(&self, query: Query, scope: &Scope) -> FetchRequest {
        FetchRequest { query, from_s: scope.from_s, until_s: scope.until_s, now_s: self.request.now_s }
    }

    /// Notes a request as missing; with a function if only that aggregate of it is wanted.
    fn ask(&mut self, request: FetchRequest, fold: Option<AggFunc>) -> Stop {
        match self.asked.entry(request) {
            // Two things are wanted of the same series: they are read once, and both made of them.
            Entry::Occupied(mut asked) if *asked.get() != fold => {
                asked.insert(None);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(_) if self.missing.len() == REQUESTS_MAX => {
                return Error::invalid(format!("the targets need more than {REQUESTS_MAX} fetches")).into();
            }
            Entry::Vacant(place) => {
                self.missing.push(place.key().clone());
                place.insert(fold);
            }
        }
        Stop::Pending
    }

    /// Looks a request up among the answers, or notes it as missing.
    pub(crate) fn fetch(&mut self, query: Query, path_expression: &str, scope: &Scope) -> Result<Vec<Series>, Stop> {
        let request = self.request(query, scope);
        let Some(raw) = self.fetched.get(&request) else { return Err(self.ask(request, None)) };
        let names = raw.iter().map(|raw| raw.name.len()).max().unwrap_or(0);
        self.points.series(raw.len(), names + path_expression.len())?;
        let series = raw.iter().map(|raw| Series {
            name: raw.name.clone(),
            path_expression: path_expression.to_owned(),
            tags: raw.tags.clone().unwrap_or_else(|| Tags::of_name(&raw.name)),
            start_s: raw.start_s,
            end_s: raw.end_s,
            step_s: raw.step_s,
            values: raw.values.clone(),
            consolidation: Consolidation::default(),
            x_files_factor: scope.x_files_factor,
            look: Look::default(),
        });
        Ok(series.collect())
    }
}
