//! Functions that group series by nodes or tags and hand each group to another function.

use super::Param as P;
use super::ParamType as T;
use super::support::{aggregate, group_by, index, node_key, slice};
use super::{Default, Function, Group, Invocation, Node};
use crate::eval::{Stop, Value};
use crate::python;
use crate::series::{Series, Tags};
use crate::target;
use rhythmite_model::{Error, Result};
use std::collections::{BTreeSet, HashMap};

pub(super) const ALL: &[Function] =
    &[APPLY_BY_NODE, GROUP_BY_NODE, GROUP_BY_NODES, GROUP_BY_TAGS, MAP_SERIES, REDUCE_SERIES];

const APPLY_BY_NODE: Function = Function {
    names: &["applyByNode"],
    group: Group::Combine,
    about: "Evaluates a target for each distinct beginning of the paths, up to node `nodeNum`; `%` in the target \
            and in the new name stands for that beginning.",
    params: &[
        P::SERIES,
        P::required("nodeNum", T::Node),
        P::required("templateFunction", T::String),
        P::optional("newName", T::String),
    ],
    aggregator: false,
    run: |c| {
        let node = c.int("nodeNum")?;
        let (template, new_name) = (c.text("templateFunction")?, c.opt_text("newName")?.filter(|n| !n.is_empty()));
        let series = c.series("seriesList")?;
        let prefix = |s: &Series| {
            let nodes: Vec<&str> = s.name.split('.').collect();
            nodes[slice(nodes.len(), 0, Some(node.saturating_add(1)))].join(".")
        };
        let prefixes: BTreeSet<String> = series.iter().map(prefix).collect();
        let mut scope = c.scope.clone();
        let mut results = Vec::new();
        let mut pending = false;
        for prefix in prefixes {
            let text = python::replace_within(&template, "%", &prefix, target::TARGET_BYTES_MAX)?;
            match c.eval.text(&text, &mut scope) {
                Err(Stop::Pending) => pending = true,
                found => {
                    let found = found?;
                    let name = new_name.as_ref();
                    let name = name.map(|name| python::replace_within(name, "%", &prefix, target::TARGET_BYTES_MAX));
                    let name = name.transpose()?;
                    c.eval.points.series(found.len(), name.as_ref().map_or(0, String::len) + prefix.len())?;
                    results.extend(found.into_iter().map(|mut s| {
                        s.name = name.clone().unwrap_or(s.name);
                        s.path_expression.clone_from(&prefix);
                        if let Some(last) = series.last() {
                            (s.start_s, s.end_s) = (last.start_s, last.end_s);
                        }
                        s
                    }));
                }
            }
        }
        if pending { Err(Stop::Pending) } else { Ok(results.into()) }
    },
};

const CALLBACK: P = P::required("callback", T::AggOrSeriesFunc);

const GROUP_BY_NODE: Function = Function {
    names: &["groupByNode"],
    group: Group::Combine,
    about: "Groups by one node or tag and aggregates each group, which is then named by it.",
    params: &[
        P::SERIES,
        P::required("nodeNum", T::NodeOrTag),
        P::optional("callback", T::AggOrSeriesFunc).or(Default::Text("average")),
    ],
    aggregator: false,
    run: |c| {
        let node = c.node("nodeNum")?;
        by_nodes(c, &[node])
    },
};

const GROUP_BY_NODES: Function = Function {
    names: &["groupByNodes"],
    group: Group::Combine,
    about: "Groups by nodes or tags and aggregates each group, which is then named by them.",
    params: &[P::SERIES, CALLBACK, P::optional("nodes", T::NodeOrTag).many()],
    aggregator: false,
    run: |c| {
        let nodes = c.nodes()?;
        by_nodes(c, &nodes)
    },
};

const GROUP_BY_TAGS: Function = Function {
    names: &["groupByTags"],
    group: Group::Combine,
    about: "Groups by tags and aggregates each group into a tagged series. Unless `name` is among the tags, its name \
            is the one all series share, or the callback's.",
    params: &[P::SERIES, CALLBACK, P::required("tags", T::Tag).many()],
    aggregator: false,
    run: |c| {
        let tags = c.texts()?;
        if tags.is_empty() {
            return Err(Error::invalid("no tags specified").into());
        }
        let callback = c.text("callback")?;
        let series = c.series("seriesList")?;
        let tag = |s: &Series, name: &str| s.tags.get(name).unwrap_or_default().to_owned();
        let names: BTreeSet<String> = series.iter().map(|s| tag(s, "name")).collect();
        let shared = if names.len() == 1 { names.into_iter().next() } else { None };
        let by_name = tags.iter().any(|t| t == "name");
        let groups = group_by(series, |s| {
            let name = if by_name { tag(s, "name") } else { shared.clone().unwrap_or_else(|| callback.clone()) };
            let mut rest: Vec<String> =
                tags.iter().filter(|t| *t != "name").map(|t| format!("{t}={}", tag(s, t))).collect();
            rest.sort_unstable();
            rest.insert(0, name);
            Ok(rest.join(";"))
        })?;
        reduce_groups(c, groups, &callback, |result, key| {
            result.rename(key.to_owned());
            result.tags = Tags::of_name(key);
        })
    },
};

const MAP_SERIES: Function = Function {
    names: &["mapSeries", "map"],
    group: Group::Combine,
    about: "Groups by nodes or tags, for `reduceSeries()`.",
    params: &[P::SERIES, P::required("mapNodes", T::NodeOrTag).many()],
    aggregator: false,
    run: |c| {
        let nodes = c.nodes()?;
        let groups = group_by(c.series("seriesList")?, |s| node_key(s, &nodes))?;
        Ok(Value::Lists(groups.into_iter().map(|(_, series)| series).collect()))
    },
};

const REDUCE_SERIES: Function = Function {
    names: &["reduceSeries", "reduce"],
    group: Group::Combine,
    about: "In each group made by `mapSeries()`, hands the series whose node `reduceNode` is one of the matchers to a \
            function, in the order of the matchers.",
    params: &[
        P::required("seriesLists", T::SeriesLists),
        P::required("reduceFunction", T::String),
        P::required("reduceNode", T::Node),
        P::required("reduceMatchers", T::String).many(),
    ],
    aggregator: false,
    run: reduce_series,
};

fn reduce_series(c: &mut Invocation<'_, '_, '_>) -> Result<Value, Stop> {
    let matchers = c.texts()?;
    let (name, node) = (c.text("reduceFunction")?, c.int("reduceNode")?);
    let lists = c.lists("seriesLists")?;
    // Of equal matchers the first counts.
    let place: HashMap<&str, usize> = matchers.iter().enumerate().rev().map(|(i, m)| (m.as_str(), i)).collect();
    let mut matched = Vec::new();
    for s in lists.into_iter().flatten() {
        let nodes: Vec<&str> = s.name.split('.').collect();
        let Some(at) = index(nodes.len(), node) else {
            return Err(Error::invalid(format!("series {} has no node {node}", s.name)).into());
        };
        if let Some(&m) = place.get(nodes[at]) {
            let key = format!("{}.reduce.{name}", nodes[slice(nodes.len(), 0, Some(node))].join("."));
            matched.push((key, m, s));
        }
    }
    let mut results = Vec::new();
    for (key, members) in group_by(matched, |(key, _, _)| Ok(key.clone()))? {
        let mut args: Vec<Option<Series>> = matchers.iter().map(|_| None).collect();
        for (_, m, s) in members {
            args[m] = Some(s);
        }
        if let Some(m) = args.iter().position(Option::is_none) {
            return Err(Error::invalid(format!("{key} has no series for {:?}", matchers[m])).into());
        }
        let args = args.into_iter().flatten().map(|s| Value::Series(vec![s])).collect();
        // Asked for only when there is something to reduce.
        let function = super::find(&name).ok_or_else(|| Error::invalid(format!("unknown function: {name}")))?;
        let mut result = first(c.call(function, args)?, &name)?;
        result.name = key;
        results.push(result);
    }
    Ok(results.into())
}

fn by_nodes(c: &mut Invocation<'_, '_, '_>, nodes: &[Node]) -> Result<Value, Stop> {
    let callback = c.text("callback")?;
    let groups = group_by(c.series("seriesList")?, |s| node_key(s, nodes))?;
    reduce_groups(c, groups, &callback, |result, key| key.clone_into(&mut result.name))
}

/// The callback is a render function or else an aggregation function; it makes one series of
/// each group.
fn reduce_groups(
    c: &mut Invocation<'_, '_, '_>,
    groups: Vec<(String, Vec<Series>)>,
    callback: &str,
    mut name: impl FnMut(&mut Series, &str),
) -> Result<Value, Stop> {
    let function = super::find(callback);
    let mut results = Vec::with_capacity(groups.len());
    for (key, series) in groups {
        let mut result = match function {
            Some(function) => first(c.call(function, vec![Value::Series(series)])?, callback)?,
            None => aggregate(&series, callback, c.scope.x_files_factor)?.ok_or_else(|| nothing(callback))?,
        };
        name(&mut result, &key);
        results.push(result);
    }
    Ok(results.into())
}

fn first(value: Value, callback: &str) -> Result<Series> {
    match value {
        Value::Series(series) => series.into_iter().next().ok_or_else(|| nothing(callback)),
        _ => Err(nothing(callback)),
    }
}

fn nothing(callback: &str) -> Error {
    Error::invalid(format!("{callback} returned no series"))
}
