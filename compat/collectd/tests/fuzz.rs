//! Datagrams and posts that a collectd sent, cut at each byte and damaged: nothing panics, nothing is made up, and what
//! comes after is read as if nothing had been.

// A test's helpers fail by panicking too.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/fuzz/damage.rs"]
mod damage;

use damage::Target;
use rhythmite_collectd::{Item, Security, SecurityLevel, Time, TypesDb, decode, json, putval};
use serde_json::Value;

const FIXTURES: &str = include_str!("data/fixtures.json");
const REGRESSIONS: &str = include_str!("data/regressions.txt");

fn fixtures() -> Value {
    serde_json::from_str(FIXTURES).unwrap()
}

fn datagrams(kind: &str) -> Vec<Vec<u8>> {
    let found = &fixtures()["datagrams"][kind];
    found.as_array().unwrap().iter().map(|d| damage::unhex(d.as_str().unwrap())).collect()
}

fn count(datagram: &[u8], security: &Security) -> (usize, usize) {
    let (mut lists, mut values) = (0, 0);
    let now = Time::from_secs(1_700_000_000).unwrap();
    decode(datagram, security, now, |item| {
        if let Item::Values(list) = item {
            assert!(!list.id.host.is_empty() && !list.id.plugin.is_empty() && !list.id.type_name.is_empty());
            values += list.values.len();
        }
        lists += 1;
    });
    (lists, values)
}

#[test]
fn datagrams_cut_and_damaged() {
    let pieces: [&[u8]; 18] = [
        b"\0\0\0\x05h\0",
        b"\0\x02\0\x05p\0",
        b"\0\x04\0\x05t\0",
        b"\0\x08\0\x0c\x15\0\0\0\0\0\0\0",
        b"\0\x06\0\x0f\0\x01\x01\0\0\0\0\0\0\0\0",
        b"\0\x06\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x01",
        b"\0\0\0\x03",
        b"\0\0\0\x04",
        b"\x02\0",
        b"\x02\x10",
        b"\x01\0\0\x06m\0",
        b"\x01\x01\0\x0c\0\0\0\0\0\0\0\x04",
        b"\x7f\x7f\0\x04",
        b"\xff\xff\xff\xff",
        b"\0\x09\0\x0c\0\0\0\0\0\0\0\0",
        b"\0",
    ];
    let fixtures = fixtures();
    let users = format!("{}: {}\n", fixtures["user"].as_str().unwrap(), fixtures["password"].as_str().unwrap());
    let securities = [SecurityLevel::None, SecurityLevel::Sign, SecurityLevel::Encrypt].map(|level| {
        let mut security = Security::new(level);
        assert!(security.add_users(&users).is_empty());
        security
    });
    let seeds = ["plain", "signed", "encrypted"].map(datagrams).concat();
    let encrypted = datagrams("encrypted");
    let whole = count(&encrypted[0], &securities[2]);
    assert!(whole.0 > 0);
    let plain = datagrams("plain");
    let read = |bytes: &[u8]| {
        let counts = securities.each_ref().map(|security| count(bytes, security));
        assert!(counts[0].1 <= bytes.len() / 9, "a value takes nine bytes: {counts:?}");
        if plain.iter().any(|whole| whole.starts_with(bytes)) {
            assert_eq!((counts[1], counts[2]), ((0, 0), (0, 0)), "not signed");
        }
        assert_eq!(count(&encrypted[0], &securities[2]), whole);
    };
    damage::run(&Target { kind: "datagram", seeds, pieces: &pieces, cost: 1, read: &read }, REGRESSIONS);
}

#[test]
fn posts_and_types() {
    let pieces: [&[u8]; 18] = [
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b"\"",
        b"\\u00",
        b"null",
        b"NaN",
        b"1e999",
        b"-",
        b"PUTVAL ",
        b" N:",
        b"interval=",
        b"U",
        b"/",
        b"\n",
    ];
    let types = TypesDb::built_in();
    let now = Time::from_secs(1_700_000_000).unwrap();
    let posts = fixtures()["write_http"].clone();
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for format in ["json", "command"] {
        for post in posts[format].as_array().into_iter().flatten() {
            seeds.push(post[1].as_str().unwrap().as_bytes().to_vec());
        }
    }
    seeds.push(b"PUTVAL \"h/p-i/load\" interval=10 meta:x=\"y\" 1700000000:1:2:3 N:U:2:3\n".to_vec());
    seeds.push(b"load shortterm:GAUGE:0:5000, midterm:GAUGE:0:U\nif_octets rx:DERIVE:0:U, tx:COUNTER:U:U\n".to_vec());
    assert!(seeds.len() > 2);
    let read = |bytes: &[u8]| {
        let mut values = 0;
        let _ = json::parse(bytes, &types, |list, sources| {
            assert_eq!(list.values.len(), sources.len());
            values += sources.len();
        });
        assert!(values <= bytes.len());
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines() {
            let _ = putval::parse(line, &types, now, |list, sources| assert!(list.values.len() <= sources.len()));
        }
        let mut own = TypesDb::new();
        assert!(own.add(&text).len() <= text.lines().count());
        let mut security = Security::new(SecurityLevel::None);
        assert!(security.add_users(&text).len() <= text.lines().count());
    };
    damage::run(&Target { kind: "post", seeds, pieces: &pieces, cost: 1, read: &read }, REGRESSIONS);
}
