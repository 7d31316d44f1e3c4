//! Forecasts by triple exponential smoothing (Holt and Winters), with a season of a day.
//!
//! The analysis needs values from before the range: the first argument is evaluated again over
//! the range and the bootstrap interval before it.

use crate::eval::Stop;
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::graph::area_between;
use crate::functions::{Default, Function, Group, Invocation};
use crate::series::{Consolidation, Series};
use rhythmite_model::{Error, Result};
use std::collections::HashMap;

pub(crate) const ALL: &[Function] = &[ABERRATION, CONFIDENCE_AREA, CONFIDENCE_BANDS, FORECAST];

const BOOTSTRAP: P = P::optional("bootstrapInterval", T::Interval).or(Default::Text("7d")).such_as(&["7d", "30d"]);
const SEASONALITY: P = P::optional("seasonality", T::Interval).or(Default::Text("1d")).such_as(&["1d", "7d"]);
const BANDS: &[P] = &[P::SERIES, P::optional("delta", T::Integer).or(Default::Int(3)), BOOTSTRAP, SEASONALITY];

const ABERRATION: Function = Function {
    names: &["holtWintersAberration"],
    group: Group::Calculate,
    about: "How far the values lie outside the confidence bands; 0 within.",
    params: BANDS,
    aggregator: false,
    run: |c| {
        let bands = bands(c)?;
        // Of several with one name the last counts.
        let bands: HashMap<&str, &Series> = bands.iter().map(|b| (b.name.as_str(), b)).collect();
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            let band = |kind: &str| {
                let name = format!("holtWintersConfidence{kind}({})", s.name);
                bands.get(name.as_str()).copied().ok_or_else(|| Error::invalid(format!("there is no {name}")))
            };
            let (lower, upper) = (band("Lower")?, band("Upper")?);
            let at = |b: &Series, i: usize| b.values.get(i).copied().unwrap_or(f64::NAN);
            let outside = |(i, v): (usize, &f64)| {
                let (low, high) = (at(lower, i), at(upper, i));
                if *v > high {
                    v - high
                } else if *v < low {
                    v - low
                } else {
                    0.0
                }
            };
            let values = s.values.iter().enumerate().map(outside).collect();
            s.tags.set("holtWintersAberration", 1);
            *s = s.derived(format!("holtWintersAberration({})", s.name), values);
            s.consolidation = Consolidation::default();
        }
        Ok(series.into())
    },
};

const CONFIDENCE_AREA: Function = Function {
    names: &["holtWintersConfidenceArea"],
    group: Group::Calculate,
    about: "The area between the confidence bands of one series.",
    params: BANDS,
    aggregator: false,
    run: |c| {
        let mut area = area_between(bands(c)?, "holtWintersConfidenceArea")?;
        for s in &mut area {
            s.path_expression.clone_from(&s.name);
        }
        Ok(area.into())
    },
};

const CONFIDENCE_BANDS: Function = Function {
    names: &["holtWintersConfidenceBands"],
    group: Group::Calculate,
    about: "The forecast less and plus `delta` times the usual deviation.",
    params: BANDS,
    aggregator: false,
    run: |c| Ok(bands(c)?.into()),
};

const FORECAST: Function = Function {
    names: &["holtWintersForecast"],
    group: Group::Calculate,
    about: "What the values before would have made one expect.",
    params: &[P::SERIES, BOOTSTRAP, SEASONALITY],
    aggregator: false,
    run: |c| {
        let mut results = Vec::new();
        for (s, analysis) in analyses(c)? {
            let name = format!("holtWintersForecast({})", s.name);
            results.push(analysis.result(&s, name, analysis.predictions.clone()));
        }
        Ok(results.into())
    },
};

/// Lower and upper band of each series, in this order.
fn bands(c: &mut Invocation<'_, '_, '_>) -> Result<Vec<Series>, Stop> {
    let delta = c.float("delta")?;
    let mut results = Vec::new();
    for (mut s, analysis) in analyses(c)? {
        for tag in ["holtWintersConfidenceUpper", "holtWintersConfidenceLower"] {
            s.tags.set(tag, 1);
        }
        for (kind, delta) in [("Lower", -delta), ("Upper", delta)] {
            let pairs = analysis.predictions.iter().zip(&analysis.deviations);
            let values = pairs.map(|(prediction, deviation)| prediction + delta * deviation).collect();
            let name = format!("holtWintersConfidence{kind}({})", s.name);
            let mut band = analysis.result(&s, name, values);
            band.path_expression.clone_from(&s.path_expression);
            results.push(band);
        }
    }
    Ok(results)
}

/// What is known of a series within the range.
struct Analysis {
    predictions: Vec<f64>,
    deviations: Vec<f64>,
    start_s: i64,
}

impl Analysis {
    fn result(&self, series: &Series, name: String, values: Vec<f64>) -> Series {
        let mut result = series.derived(name, values);
        result.start_s = self.start_s;
        result.consolidation = Consolidation::default();
        result
    }
}

/// Analyses the first argument over the bootstrap interval and the range.
fn analyses(c: &mut Invocation<'_, '_, '_>) -> Result<Vec<(Series, Analysis)>, Stop> {
    let (bootstrap_s, _) = c.positive_interval("bootstrapInterval")?;
    let (season_s, _) = c.positive_interval("seasonality")?;
    let series = c.first_in_range(c.scope.from_s.saturating_sub(bootstrap_s), c.scope.until_s)?;
    let analyse = |mut s: Series| {
        if s.step_s <= 0 {
            return Err(Error::invalid(format!("series {} has no step", s.name)));
        }
        let at = |seconds: i64| usize::try_from(seconds / s.step_s).unwrap_or(usize::MAX);
        let (mut predictions, mut deviations) = smooth(&s.values, at(season_s));
        let skipped = at(bootstrap_s).min(s.values.len());
        predictions.drain(..skipped);
        deviations.drain(..skipped);
        let start_s = s.start_s + bootstrap_s;
        s.tags.set("holtWintersForecast", 1);
        s.tags.set("holtWintersDeviation", 1);
        Ok((s, Analysis { predictions, deviations, start_s }))
    };
    Ok(series.into_iter().map(analyse).collect::<Result<_>>()?)
}

/// Weight of new values in the level and in the season, and of the change of level in the trend.
const ALPHA: f64 = 0.1;
const GAMMA: f64 = ALPHA;
const BETA: f64 = 0.0035;

/// Prediction and deviation for each value. The prediction is unknown after a gap; a gap's own
/// deviation and season are zero.
fn smooth(values: &[f64], season: usize) -> (Vec<f64>, Vec<f64>) {
    let n = values.len();
    let (mut predictions, mut deviations, mut seasonals) =
        (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    let (mut last_level, mut last_trend) = (f64::NAN, 0.0);
    let mut next = f64::NAN;
    for (i, &v) in values.iter().enumerate() {
        if v.is_nan() {
            predictions.push(next);
            deviations.push(0.0);
            seasonals.push(0.0);
            (last_level, last_trend, next) = (f64::NAN, 0.0, f64::NAN);
            continue;
        }
        let ago = |list: &[f64], i: usize| i.checked_sub(season).and_then(|at| list.get(at)).copied().unwrap_or(0.0);
        let prediction = if i == 0 { v } else { next };
        let level_before = if last_level.is_nan() { v } else { last_level };
        let seasonal_before = ago(&seasonals, i);
        let level = ALPHA * (v - seasonal_before) + (1.0 - ALPHA) * (level_before + last_trend);
        let trend = BETA * (level - level_before) + (1.0 - BETA) * last_trend;
        let expected = if prediction.is_nan() { 0.0 } else { prediction };
        let deviation = GAMMA * (v - expected).abs() + (1.0 - GAMMA) * ago(&deviations, i);
        // With a season of one step the next season is the one before this value's.
        next = level + trend + ago(&seasonals, i + 1);
        seasonals.push(GAMMA * (v - level) + (1.0 - GAMMA) * seasonal_before);
        predictions.push(prediction);
        deviations.push(deviation);
        (last_level, last_trend) = (level, trend);
    }
    (predictions, deviations)
}
