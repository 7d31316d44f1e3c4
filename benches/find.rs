//! Names: making a million, loading them, looking one up by key, finding many by glob or tag.
//!
//! Making, loading and memory are printed once before the measured loops; they take seconds and are not repeated.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rhythmite_engine::registry::{
    GlobStep, Limits, Registry, Scope, SegmentMatcher, Slot, TagExpr, Want, merge_segments,
};
use rhythmite_env::{Env, SystemClock};
use rhythmite_model::{KeyKind, PolicyId, RollupRule, TableId};

const POLICY: PolicyId = PolicyId(1);
const RULE: RollupRule = RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 };
/// Names made under one write lock.
const BATCH: usize = 1_000;

/// 20 groups of 1,000 hosts with 50 metrics each: about 40 characters a path.
fn paths() -> Vec<String> {
    let parts = ["cpu", "disk", "memory", "network", "process"];
    let metrics = ["idle", "user", "system", "wait", "steal", "nice", "read", "write", "errors", "total"];
    let mut paths = Vec::with_capacity(1_000_000);
    for group in 0..20 {
        for host in 0..1_000 {
            for part in parts {
                for metric in metrics {
                    paths.push(format!("production-{group:02}.webserver-{host:05}.{part}.{metric}"));
                }
            }
        }
    }
    paths
}

/// A million hosts with ten tags, one of them unique.
fn tagged() -> Vec<String> {
    let key = |n: usize| {
        format!(
            "cpu,arch=x86,datacenter=eu-west-1{},hostname=host_{n:07},os=Ubuntu16.{},rack={},region=eu-west-{},\
             service={},service_environment={},service_version={},team={}",
            n % 3,
            n % 7,
            n % 97,
            n % 11,
            n % 19,
            ["production", "staging", "test"][n % 5 % 3],
            n % 2,
            ["SF", "NYC", "LON", "CHI"][n % 4],
        )
    };
    (0..1_000_000).map(key).collect()
}

struct Starts(&'static str);

impl SegmentMatcher for Starts {
    fn literal_prefix(&self) -> &str {
        self.0
    }

    fn matches(&self, segment: &str) -> bool {
        segment.starts_with(self.0)
    }
}

/// Like a compiled glob with no literal head: looks at the text.
struct Ends(&'static str);

impl SegmentMatcher for Ends {
    fn matches(&self, segment: &str) -> bool {
        segment.ends_with(self.0)
    }
}

/// Seconds that this thread has had a core: what a busy machine measures the same. 0 where the system does not say.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    ns.unwrap_or(0) as f64 / 1e9
}

fn timed(what: &str, mut work: impl FnMut()) -> f64 {
    let start = cpu_seconds();
    work();
    let seconds = cpu_seconds() - start;
    eprintln!("{what}: {:.3} ms of a core", seconds * 1e3);
    seconds
}

fn report(what: &str, registry: &Registry, keys: &[String], seconds: f64) {
    let stats = registry.read().stats();
    let each = |bytes: usize| bytes / keys.len();
    let text = keys.iter().map(String::len).sum::<usize>() / keys.len();
    let heap = stats.heap;
    eprintln!(
        "{what}: {seconds:.2} s, {:.0} series/s; keys of {text} B; {} B/series: keys {} hashes {} ids {} symbols {} \
         tags {} paths {} journal {}",
        keys.len() as f64 / seconds,
        each(heap.total()),
        each(heap.keys),
        each(heap.key_hashes),
        each(heap.ids),
        each(heap.symbols),
        each(heap.tags),
        each(heap.paths),
        each(heap.journal),
    );
}

/// Makes all names, writes them to two segments (and a merged one), loads that; gives the loaded registry.
fn fill(what: &str, keys: &[String], kind: KeyKind) -> (Registry, TableId) {
    let env = Env::real();
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir: &Path = temp.path();
    let registry = Registry::new(Limits::default(), env.clock.clone());
    let mut names = registry.write();
    let table = names.create_table(POLICY, "cpu", kind).expect("below the limits");
    names.commit();
    let rollup = (kind == KeyKind::Path).then_some(RULE);
    let half = keys.len() / 2;
    for (id, keys) in [(1, &keys[..half]), (2, &keys[half..])] {
        timed("make half", || {
            for batch in keys.chunks(BATCH) {
                let mut names = registry.write();
                for key in batch {
                    names.create_series(table, key, rollup).expect("below the limits");
                }
                black_box(names.commit());
            }
        });
        timed("flush", || {
            let mark = registry.mark();
            let meta = registry.write_segment(&env, dir, id, mark).expect("the disk works");
            eprintln!("{meta:?}");
            registry.flushed(mark).expect("nothing was dropped");
        });
    }
    timed("merge", || {
        merge_segments(&env, dir, &[1, 2], 3, true).expect("the disk works");
    });
    let loaded = Registry::new(Limits::default(), Arc::new(SystemClock::new()));
    let seconds = timed("load", || loaded.load(&env, dir, &[3]).expect("just written"));
    report(&format!("{what} loaded"), &loaded, keys, seconds);
    (registry, table)
}

/// Repeatable disorder.
fn shuffled(keys: &[String]) -> Vec<&[u8]> {
    let mut list: Vec<&[u8]> = keys.iter().map(|k| k.as_bytes()).collect();
    let mut state = 1_u64;
    for at in (1..list.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        list.swap(at, (state >> 33) as usize % (at + 1));
    }
    list
}

fn look_up(c: &mut Criterion, what: &str, registry: &Registry, scope: Scope, keys: &[String]) {
    let mut group = c.benchmark_group(format!("{what}/look_up"));
    group.throughput(Throughput::Elements(keys.len() as u64)).sample_size(10);
    for (order, list) in [("sent", keys.iter().map(|k| k.as_bytes()).collect()), ("random", shuffled(keys))] {
        group.bench_function(format!("{order} order, hash"), |b| {
            b.iter(|| {
                let names = registry.read();
                list.iter().filter(|key| names.find_series(scope, key).is_some()).count()
            });
        });
        let follow = || {
            let names = registry.read();
            let mut previous: Option<Slot> = None;
            for key in &list {
                previous = names.find_after(scope, previous, key);
            }
            previous
        };
        follow();
        group.bench_function(format!("{order} order, predicted"), |b| b.iter(follow));
    }
    group.finish();
}

fn finds(c: &mut Criterion) {
    let keys = paths();
    let (registry, _) = fill("paths", &keys, KeyKind::Path);
    let mut group = c.benchmark_group("find");
    let any = Starts("");
    let all_idle = [GlobStep::One(&any), GlobStep::One(&any), GlobStep::One(&"cpu"), GlobStep::One(&"idle")];
    let anywhere = [GlobStep::AnyDepth, GlobStep::One(&"cpu"), GlobStep::One(&"idle")];
    let suffix = [GlobStep::One(&any), GlobStep::One(&Ends("777")), GlobStep::One(&any), GlobStep::One(&Ends("le"))];
    let group_cpu = [
        GlobStep::One(&"production-07"),
        GlobStep::One(&Starts("webserver-0012")),
        GlobStep::One(&"cpu"),
        GlobStep::One(&any),
    ];
    let literal = [
        GlobStep::One(&"production-07"),
        GlobStep::One(&"webserver-00123"),
        GlobStep::One(&"cpu"),
        GlobStep::One(&"idle"),
    ];
    let hosts = [GlobStep::One(&"production-07"), GlobStep::One(&any)];
    let all = [GlobStep::AnyDepth];
    let cases: [(&str, &[GlobStep<'_>], Want, usize); 7] = [
        ("*.*.cpu.idle", &all_idle, Want::Leaves, 20_000),
        ("**.cpu.idle", &anywhere, Want::Leaves, 20_000),
        ("*.*777.*.*le", &suffix, Want::Leaves, 100),
        ("a.b12*.cpu.*", &group_cpu, Want::Leaves, 100),
        ("a.b.c.d", &literal, Want::Leaves, 1),
        ("a.* branches", &hosts, Want::Branches, 1_000),
        ("**", &all, Want::Leaves, 1_000_000),
    ];
    for (name, glob, want, expected) in cases {
        let names = registry.read();
        let find = || names.find_paths(glob, want, 1_000_000).expect("below the limit");
        let found = find();
        assert_eq!(found.leaves.len() + found.branches.len(), expected, "{name}");
        timed(&format!("20 x {name}"), || {
            for _ in 0..20 {
                black_box(find());
            }
        });
        group.bench_function(name, |b| b.iter(find));
    }
    group.finish();
    look_up(c, "paths", &registry, Scope::Paths, &keys);
}

fn tags(c: &mut Criterion) {
    let keys = tagged();
    let (registry, table) = fill("tagged", &keys, KeyKind::Tagged);
    let mut group = c.benchmark_group("select");
    let regex = |text: &str| regex::Regex::new(text).expect("a good pattern");
    let cases = [
        (
            "region = a AND os = b",
            TagExpr::And(vec![TagExpr::is("region", "eu-west-3"), TagExpr::is("os", "Ubuntu16.3")]),
        ),
        ("hostname = a", TagExpr::is("hostname", "host_0123456")),
        (
            "rack =~ 1. AND team != a",
            TagExpr::And(vec![TagExpr::matches("rack", regex("^1.$")), TagExpr::is("team", "SF").negate()]),
        ),
        ("hostname =~ 77$", TagExpr::matches("hostname", regex("77$"))),
    ];
    let names = registry.read();
    for (name, condition) in &cases {
        timed(name, || drop(black_box(names.select(table, condition))));
        group.bench_function(*name, |b| b.iter(|| names.select(table, condition).expect("not deep").len()));
    }
    group.bench_function("values of rack", |b| b.iter(|| names.tag_values(&[table], "rack", None).len()));
    group.finish();
    drop(names);
    look_up(c, "tagged", &registry, Scope::Policy(POLICY), &keys);
}

criterion_group!(benches, finds, tags);
criterion_main!(benches);
