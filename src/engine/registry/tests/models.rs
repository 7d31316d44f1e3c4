//! Random histories against a `BTreeMap`.

use super::*;

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
