//! Functions of consecutive points: a point in, at most one point out. Nulls are passed over.

use rhythmite_influx::influxql::{Call, Expr, Literal};
use rhythmite_model::FieldType;

use super::points::Points;
use super::technical::Technical;
use super::value::Value;

const SECOND_NS: i64 = 1_000_000_000;

/// A function of consecutive points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Transform {
    Derivative { unit_ns: i64, non_negative: bool },
    Difference { non_negative: bool },
    MovingAverage(usize),
    CumulativeSum,
    Elapsed { unit_ns: i64 },
    Technical(Technical),
}

impl Transform {
    /// The transformation a call stands for; `every_ns` is the length of the windows or 0.
    pub(super) fn of(call: &Call, every_ns: i64) -> Option<Self> {
        let unit_ns = match call.args.get(1) {
            Some(Expr::Literal(Literal::Duration(ns))) => Some(*ns),
            _ => None,
        };
        let per_window = if every_ns > 0 { every_ns } else { SECOND_NS };
        Some(match call.name.as_str() {
            "derivative" => Transform::Derivative { unit_ns: unit_ns.unwrap_or(per_window), non_negative: false },
            "non_negative_derivative" => {
                Transform::Derivative { unit_ns: unit_ns.unwrap_or(per_window), non_negative: true }
            }
            "difference" => Transform::Difference { non_negative: false },
            "non_negative_difference" => Transform::Difference { non_negative: true },
            "moving_average" => match call.args.get(1) {
                Some(Expr::Literal(Literal::Integer(points))) => {
                    Transform::MovingAverage(usize::try_from(*points).ok()?)
                }
                _ => return None,
            },
            "cumulative_sum" => Transform::CumulativeSum,
            "elapsed" => Transform::Elapsed { unit_ns: unit_ns.unwrap_or(1) },
            _ => Transform::Technical(Technical::of(call)?),
        })
    }

    /// Whether it reads one more window than is asked for, to have something to start from.
    pub(super) fn looks_back(self) -> bool {
        self != Transform::CumulativeSum
    }

    pub(super) fn takes(self, field_type: FieldType) -> bool {
        matches!(self, Transform::Elapsed { .. }) || !matches!(field_type, FieldType::String | FieldType::Boolean)
    }

    /// The type of the result for values of `from`.
    pub(super) fn result(self, from: FieldType) -> FieldType {
        match self {
            Transform::Derivative { .. } | Transform::MovingAverage(_) | Transform::Technical(_) => FieldType::Float,
            Transform::Elapsed { .. } => FieldType::Integer,
            Transform::Difference { .. } | Transform::CumulativeSum => from,
        }
    }

    pub(super) fn apply(self, input: &Points, ascending: bool) -> Points {
        let mut out = Points::empty(self.result(input.value.field_type()), &[]);
        let points = (0..input.len())
            .filter(|row| input.value.is_valid(*row))
            .map(|row| (input.times_ns[row], input.value.value(row)));
        match self {
            Transform::MovingAverage(size) => moving_average(points, size, &mut out),
            Transform::Technical(technical) => {
                let points: Vec<_> = points.filter_map(|(time, value)| Some((time, value.as_f64()?))).collect();
                let results = technical.over(points.iter().map(|(_, value)| *value));
                for ((time, _), result) in points.iter().zip(results) {
                    if let Some(result) = result {
                        out.push(*time, &Value::Float(result));
                    }
                }
            }
            Transform::CumulativeSum => {
                let mut sum: Option<Value> = None;
                for (time, value) in points {
                    let next = match &sum {
                        Some(before) => add(before, &value),
                        None => value,
                    };
                    out.push(time, &next);
                    sum = Some(next);
                }
            }
            Transform::Elapsed { unit_ns } => {
                let mut before: Option<i64> = None;
                for (time, _) in points {
                    if let Some(before) = before {
                        out.push(time, &Value::Integer((time - before) / unit_ns));
                    }
                    before = Some(time);
                }
            }
            Transform::Difference { non_negative } => {
                each_pair(points, |_, before, time, value| {
                    let difference = subtract(value, before);
                    if !(non_negative && difference.as_f64().is_some_and(|d| d < 0.0)) {
                        out.push(time, &difference);
                    }
                });
            }
            Transform::Derivative { unit_ns, non_negative } => {
                each_pair(points, |since, before, time, value| {
                    let Some(difference) = signed_difference(value, before) else { return };
                    let elapsed = if ascending { time - since } else { since - time };
                    let slope = if elapsed > 0 { difference / (elapsed as f64 / unit_ns as f64) } else { 0.0 };
                    if !(non_negative && difference < 0.0) {
                        out.push(time, &Value::Float(slope));
                    }
                });
            }
        }
        out
    }
}

/// Calls `f` with each point and the one before it; of points with the same time only the first counts.
fn each_pair(points: impl Iterator<Item = (i64, Value)>, mut f: impl FnMut(i64, &Value, i64, &Value)) {
    let mut before: Option<(i64, Value)> = None;
    for (time, value) in points {
        match &before {
            Some((since, _)) if *since == time => continue,
            Some((since, earlier)) => f(*since, earlier, time, &value),
            None => {}
        }
        before = Some((time, value));
    }
}

fn moving_average(points: impl Iterator<Item = (i64, Value)>, size: usize, out: &mut Points) {
    let mut kept: std::collections::VecDeque<Value> = std::collections::VecDeque::new();
    let mut sum: Option<Value> = None;
    for (time, value) in points {
        if kept.len() == size
            && let (Some(oldest), Some(all)) = (kept.pop_front(), &sum)
        {
            sum = Some(subtract(all, &oldest));
        }
        sum = Some(match &sum {
            Some(all) => add(all, &value),
            None => value.clone(),
        });
        kept.push_back(value);
        if kept.len() == size
            && let Some(all) = sum.as_ref().and_then(Value::as_f64)
        {
            out.push(time, &Value::Float(all / size as f64));
        }
    }
}

fn add(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Value::Float(a + b),
        (Value::Integer(a), Value::Integer(b)) => Value::Integer(a.wrapping_add(*b)),
        (Value::Unsigned(a), Value::Unsigned(b)) => Value::Unsigned(a.wrapping_add(*b)),
        _ => Value::Null,
    }
}

fn subtract(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Value::Float(a - b),
        (Value::Integer(a), Value::Integer(b)) => Value::Integer(a.wrapping_sub(*b)),
        (Value::Unsigned(a), Value::Unsigned(b)) => Value::Unsigned(a.wrapping_sub(*b)),
        _ => Value::Null,
    }
}

/// The difference as a float; of unsigned numbers with its sign.
fn signed_difference(a: &Value, b: &Value) -> Option<f64> {
    match (a, b) {
        (Value::Unsigned(a), Value::Unsigned(b)) => Some(if a >= b { (a - b) as f64 } else { -((b - a) as f64) }),
        _ => subtract(a, b).as_f64(),
    }
}
