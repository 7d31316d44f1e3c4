//! Functions that fold: the result of a group is put together from the results of its series.

use rhythmite_engine::{Stream, Stretch, WindowSum};
use rhythmite_model::sketch::Counts;
use rhythmite_model::{Aggregate, Column, Error, FieldId, FieldType, FieldValue, Result};

use super::super::column::Col;
use super::super::frame::Frame;
use super::super::points::Points;
use super::super::value::Value;
use super::super::window::{Windows, for_each_run};
use super::whole::{Whole, percentile_rank};

/// What is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fold {
    Count,
    Sum,
    Mean,
    Min,
    Max,
    First,
    Last,
    Spread,
    /// How many values lie in which buckets: median and percentile of what only coarser levels know. Has no name of its own,
    /// see [`Folded::quantiles`].
    Sketch,
}

/// The result of one window so far.
#[derive(Clone, Debug)]
struct Partial {
    window_ns: i64,
    count: u64,
    /// Time of the chosen point.
    time_ns: i64,
    /// The chosen value; the sum; the least for spread and sketch.
    value: Value,
    /// The greatest, for spread and sketch.
    high: Value,
    sketch: Option<Box<Counts>>,
    aux: Vec<Value>,
}

/// The results of a group so far.
#[derive(Clone, Debug)]
pub(in super::super) struct Folded {
    fold: Fold,
    /// By window, ascending.
    partials: Vec<Partial>,
    /// The last window of the series being added, which may go on.
    open: Option<Partial>,
    /// Windows of the series being added that no series had before.
    fresh: Vec<Partial>,
    /// Where in `partials` the series being added is.
    at: usize,
    field_type: Option<FieldType>,
    aux_types: Vec<FieldType>,
}

impl Fold {
    pub(in super::super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Fold::Count,
            "sum" => Fold::Sum,
            "mean" => Fold::Mean,
            "min" => Fold::Min,
            "max" => Fold::Max,
            "first" => Fold::First,
            "last" => Fold::Last,
            "spread" => Fold::Spread,
            _ => return None,
        })
    }

    /// Whether the function takes values of this type.
    pub(in super::super) fn takes(self, field_type: FieldType) -> bool {
        match self {
            Fold::Count | Fold::First | Fold::Last => true,
            Fold::Min | Fold::Max => field_type != FieldType::String,
            Fold::Sum | Fold::Mean | Fold::Spread | Fold::Sketch => {
                !matches!(field_type, FieldType::String | FieldType::Boolean)
            }
        }
    }

    /// The type of the result for values of `from`.
    pub(in super::super) fn result(self, from: FieldType) -> FieldType {
        match self {
            Fold::Count => FieldType::Integer,
            Fold::Mean => FieldType::Float,
            _ => from,
        }
    }

    /// Whether the result depends on the order in which floats are added.
    pub(in super::super) fn adds(self) -> bool {
        matches!(self, Fold::Sum | Fold::Mean)
    }

    /// Whether the sum of integers and their number are all it takes.
    pub(in super::super) fn sums(self) -> bool {
        matches!(self, Fold::Count | Fold::Sum | Fold::Mean)
    }

    /// Whether it chooses one of the points.
    pub(in super::super) fn selects(self) -> bool {
        matches!(self, Fold::Min | Fold::Max | Fold::First | Fold::Last)
    }
}

impl Folded {
    pub(in super::super) fn new(fold: Fold) -> Self {
        let (partials, fresh, aux_types) = Default::default();
        Self { fold, partials, open: None, fresh, at: 0, field_type: None, aux_types }
    }

    /// Whether a point was added.
    pub(in super::super) fn has_any(&self) -> bool {
        !self.partials.is_empty()
    }

    /// The starts of the windows that have points, ascending.
    pub(in super::super) fn windows(&self) -> impl DoubleEndedIterator<Item = i64> + Clone + '_ {
        self.partials.iter().map(|partial| partial.window_ns)
    }

    /// Adds the points of a series.
    pub(in super::super) fn add(&mut self, frame: &Frame, windows: &Windows, range: (i64, i64)) {
        let Some(value) = &frame.value else { return };
        if self.field_type.is_none() {
            self.aux_types = frame.aux.iter().map(Col::field_type).collect();
        }
        self.field_type.get_or_insert(value.field_type());
        for_each_run(windows, range, &frame.times_ns, |window_ns, rows| {
            self.add_run(window_ns, &frame.times_ns, value.values(), rows, &frame.aux);
        });
        self.end_series();
    }

    /// Adds some points of a series where they are, in `runs` of one window each, which ascend; nothing is chosen with
    /// them. More points of the series may follow, and then [`end_series`](Self::end_series).
    pub(in super::super) fn add_stretch(&mut self, stretch: &Stretch<'_>, runs: &[(i64, std::ops::Range<usize>)]) {
        if !runs.is_empty() {
            self.field_type.get_or_insert(stretch.values.field_type());
        }
        for (window_ns, rows) in runs {
            self.add_run(*window_ns, stretch.times_ns, stretch.values, rows.clone(), &[]);
        }
    }

    /// Adds integers of one window of a series, of which only the sum is known. Windows of one series ascend.
    pub(in super::super) fn add_sum(&mut self, sum: &WindowSum) {
        self.field_type.get_or_insert(FieldType::Integer);
        let WindowSum { window_ns, count, sum } = *sum;
        let value = if self.fold == Fold::Count { Value::Null } else { Value::Integer(sum) };
        let (high, sketch, aux) = (Value::Null, None, Vec::new());
        let partial = Partial { window_ns, count, time_ns: window_ns, value, high, sketch, aux };
        match &mut self.open {
            Some(open) if open.window_ns == window_ns => open.merge(partial, self.fold),
            open => {
                if let Some(done) = open.replace(partial) {
                    self.put(done);
                }
            }
        }
    }

    fn add_run(
        &mut self,
        window_ns: i64,
        times_ns: &[i64],
        values: &Column,
        rows: std::ops::Range<usize>,
        aux: &[Col],
    ) {
        match &mut self.open {
            Some(open) if open.window_ns == window_ns => open.go_on(self.fold, times_ns, values, rows, aux),
            open => {
                let done = open.replace(run(self.fold, window_ns, times_ns, values, rows, aux));
                if let Some(done) = done {
                    self.put(done);
                }
            }
        }
    }

    /// Merges a window of a series into what other series gave. Windows of one series ascend.
    fn put(&mut self, partial: Partial) {
        // Series mostly have the same windows, in the same order.
        while self.partials.get(self.at).is_some_and(|known| known.window_ns < partial.window_ns) {
            self.at += 1;
        }
        match self.partials.get_mut(self.at) {
            Some(known) if known.window_ns == partial.window_ns => known.merge(partial, self.fold),
            _ => self.fresh.push(partial),
        }
    }

    /// No more points of this series follow.
    pub(in super::super) fn end_series(&mut self) {
        if let Some(done) = self.open.take() {
            self.put(done);
        }
        self.at = 0;
        if !self.fresh.is_empty() {
            match self.partials.is_empty() {
                true => std::mem::swap(&mut self.partials, &mut self.fresh),
                false => self.partials.append(&mut self.fresh),
            }
            self.partials.sort_by_key(|partial| partial.window_ns);
        }
    }

    /// Adds the results of other series.
    pub(in super::super) fn absorb(&mut self, other: Folded) {
        if let Some(field_type) = other.field_type {
            self.field_type.get_or_insert(field_type);
        }
        other.partials.into_iter().for_each(|partial| self.put(partial));
        self.end_series();
    }

    /// The points of the group; of selectors with their own times, else with those of their windows.
    pub(in super::super) fn finish(self, ascending: bool) -> Points {
        let from = self.field_type.unwrap_or(FieldType::Float);
        let mut points = Points::empty(self.fold.result(from), &self.aux_types);
        let mut partials = self.partials;
        if !ascending {
            partials.reverse();
        }
        for partial in partials {
            let value = match self.fold {
                Fold::Count => Value::Integer(i64::try_from(partial.count).unwrap_or(i64::MAX)),
                Fold::Mean => match partial.value.as_f64() {
                    Some(sum) => Value::Float(sum / partial.count as f64),
                    None => Value::Null,
                },
                Fold::Spread => match (&partial.high, &partial.value) {
                    (Value::Float(high), Value::Float(low)) => Value::Float(high - low),
                    (Value::Integer(high), Value::Integer(low)) => Value::Integer(high.wrapping_sub(*low)),
                    (Value::Unsigned(high), Value::Unsigned(low)) => Value::Unsigned(high.wrapping_sub(*low)),
                    _ => Value::Null,
                },
                _ => partial.value,
            };
            points.times_ns.push(if self.fold.selects() { partial.time_ns } else { partial.window_ns });
            points.value.push(value.as_field());
            points.aux.iter_mut().zip(&partial.aux).for_each(|(col, value)| col.push(value.as_field()));
            points.aux.iter_mut().skip(partial.aux.len()).for_each(Col::push_null);
        }
        points
    }
}

impl Partial {
    /// Adds later points of the same window of the same series.
    fn go_on(&mut self, fold: Fold, times_ns: &[i64], values: &Column, rows: std::ops::Range<usize>, aux: &[Col]) {
        match (&mut self.value, values) {
            // One by one, as if they had come together: floats added in another order come to another sum.
            (Value::Float(sum), Column::Float(v)) if fold.adds() => {
                self.count += rows.len() as u64;
                *sum = v[rows].iter().fold(*sum, |sum, value| sum + value);
            }
            _ => self.merge(run(fold, self.window_ns, times_ns, values, rows, aux), fold),
        }
    }

    fn merge(&mut self, other: Partial, fold: Fold) {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let count = self.count + other.count;
        let values = other.value.order(&self.value);
        let times = other.time_ns.cmp(&self.time_ns);
        let better = match fold {
            Fold::Count => false,
            Fold::Sum | Fold::Mean => {
                self.value = match (&self.value, &other.value) {
                    (Value::Float(a), Value::Float(b)) => Value::Float(a + b),
                    (Value::Integer(a), Value::Integer(b)) => Value::Integer(a.wrapping_add(*b)),
                    (Value::Unsigned(a), Value::Unsigned(b)) => Value::Unsigned(a.wrapping_add(*b)),
                    _ => Value::Null,
                };
                false
            }
            Fold::Spread | Fold::Sketch => {
                if values == Some(Less) {
                    self.value = other.value.clone();
                }
                if other.high.order(&self.high) == Some(Greater) {
                    self.high = other.high.clone();
                }
                match (&mut self.sketch, &other.sketch) {
                    (Some(all), Some(more)) => all.add(more),
                    (none, more) => *none = more.clone(),
                }
                false
            }
            Fold::Min => values == Some(Less) || (values == Some(Equal) && times == Less),
            Fold::Max => values == Some(Greater) || (values == Some(Equal) && times == Less),
            Fold::First => times == Less || (times == Equal && first_wins(&other.value, &self.value)),
            Fold::Last => times == Greater || (times == Equal && values == Some(Greater)),
        };
        if better {
            *self = Partial { window_ns: self.window_ns, ..other };
        }
        self.count = count;
    }
}

/// What came of the windows of a coarser level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Added {
    /// Windows of which the level does not keep what is asked for, though it has points of them: it was chosen after they
    /// were rolled up.
    pub(in super::super) lacking: u64,
    /// Buckets of sketches held more than before.
    pub(in super::super) buckets: u64,
}

impl Folded {
    /// Adds what a coarser level keeps of one field of a series: pieces of windows, see [`Aggregate`].
    ///
    /// # Errors
    /// `Corrupt` for a sketch that is none.
    pub(in super::super) fn add_rolled(
        &mut self,
        field: FieldId,
        streams: &[Stream],
        windows: &Windows,
        range: (i64, i64),
    ) -> Result<Added> {
        let stream = |aggregate: Aggregate| streams.iter().find(|s| Some(s.field) == aggregate.of(field));
        let counted = stream(Aggregate::Count);
        let Some(Stream { times_ns, values: Column::Integer(counts), .. }) = counted else {
            return Ok(Added::default());
        };
        let (first, second) = match self.fold {
            Fold::Count => (stream(Aggregate::Count), None),
            Fold::Sum | Fold::Mean => (stream(Aggregate::Sum), None),
            Fold::Min => (stream(Aggregate::Min), None),
            Fold::Max => (stream(Aggregate::Max), None),
            Fold::First => (stream(Aggregate::First), None),
            Fold::Last => (stream(Aggregate::Last), None),
            Fold::Spread | Fold::Sketch => (stream(Aggregate::Min), stream(Aggregate::Max)),
        };
        let chosen = match self.fold {
            Fold::First => Some(first),
            Fold::Sketch => Some(stream(Aggregate::Sketch)),
            _ => None,
        };
        if let Some(chosen) = chosen {
            let found = chosen.map_or(0, |stream| stream.times_ns.len());
            if found < times_ns.len() {
                return Ok(Added { lacking: (times_ns.len() - found) as u64, buckets: 0 });
            }
        }
        let sketches = chosen.flatten().filter(|_| self.fold == Fold::Sketch);
        let Some(first) = first else { return Ok(Added::default()) };
        // Of count, what is counted may be of any type.
        let field_type = if self.fold == Fold::Count { FieldType::Float } else { first.values.field_type() };
        self.field_type.get_or_insert(field_type);
        let mut fresh: Vec<Partial> = Vec::new();
        let mut damaged = None;
        for_each_run(windows, range, &first.times_ns, |window_ns, rows| {
            for row in rows {
                let time_ns = first.times_ns[row];
                let count = times_ns.binary_search(&time_ns).map_or(0, |at| counts[at].unsigned_abs());
                let value = if self.fold == Fold::Count { Value::Null } else { first.values.get(row).into() };
                let high = second.map_or(Value::Null, |s| match s.times_ns.binary_search(&time_ns) {
                    Ok(at) => s.values.get(at).into(),
                    Err(_) => Value::Null,
                });
                let sketch = sketches.and_then(|s| match s.values.get(s.times_ns.binary_search(&time_ns).ok()?) {
                    FieldValue::String(text) => match text.parse::<Counts>() {
                        Ok(counts) => Some(Box::new(counts)),
                        Err(_) => {
                            damaged
                                .get_or_insert_with(|| Error::corrupt(format!("no sketch: {text:?} at {time_ns} ns")));
                            None
                        }
                    },
                    _ => None,
                });
                let time_ns = if self.fold.selects() { time_ns } else { window_ns };
                let piece = Partial { window_ns, count, time_ns, value, high, sketch, aux: Vec::new() };
                match fresh.last_mut() {
                    Some(known) if known.window_ns == window_ns => known.merge(piece, self.fold),
                    _ => fresh.push(piece),
                }
            }
        });
        if let Some(damaged) = damaged {
            return Err(damaged);
        }
        let mut buckets = 0;
        for piece in fresh {
            match self.partials.binary_search_by_key(&piece.window_ns, |partial| partial.window_ns) {
                Ok(at) => {
                    let before = self.partials[at].buckets();
                    self.partials[at].merge(piece, self.fold);
                    buckets += self.partials[at].buckets().saturating_sub(before);
                }
                Err(at) => {
                    buckets += piece.buckets();
                    self.partials.insert(at, piece);
                }
            }
        }
        Ok(Added { lacking: 0, buckets })
    }

    /// The points of a group whose sketches were folded: of each window the value that `whole` chooses, as near as a bucket
    /// is to its values, and within the least and the greatest value.
    pub(in super::super) fn quantiles(self, whole: Whole, ascending: bool) -> Points {
        let from = self.field_type.unwrap_or(FieldType::Float);
        let mut points = Points::empty(whole.result(from), &[]);
        let mut partials = self.partials;
        if !ascending {
            partials.reverse();
        }
        for partial in &partials {
            if let Some(value) = partial.quantile(whole) {
                let value = match points.value.field_type() {
                    FieldType::Integer => Value::Integer(value.round() as i64),
                    FieldType::Unsigned => Value::Unsigned(value.round() as u64),
                    _ => Value::Float(value),
                };
                points.push(partial.window_ns, &value);
            }
        }
        points
    }
}

impl Partial {
    fn buckets(&self) -> u64 {
        self.sketch.as_ref().map_or(0, |sketch| sketch.len() as u64)
    }

    /// The value that `whole` chooses; the least and the greatest are known as they are.
    fn quantile(&self, whole: Whole) -> Option<f64> {
        let sketch = self.sketch.as_ref()?;
        let (least, greatest) = (self.value.as_f64()?, self.high.as_f64()?);
        match whole {
            Whole::Percentile(percent) => sketch.nth_within(percentile_rank(sketch.total(), percent)?, least, greatest),
            // Of an even number the two in the middle.
            _ => sketch.continuous(0.5, least, greatest),
        }
    }
}

/// Of two values with the same first time the greater is taken, but false before true.
fn first_wins(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Boolean(new), Value::Boolean(old)) => !new & old,
        _ => new.order(old) == Some(std::cmp::Ordering::Greater),
    }
}

/// Folds the rows of one window of one series.
fn run(
    fold: Fold,
    window_ns: i64,
    times_ns: &[i64],
    values: &Column,
    rows: std::ops::Range<usize>,
    aux: &[Col],
) -> Partial {
    let mut partial = Partial {
        window_ns,
        count: rows.len() as u64,
        time_ns: window_ns,
        value: Value::Null,
        high: Value::Null,
        sketch: None,
        aux: Vec::new(),
    };
    let chosen = match fold {
        Fold::Count => None,
        Fold::Sum | Fold::Mean => {
            partial.value = match values {
                Column::Float(v) => Value::Float(v[rows].iter().sum()),
                Column::Integer(v) => Value::Integer(v[rows].iter().fold(0, |sum, x| sum.wrapping_add(*x))),
                Column::Unsigned(v) => Value::Unsigned(v[rows].iter().fold(0, |sum, x| sum.wrapping_add(*x))),
                _ => Value::Null,
            };
            None
        }
        Fold::Spread | Fold::Sketch => {
            if fold == Fold::Sketch {
                partial.sketch = Some(Box::new(counts(values, rows.clone())));
            }
            let low = extreme(values, rows.clone(), false);
            let high = extreme(values, rows, true);
            (partial.value, partial.high) = (values.get(low).into(), values.get(high).into());
            None
        }
        Fold::Min => Some(extreme(values, rows, false)),
        Fold::Max => Some(extreme(values, rows, true)),
        Fold::First => {
            let same = times_ns[rows.clone()].iter().take_while(|t| **t == times_ns[rows.start]).count();
            Some((rows.start + 1..rows.start + same).fold(rows.start, |best, row| {
                if first_wins(&values.get(row).into(), &values.get(best).into()) { row } else { best }
            }))
        }
        Fold::Last => {
            let last = rows.end - 1;
            let same = times_ns[rows].iter().rev().take_while(|t| **t == times_ns[last]).count();
            Some((last + 1 - same..last).rev().fold(last, |best, row| {
                let greater = Value::from(values.get(row)).order(&values.get(best).into());
                if greater == Some(std::cmp::Ordering::Greater) { row } else { best }
            }))
        }
    };
    if let Some(row) = chosen {
        partial.time_ns = times_ns[row];
        partial.value = values.get(row).into();
        partial.aux = aux.iter().map(|col| col.value(row)).collect();
    }
    partial
}

/// The sketch of some rows; of what is no number an empty one.
fn counts(values: &Column, rows: std::ops::Range<usize>) -> Counts {
    match values {
        Column::Float(v) => Counts::of(v[rows].iter().copied()),
        Column::Integer(v) => Counts::of(v[rows].iter().map(|v| *v as f64)),
        Column::Unsigned(v) => Counts::of(v[rows].iter().map(|v| *v as f64)),
        Column::Boolean(_) | Column::String(_) => Counts::default(),
    }
}

/// The first row with the least or greatest value.
fn extreme(values: &Column, rows: std::ops::Range<usize>, greatest: bool) -> usize {
    fn best<T: Copy + PartialOrd>(values: &[T], start: usize, greatest: bool) -> usize {
        let mut at = 0;
        let mut found = values[0];
        for (row, value) in values.iter().enumerate().skip(1) {
            if if greatest { *value > found } else { *value < found } {
                (at, found) = (row, *value);
            }
        }
        start + at
    }
    let start = rows.start;
    match values {
        Column::Float(v) => best(&v[rows], start, greatest),
        Column::Integer(v) => best(&v[rows], start, greatest),
        Column::Unsigned(v) => best(&v[rows], start, greatest),
        Column::Boolean(v) => best(&v[rows], start, greatest),
        Column::String(_) => start,
    }
}
