//! Functions that only change names.

use super::Param as P;
use super::ParamType as T;
use super::support::{MATCH_POINTS, node_key, text_or_none};
use super::{Function, Group, Invocation};
use crate::eval::{Stop, Value};
use crate::functions::special::substring;
use crate::functions::units;
use crate::python::regex::{Regex, Replacement};
use crate::series::AggFunc;
use crate::series::Series;
use rhythmite_model::{Error, Result};

pub(super) const ALL: &[Function] =
    &[ALIAS, ALIAS_BY_METRIC, ALIAS_BY_NODE, ALIAS_BY_TAGS, ALIAS_QUERY, ALIAS_SUB, LEGEND_VALUE, LOWER, UPPER];

const ALIAS: Function = Function {
    names: &["alias"],
    group: Group::Alias,
    about: "Names every series `newName`.",
    params: &[P::SERIES, P::required("newName", T::String)],
    aggregator: false,
    run: |c| {
        let name = c.text("newName")?;
        rename(c, |_, _| Ok(name.clone()))
    },
};

const ALIAS_BY_METRIC: Function = Function {
    names: &["aliasByMetric"],
    group: Group::Alias,
    about: "Names every series by the last node of its name.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| rename(c, |_, s| Ok(substring(&s.name, -1, 0))),
};

const ALIAS_BY_NODE: Function = Function {
    names: &["aliasByNode"],
    group: Group::Alias,
    about: "Names every series by nodes of its path, counted from 0 or from the end with negative numbers, or by \
            tags. For a series that functions have made, the nodes are those of the first path in its name.",
    params: &[P::SERIES, P::required("nodes", T::NodeOrTag).many()],
    aggregator: false,
    run: by_nodes,
};

const ALIAS_BY_TAGS: Function = Function {
    names: &["aliasByTags"],
    group: Group::Alias,
    about: "Names every series by the values of tags, or by nodes of its path.",
    params: &[P::SERIES, P::required("tags", T::NodeOrTag).many()],
    aggregator: false,
    run: by_nodes,
};

const ALIAS_QUERY: Function = Function {
    names: &["aliasQuery"],
    group: Group::Alias,
    about: "Turns each name into a target by a regular expression, and names the series by the last value found \
            there: `newName` holds one `%d`, `%g`, `%f` or `%s` for it.",
    params: &[
        P::SERIES,
        P::required("search", T::String),
        P::required("replace", T::String),
        P::required("newName", T::String),
    ],
    aggregator: false,
    run: |c| {
        let (search, replace) = substitution(c)?;
        let new_name = c.text("newName")?;
        let mut series = c.series("seriesList")?;
        let mut pending = false;
        for s in &mut series {
            let query = search.replace_all(&s.name, &replace, || c.charge(MATCH_POINTS))?;
            let mut scope = c.scope.clone();
            let found = match c.eval.text(&query, &mut scope) {
                Err(Stop::Pending) => {
                    pending = true;
                    continue;
                }
                other => other?,
            };
            let Some(first) = found.first() else {
                return Err(Error::invalid(format!("No series found with query: {query}")).into());
            };
            let last = AggFunc::Last.apply(&first.values);
            if last.is_nan() {
                return Err(Error::invalid(format!("Cannot get last value of series: {}", first.name)).into());
            }
            s.name = crate::python::format_one(&new_name, last)?;
        }
        if pending { Err(Stop::Pending) } else { Ok(series.into()) }
    },
};

const ALIAS_SUB: Function = Function {
    names: &["aliasSub"],
    group: Group::Alias,
    about: "Replaces what a regular expression finds in each name; `\\1` and `\\g<name>` stand for groups.",
    params: &[P::SERIES, P::required("search", T::String), P::required("replace", T::String)],
    aggregator: false,
    run: |c| {
        let (search, replace) = substitution(c)?;
        rename(c, |c, s| search.replace_all(&s.name, &replace, || c.charge(MATCH_POINTS)))
    },
};

const LEGEND_VALUE: Function = Function {
    names: &["legendValue"],
    group: Group::Alias,
    about: "Appends aggregated values to each name. With `si` or `binary` as the last argument the values get unit \
            prefixes and the name becomes a table row.",
    params: &[P::SERIES, P::optional("valuesTypes", T::String).many()],
    aggregator: false,
    run: |c| {
        let mut types = c.texts()?;
        let system = match types.last().map(String::as_str) {
            None => return Err(Error::invalid("missing argument valuesTypes").into()),
            Some("si") => Some(units::SI),
            Some("binary") => Some(units::BINARY),
            Some(_) => None,
        };
        if system.is_some() {
            types.pop();
        }
        rename(c, |_, s| {
            let mut name = s.name.clone();
            for kind in &types {
                let func = AggFunc::parse(kind).ok();
                let value = func.map(|f| f.apply(&s.values));
                name = match (system, value) {
                    (None, None) => format!("{name} ({kind}: (?))"),
                    (None, Some(x)) if func == Some(AggFunc::Count) => format!("{name} ({kind}: {x:.0})"),
                    (None, Some(x)) => format!("{name} ({kind}: {})", text_or_none(x)),
                    (Some(system), value) => {
                        let text = match value {
                            None => "(?)".to_owned(),
                            Some(x) if x.is_nan() => "None".to_owned(),
                            Some(x) => {
                                let (x, prefix) = units::scale(x, system, "");
                                format!("{x:.2}{prefix}")
                            }
                        };
                        format!("{name:<20}{kind:<5}{text:<10}")
                    }
                };
            }
            Ok(name)
        })
    },
};

const LOWER: Function = Function {
    names: &["lower"],
    group: Group::Alias,
    about: "Names in lower case, or only the letters at the given positions.",
    params: &[P::SERIES, P::optional("pos", T::Integer).many()],
    aggregator: false,
    run: |c| change_case(c, |text| text.to_lowercase()),
};

const UPPER: Function = Function {
    names: &["upper"],
    group: Group::Alias,
    about: "Names in upper case, or only the letters at the given positions.",
    params: &[P::SERIES, P::optional("pos", T::Integer).many()],
    aggregator: false,
    run: |c| change_case(c, |text| text.to_uppercase()),
};

fn rename<'c, 'e, 'w>(
    c: &mut Invocation<'c, 'e, 'w>,
    mut name: impl FnMut(&mut Invocation<'c, 'e, 'w>, &Series) -> Result<String>,
) -> Result<Value, Stop> {
    let mut series = c.series("seriesList")?;
    for s in &mut series {
        s.name = name(c, s)?;
    }
    Ok(series.into())
}

fn by_nodes(c: &mut Invocation<'_, '_, '_>) -> Result<Value, Stop> {
    let nodes = c.nodes()?;
    rename(c, |_, s| node_key(s, &nodes))
}

fn substitution(c: &Invocation<'_, '_, '_>) -> Result<(Regex, Replacement)> {
    Ok((Regex::new(&c.text("search")?)?, Replacement::new(&c.text("replace")?)?))
}

pub(super) fn change_case(c: &mut Invocation<'_, '_, '_>, change: fn(&str) -> String) -> Result<Value, Stop> {
    let positions = c.ints()?;
    rename(c, |_, s| {
        if positions.is_empty() {
            return Ok(change(&s.name));
        }
        let mut letters: Vec<String> = s.name.chars().map(String::from).collect();
        for i in &positions {
            if let Some(i) = super::support::index(letters.len(), *i) {
                letters[i] = change(&letters[i]);
            }
        }
        Ok(letters.concat())
    })
}
