//! Functions that drop values.

use super::Param as P;
use super::ParamType as T;
use super::calculate::percentile_of;
use super::{Function, Group, Invocation};
use crate::eval::{Stop, Value};
use crate::python;
use rhythmite_model::Result;

pub(super) const ALL: &[Function] = &[
    remover(&["removeAbovePercentile"], "Drops the values above the series' own `n`-th percentile.", |c| {
        by_percentile(c, "removeAbovePercentile", |v, limit| v > limit)
    }),
    remover(&["removeAboveValue"], "Drops the values above `n`.", |c| {
        by_value(c, "removeAboveValue", |v, limit| v > limit)
    }),
    remover(&["removeBelowPercentile"], "Drops the values below the series' own `n`-th percentile.", |c| {
        by_percentile(c, "removeBelowPercentile", |v, limit| v < limit)
    }),
    remover(&["removeBelowValue"], "Drops the values below `n`.", |c| {
        by_value(c, "removeBelowValue", |v, limit| v < limit)
    }),
];

const fn remover(
    names: &'static [&'static str],
    about: &'static str,
    run: fn(&mut Invocation<'_, '_, '_>) -> Result<Value, Stop>,
) -> Function {
    const PARAMS: &[P] = &[P::SERIES, P::required("n", T::Float)];
    Function { names, group: Group::FilterData, about, params: PARAMS, aggregator: false, run }
}

fn by_value(c: &mut Invocation<'_, '_, '_>, function: &str, drop: fn(f64, f64) -> bool) -> Result<Value, Stop> {
    let n = c.float("n")?;
    let mut series = c.series("seriesList")?;
    for s in &mut series {
        s.rename(format!("{function}({}, {})", s.name, python::general(n)));
        s.map_known(|v| if drop(v, n) { f64::NAN } else { v });
    }
    Ok(series.into())
}

fn by_percentile(c: &mut Invocation<'_, '_, '_>, function: &str, drop: fn(f64, f64) -> bool) -> Result<Value, Stop> {
    let n = c.finite("n")?;
    let mut series = c.series("seriesList")?;
    for s in &mut series {
        s.rename(format!("{function}({}, {})", s.name, python::general(n)));
        // Beyond the last percentile there is nothing to compare with.
        if let Some(limit) = percentile_of(s, n)?.filter(|limit| !limit.is_nan()) {
            s.tags.set("nPercentile", n);
            s.map_known(|v| if drop(v, limit) { f64::NAN } else { v });
        }
    }
    Ok(series.into())
}
