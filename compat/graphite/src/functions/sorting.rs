//! Functions that change the order of series.
//!
//! Sorting is stable, also when reversed; a series without a value counts as minus infinity.

use super::Param as P;
use super::ParamType as T;
use super::{Default, Function, Group};
use crate::series::{AggFunc, Series};
use std::cmp::Ordering;

pub(super) const ALL: &[Function] = &[SORT_BY, SORT_BY_MAXIMA, SORT_BY_MINIMA, SORT_BY_NAME, SORT_BY_TOTAL];

const SORT_BY: Function = Function {
    names: &["sortBy"],
    group: Group::Sorting,
    about: "Sorts by an aggregated value, smallest first unless `reverse`.",
    params: &[
        P::SERIES,
        P::optional("func", T::AggFunc).or(Default::Text("average")),
        P::optional("reverse", T::Boolean).or(Default::Flag(false)),
    ],
    aggregator: false,
    run: |c| {
        let (func, _) = c.agg_func("func")?;
        let reverse = c.flag("reverse")?;
        let mut series = c.series("seriesList")?;
        sort_by(&mut series, func, reverse);
        Ok(series.into())
    },
};

const SORT_BY_MAXIMA: Function = Function {
    names: &["sortByMaxima"],
    group: Group::Sorting,
    about: "Sorts by the largest value, largest first.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        sort_by(&mut series, AggFunc::Max, true);
        Ok(series.into())
    },
};

const SORT_BY_MINIMA: Function = Function {
    names: &["sortByMinima"],
    group: Group::Sorting,
    about: "Sorts by the smallest value, smallest first; series that are never positive are dropped.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        series.retain(|s| AggFunc::Max.apply(&s.values) > 0.0);
        sort_by(&mut series, AggFunc::Min, false);
        Ok(series.into())
    },
};

const SORT_BY_NAME: Function = Function {
    names: &["sortByName"],
    group: Group::Sorting,
    about: "Sorts by name; `natural` compares numbers within names by value.",
    params: &[
        P::SERIES,
        P::optional("natural", T::Boolean).or(Default::Flag(false)),
        P::optional("reverse", T::Boolean).or(Default::Flag(false)),
    ],
    aggregator: false,
    run: |c| {
        let (natural, reverse) = (c.flag("natural")?, c.flag("reverse")?);
        let series = c.series("seriesList")?;
        let key = |s: &Series| if natural { natural_key(&s.name) } else { s.name.clone() };
        let mut keyed: Vec<(String, Series)> = series.into_iter().map(|s| (key(&s), s)).collect();
        keyed.sort_by(|(a, _), (b, _)| directed(a.cmp(b), reverse));
        Ok(keyed.into_iter().map(|(_, s)| s).collect::<Vec<_>>().into())
    },
};

const SORT_BY_TOTAL: Function = Function {
    names: &["sortByTotal"],
    group: Group::Sorting,
    about: "Sorts by the sum of the values, largest first.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        sort_by(&mut series, AggFunc::Sum, true);
        Ok(series.into())
    },
};

/// Sorts by an aggregated value.
pub(super) fn sort_by(series: &mut Vec<Series>, func: AggFunc, reverse: bool) {
    let key = |s: &Series| Some(func.apply(&s.values)).filter(|v| !v.is_nan()).unwrap_or(f64::NEG_INFINITY);
    let mut keyed: Vec<(f64, Series)> = series.drain(..).map(|s| (key(&s), s)).collect();
    keyed.sort_by(|(a, _), (b, _)| directed(a.partial_cmp(b).unwrap_or(Ordering::Equal), reverse));
    series.extend(keyed.into_iter().map(|(_, s)| s));
}

fn directed(order: Ordering, reverse: bool) -> Ordering {
    if reverse { order.reverse() } else { order }
}

/// Numbers are padded with zeros to ten digits.
fn natural_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len() + 20);
    let mut rest = name;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let len = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
        let digits = rest[at..at + len].trim_start_matches('0');
        key.push_str(&rest[..at]);
        key.extend(std::iter::repeat_n('0', 10usize.saturating_sub(digits.len())));
        key.push_str(digits);
        rest = &rest[at + len..];
    }
    key + rest
}
