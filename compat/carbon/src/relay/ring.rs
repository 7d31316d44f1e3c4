use md5::{Digest, Md5};
use serde::Deserialize;

use super::Destination;

/// Places of each destination on the ring.
const REPLICAS: usize = 100;

/// How a name becomes a place on the ring: from 0 to 65535, or any number of 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum HashType {
    /// The first two bytes of MD5: carbon's default.
    #[default]
    #[serde(rename = "carbon_ch")]
    Carbon,
    /// FNV-1a of 32 bits, folded; destinations are placed by their instances.
    #[serde(rename = "fnv1a_ch")]
    Fnv1a,
    /// MurmurHash3 of 32 bits, signed: the default of the fast methods.
    #[serde(rename = "mmh3_ch")]
    Mmh3,
}

/// carbon's consistent hash ring.
#[derive(Debug)]
pub struct Ring {
    /// Place and destination, by place; no place twice.
    entries: Vec<(i64, u32)>,
    nodes: usize,
    hash: HashType,
}

impl Ring {
    /// A ring of these, in the order in which carbon was given them: where two want one place the later moves on.
    pub fn new(destinations: &[Destination], hash: HashType) -> Self {
        let mut entries: Vec<(i64, u32)> = Vec::with_capacity(destinations.len() * REPLICAS);
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

/// carbon's "fast" ring: all destinations by their hashes, of which a name takes the one that its hash modulo their number
/// says. Another destination moves nearly all names.
#[derive(Debug)]
pub struct FastRing {
    nodes: Vec<usize>,
    hash: HashType,
}

impl FastRing {
    /// A ring of these.
    pub fn new(destinations: &[Destination], hash: HashType) -> Self {
        let mut nodes: Vec<usize> = (0..destinations.len()).collect();
        nodes.sort_by_key(|at| hash.place(&node_key(&destinations[*at])));
        Self { nodes, hash }
    }

    /// The destinations of a name, the first choice first, each once.
    pub fn nodes(&self, name: &str) -> impl Iterator<Item = usize> {
        let start = self.hash.place(name).rem_euclid(self.nodes.len().max(1) as i64) as usize;
        self.nodes.iter().cycle().skip(start).take(self.nodes.len()).copied()
    }
}

impl HashType {
    fn place(self, key: &str) -> i64 {
        match self {
            Self::Carbon => {
                let digest = Md5::digest(key.as_bytes());
                i64::from(u16::from_be_bytes([digest[0], digest[1]]))
            }
            Self::Fnv1a => {
                let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
                i64::from((hash >> 16) ^ (hash & 0xffff))
            }
            Self::Mmh3 => i64::from(murmur3(key.as_bytes()) as i32),
        }
    }

    /// What carbon hashes for a place of a destination: a Python tuple's text, or the number and the instance.
    fn replica_key(self, destination: &Destination, replica: usize) -> String {
        match self {
            Self::Carbon | Self::Mmh3 => format!("{}:{replica}", node_key(destination)),
            Self::Fnv1a => format!("{replica}-{}", destination.instance.as_deref().unwrap_or("None")),
        }
    }
}

/// As Python shows the pair of host and instance.
fn node_key(destination: &Destination) -> String {
    let instance = destination.instance.as_deref().map_or("None".to_owned(), quoted);
    format!("({}, {instance})", quoted(&destination.host))
}

/// MurmurHash3, 32 bits, x86, seed 0. Source: the published algorithm; 700 names placed with it are in the tests' data.
fn murmur3(key: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let (blocks, tail) = key.as_chunks::<4>();
    let mut hash = blocks.iter().fold(0_u32, |hash, block| {
        (hash ^ mix(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    hash ^= mix(u32::from_le_bytes(last)) ^ key.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// As Python shows a text.
fn quoted(text: &str) -> String {
    if text.contains('\'') && !text.contains('"') {
        return format!("\"{}\"", text.replace('\\', "\\\\"));
    }
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
