//! Values as people write them: sizes, durations, addresses, networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rhythmite_engine::wal::Durability;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

/// A number of bytes: `"128MiB"`, `"25MB"` or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// As a length in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZE_UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &SIZE_UNITS).map(Self).ok_or_else(|| format!("`{text}` is no size; write for example \"128MiB\""))
    }
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// A length of time: `"10s"`, `"250ms"`, `"1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// `None` for zero, which switches a limit off.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

const SPAN_UNITS_MS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Nobody means more than a century.
const SPAN_MAX_MS: u64 = 100 * 366 * 86_400_000;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ms = if text == "0" { Some(0) } else { scaled(text, &SPAN_UNITS_MS).filter(|ms| *ms <= SPAN_MAX_MS) };
        ms.map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| format!("`{text}` is no duration; write for example \"10s\" (ms, s, m, h, d)"))
    }
}

/// `"12 mib"` by the units' table; decimals are not taken.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Where a listener listens; `None` until the defaults are decided, empty for `"off"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen(pub Option<Vec<SocketAddr>>);

impl Listen {
    /// One loopback port.
    pub fn loopback(port: u16) -> Self {
        Self(Some(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]))
    }

    /// The addresses; none when it is off.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Addresses of one listener, more is a mistake.
const ADDRESSES_MAX: usize = 64;

fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().map_err(|_| format!("`{text}` is no address; write \"127.0.0.1:8086\", \"[::1]:8086\" or \"off\""))
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let texts = match OneOrMany::deserialize(from)? {
            OneOrMany::One(text) if text == "off" => Vec::new(),
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        if texts.len() > ADDRESSES_MAX {
            return Err(D::Error::custom(format!("at most {ADDRESSES_MAX} addresses")));
        }
        texts.iter().map(|t| address(t)).collect::<Result<_, _>>().map(|a| Self(Some(a))).map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an address, a list of addresses or \"off\"")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// The file of a socket; `"off"` and `""` are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixPath(pub Option<PathBuf>);

impl<'de> Deserialize<'de> for UnixPath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(from)?;
        let none = path.as_os_str().is_empty() || path.as_os_str() == "off";
        Ok(Self((!none).then_some(path)))
    }
}

/// Files: a path or a list of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(pub Vec<PathBuf>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a path or a list of paths")]
        enum OneOrMany {
            One(PathBuf),
            Many(Vec<PathBuf>),
        }
        Ok(Self(match OneOrMany::deserialize(from)? {
            OneOrMany::One(path) => vec![path],
            OneOrMany::Many(paths) => paths,
        }))
    }
}

/// A network: `"10.0.0.0/8"`, `"::1"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether the address lies in it. A mapped IPv4 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let significant = |ip: IpAddr, width: u32, value: u128| {
            debug_assert_eq!(ip.is_ipv4(), width == 32);
            value.checked_shr(width - u32::from(self.bits)).unwrap_or(0)
        };
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                significant(a.into(), 32, a.to_bits().into()) == significant(b.into(), 32, b.to_bits().into())
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                significant(a.into(), 128, a.to_bits()) == significant(b.into(), 128, b.to_bits())
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let parsed = ip.parse::<IpAddr>().ok().and_then(|network| {
            let width = if network.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(width), |bits| bits.parse().ok())?;
            (bits <= width).then_some(Self { network, bits })
        });
        parsed.ok_or_else(|| format!("`{text}` is no network; write for example \"10.0.0.0/8\""))
    }
}

/// Which peers a listener accepts; all when the list is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Allow(pub Vec<Cidr>);

impl Allow {
    /// Whether a peer may send.
    pub fn accepts(&self, peer: IpAddr) -> bool {
        self.0.is_empty() || self.0.iter().any(|network| network.contains(peer))
    }
}

/// `durability = "sync" | "interval" | "none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// Acknowledged when on disk.
    Sync,
    /// Acknowledged when queued, on disk within the log's interval.
    Interval,
    /// As `interval`, but not synced: outlives the process, not a power cut.
    None,
}

impl From<Ack> for Durability {
    fn from(ack: Ack) -> Self {
        match ack {
            Ack::Sync => Self::Sync,
            Ack::Interval => Self::Interval,
            Ack::None => Self::None,
        }
    }
}

/// Takes a text by `FromStr`; a whole number stands for its digits.
macro_rules! deserialize_from_text {
    ($($name:ident: $expecting:literal;)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                from.deserialize_any(Text)
            }
        }
    )*};
}

deserialize_from_text! {
    Size: "a size such as \"128MiB\"";
    Span: "a duration such as \"10s\"";
    Cidr: "a network such as \"10.0.0.0/8\"";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        let size = |text: &str| text.parse::<Size>().ok().map(|s| s.0);
        for (text, bytes) in
            [("0", 0), ("17", 17), ("2KiB", 2048), ("128 MiB", 128 << 20), ("25MB", 25_000_000), ("1tib", 1 << 40)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5GiB", "-1", "1 potato", "99999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        let span = |text: &str| text.parse::<Span>().ok().map(|s| s.0.as_millis());
        for (text, ms) in [("0", 0), ("250ms", 250), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(span(text), Some(ms), "{text}");
        }
        for text in ["", "10", "1w", "s", "40000d", "-1s"] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn networks() {
        let check = |network: &str, address: &str| network.parse::<Cidr>().unwrap().contains(address.parse().unwrap());
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "fe80::1", true),
        ] {
            assert_eq!(check(network, address), inside, "{network} {address}");
        }
        for text in ["10.0.0.0/33", "10.0.0/8", "::/129", "", "a/8", "1.2.3.4/"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address("localhost:80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert!(address("[::1]:80").is_ok());
        for text in ["8086", ":8086", "host:1", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
