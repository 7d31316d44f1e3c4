//! What the registry promises, as one would read it: names in, answers out.

mod models;
mod names;
mod segments;

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
