//! carbon-relay: which destinations a name goes to, and what is sent to them.
//!
//! [`Router`] answers as carbon's routers do: by relay-rules.conf ([`RelayRules`]), or by a
//! consistent hash [`Ring`], so that a relay of ours can stand beside or in front of carbon's without moving a series.
//! [`write_line`] and [`write_pickle`] make what a destination reads. Pure, as all of this package; where a
//! destination is and whether it answers is the caller's matter.
//!
//! Source: carbon 1.1.10; 10,000 names placed by it are in `tests/data/relay.txt`, its other methods in `relay-methods.txt`.

mod ring;

use std::fmt::{self, Write};
use std::str::FromStr;

use crate::aggregator::AggregationRules;
use crate::point::Point;
use crate::rules::RelayRules;

pub use ring::{FastRing, HashType, Ring};

/// Destinations of one router.
pub const DESTINATIONS_MAX: usize = 1_024;

/// `host:port`, `host:port:instance` or `[v6]:port:instance`. Host and instance decide where names go, the port does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// A name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Tells several on one host apart.
    pub instance: Option<String>,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no destination; write host:port or host:port:instance");
        let (host, rest) = match text.trim().strip_prefix('[') {
            Some(v6) => v6.split_once("]:").ok_or_else(bad)?,
            None => text.trim().split_once(':').ok_or_else(bad)?,
        };
        let (port, instance) = rest.split_once(':').map_or((rest, None), |(port, instance)| (port, Some(instance)));
        let instance = instance.map(str::to_owned);
        if host.is_empty() || instance.as_ref().is_some_and(|i| i.is_empty() || i.contains(':')) {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| bad())?, instance })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port)?,
            false => write!(f, "{}:{}", self.host, self.port)?,
        }
        self.instance.iter().try_for_each(|instance| write!(f, ":{instance}"))
    }
}

/// How names are shared out.
#[derive(Debug)]
pub enum Method {
    /// The first rule that matches, and those after one that says `continue`.
    Rules(RelayRules),
    /// By hash.
    Hashing(Places, Hashing),
}

/// Where each destination lies.
#[derive(Debug)]
pub enum Places {
    /// Few names move when a destination comes or goes.
    Consistent(Ring),
    /// Quicker to find.
    Fast(FastRing),
}

/// How names are hashed, and to how many destinations they go.
#[derive(Debug)]
pub struct Hashing {
    /// The hash.
    pub hash: HashType,
    /// Whether destinations lie on the fast ring (`fast-hashing`).
    pub fast: bool,
    /// Destinations of each name.
    pub replication_factor: usize,
    /// Whether they must be on different hosts.
    pub diverse_replicas: bool,
    /// Names that feed aggregates of these go where the aggregates go (`aggregated-consistent-hashing`), so that one
    /// aggregator has all that belongs together.
    pub aggregation: Option<AggregationRules>,
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            hash: HashType::default(),
            fast: false,
            replication_factor: 1,
            diverse_replicas: true,
            aggregation: None,
        }
    }
}

/// Destinations and how names are shared out among them.
#[derive(Debug)]
pub struct Router {
    destinations: Vec<Destination>,
    method: Method,
}

impl Router {
    /// By rules. Destinations that a rule names and `destinations` does not are left out, as in carbon.
    ///
    /// # Errors
    /// As [`Router::hashing`].
    pub fn rules(destinations: Vec<Destination>, rules: RelayRules) -> Result<Self, String> {
        check(&destinations)?;
        Ok(Self { destinations, method: Method::Rules(rules) })
    }

    /// By hash.
    ///
    /// # Errors
    /// When two destinations have the same host and instance, or there are none or too many.
    pub fn hashing(destinations: Vec<Destination>, hashing: Hashing) -> Result<Self, String> {
        check(&destinations)?;
        let places = match hashing.fast {
            false => Places::Consistent(Ring::new(&destinations, hashing.hash)),
            true => Places::Fast(FastRing::new(&destinations, hashing.hash)),
        };
        Ok(Self { destinations, method: Method::Hashing(places, hashing) })
    }

    /// All destinations.
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// Gives the numbers of the destinations of a name (a canonical path) to `to`, each once. Costs regular expressions
    /// or a hash: ask once per name.
    pub fn route(&self, path: &str, mut to: impl FnMut(usize)) {
        match &self.method {
            Method::Rules(rules) => {
                let mut seen = vec![false; self.destinations.len()];
                for destination in rules.find(path) {
                    let Some(at) = self.destinations.iter().position(|d| d == destination) else { continue };
                    if !std::mem::replace(&mut seen[at], true) {
                        to(at);
                    }
                }
            }
            Method::Hashing(places, hashing) => {
                let aggregates: Vec<String> =
                    hashing.aggregation.iter().flat_map(|rules| rules.outputs(path)).collect();
                if aggregates.is_empty() {
                    self.by_hash(path, places, hashing, to);
                    return;
                }
                let mut seen = vec![false; self.destinations.len()];
                for aggregate in &aggregates {
                    self.by_hash(aggregate, places, hashing, |at| {
                        if !std::mem::replace(&mut seen[at], true) {
                            to(at);
                        }
                    });
                }
            }
        }
    }

    fn by_hash(&self, name: &str, places: &Places, hashing: &Hashing, to: impl FnMut(usize)) {
        match places {
            Places::Consistent(ring) => self.choose(ring.nodes(name), hashing, to),
            Places::Fast(ring) => self.choose(ring.nodes(name), hashing, to),
        }
    }

    /// The first destinations, as many as are asked for.
    fn choose(&self, nodes: impl Iterator<Item = usize>, hashing: &Hashing, to: impl FnMut(usize)) {
        let mut hosts: Vec<&str> = Vec::new();
        let on_another_host = |node: &usize| {
            let host = self.destinations[*node].host.as_str();
            let other = !hosts.contains(&host);
            hosts.push(host);
            other || !hashing.diverse_replicas
        };
        nodes.filter(on_another_host).take(hashing.replication_factor).for_each(to);
    }
}

fn check(destinations: &[Destination]) -> Result<(), String> {
    if destinations.is_empty() || destinations.len() > DESTINATIONS_MAX {
        return Err(format!("{} destinations; from 1 to {DESTINATIONS_MAX} can be", destinations.len()));
    }
    for (i, one) in destinations.iter().enumerate() {
        if destinations[..i].iter().any(|other| (&other.host, &other.instance) == (&one.host, &one.instance)) {
            return Err(format!("{one}: host and instance are those of another destination"));
        }
    }
    Ok(())
}

/// Appends a line of the plaintext protocol.
pub fn write_line(point: Point<'_>, out: &mut String) {
    // Writing to a text cannot fail.
    let _ = writeln!(out, "{} {:?} {}", point.path, point.value, point.ts_s);
}

/// Appends a frame of the pickle protocol, length first: protocol 2, as carbon's own client sends.
pub fn write_pickle<'a>(points: impl IntoIterator<Item = Point<'a>>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b"\0\0\0\0\x80\x02](");
    for point in points {
        out.push(b'X');
        out.extend_from_slice(&(point.path.len() as u32).to_le_bytes());
        out.extend_from_slice(point.path.as_bytes());
        match i32::try_from(point.ts_s) {
            Ok(ts_s) => {
                out.push(b'J');
                out.extend_from_slice(&ts_s.to_le_bytes());
            }
            Err(_) => {
                out.push(b'G');
                out.extend_from_slice(&(point.ts_s as f64).to_be_bytes());
            }
        }
        out.push(b'G');
        out.extend_from_slice(&point.value.to_be_bytes());
        out.extend_from_slice(b"\x86\x86");
    }
    out.extend_from_slice(b"e.");
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests;
