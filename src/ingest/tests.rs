use std::sync::Arc;

use rhythmite_engine::registry::Scope;
use rhythmite_engine::{Durability, Engine, Options};
use rhythmite_env::{Env, ManualClock};
use rhythmite_model::{Column, Tier};

use super::*;
use crate::catalog::Catalog;

const NOW_S: i64 = 1_700_000_000;

struct Hall {
    engine: Engine,
    ingest: PathIngest,
    _dir: Option<tempfile::TempDir>,
}

async fn open(dir: &std::path::Path, schemas: Option<&str>, options: impl FnOnce(&mut Options)) -> Hall {
    let catalog = Catalog::open(&dir.join("catalog.sqlite")).unwrap();
    let text = RulesText { schemas: schemas.map(|s| (s.to_owned(), "s.conf".to_owned())), aggregation: None };
    let (rules, warnings) = PathRules::load(&text, &catalog).await.unwrap();
    assert_eq!(warnings, []);
    let clock = Arc::new(ManualClock::new(NOW_S * 1_000_000_000));
    let env = Env { clock: clock.clone(), ..Env::real() };
    let policies = catalog.databases().policies().map(|p| p.policy.clone()).collect();
    let mut engine_options = Options::new(dir);
    options(&mut engine_options);
    let (engine, _) = Engine::open(env, engine_options, Arc::new(catalog.manifest()), policies).unwrap();
    Hall { ingest: PathIngest::new(engine.clone(), clock, rules), engine, _dir: None }
}

async fn hall(schemas: Option<&str>, options: impl FnOnce(&mut Options)) -> Hall {
    let dir = tempfile::tempdir().unwrap();
    let hall = open(dir.path(), schemas, options).await;
    Hall { _dir: Some(dir), ..hall }
}

impl Hall {
    fn write(&self, points: &[(&str, i64, f64)]) {
        let mut batch = PathPoints::default();
        points.iter().for_each(|&(path, time, value)| batch.push(path, time, value));
        self.ingest.write_paths(&batch, Durability::Sync).unwrap().wait().unwrap();
    }

    /// `path level -> seconds=value ...` for every series that the path ever was, oldest policy last.
    fn read(&self, path: &str) -> Vec<String> {
        let names = self.engine.registry().read();
        let Some(slot) = names.find_series(Scope::Paths, path.as_bytes()) else { return Vec::new() };
        let mut out = Vec::new();
        for slot in std::iter::once(slot).chain(names.older_series(slot)) {
            let id = names.series_id(slot);
            for tier in 0..3 {
                let filter = rhythmite_engine::SeriesFilter::List(Arc::new([id]));
                let scan = self.engine.snapshot();
                let scan = scan.scan(id.table(), Tier(tier), filter, None, i64::MIN..=i64::MAX).unwrap();
                for points in scan.map(Result::unwrap) {
                    let Column::Float(values) = &points.streams[0].values else { panic!("floats went in") };
                    let times = points.streams[0].times_ns.iter().map(|t| t / 1_000_000_000 - NOW_S);
                    let text: Vec<_> = times.zip(values).map(|(t, v)| format!("{t}={v}")).collect();
                    out.push(format!("{tier}: {}", text.join(" ")));
                }
            }
        }
        out
    }
}

#[tokio::test]
async fn times_are_cut_to_the_step_and_the_last_value_of_a_slot_stays() {
    let hall = hall(Some("[a]\npattern = .*\nretentions = 10s:1h\n"), |_| ()).await;
    hall.write(&[("a.b", NOW_S + 3, 1.0), ("a.b", NOW_S + 9, 2.0), ("a.b", NOW_S + 10, 3.0)]);
    assert_eq!(hall.read("a.b"), ["0: 0=2 10=3"]);
}

#[tokio::test]
async fn a_late_point_goes_to_the_level_that_reaches_it() {
    let hall = hall(Some("[a]\npattern = .*\nretentions = 10s:1h,1m:1d\n"), |_| ()).await;
    hall.write(&[("a.b", NOW_S - 3_599, 1.0), ("a.b", NOW_S - 3_620, 2.0), ("a.b", NOW_S - 90_000, 3.0)]);
    assert_eq!(hall.read("a.b"), ["0: -3600=1", "1: -3620=2"]);
    assert_eq!(hall.ingest.counters(), PathCounters { accepted: 2, too_old: 1, refused_series: 0, created: 1 });
}

#[tokio::test]
async fn without_files_the_built_in_rules_hold() {
    let hall = hall(None, |_| ()).await;
    hall.write(&[("stats.timers.t.upper_90", NOW_S, 1.0), ("x.count", NOW_S, 1.0), ("y", NOW_S, 1.0)]);
    let method = |path| hall.ingest.rule(path).unwrap().rollup.method;
    assert_eq!((method("stats.timers.t.upper_90"), method("x.count"), method("y")), (4, 2, 1));
    assert_eq!(hall.read("y"), ["0: 0=1"]);
}

#[tokio::test]
async fn a_changed_schema_takes_new_points_and_the_old_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    {
        let hall = open(dir.path(), Some("[a]\npattern = .*\nretentions = 10s:1h\n"), |_| ()).await;
        hall.write(&[("a.b", NOW_S, 1.0), ("a.c", NOW_S, 1.0)]);
    }
    let changed = "[b]\npattern = b$\nretentions = 1s:1h\n[a]\npattern = .*\nretentions = 10s:1h\n";
    let hall = open(dir.path(), Some(changed), |_| ()).await;
    hall.write(&[("a.b", NOW_S + 1, 2.0), ("a.c", NOW_S + 11, 2.0)]);
    assert_eq!(hall.read("a.b"), ["0: 1=2", "0: 0=1"]);
    assert_eq!(hall.read("a.c"), ["0: 0=1 10=2"]);
}

#[tokio::test]
async fn a_limit_refuses_new_series_only() {
    let hall = hall(Some("[a]\npattern = .*\nretentions = 10s:1h\n"), |o| o.limits.series_per_scope = 2).await;
    hall.write(&[("a", NOW_S, 1.0), ("b", NOW_S, 1.0)]);
    hall.write(&[("c", NOW_S, 1.0), ("a", NOW_S + 10, 2.0)]);
    assert_eq!(hall.read("c"), Vec::<String>::new());
    assert_eq!(hall.read("a"), ["0: 0=1 10=2"]);
    assert_eq!(hall.ingest.counters().refused_series, 1);
    assert_eq!(hall.engine.registry().read().stats().refused.series, 1);
    // Whose they are is said, however long the path is.
    for (source, path, sample) in [
        ("10.0.0.7:4711", "d.e".to_owned(), "d.e from 10.0.0.7:4711".to_owned()),
        ("x", "d".repeat(500), format!("{}... from x", "d".repeat(200))),
    ] {
        let mut points = PathPoints::of(source);
        points.push(&path, NOW_S, 1.0);
        drop(hall.ingest.write_paths(&points, Durability::Interval).unwrap());
        assert_eq!(hall.ingest.offenders().last("paths.refused")[0].text, sample);
    }
    assert_eq!(hall.ingest.counters().refused_series, 3);
    // Of a batch of datagrams it is whoever sent that one.
    let mut points = PathPoints::default();
    for (peer, path) in [(7, "a"), (8, "f"), (9, "b"), (8, "g")] {
        points.begin(Some(std::net::IpAddr::from([10, 0, 0, peer])));
        points.push(path, NOW_S, 1.0);
    }
    drop(hall.ingest.write_paths(&points, Durability::Interval).unwrap());
    let last: Vec<_> = hall.ingest.offenders().last("paths.refused").into_iter().map(|o| o.text).take(2).collect();
    assert_eq!(last, ["g from 10.0.0.8", "f from 10.0.0.8"]);
    assert_eq!(hall.ingest.counters().refused_series, 5);
    // Others read names meanwhile: a refusal waits for nobody.
    let reader = hall.engine.registry().read();
    let refused = std::thread::scope(|scope| {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        let hall = &hall;
        scope.spawn(move || {
            hall.write(&[("c", NOW_S, 1.0), ("a", NOW_S + 20, 3.0)]);
            let _ = done.send(());
        });
        let refused = wait.recv_timeout(std::time::Duration::from_secs(20));
        drop(reader);
        refused
    });
    refused.expect("a series that has no room takes no write lock");
    assert_eq!(hall.read("a"), ["0: 0=1 10=2 20=3"]);
    assert_eq!(hall.engine.registry().read().stats().refused.series, 6);
}

#[tokio::test]
async fn a_full_memtable_turns_a_batch_away_whole() {
    let hall = hall(None, |o| o.memtable_bytes = 0).await;
    hall.write(&[("a", NOW_S, 1.0)]);
    let mut batch = PathPoints::default();
    batch.push("a", NOW_S + 10, 2.0);
    let error = hall.ingest.write_paths(&batch, Durability::Sync).unwrap_err();
    assert_eq!(error.kind(), rhythmite_model::ErrorKind::Overloaded);
    assert_eq!(hall.engine.stats().overloaded, 1);
    hall.engine.flush().unwrap();
    hall.write(&[("a", NOW_S + 10, 2.0)]);
    assert_eq!(hall.read("a"), ["0: 0=1 10=2"]);
}
