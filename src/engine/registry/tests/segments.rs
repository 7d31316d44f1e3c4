//! Flush, load, replay, merge.

use super::*;

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
    series(&registry, cpu, &["cpu,host=d"]);
    registry.flushed(mark).unwrap();
    assert_eq!(flush(&registry, &env, temp.path(), 3).unwrap().definitions, 2, "a mark means the same for ever");
    assert_eq!(dump(&reloaded(&env, temp.path(), &[2, 3])), dump(&registry));
}

#[test]
fn a_flush_of_names_that_are_all_gone_keeps_their_numbers() {
    let (env, temp) = (Env::real(), tempfile::tempdir().unwrap());
    let registry = registry();
    let cpu = table(&registry, "cpu", KeyKind::Tagged);
    let [a] = series(&registry, cpu, &["cpu,host=a"])[..] else { unreachable!() };
    let mark = registry.mark();
    // Behind the mark, so in the log: the table grows, and goes.
    let mut names = registry.write();
    let field = names.create_field(cpu, "idle", FieldType::Float).unwrap();
    let mut log = names.commit();
    let mut names = registry.write();
    names.drop_table(cpu);
    log.extend(names.commit());
    let meta = registry.write_segment(&env, temp.path(), 1, mark).unwrap().expect("numbers were given out");
    assert_eq!((meta.definitions, field.0), (0, 0));
    registry.flushed(mark).unwrap();
    let again = reloaded(&env, temp.path(), &[1]);
    again.apply(&log).unwrap();
    let next = table(&again, "mem", KeyKind::Tagged);
    assert!(next > cpu, "table number {} is used twice", next.0);
    assert!(series(&again, next, &["mem,host=a"])[0].0 as u32 > a.0 as u32, "a series number is used twice");
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
