//! What a real collectd sent and what its own write_graphite made of it (`data/fixtures.json`).

// A panic is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use rhythmite_collectd::graphite::Options;
use rhythmite_collectd::{
    Decoded, Graphite, Item, Security, SecurityLevel, Source, Time, TypesDb, Value, ValueList, decode, json, putval,
};
use serde_json::Value as Json;

const LEVELS: [SecurityLevel; 3] = [SecurityLevel::None, SecurityLevel::Sign, SecurityLevel::Encrypt];

fn fixtures() -> Json {
    serde_json::from_str(include_str!("data/fixtures.json")).unwrap()
}

fn datagrams(kind: &str) -> Vec<Vec<u8>> {
    let hex =
        |text: &str| (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    fixtures()["datagrams"][kind].as_array().unwrap().iter().map(|d| hex(d.as_str().unwrap())).collect()
}

fn types() -> TypesDb {
    let mut types = TypesDb::new();
    assert_eq!(types.add(include_str!("data/types.db")), []);
    types
}

fn security(level: SecurityLevel, password: &str) -> Security {
    let mut security = Security::new(level);
    assert_eq!(security.add_users(&format!("carol: {password}\n")), [0; 0]);
    security
}

fn right(level: SecurityLevel) -> Security {
    security(level, fixtures()["password"].as_str().unwrap())
}

fn now() -> Time {
    Time::from_secs(1_800_000_000).unwrap()
}

/// Decodes datagrams; the lists and notifications as the fixtures write them.
fn items(datagrams: &[Vec<u8>], security: &Security) -> (BTreeSet<String>, Vec<Json>, Vec<Decoded>) {
    let (mut lists, mut notes) = (BTreeSet::new(), Vec::new());
    let types = types();
    let decoded = datagrams
        .iter()
        .map(|datagram| {
            decode(datagram, security, now(), |item| match item {
                Item::Values(list) => {
                    lists.insert(list_json(&list, types.sources_of(&list).unwrap()));
                }
                Item::Notification(note) => notes.push(serde_json::json!({
                    "severity": format!("{:?}", note.severity).to_lowercase(), "time": note.time.secs_rounded(),
                    "host": note.id.host, "plugin": note.id.plugin, "plugin_instance": note.id.plugin_instance,
                    "type": note.id.type_name, "type_instance": note.id.type_instance, "message": note.message,
                })),
            })
        })
        .collect();
    (lists, notes, decoded)
}

fn list_json(list: &ValueList<'_>, sources: &[Source]) -> String {
    let values: Vec<String> = sources
        .iter()
        .zip(&list.values)
        .map(|(source, value)| {
            assert_eq!(source.kind, value.kind());
            format!("{}:{}:{:?}", source.name, source.kind, value.to_f64())
        })
        .collect();
    let id = &list.id;
    format!(
        "{}/{}/{}/{}/{} {} {} {}",
        id.host,
        id.plugin,
        id.plugin_instance,
        id.type_name,
        id.type_instance,
        list.time.secs_f64(),
        list.interval.secs_f64(),
        values.join(",")
    )
}

/// The fixtures' `values`, written likewise.
fn expected_lists() -> BTreeSet<String> {
    let text = |list: &Json| {
        let part = |name: &str| list[name].as_str().unwrap().to_owned();
        let values: Vec<String> = list["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| {
                let number = v["value"].as_f64().unwrap_or(f64::NAN);
                format!("{}:{}:{number:?}", v["ds"].as_str().unwrap(), v["kind"].as_str().unwrap())
            })
            .collect();
        let id = ["host", "plugin", "plugin_instance", "type", "type_instance"].map(part).join("/");
        format!("{id} {} {} {}", list["time"], list["interval"], values.join(","))
    };
    fixtures()["values"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn plain_signed_and_encrypted_datagrams_hold_the_same_values() {
    for (kind, level_max) in [("plain", 0), ("signed", 1), ("encrypted", 2)] {
        for (i, level) in LEVELS.into_iter().enumerate() {
            let (lists, notes, decoded) = items(&datagrams(kind), &right(level));
            if i <= level_max {
                assert_eq!(lists, expected_lists(), "{kind} at {level:?}");
                assert_eq!(notes, [fixtures()["notification"].clone()]);
                assert!(decoded.iter().all(|d| !d.malformed && d.insecure_parts == 0 && d.incomplete == 0));
            } else {
                assert_eq!((lists.len(), notes.len()), (0, 0), "{kind} at {level:?}");
                assert!(decoded.iter().all(|d| d.insecure_parts > 0));
            }
        }
    }
}

#[test]
fn a_signature_that_cannot_be_checked_is_ignored() {
    let (lists, ..) = items(&datagrams("signed"), &Security::default());
    assert_eq!(lists, expected_lists());
    let (lists, _, decoded) = items(&datagrams("signed"), &Security::new(SecurityLevel::Sign));
    assert!(lists.is_empty() && decoded.iter().all(|d| d.insecure_parts > 0));
    let (lists, _, decoded) = items(&datagrams("encrypted"), &Security::default());
    assert!(lists.is_empty() && decoded.iter().all(|d| d.bad_credentials == 1));
}

#[test]
fn wrong_passwords_changed_bytes_and_appended_data_are_refused() {
    let appended = [datagrams("signed")[0].clone(), datagrams("plain")[1].clone()].concat();
    let flip = |kind: &str, from_end: usize| -> Vec<Vec<u8>> {
        let mut list = datagrams(kind);
        list.iter_mut().for_each(|d| {
            let at = d.len() - from_end;
            d[at] ^= 1;
        });
        list
    };
    for (what, list, password) in [
        ("wrong password", datagrams("signed"), "other"),
        ("wrong password", datagrams("encrypted"), "other"),
        ("changed", flip("signed", 3), "correct horse"),
        ("changed", flip("encrypted", 3), "correct horse"),
        ("appended", vec![appended], "correct horse"),
    ] {
        for level in LEVELS {
            let (lists, notes, decoded) = items(&list, &security(level, password));
            assert_eq!((lists.len(), notes.len()), (0, 0), "{what} {level:?}");
            if level != SecurityLevel::Encrypt {
                assert!(decoded.iter().all(|d| d.bad_credentials == 1), "{what}: {decoded:?}");
            }
        }
    }
}

#[test]
fn data_before_or_after_an_encryption_is_not_encrypted() {
    let (plain, encrypted) = (datagrams("plain"), datagrams("encrypted"));
    let list = [[&plain[1][..], &encrypted[0]].concat(), [&encrypted[0][..], &plain[1]].concat()];
    let (lists, notes, decoded) = items(&list, &right(SecurityLevel::Sign));
    assert_eq!((lists.len(), notes.len()), (0, 2));
    assert!(decoded.iter().all(|d| d.insecure_parts > 50));
}

/// `write_graphite` lines of all numbers of datagrams.
fn written(options: Options) -> BTreeSet<String> {
    let (mut graphite, types, mut out) = (Graphite::new(options), types(), BTreeSet::new());
    for datagram in datagrams("plain") {
        decode(&datagram, &Security::default(), now(), |item| {
            if let Item::Values(list) = item {
                let sources = types.sources_of(&list).unwrap();
                let mapped = graphite.map(&list, sources, now(), |name, value| {
                    out.insert(format!("{name} {value:.6} {}", list.time.secs_rounded()));
                });
                assert_eq!(mapped.points + mapped.unknown, sources.len());
            }
        });
    }
    out
}

/// The fixtures' lines, without the ones that say `nan`.
fn expected_lines(setting: &str) -> BTreeSet<String> {
    let lines = &fixtures()["write_graphite"][setting];
    let line = |line: &Json| {
        let parts: Vec<&str> = line.as_str().unwrap().rsplitn(3, ' ').collect();
        let value: f64 = parts[1].parse().unwrap();
        (!value.is_nan()).then(|| format!("{} {value:.6} {}", parts[2], parts[0]))
    };
    lines.as_array().unwrap().iter().filter_map(line).collect()
}

fn raw() -> Options {
    Options {
        prefix: "collectd.".into(),
        store_rates: false,
        always_append_ds: true,
        separate_instances: true,
        preserve_separator: true,
        ..Options::default()
    }
}

#[test]
fn names_and_values_are_those_of_write_graphite() {
    assert_eq!(written(Options::default()), expected_lines("rates"));
    assert_eq!(written(raw()), expected_lines("raw"));
    assert_eq!(written(Options { store_rates: false, use_tags: true, ..Options::default() }), expected_lines("tags"));
}

/// `write_graphite` lines of the bodies `write_http` posted in one of its formats.
fn posted(format: &str) -> BTreeSet<String> {
    let (mut graphite, types, mut out) = (Graphite::new(raw()), types(), BTreeSet::new());
    let mut give = |list: &ValueList<'_>, sources: &[Source]| {
        graphite.map(list, sources, now(), |name, value| {
            out.insert(format!("{name} {value:.6} {}", list.time.secs_rounded()));
        });
    };
    for body in fixtures()["write_http"][format].as_array().unwrap() {
        let text = body[1].as_str().unwrap();
        if format == "json" {
            assert_eq!(json::parse(text.as_bytes(), &types, &mut give).unwrap(), 17);
        } else {
            for line in text.lines() {
                assert_eq!(putval::parse(line, &types, now(), &mut give).unwrap(), 1, "{line}");
            }
        }
    }
    out
}

#[test]
fn write_https_formats_give_the_same_points() {
    assert_eq!(posted("command"), expected_lines("raw"));
    // Its JSON writer replaces bytes outside ASCII.
    let ascii = |lines: BTreeSet<String>| lines.into_iter().filter(|l| !l.contains(".ping.")).collect::<BTreeSet<_>>();
    assert_eq!(ascii(posted("json")), ascii(expected_lines("raw")));
}

#[test]
fn unixsock_lines_are_accepted_as_collectd_accepts_them() {
    for exchange in fixtures()["unixsock"].as_array().unwrap() {
        let (line, reply) = (exchange[0].as_str().unwrap(), exchange[1].as_str().unwrap());
        if line.starts_with("PUTVAL ") {
            match putval::parse(line, &types(), now(), |_, _| ()) {
                Ok(count) => assert_eq!(reply, format!("0 Success: {count} value has been dispatched.")),
                Err(error) => assert_eq!(reply, format!("-1 1 {error}")),
            }
        }
    }
}

/// A part with its length.
fn part(part_type: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len() + 4).unwrap();
    [&part_type.to_be_bytes()[..], &len.to_be_bytes(), payload].concat()
}

fn list_of(parts: &[Vec<u8>]) -> (Vec<String>, Decoded) {
    let mut got = Vec::new();
    let decoded = decode(&parts.concat(), &Security::default(), now(), |item| {
        if let Item::Values(list) = item {
            got.push(format!("{} {} {:?}", list.id.host, list.time.secs_f64(), list.values));
        }
    });
    (got, decoded)
}

#[test]
fn a_malformed_part_ends_the_datagram_and_what_came_before_counts() {
    let head = [part(0, b"h\0"), part(2, b"p\0"), part(4, b"t\0"), part(1, &7u64.to_be_bytes())].concat();
    let one = part(6, &[0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 5]);
    let good = "h 7 [Absolute(5)]";
    let (got, decoded) = list_of(&[head.clone(), one.clone()]);
    assert_eq!((got, decoded), (vec![good.to_owned()], Decoded { lists: 1, ..Decoded::default() }));
    for (what, bad) in [
        ("length 0", vec![0, 0, 0, 0]),
        ("length 3", vec![0, 0, 0, 3]),
        ("beyond the end", vec![0, 0, 0xff, 0xff, 1]),
        ("half a header", vec![0, 0, 0]),
        ("no NUL", part(0, b"abc")),
        ("no text", part(0, b"")),
        ("text too long", part(0, &[&[b'a'; 128][..], b"\0"].concat())),
        ("time too short", part(1, &[0; 7])),
        ("time too large", part(1, &[0xff; 8])),
        ("no values", part(6, &[0, 0])),
        ("count does not fit", part(6, &[0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("count far beyond", part(6, &[0xff, 0xff])),
        ("unknown kind", part(6, &[0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("short signature", part(0x200, &[0; 32])),
        ("short encryption", part(0x210, &[0xff, 0xff])),
    ] {
        let (got, decoded) = list_of(&[head.clone(), one.clone(), bad, one.clone()]);
        assert_eq!((got, decoded.malformed), (vec![good.to_owned()], true), "{what}");
    }
    let (got, decoded) = list_of(&[part(0x123, b"abcd"), head, part(0xffff, b""), one]);
    assert_eq!((got, decoded.malformed, decoded.unknown_parts), (vec![good.to_owned()], false, 2));
}

#[test]
fn a_text_ends_at_its_first_nul() {
    let one = part(6, &[0, 1, 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    let (got, _) =
        list_of(&[part(0, b"h\0idden\0"), part(2, b"p\0"), part(4, b"t\0"), part(1, &7u64.to_be_bytes()), one]);
    assert_eq!(got, ["h 7 [Gauge(1.0)]"]);
}

#[test]
fn lists_without_a_name_are_left_out_and_those_without_a_time_are_of_now() {
    let one = part(6, &[0, 1, 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    let (got, decoded) = list_of(&[part(0, b"h\0"), one.clone(), part(2, b"p\0"), part(4, b"t\0"), one]);
    assert_eq!((got, decoded.incomplete), (vec!["h 1800000000 [Gauge(1.0)]".to_owned()], 1));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        kind in prop_oneof![Just("plain"), Just("signed"), Just("encrypted")],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        text in ".{0,80}",
    ) {
        let mut damaged = datagrams(kind)[1].clone();
        for (at, byte) in changes {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        damaged.truncate(cut.index(damaged.len()) + 1);
        let (types, mut graphite) = (types(), Graphite::new(Options { max_series: 5, ..Options::default() }));
        for datagram in [bytes.as_slice(), &damaged] {
            let mut count = 0;
            let decoded = decode(datagram, &right(SecurityLevel::None), now(), |item| {
                count += 1;
                if let Item::Values(list) = item {
                    // A list has at least 15 bytes, a value 9.
                    assert!(list.values.len() <= datagram.len() / 9);
                    let _ = (list.time.nanos(), list.time.secs_rounded());
                    if let Ok(sources) = types.sources_of(&list) {
                        graphite.map(&list, sources, now(), |name, value| assert!(!value.is_nan() && !name.contains(' ')));
                    }
                }
            });
            prop_assert_eq!(decoded.lists + decoded.notifications, count);
            prop_assert!(count <= datagram.len() as u64 / 5);
        }
        let _ = putval::parse(&text, &types, now(), |_, _| ());
        let _ = putval::parse(&format!("PUTVAL {text}"), &types, now(), |_, _| ());
        let _ = json::parse(&bytes, &types, |_, _| ());
    }

    #[test]
    fn times_are_nanoseconds_and_back(nanos in 0..4_000_000_000_000_000_000i64) {
        let there = Time::from_nanos(nanos).unwrap();
        prop_assert_eq!(there.nanos(), Some(nanos));
    }
}

#[test]
fn values_know_their_kind() {
    assert_eq!(Value::Derive(-5).to_f64(), -5.0);
    assert_eq!(Time(u64::MAX).nanos(), None);
    assert_eq!((Time(1 << 29).secs_rounded(), Time((1 << 29) - 1).secs_rounded()), (1, 0));
}
