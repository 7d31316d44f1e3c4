//! Lines, tags, names and other odds and ends.

use super::Param as P;
use super::ParamType as T;
use super::support::slice;
use super::{Default, Function, Group, Invocation, units};
use crate::eval::{Scope, Stop, Value};
use crate::fetch::Query;
use crate::python;
use crate::series::{AggFunc, Consolidation, Series};
use crate::time::SECOND_MAX;
use rhythmite_model::{Error, Result};

pub(super) const ALL: &[Function] = &[
    CACTI_STYLE,
    CHANGED,
    CONSOLIDATE_BY,
    CONSTANT_LINE,
    CUMULATIVE,
    EVENTS,
    FALLBACK_SERIES,
    RANDOM_WALK,
    SERIES_BY_TAG,
    SET_X_FILES_FACTOR,
    SUBSTR,
];

const CACTI_STYLE: Function = Function {
    names: &["cactiStyle"],
    group: Group::Special,
    about: "Names that line up as a table with the current, largest and smallest value.",
    params: &[P::SERIES, P::optional("system", T::String).one_of(&["si", "binary"]), P::optional("units", T::String)],
    aggregator: false,
    run: cacti_style,
};

const CHANGED: Function = Function {
    names: &["changed"],
    group: Group::Special,
    about: "1 where a value differs from the last known one, else 0.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.rename(format!("changed({})", s.name));
            let mut previous = f64::NAN;
            for v in s.values_mut() {
                let changed = !v.is_nan() && !previous.is_nan() && *v != previous;
                if !v.is_nan() {
                    previous = *v;
                }
                *v = f64::from(u8::from(changed));
            }
        }
        Ok(series.into())
    },
};

const CONSOLIDATE_BY: Function = Function {
    names: &["consolidateBy"],
    group: Group::Special,
    about: "How values are merged when there are more than the answer shows, or series of different steps meet.",
    params: &[P::SERIES, P::required("consolidationFunc", T::String).one_of(&Consolidation::NAMES)],
    aggregator: false,
    run: |c| {
        let func = c.text("consolidationFunc")?;
        consolidate_by(c, &func)
    },
};

const CONSTANT_LINE: Function = Function {
    names: &["constantLine"],
    group: Group::Special,
    about: "A horizontal line.",
    params: &[P::required("value", T::Float)],
    aggregator: false,
    run: |c| {
        let value = c.float("value")?;
        Ok(vec![constant_line(c.scope, value, &python::repr(value))].into())
    },
};

const CUMULATIVE: Function = Function {
    names: &["cumulative"],
    group: Group::Special,
    about: "The same as `consolidateBy(\"sum\")`.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| consolidate_by(c, "sum"),
};

const EVENTS: Function = Function {
    names: &["events"],
    group: Group::Special,
    about: "How many events carry all of the tags, second by second; `*` means every event.",
    params: &[P::required("tags", T::String).many()],
    aggregator: false,
    run: |c| {
        let tags = c.texts()?;
        if tags.is_empty() {
            return Err(Error::invalid("missing argument tags").into());
        }
        let name = format!("events(\"{}\")", tags.join("\", \""));
        let (from_s, until_s) = (c.scope.from_s, c.scope.until_s);
        let count = c.eval.points.make(until_s - from_s)?;
        let query = Query::Events(if tags == ["*"] { Vec::new() } else { tags });
        let found = c.eval.fetch(query, &name, c.scope)?;
        let mut series = Series::new(name, from_s, until_s, 1, Vec::new());
        series.values = match found.into_iter().next() {
            Some(found) => found.values,
            None => vec![f64::NAN; count].into(),
        };
        series.consolidation = Consolidation::named("sum");
        series.x_files_factor = c.scope.x_files_factor;
        Ok(vec![series].into())
    },
};

const FALLBACK_SERIES: Function = Function {
    names: &["fallbackSeries"],
    group: Group::Special,
    about: "The first list, or the second if there is no series in the first.",
    params: &[P::SERIES, P::required("fallback", T::SeriesList)],
    aggregator: false,
    run: |c| {
        let series = c.series("seriesList")?;
        if c.given("fallback").is_none() {
            return Err(Error::invalid("missing argument fallback").into());
        }
        Ok(if series.is_empty() { c.series("fallback")? } else { series }.into())
    },
};

const RANDOM_WALK: Function = Function {
    names: &["randomWalkFunction", "randomWalk"],
    group: Group::Special,
    about: "A made-up series that starts at 0 and changes by less than a half each step. The same name walks the \
            same way.",
    params: &[P::required("name", T::String), P::optional("step", T::Integer).or(Default::Int(60))],
    aggregator: false,
    run: |c| {
        let (name, step_s) = (c.text("name")?, c.int("step")?);
        // The golden ratio's bits keep successive seeds apart (splitmix64).
        let mut seed = name.bytes().fold(0u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut at = 0.0;
        let series = generate(c, name, step_s, |_| {
            let here = at;
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            at += (mixed >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
            here
        })?;
        Ok(vec![series].into())
    },
};

const SERIES_BY_TAG: Function = Function {
    names: &["seriesByTag"],
    group: Group::Special,
    about: "Series by tags: `tag=value`, `tag!=value`, `tag=~regex`, `tag!=~regex`. At least one expression must \
            need its tag to be there.",
    params: &[P::required("tagExpressions", T::String).many()],
    aggregator: false,
    run: |_| Err(Error::invalid("cannot be used as a callback").into()),
};

const SET_X_FILES_FACTOR: Function = Function {
    names: &["setXFilesFactor", "xFilesFactor"],
    group: Group::Special,
    about: "Smallest share of known values for which merged values are known, for these series and for whatever is \
            evaluated after them.",
    params: &[P::SERIES, P::required("xFilesFactor", T::Float)],
    aggregator: false,
    run: |c| {
        let given = c.given("xFilesFactor").cloned();
        // Text that is no number only becomes a tag, as in the reference.
        let (factor, text) = match (c.float("xFilesFactor"), given) {
            (Ok(factor), _) => (Some(factor), python::repr(factor)),
            (Err(_), Some(Value::Str(text))) => (None, text),
            (Err(e), _) => return Err(e.into()),
        };
        let mut series = c.series("seriesList")?;
        if let Some(factor) = factor {
            c.scope.x_files_factor = factor;
        }
        for s in &mut series {
            s.x_files_factor = factor.unwrap_or(s.x_files_factor);
            s.tags.set("xFilesFactor", &text);
        }
        Ok(series.into())
    },
};

const SUBSTR: Function = Function {
    names: &["substr"],
    group: Group::Special,
    about: "Names of the nodes `start` to `stop` of the path within the name; 0 as `stop` means the end.",
    params: &[
        P::SERIES,
        P::optional("start", T::Node).or(Default::Int(0)),
        P::optional("stop", T::Node).or(Default::Int(0)),
    ],
    aggregator: false,
    run: |c| {
        let (start, stop) = (c.int("start")?, c.int("stop")?);
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.name = substring(&s.name, start, stop);
        }
        Ok(series.into())
    },
};

/// A horizontal line of three points over the range.
pub(super) fn constant_line(scope: &Scope, value: f64, name: &str) -> Series {
    let step_s = (scope.until_s - scope.from_s) / 2;
    let series = Series::new(name, scope.from_s, scope.until_s, step_s, vec![value; 3]);
    Series { path_expression: format!("constantLine({name})"), x_files_factor: scope.x_files_factor, ..series }
}

/// A made-up series over the range.
pub(super) fn generate(
    c: &mut Invocation<'_, '_, '_>,
    name: String,
    step_s: i64,
    value: impl FnMut(i64) -> f64,
) -> Result<Series> {
    if !(1..=SECOND_MAX).contains(&step_s) {
        return Err(Error::invalid(format!("argument step must be positive and in range, not {step_s}")));
    }
    let (from_s, until_s) = (c.scope.from_s, c.scope.until_s);
    let count = c.eval.points.make((until_s - from_s + step_s - 1) / step_s)?;
    let values = (0..count).map(|i| from_s + i as i64 * step_s).map(value).collect();
    Ok(Series { x_files_factor: c.scope.x_files_factor, ..Series::new(name, from_s, until_s, step_s, values) })
}

/// Nodes `start..stop` of what stands in the innermost parentheses of a name, up to a comma. A
/// `stop` of zero means the end.
pub(super) fn substring(name: &str, start: i64, stop: i64) -> String {
    let left = name.rfind('(').map_or(0, |at| at + 1);
    let right = name.find(')').unwrap_or(name.len());
    let inner = name.get(left..right).unwrap_or_default();
    let nodes: Vec<&str> = inner.split('.').collect();
    let kept = nodes[slice(nodes.len(), start, (stop != 0).then_some(stop))].join(".");
    kept.split(',').next().unwrap_or_default().to_owned()
}

fn consolidate_by(c: &mut Invocation<'_, '_, '_>, func: &str) -> Result<Value, Stop> {
    let mut series = c.series("seriesList")?;
    for s in &mut series {
        s.consolidation = Consolidation::named(func);
        s.tags.set("consolidateBy", func);
        s.rename(format!("consolidateBy({},\"{func}\")", s.name));
    }
    Ok(series.into())
}

fn cacti_style(c: &mut Invocation<'_, '_, '_>) -> Result<Value, Stop> {
    let unit = c.opt_text("units")?.unwrap_or_default();
    let system = match c.opt_text("system")?.as_deref() {
        None | Some("") => None,
        Some("si") => Some(units::SI),
        Some("binary") => Some(units::BINARY),
        Some(other) => return Err(Error::invalid(format!("unknown unit system {other:?}")).into()),
    };
    let format = |x: f64| {
        let (x, prefix) = system.map_or((x, unit.clone()), |system| units::scale(x, system, &unit));
        let blank = if unit.is_empty() { "" } else { " " };
        format!("{x:.2}{blank}{prefix}")
    };
    let mut series = c.series("seriesList")?;
    let columns = [("Current", AggFunc::Last), ("Max", AggFunc::Max), ("Min", AggFunc::Min)];
    // Columns are as wide as their values without a fraction, and three more.
    let width = |func: AggFunc| {
        let shown = |s: &Series| {
            let v = func.apply(&s.values);
            format(if v.is_nan() || v == 0.0 { 3.0 } else { v.trunc() }).chars().count()
        };
        series.iter().map(shown).max().unwrap_or(0) + 3
    };
    let widths = columns.map(|(_, func)| width(func));
    let name_width = series.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
    for s in &mut series {
        let mut name = format!("{:<name_width$} ", s.name);
        for ((title, func), width) in columns.into_iter().zip(widths) {
            let v = func.apply(&s.values);
            let text = if v.is_nan() { "nan".to_owned() } else { format(v) };
            name.push_str(&format!("{title}:{text:<width$} "));
        }
        s.name = name;
    }
    Ok(series.into())
}
