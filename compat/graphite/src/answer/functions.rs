//! `/functions`: the render functions with their parameters.

use super::json::Writer;
use super::{Answer, Params, wrap};
use crate::functions::{self, Default, Function, Param};
use crate::python;
use rhythmite_model::{Error, Result};
use std::collections::BTreeMap;

/// What modules are called in the list; editors only show it.
const MODULE: &str = "rhythmite.render";
const MODULE_CARBONAPI: &str = "rhythmite.render.carbonapi";
const MODULE_OWN: &str = "rhythmite.render.own";

/// Functions that choose the value of a pie's slice.
const PIE: [(&str, &str); 3] =
    [("average", "The mean of the values."), ("maximum", "The largest value."), ("minimum", "The smallest value.")];

/// All functions: `type=pie` for those of pies, `group` for one group, `grouped` for a list by groups.
///
/// # Errors
/// `Invalid` for a bad JSONP callback.
pub fn list(params: Params<'_>) -> Result<Answer> {
    let group = params.get("group");
    let grouped = params.get("grouped").is_some_and(|g| g == "1" || g.eq_ignore_ascii_case("true"));
    let mut groups: BTreeMap<String, BTreeMap<&str, Entry>> = BTreeMap::new();
    for (name, entry) in entries(is_pie(params)) {
        let heading = entry.group();
        if group.is_none_or(|g| g == heading) {
            groups.entry(if grouped { heading } else { String::new() }).or_default().insert(name, entry);
        }
    }
    let mut out = writer(params);
    out.open(b'{');
    for (heading, entries) in &groups {
        if grouped {
            out.key(heading);
            out.open(b'{');
        }
        for (name, entry) in entries {
            out.key(name);
            entry.write(name, &mut out);
        }
        if grouped {
            out.close(b'}');
        }
    }
    out.close(b'}');
    wrap(out.finish(), params.get("jsonp"))
}

/// One function.
///
/// # Errors
/// `NotFound` for an unknown name, `Invalid` for a bad JSONP callback.
pub fn details(params: Params<'_>, name: &str) -> Result<Answer> {
    let found = entries(is_pie(params)).find(|(n, _)| *n == name);
    let (name, entry) = found.ok_or_else(|| Error::not_found(format!("Function not found: {name}")))?;
    let mut out = writer(params);
    entry.write(name, &mut out);
    wrap(out.finish(), params.get("jsonp"))
}

fn is_pie(params: Params<'_>) -> bool {
    params.get("type") == Some("pie")
}

fn writer(params: Params<'_>) -> Writer {
    Writer::new(params.get("pretty").is_some_and(|p| !p.is_empty()), 64 << 10)
}

enum Entry {
    Render(&'static Function, &'static str),
    Pie(&'static str),
}

fn entries(pie: bool) -> Box<dyn Iterator<Item = (&'static str, Entry)>> {
    if pie {
        return Box::new(PIE.into_iter().map(|(name, about)| (name, Entry::Pie(about))));
    }
    let of = |f: &'static Function, module| f.names.iter().map(move |name| (*name, Entry::Render(f, module)));
    let graphite = functions::of_graphite().flat_map(move |f| of(f, MODULE));
    let carbonapi = functions::of_carbonapi().flat_map(move |f| of(f, MODULE_CARBONAPI));
    Box::new(graphite.chain(carbonapi).chain(functions::own().flat_map(move |f| of(f, MODULE_OWN))))
}

impl Entry {
    fn group(&self) -> String {
        match self {
            Self::Render(function, _) => function.group.to_string(),
            Self::Pie(_) => "Pie".to_owned(),
        }
    }

    fn write(&self, name: &str, out: &mut Writer) {
        let (about, params, module) = match self {
            Self::Render(function, module) => (function.about, function.params, *module),
            Self::Pie(about) => (*about, &[][..], MODULE),
        };
        let signature: Vec<String> = match self {
            Self::Render(..) => params.iter().map(signature).collect(),
            Self::Pie(_) => vec!["series".to_owned()],
        };
        out.open(b'{');
        for (key, text) in [
            ("name", name),
            ("function", &format!("{name}({})", signature.join(", "))),
            ("description", about),
            ("module", module),
            ("group", &self.group()),
        ] {
            out.key(key);
            out.text(text);
        }
        out.key("params");
        out.open(b'[');
        if matches!(self, Self::Pie(_)) {
            out.member();
            out.raw("{\"name\": \"series\", \"type\": \"series\", \"required\": true}");
        }
        for p in params {
            out.member();
            param(p, out);
        }
        out.close(b']');
        out.close(b'}');
    }
}

fn param(p: &Param, out: &mut Writer) {
    out.open(b'{');
    out.key("name");
    out.text(p.name);
    out.key("type");
    out.text(p.kind.name());
    for (key, flag) in [("required", p.required), ("multiple", p.multiple)] {
        if flag {
            out.key(key);
            out.raw("true");
        }
    }
    if p.default != Default::None {
        out.key("default");
        match p.default {
            Default::None => {}
            Default::Int(i) => out.int(i),
            Default::Float(x) => out.float(x),
            Default::Text(text) => out.text(text),
            Default::Flag(flag) => out.raw(if flag { "true" } else { "false" }),
        }
    }
    for (key, values) in [("options", p.choices()), ("suggestions", p.suggestions.to_vec())] {
        if values.is_empty() {
            continue;
        }
        out.key(key);
        out.open(b'[');
        for value in values {
            out.member();
            // Numbers of points are offered beside intervals.
            match value.parse() {
                Ok(i) => out.int(i),
                Err(_) => out.text(value),
            }
        }
        out.close(b']');
    }
    out.close(b'}');
}

/// A parameter the way Python writes it.
fn signature(p: &Param) -> String {
    let name = p.name;
    match p.default {
        _ if p.multiple => format!("*{name}"),
        Default::None if p.required => name.to_owned(),
        Default::None => format!("{name}=None"),
        Default::Int(i) => format!("{name}={i}"),
        Default::Float(x) => format!("{name}={}", python::repr(x)),
        Default::Text(text) => format!("{name}='{text}'"),
        Default::Flag(true) => format!("{name}=True"),
        Default::Flag(false) => format!("{name}=False"),
    }
}
