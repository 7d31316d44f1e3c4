//! Making names and finding them.

use super::*;

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
fn a_find_that_takes_too_many_tests_ends() {
    let registry = registry();
    let paths: Vec<String> = (0..100).map(|i| format!("a.b.c{i}")).collect();
    series(&registry, table(&registry, "m", KeyKind::Path), &paths.iter().map(String::as_str).collect::<Vec<_>>());
    let names = registry.read();
    let steps: Vec<_> = (0..20).map(|_| GlobStep::AnyDepth).collect();
    // Each of 102 nodes against each of 20 steps.
    let find = |tests_max| names.paths.find_by(&names.symbols, &steps, Want::Leaves, 100, tests_max);
    assert_eq!(find(2_040).unwrap().leaves.len(), 100);
    assert!(find(2_039).unwrap_err().message().contains("too many tests"));
    assert_eq!(names.stats().refused.finds, 0);
    assert!(names.find_paths(&steps, Want::Leaves, 99).is_err());
    assert_eq!(names.stats().refused.finds, 1);
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
    // Series that are made together are foretold in that order.
    assert_eq!(names.predict(scope, slots[0]), Some((slots[1], &b"cpu,host=b"[..])));
    assert_eq!(names.predict(scope, slots[2]), None);
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
fn series_that_are_taken_back_do_not_count_for_the_hour() {
    let registry = limited(Limits { new_series_per_hour: 2, ..Limits::default() });
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    for _ in 0..3 {
        let mut names = registry.write();
        names.create_series(cpu, "cpu,a=1", None).unwrap();
        names.create_series(cpu, "cpu,a=2", None).unwrap();
        names.create_series(cpu, "cpu,a=3", None).unwrap_err();
    }
    series(&registry, cpu, &["cpu,a=1", "cpu,a=2"]);
    registry.write().create_series(cpu, "cpu,a=3", None).unwrap_err();
}

#[test]
fn a_refusal_is_known_without_the_write_lock_as_long_as_there_is_no_room() {
    let clock = Arc::new(ManualClock::new(0));
    let limits = Limits { series_per_scope: 2, new_series_per_hour: 2, ..Limits::default() };
    let registry = Registry::new(limits, clock.clone());
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let room = |scope| registry.room_for_series(&registry.read(), scope);
    let refusal = |scope| registry.refuse_series(&registry.read(), scope, "cpu,a=3").map(|e| e.kind());
    let scope = Scope::Policy(POLICY);
    assert_eq!((refusal(scope), room(scope)), (None, 2));
    let ids = series(&registry, cpu, &["cpu,a=1", "cpu,a=2"]);
    assert_eq!((refusal(scope), room(scope)), (Some(ErrorKind::Invalid), 0), "all there may be");
    assert_eq!((refusal(Scope::Paths), room(Scope::Paths)), (None, 2), "each scope has its own room");
    let mut names = registry.write();
    names.drop_series(ids[0]);
    names.commit();
    let none = (Some(ErrorKind::Overloaded), 0);
    assert_eq!((refusal(scope), room(scope)), none, "there is room, but not in this hour");
    clock.advance(Duration::from_secs(3_600));
    assert_eq!((refusal(scope), room(scope)), (None, 1));
    let refused = registry.read().stats().refused;
    assert_eq!((refused.series, refused.series_rate), (1, 1));
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
    let expected =
        Refused { series: 1, series_rate: 1, tables: 1, fields: 1, field_types: 0, tag_keys: 1, keys: 1, finds: 0 };
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

#[test]
fn many_children_stay_sorted() {
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
fn values_of_a_tag_are_kept_in_order_as_they_come_and_go() {
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let mut known = TagValues::default();
    let mut next = move |registry: &Registry| {
        let news = registry.read().tag_values_news(cpu, "host", &known).unwrap();
        known = known.with(news);
        known.texts().iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(next(&registry), "");
    let steps: &[(&str, &str, &str)] = &[
        ("c b", "", "b c"),
        // The same values again, and series without the tag, change nothing.
        ("c,x=1 b,x=1", "", "b c"),
        ("a bb z b0", "", "a b b0 bb c z"),
        ("", "c", "a b b0 bb c z"),
        ("", "c,x=1", "a b b0 bb z"),
        ("server-10000000b server-10000000a server-1", "a z", "b b0 bb server-1 server-10000000a server-10000000b"),
        ("", "b b,x=1 b0 bb server-1 server-10000000a server-10000000b", ""),
        ("again", "", "again"),
    ];
    let mut versions = Vec::new();
    for &(made, dropped, expected) in steps {
        let keys: Vec<String> = made.split_whitespace().map(|key| format!("cpu,host={key}")).collect();
        series(&registry, cpu, &keys.iter().map(String::as_str).collect::<Vec<_>>());
        let mut names = registry.write();
        for key in dropped.split_whitespace() {
            let slot = names.find_series(Scope::Policy(POLICY), format!("cpu,host={key}").as_bytes()).unwrap();
            let id = names.series_id(slot);
            names.drop_series(id);
        }
        names.commit();
        assert_eq!(next(&registry), expected, "+ {made} - {dropped}");
        versions.push(registry.read().tag_version(cpu, "host").map(|(_, version)| version));
    }
    assert_eq!(versions[0], versions[1], "no value came or went");
    assert_eq!(versions[2], versions[3]);
    let mut others: Vec<_> = versions.into_iter().flatten().collect();
    assert_eq!(others.len(), 7, "the tag was gone once");
    others.dedup();
    assert_eq!(others.len(), 5, "every other change is another version: {others:?}");
}

#[test]
fn values_within_a_set_of_series_have_their_numbers() {
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    series(&registry, cpu, &["cpu,host=c,dc=1", "cpu,host=a,dc=2", "cpu,host=b,dc=1", "cpu,host=a,dc=1"]);
    let names = registry.read();
    let known = TagValues::default();
    let known = known.with(names.tag_values_news(cpu, "host", &known).unwrap());
    for (dc, expected) in [("1", vec![0, 1, 2]), ("2", vec![0]), ("3", vec![])] {
        let within = names.select(cpu, &TagExpr::is("dc", dc)).unwrap();
        assert_eq!(names.tag_values_within(cpu, "host", &known, &within), expected, "{dc}");
    }
}

#[test]
fn texts_are_sorted_each_once() {
    let mut texts = Texts::default();
    ["ab", "ab\0", "a", "", "ab", "abcdefghij", "abcdefghii", "é"].into_iter().for_each(|text| texts.push(text));
    let sorted = texts.sorted();
    assert_eq!(sorted.iter().collect::<Vec<_>>(), ["", "a", "ab", "ab\0", "abcdefghii", "abcdefghij", "é"]);
    assert_eq!(sorted.range(1..3).collect::<Vec<_>>(), ["a", "ab"]);
    assert_eq!((sorted.get(6), sorted.len(), sorted.is_empty()), ("é", 7, false));
    assert_eq!(Texts::default().sorted().iter().count(), 0);
}
