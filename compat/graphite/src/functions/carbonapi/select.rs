//! Functions that keep some series and drop others.

use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::filter_series::{extreme, first_n_of};
use crate::functions::{Function, Group};
use crate::python;
use crate::series::{AggFunc, known_enough};

pub(super) const ALL: &[Function] = &[
    first_n_of(Group::Carbonapi, &["highestMin"], "Keeps the `n` series with the largest minimum.", |c| {
        extreme(c, AggFunc::Min, true)
    }),
    first_n_of(Group::Carbonapi, &["lowestMax"], "Keeps the `n` series with the smallest maximum.", |c| {
        extreme(c, AggFunc::Max, false)
    }),
    first_n_of(Group::Carbonapi, &["lowestMin"], "Keeps the `n` series with the smallest minimum.", |c| {
        extreme(c, AggFunc::Min, false)
    }),
    REMOVE_ZERO_SERIES,
];

const REMOVE_ZERO_SERIES: Function = Function {
    names: &["removeZeroSeries"],
    group: Group::Carbonapi,
    about: "Drops the series whose known values are all zero, or with a share of others below `xFilesFactor`.",
    params: &[P::SERIES, P::optional("xFilesFactor", T::Float)],
    aggregator: false,
    run: |c| {
        let factor = c.opt_float("xFilesFactor")?.unwrap_or(0.0);
        let mut series = c.series("seriesList")?;
        series.retain(|s| {
            let others = s.values.iter().filter(|v| !v.is_nan() && **v != 0.0).count();
            known_enough(others, s.values.len(), factor)
        });
        series.iter_mut().for_each(|s| s.tags.set("removeZeroSeries", python::general(factor)));
        Ok(series.into())
    },
};
