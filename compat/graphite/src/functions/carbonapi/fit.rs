//! Smooth curves through values.

use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::{Default, Function, Group};
use crate::time;
use rhythmite_model::Error;

pub(super) const ALL: &[Function] = &[EXPONENTIAL_WEIGHTED_MOVING_AVERAGE, POLYFIT];

/// Highest degree of a polynomial; beyond it a curve through real values says nothing.
const DEGREE_MAX: i64 = 30;

const EXPONENTIAL_WEIGHTED_MOVING_AVERAGE: Function = Function {
    names: &["exponentialWeightedMovingAverage", "ewma"],
    group: Group::Carbonapi,
    about: "A mean in which the newest value weighs `alpha` and the mean so far the rest; it starts with the first \
            value.",
    params: &[P::SERIES, P::required("alpha", T::Float)],
    aggregator: false,
    run: |c| {
        let alpha = c.finite("alpha")?;
        let text = c.given("alpha").map(crate::eval::Value::text).unwrap_or_default();
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.name = format!("ewma({},{text})", s.name);
            let mut mean = f64::NAN;
            for v in s.values_mut().iter_mut().filter(|v| !v.is_nan()) {
                mean = if mean.is_nan() { *v } else { alpha * *v + (1.0 - alpha) * mean };
                *v = mean;
            }
        }
        Ok(series.into())
    },
};

const POLYFIT: Function = Function {
    names: &["polyfit"],
    group: Group::Carbonapi,
    about: "The polynomial of the given degree with the least squares, drawn on into the future by `offset`; unknown \
            for fewer than two values.",
    params: &[
        P::SERIES,
        P::optional("degree", T::Integer).or(Default::Int(1)),
        P::optional("offset", T::Interval).or(Default::Text("0d")),
    ],
    aggregator: false,
    run: |c| {
        let degree = c.int("degree")?;
        if !(1..=DEGREE_MAX).contains(&degree) {
            return Err(Error::invalid(format!("argument degree must be 1 to {DEGREE_MAX}, not {degree}")).into());
        }
        let offset = c.text("offset")?;
        let offset_s = time::parse_interval(&offset)?;
        if offset_s < 0 {
            return Err(Error::invalid("argument offset must not be negative").into());
        }
        let suffix = match (c.given("degree").is_some(), c.given("offset").is_some()) {
            (_, true) => format!(",{degree},'{offset}'"),
            (true, false) => format!(",{degree}"),
            (false, false) => String::new(),
        };
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            let more = if s.step_s > 0 { c.eval.points.make(offset_s / s.step_s)? } else { 0 };
            c.charge((s.values.len() + more).saturating_mul(degree as usize))?;
            let values = polynomial(&s.values, degree as usize, s.values.len() + more);
            s.name = format!("polyfit({}{suffix})", s.name);
            s.end_s += offset_s;
            *s.values_mut() = values;
        }
        Ok(series.into())
    },
};

/// The polynomial with the least squares through the known values, at each of `len` positions.
///
/// A sum of polynomials that are orthogonal over the known positions, each made of the two before it: no matrix, and
/// no loss of digits at high degrees. One pass a degree. A degree that the values do not determine is left out.
fn polynomial(values: &[f64], degree: usize, len: usize) -> Vec<f64> {
    let known: Vec<(f64, f64)> =
        values.iter().enumerate().filter(|(_, v)| !v.is_nan()).map(|(i, v)| (i as f64, *v)).collect();
    if known.len() < 2 {
        return vec![f64::NAN; len];
    }
    // Positions from -1 to 1 keep high powers from growing.
    let half = (values.len() as f64 - 1.0) / 2.0;
    let x = |i: f64| i / half - 1.0;
    let mut fitted = vec![0.0; len];
    let (mut at_known, mut before_known) = (vec![1.0; known.len()], vec![0.0; known.len()]);
    let (mut at_all, mut before_all) = (vec![1.0; len], vec![0.0; len]);
    let mut norm_before = 1.0;
    for k in 0..=degree.min(known.len() - 1) {
        let norm: f64 = at_known.iter().map(|p| p * p).sum();
        if norm == 0.0 {
            break;
        }
        let weight = at_known.iter().zip(&known).map(|(p, (_, y))| p * y).sum::<f64>() / norm;
        fitted.iter_mut().zip(&at_all).for_each(|(f, p)| *f += weight * p);
        let middle = at_known.iter().zip(&known).map(|(p, (i, _))| x(*i) * p * p).sum::<f64>() / norm;
        let back = if k == 0 { 0.0 } else { norm / norm_before };
        let step = |i: f64, p: f64, before: f64| (x(i) - middle) * p - back * before;
        let next_known =
            known.iter().zip(&at_known).zip(&before_known).map(|(((i, _), p), b)| step(*i, *p, *b)).collect();
        let next_all = at_all.iter().zip(&before_all).enumerate().map(|(i, (p, b))| step(i as f64, *p, *b)).collect();
        before_known = std::mem::replace(&mut at_known, next_known);
        before_all = std::mem::replace(&mut at_all, next_all);
        norm_before = norm;
    }
    fitted
}
