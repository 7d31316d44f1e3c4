//! Functions of all points of a window, in order of time.

use std::collections::{HashMap, HashSet};

use rhythmite_influx::influxql::{Call, Expr, Literal};
use rhythmite_model::{Column, FieldType, FieldValue};

use super::super::column::Col;
use super::super::frame::Frame;
use super::super::points::{Points, types};
use super::super::value::Value;
use super::super::window::{Windows, for_each_run};
use super::pdqsort;

/// A function of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Whole {
    Median,
    Mode,
    Stddev,
    Distinct,
    /// Of how many in a hundred.
    Percentile(f64),
    /// So many at random.
    Sample(usize),
}

impl Whole {
    pub(in super::super) fn of(call: &Call) -> Option<Self> {
        Some(match call.name.as_str() {
            "median" => Whole::Median,
            "mode" => Whole::Mode,
            "stddev" => Whole::Stddev,
            "distinct" => Whole::Distinct,
            "percentile" => Whole::Percentile(match call.args.get(1)? {
                Expr::Literal(Literal::Integer(value)) => *value as f64,
                Expr::Literal(Literal::Number(value)) => *value,
                _ => return None,
            }),
            "sample" => Whole::Sample(match call.args.get(1)? {
                Expr::Literal(Literal::Integer(value)) => usize::try_from(*value).ok()?,
                _ => return None,
            }),
            _ => return None,
        })
    }

    pub(in super::super) fn takes(self, field_type: FieldType) -> bool {
        match self {
            Whole::Median | Whole::Stddev | Whole::Percentile(_) => {
                !matches!(field_type, FieldType::String | FieldType::Boolean)
            }
            Whole::Mode | Whole::Distinct | Whole::Sample(_) => true,
        }
    }

    /// The type of the result for values of `from`.
    pub(in super::super) fn result(self, from: FieldType) -> FieldType {
        match self {
            Whole::Median | Whole::Stddev => FieldType::Float,
            _ => from,
        }
    }

    /// Applies the function to the windows of a frame. `random(n)` gives a number below n.
    pub(in super::super) fn apply(
        self,
        frame: &Frame,
        windows: &Windows,
        range: (i64, i64),
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Points {
        let Some(value) = &frame.value else { return Points::empty(FieldType::Float, &[]) };
        let mut out = Points::empty(self.result(value.field_type()), &types(&frame.aux));
        let mut chosen: Vec<u32> = Vec::new();
        for_each_run(windows, range, &frame.times_ns, |window_ns, rows| match self {
            Whole::Median => out.push(window_ns, &median(value.values(), rows)),
            Whole::Mode => out.push(window_ns, &mode(value, &frame.times_ns, rows)),
            Whole::Stddev => out.push(window_ns, &stddev(value.values(), rows)),
            Whole::Distinct => chosen.extend(distinct(value, &frame.times_ns, rows)),
            Whole::Percentile(percent) => chosen.extend(percentile(value, rows, percent)),
            Whole::Sample(size) => chosen.extend(sample(rows, size, random)),
        });
        if matches!(self, Whole::Distinct | Whole::Percentile(_) | Whole::Sample(_)) {
            out.times_ns = chosen.iter().map(|row| frame.times_ns[*row as usize]).collect();
            out.value = value.gather(&chosen);
            out.aux = frame.aux.iter().map(|col| col.gather(&chosen)).collect();
        }
        out
    }
}

fn floats(values: &Column, rows: std::ops::Range<usize>) -> Vec<f64> {
    match values {
        Column::Float(v) => v[rows].to_vec(),
        Column::Integer(v) => v[rows].iter().map(|x| *x as f64).collect(),
        Column::Unsigned(v) => v[rows].iter().map(|x| *x as f64).collect(),
        _ => Vec::new(),
    }
}

fn median(values: &Column, rows: std::ops::Range<usize>) -> Value {
    fn middle<T: Copy>(mut sorted: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Option<(T, T)> {
        sorted.sort_by(order);
        let half = sorted.len() / 2;
        let high = *sorted.get(half)?;
        Some(if sorted.len().is_multiple_of(2) { (sorted[half - 1], high) } else { (high, high) })
    }
    let between = match values {
        // What is no number has a place too: an order that is none makes the sort panic.
        Column::Float(v) => middle(v[rows].to_vec(), f64::total_cmp).map(|(a, b)| a + (b - a) / 2.0),
        Column::Integer(v) => {
            middle(v[rows].to_vec(), Ord::cmp).map(|(a, b)| a as f64 + b.wrapping_sub(a) as f64 / 2.0)
        }
        Column::Unsigned(v) => middle(v[rows].to_vec(), Ord::cmp).map(|(a, b)| a as f64 + (b - a) as f64 / 2.0),
        _ => None,
    };
    between.map_or(Value::Null, Value::Float)
}

/// The deviation within a sample; of one point it is no number, though there is a point.
fn stddev(values: &Column, rows: std::ops::Range<usize>) -> Value {
    let values = floats(values, rows);
    let (mut mean, mut count) = (0.0, 0.0);
    for value in values.iter().filter(|value| !value.is_nan()) {
        count += 1.0;
        mean += (value - mean) / count;
    }
    let squares: f64 = values.iter().filter(|value| !value.is_nan()).map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0)).sqrt();
    Value::Float(if values.len() < 2 { f64::NAN } else { deviation })
}

/// The most frequent value; of several the one whose points come first, in the order of Go's sort.
fn mode(value: &Col, times_ns: &[i64], rows: std::ops::Range<usize>) -> Value {
    if let Column::Boolean(values) = value.values() {
        let trues = values[rows.clone()].iter().filter(|value| **value).count();
        return Value::Boolean(trues * 2 >= rows.len());
    }
    let sorted = by_value(value, rows);
    let first = sorted[0] as usize;
    let mut most = (0, value.value(first), times_ns[first]);
    let (mut count, mut current, mut since) = (0, most.1.clone(), most.2);
    for row in sorted {
        let row = row as usize;
        let this = value.value(row);
        if this != current {
            (count, current, since) = (1, this, times_ns[row]);
            // A value's first point never makes it the mode, nor does a tie that began later.
            continue;
        }
        count += 1;
        if most.0 > count || (most.0 == count && since > most.2) {
            continue;
        }
        most = (count, this, times_ns[row]);
    }
    most.1
}

/// The row of the value that `percent` of the values do not exceed; nothing if the share is below one point.
fn percentile(value: &Col, rows: std::ops::Range<usize>, percent: f64) -> Option<u32> {
    let at = percentile_rank(rows.len() as f64, percent)? as usize;
    Some(by_value(value, rows)[at])
}

/// How many of `count` values come before the one that `percent` of them do not exceed.
pub(super) fn percentile_rank(count: f64, percent: f64) -> Option<f64> {
    let at = (count * percent / 100.0 + 0.5).floor() - 1.0;
    Some(at).filter(|at| (0.0..count).contains(at))
}

/// Rows in the order of their values; of equal ones as in Go.
fn by_value(value: &Col, rows: std::ops::Range<usize>) -> Vec<u32> {
    let mut sorted: Vec<u32> = rows.map(|row| row as u32).collect();
    match value.values() {
        Column::Float(v) => pdqsort::sort(&mut sorted, &|a, b| v[a as usize] < v[b as usize]),
        Column::Integer(v) => pdqsort::sort(&mut sorted, &|a, b| v[a as usize] < v[b as usize]),
        Column::Unsigned(v) => pdqsort::sort(&mut sorted, &|a, b| v[a as usize] < v[b as usize]),
        Column::Boolean(v) => pdqsort::sort(&mut sorted, &|a, b| !v[a as usize] & v[b as usize]),
        Column::String(v) => pdqsort::sort(&mut sorted, &|a, b| v.get(a as usize) < v.get(b as usize)),
    }
    sorted
}

/// The first row of each value, in order of time and then of value, whatever the order of the answer.
fn distinct(value: &Col, times_ns: &[i64], rows: std::ops::Range<usize>) -> Vec<u32> {
    let rows = rows.map(|row| row as u32);
    let mut first: Vec<u32> = match value.values() {
        Column::Float(v) => {
            let mut seen = HashSet::new();
            // Zero and its negative are the same value.
            rows.filter(|row| seen.insert((v[*row as usize] + 0.0).to_bits())).collect()
        }
        Column::Integer(v) => {
            let mut seen = HashSet::new();
            rows.filter(|row| seen.insert(v[*row as usize])).collect()
        }
        Column::Unsigned(v) => {
            let mut seen = HashSet::new();
            rows.filter(|row| seen.insert(v[*row as usize])).collect()
        }
        Column::Boolean(v) => {
            let mut seen = HashSet::new();
            rows.filter(|row| seen.insert(v[*row as usize])).collect()
        }
        Column::String(v) => {
            let mut seen: HashMap<&str, ()> = HashMap::new();
            rows.filter(|row| seen.insert(v.get(*row as usize), ()).is_none()).collect()
        }
    };
    first.sort_by(|a, b| {
        let times = times_ns[*a as usize].cmp(&times_ns[*b as usize]);
        times.then_with(|| {
            let (a, b) = (value.value(*a as usize), value.value(*b as usize));
            a.total_order(&b)
        })
    });
    first
}

/// So many rows, each with the same chance, in their order.
fn sample(rows: std::ops::Range<usize>, size: usize, random: &mut dyn FnMut(u64) -> u64) -> Vec<u32> {
    let mut kept: Vec<u32> = Vec::new();
    for (seen, row) in rows.enumerate() {
        if kept.len() < size {
            kept.push(row as u32);
        } else {
            let at = random(seen as u64 + 1) as usize;
            if at < size {
                kept[at] = row as u32;
            }
        }
    }
    kept.sort_unstable();
    kept
}

/// The type of a stored value, for messages.
pub(in super::super) fn iterator_name(field_type: FieldType) -> &'static str {
    match field_type {
        FieldType::Float => "*query.floatInterruptIterator",
        FieldType::Integer => "*query.integerInterruptIterator",
        FieldType::Unsigned => "*query.unsignedInterruptIterator",
        FieldType::Boolean => "*query.booleanInterruptIterator",
        FieldType::String => "*query.stringInterruptIterator",
    }
}

/// Number of points in each window of points already made, as `count(distinct(...))` wants it.
pub(in super::super) fn count(points: &Points, windows: &Windows, range: (i64, i64)) -> Points {
    let mut out = Points::empty(FieldType::Integer, &[]);
    for_each_run(windows, range, &points.times_ns, |window_ns, rows| {
        let count = rows.filter(|row| points.value.is_valid(*row)).count();
        out.times_ns.push(window_ns);
        out.value.push(Some(FieldValue::Integer(count as i64)));
    });
    out
}
