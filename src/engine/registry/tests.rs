//! What the registry promises, as one would read it: names in, answers out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use regex::Regex;
use rhythmite_env::{Env, ManualClock};
use rhythmite_model::{Definition, ErrorKind, FieldType, KeyKind, PolicyId, RollupRule, SeriesId, TableId};

use super::*;

const POLICY: PolicyId = PolicyId(7);
const RULE: RollupRule = RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 };

fn registry() -> Registry {
    limited(Limits::default())
}

fn limited(limits: Limits) -> Registry {
    Registry::new(limits, Arc::new(ManualClock::new(0)))
}

fn table(registry: &Registry, name: &str, kind: KeyKind) -> TableId {
    let mut names = registry.write();
    let id = names.create_table(POLICY, name, kind).unwrap();
    names.commit();
    id
}

fn series(registry: &Registry, table: TableId, keys: &[&str]) -> Vec<SeriesId> {
    let mut names = registry.write();
    let ids = keys.iter().map(|key| names.create_series(table, key, None).unwrap()).collect();
    names.commit();
    ids
}

/// A glob as text, enough for the tests: `*` in a segment, `**` alone.
struct Star(String);

impl SegmentMatcher for Star {
    fn literal(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(&self.0)
    }

    fn literal_prefix(&self) -> &str {
        self.0.split('*').next().unwrap()
    }

    fn matches(&self, segment: &str) -> bool {
        star(&self.0, segment)
    }
}

fn star(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && star(tail, &rest[at..]))),
    }
}

fn find(
    registry: &Registry,
    glob: &str,
    want: Want,
    limit: usize,
) -> rhythmite_model::Result<(Vec<String>, Vec<String>)> {
    let segments: Vec<_> = glob.split('.').map(|s| Star(s.into())).collect();
    let steps: Vec<_> =
        segments.iter().map(|s| if s.0 == "**" { GlobStep::AnyDepth } else { GlobStep::One(s) }).collect();
    let names = registry.read();
    let found = names.find_paths(&steps, want, limit)?;
    Ok((found.leaves.iter().map(|&slot| names.key(slot).to_owned()).collect(), found.branches))
}

#[test]
fn globs_find_leaves_and_branches() {
    let registry = registry();
    let metrics = table(&registry, "metrics", KeyKind::Path);
    let paths = [
        "servers.web1.cpu.idle",
        "servers.web1.cpu.user",
        "servers.web1.load",
        "servers.web2.cpu.idle",
        "servers.db1.cpu.idle",
        "servers.db1.cpu",
        "servers-x.web1",
        "top",
        "a..b",
    ];
    series(&registry, metrics, &paths);
    series(&registry, metrics, &["tagged.name;host=a"]);
    let cases: &[(&str, &str, &str)] = &[
        ("top", "top", ""),
        ("none", "", ""),
        ("servers", "", "servers"),
        ("*", "top", "a servers servers-x"),
        ("servers.*", "", "servers.db1 servers.web1 servers.web2"),
        ("servers.web*", "", "servers.web1 servers.web2"),
        ("servers.web1.*", "servers.web1.load", "servers.web1.cpu"),
        ("servers.*.cpu", "servers.db1.cpu", "servers.db1.cpu servers.web1.cpu servers.web2.cpu"),
        ("*.*.cpu.idle", "servers.db1.cpu.idle servers.web1.cpu.idle servers.web2.cpu.idle", ""),
        ("*.*1.cpu.i*e", "servers.db1.cpu.idle servers.web1.cpu.idle", ""),
        ("**.idle", "servers.db1.cpu.idle servers.web1.cpu.idle servers.web2.cpu.idle", ""),
        ("**.top", "top", ""),
        ("servers.web1.**", "servers.web1.cpu.idle servers.web1.cpu.user servers.web1.load", "servers.web1.cpu"),
        ("servers.**.cpu.**.idle", "servers.db1.cpu.idle servers.web1.cpu.idle servers.web2.cpu.idle", ""),
        ("**.**.load", "servers.web1.load", ""),
        ("servers-x.*", "servers-x.web1", ""),
        ("a..b", "a..b", ""),
        ("a.*", "", "a."),
        ("", "", ""),
        ("tagged.*", "", ""),
    ];
    for &(glob, leaves, branches) in cases {
        let (l, b) = find(&registry, glob, Want::Both, 100).unwrap();
        assert_eq!((l.join(" ").as_str(), b.join(" ").as_str()), (leaves, branches), "{glob}");
        assert_eq!(find(&registry, glob, Want::Leaves, 100).unwrap(), (l, vec![]), "{glob}");
        assert_eq!(find(&registry, glob, Want::Branches, 100).unwrap(), (vec![], b), "{glob}");
    }
    assert_eq!(find(&registry, "**", Want::Leaves, 9).unwrap().0.len(), 9);
    let error = find(&registry, "**", Want::Leaves, 8).unwrap_err();
    assert_eq!(error.message(), "the pattern matches more than 8 paths");
    let deep = vec!["*"; PATH_DEPTH_MAX + 1].join(".");
    assert_eq!(find(&registry, &deep, Want::Leaves, 8).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn conditions_on_tags_select_series() {
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    series(
        &registry,
        cpu,
        &["cpu", "cpu,host=a,region=eu", "cpu,host=b,region=eu", "cpu,host=c,region=us", "cpu,region=us"],
    );
    let is = TagExpr::is;
    let matches = |key: &str, regex: &str| TagExpr::matches(key, Regex::new(regex).unwrap());
    let cases: Vec<(TagExpr, &str)> = vec![
        (TagExpr::All, "01234"),
        (is("host", "a"), "1"),
        (is("host", "zz"), ""),
        (is("host", "").negate(), "123"),
        (is("host", ""), "04"),
        (is("nokey", ""), "01234"),
        (is("nokey", "x").negate(), "01234"),
        (is("host", "a").negate(), "0234"),
        (matches("host", "[ab]"), "12"),
        (matches("host", "[ab]").negate(), "034"),
        (matches("host", ".*"), "01234"),
        (matches("host", "^$"), "04"),
        (matches("host", ".+"), "123"),
        (TagExpr::And(vec![is("region", "eu"), is("host", "a").negate()]), "2"),
        (TagExpr::And(vec![is("host", "a").negate(), TagExpr::All]), "0234"),
        (TagExpr::And(vec![]), "01234"),
        (TagExpr::Or(vec![]), ""),
        (TagExpr::Or(vec![is("host", "a"), is("region", "us")]), "134"),
        (TagExpr::Or(vec![is("host", "a"), is("region", "us")]).negate(), "02"),
    ];
    let names = registry.read();
    for (at, (condition, expected)) in cases.iter().enumerate() {
        let selected = names.ids(&names.select(cpu, condition).unwrap());
        let got: String = selected.iter().map(|id| (id.0 as u32).to_string()).collect();
        assert_eq!(&got, expected, "case {at}");
    }
    let mut deep = TagExpr::All;
    for _ in 0..=TAG_EXPR_DEPTH_MAX {
        deep = deep.negate();
    }
    assert_eq!(names.select(cpu, &deep).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(names.tag_keys(&[cpu], None), [("host", 3), ("region", 4)]);
    assert_eq!(names.tag_values(&[cpu], "region", None), [("eu", 2), ("us", 2)]);
    let some = names.select(cpu, &is("host", "c")).unwrap();
    assert_eq!(names.tag_values(&[cpu], "region", Some(&some)), [("us", 1)]);
    assert_eq!(names.tag_keys(&[cpu, cpu], Some(&some)), [("host", 2), ("region", 2)]);
    assert_eq!(names.tag_values(&[cpu], "nokey", None), []);
}

#[test]
fn tagged_paths_are_found_by_tags_and_name() {
    let registry = registry();
    let metrics = table(&registry, "metrics", KeyKind::Path);
    let ids = series(&registry, metrics, &["disk.used;dc=1;host=a", "disk.used;dc=2;host=a", "plain.path"]);
    let names = registry.read();
    let both = names.select(metrics, &TagExpr::is("name", "disk.used")).unwrap();
    assert_eq!(names.ids(&both), ids[..2]);
    assert_eq!(names.tag_keys(&[metrics], None), [("dc", 2), ("host", 2), ("name", 2)]);
    assert_eq!(names.ids(&names.select(metrics, &TagExpr::is("dc", "1")).unwrap()), ids[..1]);
}

#[test]
fn a_key_is_looked_up_by_text_and_by_prediction() {
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let ids = series(&registry, cpu, &["cpu,host=a", "cpu,host=b", "cpu,host=c"]);
    let names = registry.read();
    let scope = Scope::Policy(POLICY);
    let slots: Vec<_> = ids.iter().map(|&id| names.slot(id).unwrap()).collect();
    assert_eq!(names.find_series(scope, b"cpu,host=b"), Some(slots[1]));
    assert_eq!(names.find_series(scope, b"cpu,host=\xff"), None);
    assert_eq!(names.find_series(Scope::Policy(PolicyId(8)), b"cpu,host=b"), None);
    assert_eq!(names.find_series(Scope::Paths, b"cpu,host=b"), None);
    assert_eq!(names.predict(scope, slots[0]), None);
    assert_eq!(names.find_after(scope, Some(slots[0]), b"cpu,host=c"), Some(slots[2]));
    assert_eq!(names.predict(scope, slots[0]), Some((slots[2], &b"cpu,host=c"[..])));
    assert_eq!(names.predict(Scope::Paths, slots[0]), None);
    assert_eq!(names.find_after(scope, Some(slots[0]), b"cpu,host=b"), Some(slots[1]));
    assert_eq!(names.predict(scope, slots[0]), Some((slots[1], &b"cpu,host=b"[..])));
    assert_eq!(names.find_after(scope, Some(slots[0]), b"cpu,host=x"), None);
    drop(names);
    let mut names = registry.write();
    names.drop_series(ids[1]);
    names.commit();
    let names = registry.read();
    assert_eq!(names.predict(scope, slots[0]), None, "a series that is gone is not foretold");
    assert_eq!(names.slot(ids[1]), None);
    assert!(names.was_made(ids[1]));
}

#[test]
fn fields_keep_their_type_and_their_order() {
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let mut names = registry.write();
    let idle = names.create_field(cpu, "idle", FieldType::Float).unwrap();
    let user = names.create_field(cpu, "user", FieldType::Integer).unwrap();
    assert_eq!(names.create_field(cpu, "idle", FieldType::Float).unwrap(), idle);
    let error = names.create_field(cpu, "idle", FieldType::String).unwrap_err();
    assert_eq!(error.message(), "field type conflict: field \"idle\" of \"cpu\" is of type float, not string");
    assert_eq!(names.definitions().len(), 2);
    names.commit();
    let names = registry.read();
    let fields: Vec<_> = names.fields(cpu).collect();
    assert_eq!(fields, [(idle, "idle", FieldType::Float), (user, "user", FieldType::Integer)]);
    assert_eq!(names.field(cpu, user), Some(("user", FieldType::Integer)));
    assert_eq!(names.find_field(cpu, "user"), Some((user, FieldType::Integer)));
    assert_eq!(names.find_field(cpu, "nice"), None);
}

#[test]
fn a_guard_without_commit_leaves_nothing_behind() {
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let kept = series(&registry, cpu, &["cpu,host=a"])[0];
    let before = registry.mark();
    let mut names = registry.write();
    let mem = names.create_table(POLICY, "mem", KeyKind::Tagged).unwrap();
    let field = names.create_field(cpu, "x", FieldType::Float).unwrap();
    let new = names.create_series(cpu, "cpu,host=b", None).unwrap();
    names.create_series(mem, "mem,host=b", None).unwrap();
    names.set_rollup(kept, RULE);
    names.drop_series(kept);
    assert_eq!(names.definitions().len(), 6);
    drop(names);
    assert_eq!(registry.mark(), before);
    let names = registry.read();
    assert!(names.find_table(POLICY, "mem").is_none());
    assert_eq!(names.field(cpu, field), None);
    assert_eq!(names.slot(new), None);
    assert_eq!(names.find_series(Scope::Policy(POLICY), b"cpu,host=b"), None);
    assert_eq!(names.tag_values(&[cpu], "host", None), [("a", 1)]);
    assert_eq!(names.rollup(names.slot(kept).unwrap()), None);
    assert_eq!((names.stats().series, names.stats().tables), (1, 1));
}

#[test]
fn a_path_in_two_tables_is_one_leaf() {
    let registry = registry();
    let old = table(&registry, "metrics", KeyKind::Path);
    let mut names = registry.write();
    let new = names.create_table(PolicyId(9), "metrics", KeyKind::Path).unwrap();
    let first = names.create_series(old, "a.b", None).unwrap();
    let second = names.create_series(new, "a.b", None).unwrap();
    names.commit();
    let current = |expected: SeriesId, older: SeriesId| {
        let names = registry.read();
        let slot = names.find_series(Scope::Paths, b"a.b").unwrap();
        assert_eq!(names.series_id(slot), expected);
        assert_eq!(names.older_series(slot).map(|s| names.series_id(s)).collect::<Vec<_>>(), [older]);
        let found = names.find_paths(&[GlobStep::One(&"a"), GlobStep::One(&"b")], Want::Both, 10).unwrap();
        assert_eq!(found.leaves, [slot]);
    };
    current(second, first);
    assert_eq!(series(&registry, old, &["a.b"]), [first], "back to the old policy, the old series is used");
    current(first, second);
    let mut names = registry.write();
    names.drop_series(first);
    names.commit();
    assert_eq!(find(&registry, "a.*", Want::Both, 10).unwrap().0, ["a.b"]);
    let mut names = registry.write();
    names.drop_series(second);
    names.commit();
    assert_eq!(find(&registry, "**", Want::Both, 10).unwrap(), (vec![], vec![]));
}

#[test]
fn limits_are_errors_and_counts() {
    let clock = Arc::new(ManualClock::new(0));
    let limits = Limits {
        series_per_scope: 5,
        new_series_per_hour: 3,
        tables_per_policy: 2,
        fields_per_table: 1,
        tag_keys_per_table: 2,
        key_len: 20,
    };
    let registry = Registry::new(limits, clock.clone());
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let metrics = table(&registry, "metrics", KeyKind::Path);
    let mut names = registry.write();
    let refused = |result: rhythmite_model::Result<SeriesId>, kind, text: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(text), "{error}");
    };
    use ErrorKind::{Invalid, Overloaded};
    assert!(names.create_table(POLICY, "disk", KeyKind::Tagged).unwrap_err().message().contains("2 tables"));
    names.create_field(cpu, "x", FieldType::Float).unwrap();
    assert!(names.create_field(cpu, "y", FieldType::Float).unwrap_err().message().contains("1 fields"));
    names.create_series(cpu, "cpu,a=1,b=1", None).unwrap();
    refused(names.create_series(cpu, "cpu,a=1,c=1", None), Invalid, "more than 2 tag keys");
    refused(names.create_series(cpu, "cpu,a=1,b=12345678901", None), Invalid, "at most 20");
    let deep = ["a"; 10].join(".");
    names.create_series(metrics, &deep, None).unwrap();
    names.create_series(cpu, "cpu,a=2", None).unwrap();
    names.create_series(cpu, "cpu,a=3", None).unwrap();
    refused(names.create_series(cpu, "cpu,a=4", None), Overloaded, "3 new ones this hour");
    names.create_series(cpu, "cpu,a=3", None).unwrap();
    names.commit();
    clock.advance(Duration::from_secs(3_600));
    let mut names = registry.write();
    names.create_series(cpu, "cpu,a=4", None).unwrap();
    names.create_series(cpu, "cpu,a=5", None).unwrap();
    refused(names.create_series(cpu, "cpu,a=6", None), Invalid, "there are 5");
    let counts = names.stats().refused;
    names.commit();
    let expected = Refused { series: 1, series_rate: 1, tables: 1, fields: 1, field_types: 0, tag_keys: 1, keys: 1 };
    assert_eq!(counts, expected);
    let unlimited = self::registry();
    let metrics = table(&unlimited, "metrics", KeyKind::Path);
    let deep = vec!["a"; PATH_DEPTH_MAX + 1].join(".");
    refused(unlimited.write().create_series(metrics, &deep, None), Invalid, "at most 127");
    refused(unlimited.write().create_series(metrics, &"a".repeat(65_536), None), Invalid, "at most 65535");
    let longest = "a".repeat(65_535);
    series(&unlimited, metrics, &[&longest]);
    assert_eq!(find(&unlimited, "a*", Want::Leaves, 1).unwrap().0, [longest]);
}

/// Everything that can be asked, as text.
fn dump(registry: &Registry) -> String {
    let names = registry.read();
    let mut out = format!("next {}\n", names.next_sequence);
    for t in names.all_tables() {
        out += &format!("{:?} {:?} {} {:?}\n", t.id(), t.policy(), t.name(), t.kind());
        for field in names.fields(t.id()) {
            out += &format!("  {field:?}\n");
        }
        for slot in names.series_by_key(t.id(), None) {
            let (id, key) = (names.series_id(slot), names.key(slot));
            out += &format!("  {id:?} {key} {:?} {}\n", names.rollup(slot), names.slot(id) == Some(slot));
            let found = names.find_series(t.scope(), key.as_bytes()).unwrap();
            let mut all = std::iter::once(found).chain(names.older_series(found));
            assert!(all.any(|s| s == slot), "{key}");
        }
        for (key, count) in names.tag_keys(&[t.id()], None) {
            out += &format!("  {key} {count} {:?}\n", names.tag_values(&[t.id()], key, None));
        }
    }
    drop(names);
    let (leaves, branches) = find(registry, "**", Want::Both, 100_000).unwrap();
    out + &format!("{leaves:?} {branches:?}")
}

fn reloaded(env: &Env, dir: &Path, ids: &[u64]) -> Registry {
    let registry = registry();
    registry.load(env, dir, ids).unwrap();
    registry
}

fn flush(registry: &Registry, env: &Env, dir: &Path, id: u64) -> Option<SegmentMeta> {
    let mark = registry.mark();
    let meta = registry.write_segment(env, dir, id, mark).unwrap();
    registry.flushed(mark).unwrap();
    meta
}

#[test]
fn segments_bring_everything_back() {
    let (env, temp) = (Env::real(), tempfile::tempdir().unwrap());
    let dir = temp.path();
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let metrics = table(&registry, "metrics", KeyKind::Path);
    let gone = table(&registry, "gone", KeyKind::Tagged);
    let mut names = registry.write();
    names.create_field(cpu, "idle", FieldType::Float).unwrap();
    names.create_field(gone, "idle", FieldType::Float).unwrap();
    let a = names.create_series(cpu, "cpu,host=ä", None).unwrap();
    names.create_series(cpu, "cpu,host=ö", None).unwrap();
    names.create_series(gone, "gone,host=b", None).unwrap();
    let path = names.create_series(metrics, "a.b.c", Some(RULE)).unwrap();
    names.create_series(metrics, "a.b.d", Some(RULE)).unwrap();
    names.commit();
    let first = flush(&registry, &env, dir, 1).unwrap();
    assert_eq!(first.definitions, 10);
    assert_eq!(dump(&reloaded(&env, dir, &[1])), dump(&registry));
    assert_eq!(flush(&registry, &env, dir, 2), None, "nothing is new");

    let mut names = registry.write();
    names.drop_series(a);
    names.drop_table(gone);
    names.set_rollup(path, RollupRule { method: 4, ..RULE });
    names.commit();
    let mut names = registry.write();
    names.create_field(cpu, "user", FieldType::String).unwrap();
    names.create_series(cpu, "cpu,host=ä", None).unwrap();
    let again = names.create_table(POLICY, "gone", KeyKind::Tagged).unwrap();
    names.create_series(again, "gone,host=b", None).unwrap();
    names.commit();
    flush(&registry, &env, dir, 3).unwrap();
    assert_eq!(dump(&reloaded(&env, dir, &[1, 3])), dump(&registry));
    let dropped = series(&registry, cpu, &["cpu,host=last"])[0];
    let mut names = registry.write();
    names.drop_series(dropped);
    names.commit();
    flush(&registry, &env, dir, 4).unwrap();
    assert_eq!(dump(&reloaded(&env, dir, &[1, 3, 4])), dump(&registry), "a burnt number stays burnt");

    merge_segments(&env, dir, &[3, 4], 5, false).unwrap();
    assert_eq!(dump(&reloaded(&env, dir, &[1, 5])), dump(&registry));
    let merged = merge_segments(&env, dir, &[1, 5], 6, true).unwrap();
    assert_eq!(dump(&reloaded(&env, dir, &[6])), dump(&registry));
    assert_eq!(merged.definitions, 3 + 2 + 5, "drops are gone from the oldest segment");
}

#[test]
fn definitions_made_during_a_flush_wait_for_the_next() {
    let (env, temp) = (Env::real(), tempfile::tempdir().unwrap());
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    series(&registry, cpu, &["cpu,host=a"]);
    let mark = registry.mark();
    series(&registry, cpu, &["cpu,host=b"]);
    assert_eq!(registry.write_segment(&env, temp.path(), 1, mark).unwrap().unwrap().definitions, 2);
    // The manifest failed: the next try writes them again.
    let mark = registry.mark();
    series(&registry, cpu, &["cpu,host=c"]);
    assert_eq!(registry.write_segment(&env, temp.path(), 2, mark).unwrap().unwrap().definitions, 3);
    registry.flushed(mark).unwrap();
    assert_eq!(flush(&registry, &env, temp.path(), 3).unwrap().definitions, 1);
    assert_eq!(dump(&reloaded(&env, temp.path(), &[2, 3])), dump(&registry));
}

#[test]
fn damage_is_told_with_the_name_of_the_file() {
    let (env, temp) = (Env::real(), tempfile::tempdir().unwrap());
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let mut names = registry.write();
    names.create_field(cpu, "idle", FieldType::Float).unwrap();
    let id = names.create_series(cpu, "cpu,host=a", Some(RULE)).unwrap();
    names.create_series(cpu, "cpu,host=b", None).unwrap();
    names.commit();
    let mut names = registry.write();
    names.drop_series(id);
    names.commit();
    let bytes = flush(&registry, &env, temp.path(), 1).unwrap().bytes as usize;
    let path = segment_path(temp.path(), 1);
    let whole = env.fs.read(&path, 1 << 20).unwrap();
    assert_eq!(whole.len(), bytes);
    let check = |damaged: &[u8], what: &str| {
        env.fs.write_durably(&path, damaged).unwrap();
        let empty = self::registry();
        for error in [
            empty.load(&env, temp.path(), &[1]).expect_err(what),
            merge_segments(&env, temp.path(), &[1], 2, true).expect_err(what),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            assert!(error.message().contains("names-0000000001.reg"), "{what}: {error}");
        }
    };
    for at in 0..bytes {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        check(&damaged, &format!("byte {at} flipped"));
        check(&whole[..at], &format!("cut to {at}"));
    }
    check(&[whole.clone(), vec![0]].concat(), "a byte too many");
    let error = self::registry().load(&env, temp.path(), &[9]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("names-0000000009.reg"));
}

#[test]
fn the_log_is_replayed_over_what_is_known() {
    let registry = registry();
    let mut names = registry.write();
    let cpu = names.create_table(POLICY, "cpu", KeyKind::Tagged).unwrap();
    names.create_field(cpu, "x", FieldType::Float).unwrap();
    let id = names.create_series(cpu, "cpu,host=a", None).unwrap();
    let mut log = names.commit();
    let mut names = registry.write();
    names.set_rollup(id, RULE);
    log.extend(names.commit());
    let other = self::registry();
    other.apply(&log).unwrap();
    other.apply(&log[..3]).unwrap();
    let rule_lost = Definition::Rollup { id, rollup: RULE };
    other.apply(&[rule_lost]).unwrap();
    assert_eq!(dump(&other), dump(&registry));
    assert_eq!(other.read().stats().unflushed, 4);
    let mut names = registry.write();
    names.drop_series(id);
    names.drop_table(cpu);
    other.apply(&names.commit()).unwrap();
    assert_eq!(dump(&other), dump(&registry));
    other.apply(&log[1..]).unwrap();
    assert_eq!(dump(&other), dump(&registry), "definitions of a table that is gone are passed over");

    let corrupt = |log: &[Definition]| {
        let fresh = self::registry();
        assert_eq!(fresh.apply(log).unwrap_err().kind(), ErrorKind::Corrupt, "{log:?}");
    };
    let new_table = |id, name: &str| Definition::Table {
        id: TableId(id),
        policy: POLICY,
        name: name.into(),
        kind: KeyKind::Tagged,
    };
    let new_series = |table, allocator, sequence, key: &str| Definition::Series {
        id: SeriesId::new(TableId(table), allocator, sequence),
        key: key.into(),
        rollup: None,
    };
    corrupt(&log[2..]);
    corrupt(&[new_table(0, "a"), new_table(0, "b")]);
    corrupt(&[new_table(0, "a"), new_table(1, "a")]);
    corrupt(&[new_table(1 << 24, "a")]);
    corrupt(&[new_table(0, "a"), new_series(0, 1, 0, "a")]);
    corrupt(&[new_table(0, "a"), new_series(0, 0, 0, "a"), new_series(0, 0, 0, "a,b=c")]);
    corrupt(&[new_table(0, "a"), new_series(0, 0, 0, "a"), new_series(0, 0, 1, "a")]);
    corrupt(&[new_table(0, "a"), new_table(1, "b"), new_series(0, 0, 0, "a"), new_series(1, 0, 0, "b")]);
}

#[test]
fn segments_merge_by_size() {
    let metas = |sizes: &[u64]| -> Vec<SegmentMeta> {
        sizes.iter().map(|&bytes| SegmentMeta { id: 0, definitions: 0, bytes }).collect()
    };
    let cases: &[(&[u64], Option<Range<usize>>)] = &[
        (&[], None),
        (&[1, 1, 1], None),
        (&[1, 1, 1, 1], Some(0..4)),
        (&[100, 1, 1, 1, 1], Some(1..5)),
        (&[8, 1, 1, 1, 1], Some(0..5)),
        (&[1000, 300, 90, 1, 1, 1], None),
        (&[1000, 300, 90, 20, 20, 20], Some(1..6)),
    ];
    use std::ops::Range;
    for (sizes, expected) in cases {
        assert_eq!(&plan_merge(&metas(sizes)), expected, "{sizes:?}");
    }
    let mut sizes: Vec<u64> = Vec::new();
    for _ in 0..10_000 {
        sizes.push(100);
        while let Some(range) = plan_merge(&metas(&sizes)) {
            let sum = sizes.drain(range).sum();
            sizes.push(sum);
        }
        assert!(sizes.len() <= 16, "{sizes:?}");
    }
}

#[test]
fn a_million_children_stay_sorted() {
    let registry = registry();
    let metrics = table(&registry, "metrics", KeyKind::Path);
    // 7919 is prime to 20,000: every number once, in no order.
    let keys: Vec<_> = (0..20_000).map(|n| format!("hosts.h{:05}", n * 7919 % 20_000)).collect();
    series(&registry, metrics, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    let (all, _) = find(&registry, "hosts.*", Want::Leaves, 20_000).unwrap();
    assert_eq!(all.len(), 20_000);
    assert!(all.is_sorted());
    assert_eq!(find(&registry, "hosts.h1234*", Want::Leaves, 10).unwrap().0.len(), 10);
    assert_eq!(find(&registry, "hosts.h00777", Want::Leaves, 10).unwrap().0, ["hosts.h00777"]);
    let odd: Vec<_> = {
        let names = registry.read();
        let odd = names.series(metrics).into_iter().filter(|s| s % 2 == 1);
        odd.map(|s| names.series_id(Slot(s))).collect()
    };
    let mut names = registry.write();
    odd.into_iter().for_each(|id| names.drop_series(id));
    names.commit();
    let (rest, _) = find(&registry, "hosts.*", Want::Leaves, 20_000).unwrap();
    assert_eq!(rest.len(), 10_000);
    assert!(rest.is_sorted());
}

#[test]
fn readers_and_makers_do_not_disturb_each_other() {
    let (env, temp) = (Env::real(), tempfile::tempdir().unwrap());
    let registry = registry();
    let metrics = table(&registry, "metrics", KeyKind::Path);
    let done = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (registry, done) = (&registry, &done);
            scope.spawn(move || {
                for n in 0..500 {
                    // Both threads make the same names: each must exist once.
                    let keys = [format!("a.{n}.x"), format!("b.{thread}.{n}")];
                    series(registry, metrics, &[&keys[0], &keys[1]]);
                }
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        scope.spawn(|| {
            let mut id = 0;
            while done.load(std::sync::atomic::Ordering::SeqCst) < 2 || registry.read().stats().unflushed > 0 {
                flush(&registry, &env, temp.path(), id);
                id += 1;
                let names = registry.read();
                let mut last = None;
                for slot in names.series_by_key(metrics, None) {
                    assert_eq!(names.find_after(Scope::Paths, last, names.key(slot).as_bytes()), Some(slot));
                    last = Some(slot);
                }
            }
        });
    });
    assert_eq!(registry.read().stats().series, 1_500);
    let mut ids: Vec<_> = env.fs.list(temp.path()).unwrap();
    ids.retain(|path| path.extension().is_some_and(|e| e == "reg"));
    let ids: Vec<u64> = ids.iter().map(|p| p.file_stem().unwrap().to_str().unwrap()[6..].parse().unwrap()).collect();
    assert_eq!(dump(&reloaded(&env, temp.path(), &ids)), dump(&registry));
}

/// One step of the model test: what is done to the registry and to a map from key to series.
#[derive(Clone, Debug)]
enum Step {
    Make(String),
    Drop(usize),
    Flush,
    Merge,
    Restart,
}

fn steps(key: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => key.prop_map(Step::Make),
        4 => any::<usize>().prop_map(Step::Drop),
        2 => Just(Step::Flush),
        1 => Just(Step::Merge),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Runs the steps; a restart loads the segments and replays what was logged since the last flush.
fn run(kind: KeyKind, steps: &[Step]) -> (Registry, TableId, BTreeMap<String, SeriesId>) {
    let (env, temp) = (Env::real(), tempfile::tempdir().unwrap());
    let mut registry = registry();
    let mut log = Vec::new();
    let mut names = registry.write();
    let table = names.create_table(POLICY, "m", kind).unwrap();
    log.extend(names.commit());
    let mut model = BTreeMap::new();
    let mut segments: Vec<SegmentMeta> = Vec::new();
    let mut next = 0;
    for step in steps {
        next += 1;
        match step {
            Step::Make(key) => {
                let mut names = registry.write();
                let id = names.create_series(table, key, None).unwrap();
                assert_eq!(*model.entry(key.clone()).or_insert(id), id);
                log.extend(names.commit());
            }
            Step::Drop(n) if !model.is_empty() => {
                let key = model.keys().nth(n % model.len()).unwrap().clone();
                let mut names = registry.write();
                names.drop_series(model.remove(&key).unwrap());
                log.extend(names.commit());
            }
            Step::Drop(_) => {}
            Step::Flush => {
                segments.extend(flush(&registry, &env, temp.path(), next));
                log.clear();
            }
            Step::Merge if segments.len() > 1 => {
                let from = segments.len() - 2;
                let ids: Vec<_> = segments[from..].iter().map(|s| s.id).collect();
                let merged = merge_segments(&env, temp.path(), &ids, next, from == 0).unwrap();
                segments.truncate(from);
                segments.push(merged);
            }
            Step::Merge => {}
            Step::Restart => {
                let ids: Vec<_> = segments.iter().map(|s| s.id).collect();
                let fresh = reloaded(&env, temp.path(), &ids);
                fresh.apply(&log).unwrap();
                assert_eq!(dump(&fresh), dump(&registry));
                registry = fresh;
            }
        }
    }
    (registry, table, model)
}

/// The value of a tag by the rule that a missing tag is empty.
fn value(key: &str, tag: &str) -> String {
    key::tag(KeyKind::Tagged, key, tag).map(|v| v.into_owned()).unwrap_or_default()
}

fn holds(condition: &TagExpr, key: &str) -> bool {
    match condition {
        TagExpr::All => true,
        TagExpr::Tag(tag, TagTest::Is(text)) => value(key, tag) == *text,
        TagExpr::Tag(tag, TagTest::Like(test)) => test(&value(key, tag)),
        TagExpr::Not(inner) => !holds(inner, key),
        TagExpr::And(list) => list.iter().all(|inner| holds(inner, key)),
        TagExpr::Or(list) => list.iter().any(|inner| holds(inner, key)),
    }
}

fn conditions() -> impl Strategy<Value = TagExpr> {
    let leaf = prop_oneof![
        Just(TagExpr::All),
        ("[abcx]", "[12]?").prop_map(|(k, v)| TagExpr::is(k, v)),
        ("[abcx]", prop_oneof![Just("1"), Just("^$"), Just("^[12]?$"), Just("2|3")])
            .prop_map(|(k, v)| TagExpr::matches(k, Regex::new(v).unwrap())),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(TagExpr::negate),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(TagExpr::And),
            proptest::collection::vec(inner, 0..3).prop_map(TagExpr::Or),
        ]
    })
}

/// Whether a glob matches a path, said the slow and plain way.
fn glob_matches(glob: &[&str], path: &[&str]) -> bool {
    match (glob, path) {
        (["**"], path) => !path.is_empty(),
        (["**", rest @ ..], path) => (0..=path.len()).any(|skip| glob_matches(rest, &path[skip..])),
        ([pattern, glob @ ..], [segment, path @ ..]) => star(pattern, segment) && glob_matches(glob, path),
        (glob, path) => glob.is_empty() && path.is_empty(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn selections_equal_the_models(
        steps in steps("m(,a=[123])?(,b=[123])?(,c=[123])?"),
        conditions in proptest::collection::vec(conditions(), 1..8),
    ) {
        let (registry, table, model) = run(KeyKind::Tagged, &steps);
        let names = registry.read();
        for condition in &conditions {
            let selected = names.ids(&names.select(table, condition).unwrap());
            let mut expected: Vec<_> = model.iter().filter(|(k, _)| holds(condition, k)).map(|(_, &id)| id).collect();
            expected.sort_unstable();
            prop_assert_eq!(selected, expected);
        }
        for tag in ["a", "b", "c"] {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            model.keys().map(|key| value(key, tag)).filter(|v| !v.is_empty()).for_each(|v| *counts.entry(v).or_default() += 1);
            let got: Vec<_> = names.tag_values(&[table], tag, None).into_iter().map(|(v, n)| (v.to_owned(), n)).collect();
            prop_assert_eq!(got, counts.into_iter().collect::<Vec<_>>());
        }
        let keys: Vec<_> = names.series_by_key(table, None).into_iter().map(|s| names.key(s)).collect();
        prop_assert_eq!(keys, model.keys().collect::<Vec<_>>());
    }

    #[test]
    fn finds_equal_the_models(
        steps in steps("[ab]{1,2}(\\.[abc]{1,2}){0,3}"),
        globs in proptest::collection::vec("(\\*|\\*\\*|a\\*|\\*b|a|b)(\\.(\\*|\\*\\*|a\\*|\\*b|a|bb)){0,3}", 1..12),
    ) {
        let (registry, _, model) = run(KeyKind::Path, &steps);
        let mut branches: Vec<&str> = model.keys().flat_map(|key| key.match_indices('.').map(|(at, _)| &key[..at])).collect();
        branches.sort_unstable();
        branches.dedup();
        for glob in &globs {
            let pattern: Vec<_> = glob.split('.').collect();
            let fits = |path: &str| glob_matches(&pattern, &path.split('.').collect::<Vec<_>>());
            let (mut leaves, mut nodes) = find(&registry, glob, Want::Both, 1_000).unwrap();
            leaves.sort_unstable();
            nodes.sort_unstable();
            prop_assert_eq!(leaves, model.keys().filter(|k| fits(k)).cloned().collect::<Vec<_>>(), "{}", glob);
            prop_assert_eq!(nodes, branches.iter().filter(|k| fits(k)).map(|k| k.to_string()).collect::<Vec<_>>(), "{}", glob);
        }
    }
}
