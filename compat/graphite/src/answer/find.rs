//! `/metrics/find`, `/metrics/expand` and `/metrics/index.json`.

use super::json::{Writer, wrap};
use super::pickle::Pickle;
use super::{Answer, Params};
use crate::carbonapi;
use crate::time;
use jiff::tz::TimeZone;
use rhythmite_model::{Error, Result};
use std::collections::{BTreeSet, HashSet};

/// A node of the tree of names. A name that is both series and branch is two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The whole dotted path.
    pub path: String,
    /// A series, not a branch.
    pub is_leaf: bool,
    /// First and last second with data, if known; leaves only.
    pub interval_s: Option<(i64, i64)>,
}

impl Node {
    /// The last segment of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }
}

/// The format of a find answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindFormat {
    /// For trees in browsers.
    TreeJson,
    /// For text fields that complete names.
    Completer,
    /// For programs.
    Json,
    /// For other servers.
    Pickle,
    /// For other servers.
    Msgpack,
    /// For carbonapi.
    CarbonapiV3,
    /// The distinct segments at one position.
    NodeList,
}

/// The parameters of `/metrics/find`.
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// The pattern to look up.
    pub pattern: String,
    /// Only series, no branches.
    pub leaves_only: bool,
    /// As it was given.
    query: String,
    /// What precedes the names in ids.
    base: String,
    format: FindFormat,
    wildcards: bool,
    position: i64,
    jsonp: Option<String>,
    pretty: bool,
}

impl FindOptions {
    /// Reads the parameters.
    ///
    /// # Errors
    /// `Invalid` without a query, for bad numbers or times, or an unknown format.
    pub fn parse(params: Params<'_>, clock_s: i64, server_zone: &TimeZone) -> Result<Self> {
        let format = match params.get("format").unwrap_or("treejson") {
            "treejson" => FindFormat::TreeJson,
            "completer" => FindFormat::Completer,
            "json" => FindFormat::Json,
            "pickle" => FindFormat::Pickle,
            "msgpack" => FindFormat::Msgpack,
            "nodelist" => FindFormat::NodeList,
            other if carbonapi::is_format(other) => FindFormat::CarbonapiV3,
            _ => return Err(Error::invalid("Invalid value for 'format' parameter")),
        };
        let query = params.get("query").ok_or_else(|| Error::invalid("Missing required parameter 'query'"))?;
        if query.is_empty() {
            return Err(Error::invalid("Required parameter 'query' is empty"));
        }
        params.int("local", 0)?;
        let (zone, now_s) = params.clock(clock_s, server_zone)?;
        let at = |name: &str| {
            let text = params.get(name).filter(|t| *t != "-1");
            text.map(|text| time::parse_time(text, &zone, now_s)).transpose()
        };
        // The range hides nothing, but must be one.
        for name in ["from", "until"] {
            at(name)?;
        }
        let base = query.rfind('.').map_or("", |dot| &query[..=dot]);
        let variants = params.int("automatic_variants", 0)? != 0;
        Ok(Self {
            pattern: if format == FindFormat::Completer { completion(query, variants) } else { query.to_owned() },
            leaves_only: params.int("leavesOnly", 0)? != 0,
            query: query.to_owned(),
            base: base.to_owned(),
            format,
            wildcards: params.int("wildcards", 0)? != 0,
            position: params.int("position", -1)?,
            jsonp: params.get("jsonp").map(str::to_owned),
            pretty: params.get("pretty").is_some_and(|p| !p.is_empty()),
        })
    }

    /// Writes the nodes found, in any order.
    ///
    /// # Errors
    /// `Invalid` for a bad JSONP callback, or a position that a path does not have.
    pub fn write(&self, mut nodes: Vec<Node>) -> Result<Answer> {
        nodes.retain(|n| n.is_leaf || !self.leaves_only);
        nodes.sort_by(|a, b| (a.name(), &a.path, a.is_leaf).cmp(&(b.name(), &b.path, b.is_leaf)));
        nodes.dedup();
        let mut out = Writer::new(self.pretty, nodes.len() * 96);
        match self.format {
            FindFormat::Pickle => return Ok(Answer { content_type: "application/pickle", body: pickle(&nodes) }),
            FindFormat::Msgpack => return msgpack(&nodes),
            FindFormat::CarbonapiV3 => return Ok(carbonapi::matches([(self.query.as_str(), nodes.as_slice())])),
            FindFormat::TreeJson => self.tree(&nodes, &mut out),
            FindFormat::Completer => self.completer(&nodes, &mut out),
            FindFormat::Json => json(nodes, &mut out),
            FindFormat::NodeList => self.node_list(&nodes, &mut out)?,
        }
        wrap(out.finish(), self.jsonp.as_deref())
    }

    /// Branches first, one node per name; a name that is both shows as a branch.
    fn tree(&self, nodes: &[Node], out: &mut Writer) {
        let branches: HashSet<&str> = nodes.iter().filter(|n| !n.is_leaf).map(Node::name).collect();
        let mut rows: Vec<(bool, &str)> = nodes.iter().map(|n| (!branches.contains(n.name()), n.name())).collect();
        rows.dedup();
        rows.sort_by_key(|(leaf, _)| *leaf);
        out.open(b'[');
        let wildcard = (self.wildcards && nodes.len() > 1).then_some((branches.is_empty(), "*"));
        for (leaf, text) in wildcard.into_iter().chain(rows) {
            out.member();
            out.open(b'{');
            out.key("text");
            out.text(&unquote(text));
            out.key("id");
            out.text(&format!("{}{text}", self.base));
            for (key, flag) in [("allowChildren", !leaf), ("expandable", !leaf), ("leaf", leaf)] {
                out.key(key);
                out.int(i64::from(flag));
            }
            out.close(b'}');
        }
        out.close(b']');
    }

    fn completer(&self, nodes: &[Node], out: &mut Writer) {
        out.open(b'{');
        out.key("metrics");
        out.open(b'[');
        for n in nodes {
            out.member();
            out.open(b'{');
            out.key("path");
            out.text(&format!("{}{}", n.path, if n.is_leaf { "" } else { "." }));
            out.key("name");
            out.text(n.name());
            out.key("is_leaf");
            out.text(if n.is_leaf { "1" } else { "0" });
            out.close(b'}');
        }
        if self.wildcards && nodes.len() > 1 {
            out.member();
            out.raw("{\"name\": \"*\"}");
        }
        out.close(b']');
        out.close(b'}');
    }

    fn node_list(&self, nodes: &[Node], out: &mut Writer) -> Result<()> {
        let mut found = BTreeSet::new();
        for n in nodes {
            let segments: Vec<&str> = n.path.split('.').collect();
            let len = i64::try_from(segments.len()).unwrap_or(i64::MAX);
            let at = if self.position < 0 { self.position + len } else { self.position };
            let segment = usize::try_from(at).ok().and_then(|at| segments.get(at));
            found.insert(*segment.ok_or_else(|| Error::invalid(format!("{} has no node {}", n.path, self.position)))?);
        }
        out.open(b'{');
        out.key("nodes");
        strings(found, out);
        out.close(b'}');
        Ok(())
    }
}

fn json(mut nodes: Vec<Node>, out: &mut Writer) {
    nodes.sort_by(|a, b| (&a.path, a.is_leaf).cmp(&(&b.path, b.is_leaf)));
    out.open(b'[');
    for n in &nodes {
        out.member();
        out.open(b'{');
        out.key("path");
        out.text(&n.path);
        out.key("is_leaf");
        out.raw(if n.is_leaf { "true" } else { "false" });
        if n.is_leaf {
            out.key("intervals");
            out.open(b'[');
            if let Some((start, end)) = n.interval_s {
                out.member();
                out.open(b'{');
                out.key("start");
                out.int(start);
                out.key("end");
                out.int(end);
                out.close(b'}');
            }
            out.close(b']');
        }
        out.close(b'}');
    }
    out.close(b']');
}

fn pickle(nodes: &[Node]) -> Vec<u8> {
    let mut out = Pickle::new();
    out.list(|out| {
        for n in nodes {
            out.dict(|out| {
                out.text("path");
                out.text(&n.path);
                out.text("is_leaf");
                out.flag(n.is_leaf);
                if n.is_leaf {
                    out.text("intervals");
                    out.list(|out| {
                        if let Some((start, end)) = n.interval_s {
                            out.list(|out| [start, end].into_iter().for_each(|t| out.int(t)));
                        }
                    });
                }
            });
        }
    });
    out.finish()
}

fn msgpack(nodes: &[Node]) -> Result<Answer> {
    use rmp::encode as put;
    let bad = |e: put::ValueWriteError| Error::internal(e.to_string());
    let mut body = Vec::new();
    let len = u32::try_from(nodes.len()).map_err(|_| Error::invalid("the answer is too large for msgpack"))?;
    put::write_array_len(&mut body, len).map_err(bad)?;
    for n in nodes {
        put::write_map_len(&mut body, 2 + u32::from(n.is_leaf)).map_err(bad)?;
        put::write_str(&mut body, "path").map_err(bad)?;
        put::write_str(&mut body, &n.path).map_err(bad)?;
        put::write_str(&mut body, "is_leaf").map_err(bad)?;
        put::write_bool(&mut body, n.is_leaf).map_err(|e| Error::internal(e.to_string()))?;
        if n.is_leaf {
            put::write_str(&mut body, "intervals").map_err(bad)?;
            put::write_array_len(&mut body, u32::from(n.interval_s.is_some())).map_err(bad)?;
            if let Some((start, end)) = n.interval_s {
                put::write_array_len(&mut body, 2).map_err(bad)?;
                put::write_sint(&mut body, start).map_err(bad)?;
                put::write_sint(&mut body, end).map_err(bad)?;
            }
        }
    }
    Ok(Answer { content_type: "application/x-msgpack", body })
}

/// Trees show `%20` and `+` as blanks.
fn unquote(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        let hex = text.get(i + 1..i + 3).filter(|_| b == b'%').and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(hex.unwrap_or(if b == b'+' { b' ' } else { b }));
        i += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a completer looks up: `..` stands for a wildcard, the end is open, and `a,b` may mean
/// `{a,b}`.
fn completion(query: &str, variants: bool) -> String {
    let mut query = query.replace("..", "*.");
    if !query.ends_with('*') {
        query.push('*');
    }
    if !variants {
        return query;
    }
    let braced = |s: &str| if s.contains(',') && !s.contains('{') { format!("{{{s}}}") } else { s.to_owned() };
    query.split('.').map(braced).collect::<Vec<_>>().join(".")
}

fn strings<'a>(list: impl IntoIterator<Item = &'a str>, out: &mut Writer) {
    out.open(b'[');
    for text in list {
        out.member();
        out.text(text);
    }
    out.close(b']');
}

/// `/metrics/expand`: the paths found for each query, put together query by query.
pub struct Expansion<'a> {
    params: Params<'a>,
    leaves_only: bool,
    by_query: bool,
    /// One for each query, or one without a name for all of them.
    sets: Vec<(String, BTreeSet<String>)>,
}

impl<'a> Expansion<'a> {
    /// # Errors
    /// `Invalid` for bad numbers.
    pub fn new(params: Params<'a>) -> Result<Self> {
        let leaves_only = params.int("leavesOnly", 0)? != 0;
        let by_query = params.int("groupByExpr", 0)? != 0;
        params.int("local", 0)?;
        Ok(Self { params, leaves_only, by_query, sets: Vec::new() })
    }

    /// What a query has found.
    pub fn add(&mut self, query: &str, nodes: Vec<Node>) {
        if self.by_query || self.sets.is_empty() {
            self.sets.push((query.to_owned(), BTreeSet::new()));
        }
        let leaves_only = self.leaves_only;
        let paths = nodes.into_iter().filter(|n| n.is_leaf || !leaves_only).map(|n| n.path);
        if let Some((_, set)) = self.sets.last_mut() {
            set.extend(paths);
        }
    }

    /// # Errors
    /// `Invalid` for a bad JSONP callback.
    pub fn write(self) -> Result<Answer> {
        let mut out = Writer::new(self.params.get("pretty").is_some_and(|p| !p.is_empty()), 1024);
        out.open(b'{');
        out.key("results");
        if self.by_query {
            out.open(b'{');
            for (query, paths) in &self.sets {
                out.key(query);
                strings(paths.iter().map(String::as_str), &mut out);
            }
            out.close(b'}');
        } else {
            strings(self.sets.iter().flat_map(|(_, paths)| paths).map(String::as_str), &mut out);
        }
        out.close(b'}');
        wrap(out.finish(), self.params.get("jsonp"))
    }
}

/// `/metrics/index.json`: all names, sorted.
///
/// # Errors
/// `Invalid` for bad numbers or a bad JSONP callback.
pub fn index(params: Params<'_>, mut names: Vec<&str>) -> Result<Answer> {
    params.int("local", 0)?;
    names.sort_unstable();
    names.dedup();
    let mut out = Writer::new(params.get("pretty").is_some_and(|p| !p.is_empty()), names.len() * 48);
    strings(names, &mut out);
    wrap(out.finish(), params.get("jsonp"))
}
