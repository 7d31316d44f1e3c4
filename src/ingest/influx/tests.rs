use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use rhythmite_engine::registry::Limits;
use rhythmite_engine::{Options, Snapshot};
use rhythmite_env::{Env, ManualClock};
use rhythmite_model::{Level, Policy};

use super::*;
use crate::catalog::{Catalog, NewPolicy};

const NOW_S: i64 = 1_700_000_000;

struct Hall {
    engine: Engine,
    policy: Policy,
    _dir: tempfile::TempDir,
}

async fn hall_with(retention_s: i64, change: impl FnOnce(&mut Options)) -> Hall {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
    let policy = catalog.create_database("d", NewPolicy::raw("p", retention_s * SECOND_NS)).await.unwrap().unwrap();
    let env = Env { clock: Arc::new(ManualClock::new(NOW_S * SECOND_NS)), ..Env::real() };
    let mut options = Options::new(dir.path());
    change(&mut options);
    let (engine, _) = Engine::open(env, options, Arc::new(catalog.manifest()), vec![policy.clone()]).unwrap();
    Hall { engine, policy, _dir: dir }
}

/// `(1.0)` and `i(1)` for the usual types.
fn short(value: &str) -> String {
    value.replace("Float", "").replace("Integer", "i")
}

async fn hall() -> Hall {
    hall_with(0, |_| ()).await
}

impl Hall {
    fn try_write(
        &self,
        body: &(impl AsRef<[u8]> + ?Sized),
        change: impl FnOnce(&mut LineWrite<'_>),
    ) -> Result<Refusals> {
        let mut write = LineWrite {
            body: body.as_ref(),
            policy: &self.policy,
            unit: TimeUnit::Fixed(Precision::Second),
            now_ns: NOW_S * SECOND_NS + 5,
            accept_partial: true,
            durability: Durability::Sync,
            senders: None,
        };
        change(&mut write);
        let outcome = InfluxWriter::new(self.engine.clone()).write(&write)?;
        outcome.commit.wait()?;
        Ok(outcome.refusals)
    }

    /// Writes times in seconds; gives the error's text, or nothing.
    fn write(&self, body: &str) -> String {
        self.try_write(body, |_| ()).unwrap().error_text().unwrap_or_default()
    }

    /// `key field time_s=value ...` for every series and field, in order.
    fn read(&self) -> Vec<String> {
        let snapshot = self.engine.snapshot();
        let names = self.engine.registry().read();
        let tables: Vec<_> = names.all_tables().map(|t| t.id()).collect();
        let mut lines = BTreeMap::new();
        for table in tables {
            let all = Snapshot::all_series(table);
            for points in snapshot.scan(table, rhythmite_model::Tier::RAW, all, None, i64::MIN..=i64::MAX).unwrap() {
                let points = points.unwrap();
                let key = names.key(names.slot(points.series).unwrap());
                for stream in &points.streams {
                    let field = names.field(table, stream.field).unwrap().0;
                    let value = |i| short(&format!("{:?}", stream.values.get(i)));
                    let points = stream.times_ns.iter().enumerate();
                    let points: Vec<_> = points.map(|(i, t)| format!("{}={}", t / SECOND_NS, value(i))).collect();
                    lines.insert(format!("{key} {field}"), points.join(" "));
                }
            }
        }
        lines.into_iter().map(|(k, v)| format!("{k} {v}")).collect()
    }

    /// Keys of series, then `table.field` of fields.
    fn names(&self) -> Vec<String> {
        let names = self.engine.registry().read();
        let mut out = Vec::new();
        for table in names.all_tables() {
            out.extend(names.series_by_key(table.id(), None).into_iter().map(|slot| names.key(slot).to_owned()));
            out.extend(names.fields(table.id()).map(|(_, field, t)| format!("{}.{field} {t}", table.name())));
        }
        out
    }
}

#[tokio::test]
async fn lines_become_points() {
    let hall = hall().await;
    assert_eq!(hall.write("m,a=1 f=1,g=2i 10\nm,a=2 f=2 10\nm,a=1 f=3,g=4i 20\nn v=t\n"), "");
    assert_eq!(
        hall.read(),
        ["m,a=1 f 10=(1.0) 20=(3.0)", "m,a=1 g 10=i(2) 20=i(4)", "m,a=2 f 10=(2.0)", "n v 1700000000=Boolean(true)"]
    );
}

#[tokio::test]
async fn known_lines_take_the_fast_way_and_say_the_same() {
    let (once, twice) = (hall().await, hall().await);
    let body = |time: i64| -> String {
        let line = |i: i64| format!("m,h=h{i},r=x a={i},b={}i,s=\"t\\\"{i}\" {time}\n", i * 2);
        (0..50).map(line).collect()
    };
    assert_eq!(once.write(&(body(1) + &body(2) + &body(3))), "");
    for time in 1..=3 {
        assert_eq!(twice.write(&body(time)), "");
    }
    assert_eq!(once.read(), twice.read());
    assert_eq!(once.read().len(), 150);
    assert!(once.read()[2].contains("1=String(\"t\\\"0\") 2=String"), "{}", once.read()[2]);
}

#[tokio::test]
async fn one_series_however_its_key_is_spelled() {
    let hall = hall().await;
    assert_eq!(hall.write("m,b=2,a=1 f=1 1\nm,a=1,b=2 f=2 2\nm,b=2,a=1 f=3 3\n"), "");
    assert_eq!(hall.write("m,b=2,a=1 f=4 4\nm,b=2,a=1 f=5 5\nm,b=2,a=1 g=1 5\n"), "");
    assert_eq!(hall.read(), ["m,a=1,b=2 f 1=(1.0) 2=(2.0) 3=(3.0) 4=(4.0) 5=(5.0)", "m,a=1,b=2 g 5=(1.0)"]);
}

#[tokio::test]
async fn of_a_field_the_value_sent_last_counts() {
    for (body, expected) in [
        ("m f=1 1\nm f=2 1", &["m f 1=(2.0)"][..]),
        ("m f=1,f=2 1", &["m f 1=(2.0)"]),
        ("m f=1,f=2,g=3 1\nm g=4,f=5 1", &["m f 1=(5.0)", "m g 1=(4.0)"]),
        ("m f=1 1\nm g=2 1", &["m f 1=(1.0)", "m g 1=(2.0)"]),
        ("m f=1 1\nm f=2,g=2 1\nm f=3 1", &["m f 1=(3.0)", "m g 1=(2.0)"]),
        ("m f=2,g=2 1\nm f=3 1\nm g=4 1\nm f=9 2", &["m f 1=(3.0) 2=(9.0)", "m g 1=(4.0)"]),
        ("m,a=1 f=1,g=1 1\nm,a=2 f=2 1\nm,a=1 g=3 1", &["m,a=1 f 1=(1.0)", "m,a=1 g 1=(3.0)", "m,a=2 f 1=(2.0)"]),
        (
            "m s=\"a\",g=1 1\nm s=\"b\" 1\nm s=\"c\",h=1 2",
            &["m g 1=(1.0)", "m h 2=(1.0)", "m s 1=String(\"b\") 2=String(\"c\")"],
        ),
    ] {
        // New names, then names that are known, then some of each.
        for before in ["", "m f=0 0\nm g=0 0\nm h=0 0\nm s=\"\" 0\nm,a=1 f=0 0", "m f=0 0"] {
            let hall = hall().await;
            assert_eq!((hall.write(before), hall.write(body)), (String::new(), String::new()), "{body}");
            let late = |line: &str| {
                line.split(' ').filter(|part| !part.starts_with("0=")).map(str::to_owned).collect::<Vec<_>>().join(" ")
            };
            let read: Vec<_> = hall.read().iter().map(|l| late(l)).filter(|l| l.contains('(')).collect();
            assert_eq!(read, expected, "{body:?} after {before:?}");
        }
    }
}

#[tokio::test]
async fn a_conflict_costs_its_line_only() {
    let hall = hall().await;
    let conflict = |sent: &str, dropped: usize| {
        format!(
            "partial write: field type conflict: input field \"f\" on measurement \"m\" is type {sent}, already exists as \
             type float dropped={dropped}"
        )
    };
    assert_eq!(hall.write("m f=1 1\nm f=2i 2\nm f=3 3"), conflict("integer", 1));
    assert_eq!(hall.write("m f=4 4\nm f=t 5\nm f=\"x\",g=1 6\nm f=7 7"), conflict("boolean", 2));
    assert_eq!(hall.write("m f=2i 2\nbad\nm f=8 8"), conflict("integer", 1));
    assert_eq!(hall.write("m,a=2 f=2i,g=5 2"), conflict("integer", 1));
    assert_eq!(hall.read(), ["m f 1=(1.0) 3=(3.0) 4=(4.0) 7=(7.0) 8=(8.0)"]);
    // As in 1.x the series is known, the new field is not.
    assert_eq!(hall.names(), ["m", "m,a=2", "m.f float"]);
}

#[tokio::test]
async fn a_field_sent_twice_with_two_types_is_a_conflict() {
    let hall = hall().await;
    let text = hall.write("m a=1,a=2i 1\nm a=3 3");
    assert!(text.starts_with("partial write: field type conflict: input field \"a\""), "{text}");
    assert_eq!(hall.read(), ["m a 3=(3.0)"]);
}

#[tokio::test]
async fn time_is_no_name() {
    let hall = hall().await;
    let tag = "partial write: invalid tag key: input tag \"time\" on measurement \"m\" is invalid dropped=1";
    let field = "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid dropped=1";
    assert_eq!(hall.write("m,time=x f=1 1"), tag);
    assert_eq!(hall.names(), Vec::<String>::new());
    assert_eq!(hall.write("m time=1 1"), field);
    assert_eq!(hall.write("m time=1 1"), field);
    assert_eq!(hall.names(), ["m"]);
    assert_eq!(hall.write("m time=1,a=2 1\nm time=1,a=2 2"), "");
    assert_eq!(hall.read(), ["m a 1=(2.0) 2=(2.0)"]);
}

#[tokio::test]
async fn syntax_errors_are_listed_and_the_rest_is_written() {
    let hall = hall().await;
    assert_eq!(
        hall.write("bad1\n#c\n\nbad2"),
        "unable to parse 'bad1': missing fields\nunable to parse 'bad2': missing fields"
    );
    assert_eq!(
        hall.write("m f=1 1\nbad1\nm,a=1,a=2 f=1\nm f=4 4"),
        "partial write: unable to parse 'bad1': missing fields\nunable to parse 'm,a=1,a=2 f=1': duplicate tags dropped=0"
    );
    assert_eq!(hall.read(), ["m f 1=(1.0) 4=(4.0)"]);
    assert_eq!(hall.write("# nothing\n\n"), "");
}

#[tokio::test]
async fn refused_lines_are_numbered() {
    let hall = hall().await;
    let refusals = hall.try_write("m f=1 1\nbad\n\nm f=\"a\nb\" 2\nm f=x\n", |_| ()).unwrap();
    let lines: Vec<_> = refusals.lines().iter().map(|l| (l.line_number, l.line.clone())).collect();
    assert_eq!(lines, [(2, "bad".to_owned()), (4, "m f=\"a\nb\" 2".to_owned()), (6, "m f=x".to_owned())]);
    assert_eq!((refusals.parsed, refusals.unparsed, refusals.dropped), (2, 2, 1));
}

#[tokio::test]
async fn refusals_take_bounded_memory() {
    let hall = hall().await;
    let refusals = hall.try_write(&"bad\n".repeat(100_000), |_| ()).unwrap();
    let text = refusals.error_text().unwrap();
    assert!(text.len() < 2 << 20 && text.ends_with("more lines"), "{}", text.len());
    assert_eq!(refusals.unparsed, 100_000);
    let conflict = hall.write(&("bad\n".repeat(100_000) + "m f=1 1\nm f=t 1"));
    assert!(conflict.starts_with("partial write: field type conflict"), "{conflict}");
}

#[tokio::test]
async fn points_beyond_retention_are_dropped() {
    let hall = hall_with(3_600, |_| ()).await;
    assert_eq!(hall.write("m f=1 1\nm f=2\nm f=3 2\n"), "partial write: points beyond retention policy dropped=2");
    assert_eq!(
        hall.write(&format!("m f=1 {}", NOW_S - 3_600)),
        "partial write: points beyond retention policy dropped=1"
    );
    assert_eq!(hall.write(&format!("m f=1 {}", NOW_S - 3_599)), "");
    assert_eq!(hall.read(), [format!("m f {}=(1.0) {NOW_S}=(2.0)", NOW_S - 3_599)]);
}

#[tokio::test]
async fn a_limit_costs_its_lines_only() {
    let limits = Limits { series_per_scope: 2, fields_per_table: 2, ..Limits::default() };
    let hall = hall_with(0, |options| options.limits = limits).await;
    let text = hall.write("m,h=1 f=1 1\nm,h=2 f=1 1\nm,h=3 f=1 1\nm,h=3 f=2 2\nm,h=1 g=1 1\nm,h=1 h=1 1\n");
    assert!(text.starts_with("partial write: series \"m,h=3\" is not made"), "{text}");
    assert!(text.ends_with("dropped=3"), "{text}");
    assert_eq!(hall.names(), ["m,h=1", "m,h=2", "m.f float", "m.g float"]);
    assert_eq!(hall.read(), ["m,h=1 f 1=(1.0)", "m,h=1 g 1=(1.0)", "m,h=2 f 1=(1.0)"]);
    // Others read names meanwhile: a refusal waits for nobody.
    let reader = hall.engine.registry().read();
    let text = std::thread::scope(|scope| {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        let hall = &hall;
        scope.spawn(move || done.send(hall.write("m,h=3 f=1 1\nm,h=1 f=2 2\nnew f=1 1\n")));
        let text = wait.recv_timeout(std::time::Duration::from_secs(20));
        drop(reader);
        text
    });
    let text = text.expect("a series that has no room takes no write lock");
    assert!(text.contains("series \"m,h=3\" is not made") && text.ends_with("dropped=2"), "{text}");
    assert_eq!(hall.names(), ["m,h=1", "m,h=2", "m.f float", "m.g float"], "nor a measurement for it");
}

#[tokio::test]
async fn all_or_nothing_when_asked_for() {
    let hall = hall().await;
    let refusals = hall.try_write("m f=1 1\nbad", |write| write.accept_partial = false).unwrap();
    assert_eq!(refusals.total(), 1);
    assert_eq!(hall.read(), Vec::<String>::new());
    assert!(hall.try_write("m f=1 1", |write| write.accept_partial = false).unwrap().is_empty());
    assert_eq!(hall.read(), ["m f 1=(1.0)"]);
}

#[tokio::test]
async fn times_without_a_unit_are_guessed_by_size() {
    let hall = hall().await;
    let body = "m,u=s f=1 1600000000\nm,u=ms f=1 1600000000000\nm,u=us f=1 1600000000000000\nm,u=n f=1 1600000000000000000\nm f=1";
    assert!(hall.try_write(body, |write| write.unit = TimeUnit::Auto).unwrap().is_empty());
    let times: Vec<_> = hall.read().iter().map(|l| l.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(times[1..], ["1600000000=(1.0)"; 4]);
    assert_eq!(times[0], format!("{NOW_S}=(1.0)"));
}

#[tokio::test]
async fn many_new_series_are_made_in_turns() {
    let hall = hall().await;
    let body: String = (0..40_000).map(|i| format!("m,h=h{} f={i},g{}=1i {i}\n", i % 20_000, i % 3)).collect();
    assert_eq!(hall.write(&body), "");
    let read = hall.read();
    assert_eq!(read.iter().map(|l| l.split('=').count() - 2).sum::<usize>(), 80_000);
}

#[tokio::test]
async fn when_the_engine_is_full_nothing_is_written() {
    let full = hall_with(0, |options| options.memtable_bytes = 0).await;
    assert_eq!(full.write("m f=1 1"), "");
    let error = full.try_write("m f=2 2", |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert_eq!(full.read(), ["m f 1=(1.0)"]);
}

#[test]
fn the_finest_level_says_what_is_taken() {
    let policy = |retentions: &[i64]| Policy {
        id: rhythmite_model::PolicyId(1),
        database: String::new(),
        name: String::new(),
        levels: retentions.iter().map(|&retention_ns| Level { step_ns: 0, retention_ns }).collect(),
        partition_ns: 1,
        max_idle_ns: 0,
        aggregates: rhythmite_model::Aggregates::USUAL,
    };
    assert_eq!(oldest_ns(&policy(&[10]), 100), 90);
    assert_eq!(oldest_ns(&policy(&[10, 30]), 100), 90);
    assert_eq!(oldest_ns(&policy(&[0, 10]), 100), i64::MIN);
}

/// A line of few names and times, so that lines meet. Most are good; some have another type, a tag or field `time`, or
/// are none.
fn any_line() -> impl Strategy<Value = String> {
    let rare = prop::sample::select(vec!["n", "bad", "m,time=1", "m,b=2,a=1"]);
    let series = prop_oneof![6 => Just("m"), 3 => Just("m,a=1,b=2"), 1 => rare];
    let odd = prop::sample::select(vec!["4i", "t", "\"x\\\"y\"", "z"]);
    let value = prop_oneof![12 => (1..100_u8).prop_map(|n: u8| n.to_string()), 1 => odd.prop_map(str::to_owned)];
    let name = prop_oneof![12 => prop::sample::select(vec!["f", "g", "h"]), 1 => Just("time")];
    (series, prop::collection::vec((name, value), 1..4), 0..2_i64).prop_map(|(series, fields, time)| {
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{series} {} {time}", fields.join(","))
    })
}

/// What a map holds after the lines were written one after the other.
#[derive(Default)]
struct Model {
    types: BTreeMap<(String, String), rhythmite_model::FieldType>,
    points: BTreeMap<(String, String), BTreeMap<i64, String>>,
    refused: usize,
}

impl Model {
    fn write(&mut self, body: &str, options: &ParseOptions) {
        rhythmite_influx::line_protocol::for_each_point(body.as_bytes(), options, |point| {
            let stored = point.is_ok_and(|point| {
                let table = point.key.measurement.to_string();
                let fields: Vec<_> = point.fields.iter().filter(|field| !is_time(field)).collect();
                if fields.is_empty() || point.key.tags.iter().any(|(tag, _)| tag == TIME) {
                    return false;
                }
                let name = |field: &Field<'_>| (table.clone(), field.name.text().into_owned());
                let fits = |types: &BTreeMap<_, _>, field: &Field<'_>| {
                    types.get(&name(field)).is_none_or(|t| *t == groups::type_of(&field.value))
                };
                if !fields.iter().all(|field| fits(&self.types, field)) {
                    return false;
                }
                for field in &fields {
                    if !fits(&self.types, field) {
                        return false;
                    }
                    self.types.insert(name(field), groups::type_of(&field.value));
                }
                for field in fields {
                    let stream =
                        self.points.entry((point.key.canonical(), field.name.text().into_owned())).or_default();
                    let value = format!("{:?}", field.value.resolve(&mut String::new()));
                    stream.insert(point.row.timestamp_ns / SECOND_NS, value);
                }
                true
            });
            self.refused += usize::from(!stored);
        });
    }

    fn read(&self) -> Vec<String> {
        let line = |((key, field), points): (&(String, String), &BTreeMap<i64, String>)| {
            let points: Vec<_> = points.iter().map(|(time, value)| format!("{time}={}", short(value))).collect();
            format!("{key} {field} {}", points.join(" "))
        };
        let mut lines: Vec<_> = self.points.iter().map(line).collect();
        lines.sort();
        lines
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn bodies_are_as_if_lines_came_one_by_one(bodies in prop::collection::vec(prop::collection::vec(any_line(), 1..12), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hall = runtime.block_on(hall());
        let (mut model, mut refused) = (Model::default(), 0);
        let options = ParseOptions::new(Precision::Second, NOW_S * SECOND_NS);
        for lines in bodies {
            let body = lines.join("\n");
            refused += hall.try_write(&body, |_| ()).unwrap().total();
            model.write(&body, &options);
        }
        prop_assert_eq!(hall.read(), model.read());
        prop_assert_eq!(refused, model.refused);
    }

    #[test]
    fn no_body_panics(body in prop::collection::vec(prop::sample::select(b"mf,= \\\"\n1i9.-#t\xff\xc3\xa4\r".to_vec()), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hall = runtime.block_on(hall());
        let mut lines = 0;
        let options = ParseOptions::new(Precision::Second, NOW_S * SECOND_NS);
        rhythmite_influx::line_protocol::for_each_point(&body, &options, |_| lines += 1);
        let refusals = hall.try_write(&body, |_| ()).unwrap();
        prop_assert_eq!(refusals.parsed + refusals.unparsed, lines);
    }
}
