//! Functions that make series out of pairs of series, or move and name them.

use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::alias::change_case;
use crate::functions::support::{combine, power};
use crate::functions::{Function, Group};
use crate::series::Series;
use rhythmite_model::{Error, Result};
use std::collections::BTreeMap;

pub(super) const ALL: &[Function] = &[
    ALIAS_BY_BASE64,
    HEAT_MAP,
    INTEGRAL_WITH_RESET,
    POW_SERIES_LISTS,
    TIME_SHIFT_BY_METRIC,
    TO_LOWER_CASE,
    TO_UPPER_CASE,
];

/// Values by which `heatMap()` sorts.
const SORTED_BY: usize = 5;

const ALIAS_BY_BASE64: Function = Function {
    names: &["aliasByBase64"],
    group: Group::Carbonapi,
    about: "Decodes base64 in names: the whole name, or the node of that number, counted from 1. What is no base64 of \
            a text stays.",
    params: &[P::SERIES, P::optional("nodeNum", T::Integer)],
    aggregator: false,
    run: |c| {
        let node = c.opt_int("nodeNum")?;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            let Some(node) = node else {
                s.name = decoded(&s.name).unwrap_or_else(|| s.name.clone());
                continue;
            };
            let name = s.tags.get("name").unwrap_or(&s.name).to_owned();
            let mut nodes: Vec<String> = name.split('.').map(str::to_owned).collect();
            let place = usize::try_from(node - 1).ok().and_then(|at| nodes.get_mut(at));
            if let Some((place, text)) = place.and_then(|place| decoded(place).map(|text| (place, text))) {
                *place = text;
                s.name = nodes.join(".");
            }
        }
        Ok(series.into())
    },
};

const HEAT_MAP: Function = Function {
    names: &["heatMap"],
    group: Group::Carbonapi,
    about: "Turns cumulative buckets into single ones: the series are sorted by the sum of their first values, and \
            each but the first becomes its difference to the one before.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        let same = |a: &Series, b: &Series| a.step_s == b.step_s && a.values.len() == b.values.len();
        if let Some(other) = series.iter().find(|s| !same(s, &series[0])) {
            return Err(
                Error::invalid(format!("{} has another step or length than {}", other.name, series[0].name)).into()
            );
        }
        let len = series.first().map_or(0, |s| s.values.len());
        let complete = (0..len).filter(|i| series.iter().all(|s| !s.values[*i].is_nan()));
        let complete: Vec<usize> = complete.take(SORTED_BY).collect();
        let weight = |s: &Series| complete.iter().map(|i| s.values[*i]).sum::<f64>();
        series.sort_by(|a, b| weight(a).total_cmp(&weight(b)));
        let pairs = series.iter().zip(series.iter().skip(1));
        let difference = |(below, s): (&Series, &Series)| {
            let values = s.values.iter().zip(below.values.iter()).map(|(v, b)| v - b).collect();
            s.derived(format!("heatMap({},{})", s.name, below.name), values)
        };
        Ok(pairs.map(difference).collect::<Vec<_>>().into())
    },
};

const INTEGRAL_WITH_RESET: Function = Function {
    names: &["integralWithReset"],
    group: Group::Carbonapi,
    about: "The sum of the values so far, which starts again at 0 wherever the second series is not zero.",
    params: &[P::SERIES, P::required("resettingSeries", T::SeriesList)],
    aggregator: false,
    run: |c| {
        let resets = c.series("resettingSeries")?;
        let [reset] = resets.as_slice() else {
            return Err(Error::invalid("argument resettingSeries must be exactly one series").into());
        };
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            if s.step_s != reset.step_s || s.values.len() != reset.values.len() {
                return Err(Error::invalid(format!("{} has another step or length than {}", s.name, reset.name)).into());
            }
            s.name = format!("integralWithReset({},{})", s.name, reset.name);
            let mut sum = 0.0;
            for (v, reset) in s.values_mut().iter_mut().zip(reset.values.iter()).filter(|(v, _)| !v.is_nan()) {
                sum = if !reset.is_nan() && *reset != 0.0 { 0.0 } else { sum + *v };
                *v = sum;
            }
        }
        Ok(series.into())
    },
};

const POW_SERIES_LISTS: Function = Function {
    names: &["powSeriesLists"],
    group: Group::Carbonapi,
    about: "The first list to the power of the second, pair by pair in the order of their names; a second list of one \
            series serves all. Lists of other lengths are paired by equal names.",
    params: &[P::required("sourceSeriesList", T::SeriesList), P::required("factorSeriesList", T::SeriesList)],
    aggregator: false,
    run: |c| {
        let (mut sources, mut factors) = (c.series("sourceSeriesList")?, c.series("factorSeriesList")?);
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        factors.sort_by(|a, b| a.name.cmp(&b.name));
        let partner = |i: usize, s: &Series| match factors.len() {
            1 => factors.first(),
            n if n == sources.len() => factors.get(i),
            _ => factors.iter().find(|f| f.name == s.name),
        };
        let pairs = sources.iter().enumerate().filter_map(|(i, s)| partner(i, s).map(|f| (s, f)));
        let raise = |(s, f): (&Series, &Series)| {
            combine(format!("powSeries({},{})", s.name, f.name), s, f, c.scope.x_files_factor, power)
        };
        Ok(pairs.map(raise).collect::<Result<Vec<_>>>()?.into())
    },
};

const TIME_SHIFT_BY_METRIC: Function = Function {
    names: &["timeShiftByMetric"],
    group: Group::Carbonapi,
    about: "Moves the series of several versions so that their releases lie on each other. Each series of the second \
            list marks a release: its last node ends with `MAJOR_MINOR`, its last value is the moment. Of each major \
            version the highest counts; `versionRankIndex` is the node of the first list that names the version.",
    params: &[P::SERIES, P::required("markSource", T::SeriesList), P::required("versionRankIndex", T::Integer)],
    aggregator: false,
    run: |c| {
        let rank = usize::try_from(c.int("versionRankIndex")?).unwrap_or(usize::MAX);
        let (series, marks) = (c.series("seriesList")?, c.series("markSource")?);
        let (Some(first), true) = (series.first(), series.len() > 1 && marks.len() > 1) else {
            return Err(Error::invalid("timeShiftByMetric() needs at least two series and two marks").into());
        };
        let len = first.values.len();
        if len == 0 || series.iter().chain(&marks).any(|s| s.values.len() != len) {
            return Err(Error::invalid("all series and marks must be equally long").into());
        }
        let offsets = release_offsets(&marks, first.step_s)?;
        let moved = series.into_iter().filter_map(|s| {
            let name = s.tags.get("name").unwrap_or(&s.name);
            let version = name.split('.').nth(rank)?;
            let exact = offsets.iter().find(|(mark, _)| mark == version);
            let (_, offset_s) = exact.or_else(|| offsets.iter().find(|(mark, _)| mark.starts_with(version)))?;
            let name = format!("timeShiftByMetric({})", s.name);
            Some(Series { name, start_s: s.start_s + offset_s, end_s: s.end_s + offset_s, ..s })
        });
        Ok(moved.collect::<Vec<_>>().into())
    },
};

const TO_LOWER_CASE: Function = Function {
    names: &["toLowerCase"],
    group: Group::Carbonapi,
    about: "The same as `lower()`.",
    params: &[P::SERIES, P::optional("pos", T::Integer).many()],
    aggregator: false,
    run: |c| change_case(c, str::to_lowercase),
};

const TO_UPPER_CASE: Function = Function {
    names: &["toUpperCase"],
    group: Group::Carbonapi,
    about: "The same as `upper()`.",
    params: &[P::SERIES, P::optional("pos", T::Integer).many()],
    aggregator: false,
    run: |c| change_case(c, str::to_uppercase),
};

/// For each major version the mark of its highest release and how far it lies before that of the highest version.
fn release_offsets(marks: &[Series], step_s: i64) -> Result<Vec<(String, i64)>> {
    let mut highest: BTreeMap<u64, (u64, &str, usize)> = BTreeMap::new();
    for mark in marks {
        let name = mark.tags.get("name").unwrap_or(&mark.name);
        let last = name.rsplit('.').next().unwrap_or_default();
        let (Some((major, minor)), Some(at)) = (version(last), mark.values.iter().rposition(|v| !v.is_nan())) else {
            continue;
        };
        let known = highest.entry(major).or_insert((minor, last, at));
        if minor > known.0 {
            *known = (minor, last, at);
        }
    }
    let top = match highest.last_key_value() {
        Some((_, (_, _, at))) if highest.len() > 1 => *at as i64,
        _ => return Err(Error::invalid("timeShiftByMetric() needs marks of at least two major versions")),
    };
    Ok(highest.into_values().rev().map(|(_, mark, at)| (mark.to_owned(), (top - at as i64) * step_s)).collect())
}

/// The first `DIGITS_DIGITS` in a text.
fn version(text: &str) -> Option<(u64, u64)> {
    text.match_indices('_').find_map(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + 1..]);
        let major = &before[before.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
        let minor = &behind[..behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_digit()).len()];
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

/// The text that base64 with its padding stands for.
fn decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || !bytes.len().is_multiple_of(4) {
        return None;
    }
    let padding = bytes.iter().rev().take_while(|b| **b == b'=').count();
    if padding > 2 {
        return None;
    }
    let digit = |b: &u8| {
        Some(match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    let digits: Vec<u8> = bytes[..bytes.len() - padding].iter().map(digit).collect::<Option<_>>()?;
    let mut out = Vec::with_capacity(digits.len());
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, d| bits << 6 | u32::from(*d)) << (6 * (4 - group.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    String::from_utf8(out).ok()
}
