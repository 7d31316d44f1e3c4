use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::fold::Fold;
use super::output::Output;
use super::rewrite::{self, RewriteRules};
use super::routes::{Forward, Route, Routes};
use super::rules::AggregationRules;
use crate::name;
use crate::point::Point;

/// How the aggregator behaves, and how much it may hold.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Pass on what came in, not only aggregates (carbon's `FORWARD_ALL`).
    pub forward_all: bool,
    /// Intervals for which values are kept, so that late points can join them (`MAX_AGGREGATION_INTERVALS`).
    pub max_aggregation_intervals: u32,
    /// Emit more often than the rule's frequency (`WRITE_BACK_FREQUENCY`).
    pub write_back_frequency_s: Option<u32>,
    /// Names whose rules are remembered; at the limit all are forgotten and found again.
    pub routes_max: usize,
    /// Intervals of all outputs together; a point that needs one more feeds no aggregate.
    pub intervals_max: usize,
    /// Values kept for percentiles, all intervals together; one more is left out.
    pub values_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            forward_all: true,
            max_aggregation_intervals: 5,
            write_back_frequency_s: None,
            routes_max: 1 << 20,
            intervals_max: 1 << 20,
            values_max: 10_000_000,
        }
    }
}

/// What happened so far; every count only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Points that came in.
    pub points_in: u64,
    /// Points passed on.
    pub forwarded: u64,
    /// Aggregates emitted.
    pub emitted: u64,
    /// Points that matched no rule.
    pub unmatched: u64,
    /// Rewritten names or outputs that are no names (each counted once while remembered).
    pub names_rejected: u64,
    /// Contributions to an aggregate lost to `intervals_max`.
    pub intervals_refused: u64,
    /// Contributions to a percentile lost to `values_max`.
    pub values_refused: u64,
    /// Times all remembered names were forgotten.
    pub routes_forgotten: u64,
    /// Aggregates that were not a number (infinities of both signs), not emitted.
    pub not_a_number: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct Aggregator {
    rules: AggregationRules,
    rewrites: RewriteRules,
    options: Options,
    counters: Counters,
    routes: Routes,
    outputs: Vec<Output>,
    by_name: HashMap<Arc<str>, u32>,
    /// When which output emits next.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    intervals_held: usize,
    values_held: usize,
}

impl Aggregator {
    /// An empty aggregator.
    pub fn new(rules: AggregationRules, rewrites: RewriteRules, options: Options) -> Self {
        Self {
            rules,
            rewrites,
            options,
            counters: Counters::default(),
            routes: Routes::default(),
            outputs: Vec::new(),
            by_name: HashMap::new(),
            due: BinaryHeap::new(),
            intervals_held: 0,
            values_held: 0,
        }
    }

    /// Takes one point; what is forwarded goes to `out` at once.
    pub fn input(&mut self, point: Point<'_>, now_s: i64, out: &mut impl FnMut(Point<'_>)) {
        self.counters.points_in += 1;
        let at = match self.routes.find(point.path) {
            Some(at) => at,
            None => self.remember(point.path),
        };
        let route = self.routes.get(at);
        match &route.forward {
            Forward::No => {}
            Forward::Same => out(point),
            Forward::As(path) => out(Point { path, ..point }),
        }
        self.counters.forwarded += u64::from(!matches!(route.forward, Forward::No));
        self.counters.unmatched += u64::from(route.targets.is_empty());
        for n in 0..route.targets.len() {
            let (rule, output) = self.routes.get(at).targets[n];
            self.add(rule, output, point, now_s);
        }
    }

    /// Emits what is due at `now_s`. Call it about every second, or at [`next_due_s`](Self::next_due_s).
    pub fn tick(&mut self, now_s: i64, out: &mut impl FnMut(Point<'_>)) {
        while let Some(&Reverse((due_s, output))) = self.due.peek()
            && due_s <= now_s
        {
            self.due.pop();
            self.emit(output, out);
            self.expire(output, now_s);
            if !self.outputs[output as usize].is_idle() {
                let period_s = self.period_s(output);
                let missed = (now_s - due_s) / period_s;
                self.due.push(Reverse((due_s + (missed + 1) * period_s, output)));
            }
        }
    }

    /// The earliest time at which [`tick`](Self::tick) has something to do.
    pub fn next_due_s(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((due_s, _))| *due_s)
    }

    /// Emits every value that was not emitted yet and forgets everything: at shutdown, or before a
    /// [`reload`](Self::reload).
    pub fn drain(&mut self, out: &mut impl FnMut(Point<'_>)) {
        for output in 0..self.outputs.len() {
            self.emit(output as u32, out);
        }
        self.outputs.clear();
        self.by_name.clear();
        self.routes.clear();
        self.due.clear();
        (self.intervals_held, self.values_held) = (0, 0);
    }

    /// Takes new rules; what the old ones have gathered is emitted first (carbon drops it).
    pub fn reload(&mut self, rules: AggregationRules, rewrites: RewriteRules, out: &mut impl FnMut(Point<'_>)) {
        self.drain(out);
        (self.rules, self.rewrites) = (rules, rewrites);
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Intervals held now.
    pub fn intervals_held(&self) -> usize {
        self.intervals_held
    }

    /// How often a pattern of the present rules reached the limit on backtracking.
    pub fn patterns_exhausted(&self) -> u64 {
        self.rules.patterns_exhausted() + self.rewrites.patterns_exhausted()
    }

    /// Finds out what becomes of a name, and remembers it.
    #[cold]
    fn remember(&mut self, path: &str) -> u32 {
        if !self.routes.has_room(path, self.options.routes_max) {
            self.forget_routes();
        }
        let route = self.route(path);
        self.routes.insert(path, route)
    }

    fn route(&mut self, sent: &str) -> Route {
        let mut targets = SmallVec::new();
        let Some(path) = self.rewritten(sent, |rules| &rules.pre) else {
            return Route { forward: Forward::No, targets };
        };
        let mut replaced = false;
        for index in 0..self.rules.rules.len() {
            let Some(name) = self.rules.rules[index].output(&path) else { continue };
            let mut scratch = String::new();
            let Ok(name) = name::canonical(&name, &mut scratch) else {
                self.counters.names_rejected += 1;
                continue;
            };
            replaced |= *name == *path;
            let rule = index as u32;
            targets.push((rule, self.output(name, rule)));
        }
        let mut forward = Forward::No;
        if self.options.forward_all
            && !replaced
            && let Some(renamed) = self.rewritten(&path, |rules| &rules.post)
        {
            forward = if renamed == sent { Forward::Same } else { Forward::As(renamed.into_boxed_str()) };
        }
        Route { forward, targets }
    }

    /// The canonical name after one set of rewrite rules; `None` (and counted) if it is no name any more.
    fn rewritten(&mut self, path: &str, set: impl Fn(&RewriteRules) -> &Vec<rewrite::Rewrite>) -> Option<String> {
        let mut scratch = String::new();
        let renamed = rewrite::apply(set(&self.rewrites), path);
        let name = renamed.as_deref().and_then(|name| name::canonical(name, &mut scratch).ok()).map(str::to_owned);
        self.counters.names_rejected += u64::from(name.is_none());
        name
    }

    fn output(&mut self, name: &str, rule: u32) -> u32 {
        if let Some(output) = self.by_name.get(name) {
            return *output;
        }
        let (output, name) = (self.outputs.len() as u32, Arc::<str>::from(name));
        self.by_name.insert(Arc::clone(&name), output);
        self.outputs.push(Output::new(name, rule));
        output
    }

    /// Forgets all names, and the outputs that wait for nothing.
    fn forget_routes(&mut self) {
        self.counters.routes_forgotten += 1;
        self.routes.clear();
        self.by_name.clear();
        let mut renumbered = HashMap::new();
        let mut old = 0;
        self.outputs.retain(|output| {
            let keep = !output.is_idle();
            if keep {
                let new = renumbered.len() as u32;
                self.by_name.insert(Arc::clone(&output.name), new);
                renumbered.insert(old, new);
            }
            old += 1;
            keep
        });
        let due = std::mem::take(&mut self.due).into_iter();
        self.due = due.filter_map(|Reverse((at, output))| Some(Reverse((at, *renumbered.get(&output)?)))).collect();
    }

    fn add(&mut self, rule: u32, index: u32, point: Point<'_>, now_s: i64) {
        let output = &mut self.outputs[index as usize];
        let idle = output.is_idle();
        if idle {
            output.rule = rule;
        }
        let rule = &self.rules.rules[output.rule as usize];
        if rule.method.keeps_values() && self.values_held >= self.options.values_max {
            self.counters.values_refused += 1;
            return;
        }
        match output.interval(point.ts_s, rule.frequency_s.into()) {
            Some(interval) => {
                interval.fold.add(rule.method, point.value);
                interval.active = true;
            }
            None if self.intervals_held >= self.options.intervals_max => {
                self.counters.intervals_refused += 1;
                return;
            }
            None => {
                self.intervals_held += 1;
                output.insert(point.ts_s, rule.frequency_s.into(), Fold::new(rule.method, point.value));
            }
        }
        self.values_held += usize::from(rule.method.keeps_values());
        if idle {
            self.due.push(Reverse((now_s + self.period_s(index), index)));
        }
    }

    fn period_s(&self, output: u32) -> i64 {
        let frequency_s = self.rules.rules[self.outputs[output as usize].rule as usize].frequency_s;
        let write_back_s = self.options.write_back_frequency_s.unwrap_or(frequency_s).max(1);
        frequency_s.min(write_back_s).into()
    }

    fn emit(&mut self, output: u32, out: &mut impl FnMut(Point<'_>)) {
        let output = &mut self.outputs[output as usize];
        let (name, method) = (Arc::clone(&output.name), self.rules.rules[output.rule as usize].method);
        for interval in output.intervals().filter(|interval| interval.active) {
            interval.active = false;
            let value = interval.fold.result(method);
            if value.is_nan() {
                self.counters.not_a_number += 1;
                continue;
            }
            self.counters.emitted += 1;
            out(Point { path: &name, ts_s: interval.start_s, value });
        }
    }

    /// Drops the intervals of one output that are older than is kept.
    fn expire(&mut self, output: u32, now_s: i64) {
        let output = &mut self.outputs[output as usize];
        let frequency_s = i64::from(self.rules.rules[output.rule as usize].frequency_s);
        let kept_s = i64::from(self.options.max_aggregation_intervals) * frequency_s;
        let oldest_s = now_s - now_s.rem_euclid(frequency_s) - kept_s;
        for interval in output.expire(oldest_s) {
            self.intervals_held -= 1;
            self.values_held -= interval.fold.held();
        }
    }
}
