use md5::{Digest, Md5};
use serde::Deserialize;

use super::Destination;

/// Places of each destination on the ring.
const REPLICAS: usize = 100;

/// How a name becomes a place on the ring, from 0 to 65535.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum HashType {
    /// The first two bytes of MD5: carbon's default.
    #[default]
    #[serde(rename = "carbon_ch")]
    Carbon,
    /// FNV-1a of 32 bits, folded; destinations are placed by their instances.
    #[serde(rename = "fnv1a_ch")]
    Fnv1a,
}

/// carbon's consistent hash ring.
#[derive(Debug)]
pub struct Ring {
    /// Place and destination, by place; no place twice.
    entries: Vec<(u32, u32)>,
    nodes: usize,
    hash: HashType,
}

impl Ring {
    /// A ring of these, in the order in which carbon was given them: where two want one place the later moves on.
    pub fn new(destinations: &[Destination], hash: HashType) -> Self {
        let mut entries: Vec<(u32, u32)> = Vec::with_capacity(destinations.len() * REPLICAS);
        for (node, destination) in destinations.iter().enumerate() {
            for replica in 0..REPLICAS {
                let mut place = hash.place(&hash.replica_key(destination, replica));
                let at = loop {
                    match entries.binary_search_by_key(&place, |(place, _)| *place) {
                        Ok(_) => place += 1,
                        Err(at) => break at,
                    }
                };
                entries.insert(at, (place, node as u32));
            }
        }
        Self { entries, nodes: destinations.len(), hash }
    }

    /// The destinations of a name, the first choice first, each once.
    pub fn nodes(&self, name: &str) -> impl Iterator<Item = usize> {
        let place = self.hash.place(name);
        let start = self.entries.partition_point(|(at, _)| *at < place);
        let mut seen = vec![false; self.nodes];
        // The last entry before the start is never looked at, as in carbon.
        let around = self.entries.iter().cycle().skip(start).take(self.entries.len().saturating_sub(1));
        around.filter_map(move |(_, node)| {
            let node = *node as usize;
            (!std::mem::replace(&mut seen[node], true)).then_some(node)
        })
    }
}

impl HashType {
    fn place(self, key: &str) -> u32 {
        match self {
            Self::Carbon => {
                let digest = Md5::digest(key.as_bytes());
                u32::from(digest[0]) << 8 | u32::from(digest[1])
            }
            Self::Fnv1a => {
                let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
                (hash >> 16) ^ (hash & 0xffff)
            }
        }
    }

    /// What carbon hashes for a place of a destination: a Python tuple's text, or the number and the instance.
    fn replica_key(self, destination: &Destination, replica: usize) -> String {
        match self {
            Self::Carbon => {
                let instance = destination.instance.as_deref().map_or("None".to_owned(), quoted);
                format!("({}, {instance}):{replica}", quoted(&destination.host))
            }
            Self::Fnv1a => format!("{replica}-{}", destination.instance.as_deref().unwrap_or("None")),
        }
    }
}

/// As Python shows a text.
fn quoted(text: &str) -> String {
    if text.contains('\'') && !text.contains('"') {
        return format!("\"{}\"", text.replace('\\', "\\\\"));
    }
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
