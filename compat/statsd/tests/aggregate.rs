//! What the measured cases do not show: DogStatsD, limits, tags, the daemon's own series, and
//! that no bytes can do harm.

use proptest::prelude::*;
use rhythmite_statsd::{Admin, Aggregator, Dialect, Drops, Flush, FlushReport, Options, TagStyle};

const START_S: i64 = 1_700_000_000;

fn small() -> Options {
    let mut options = Options { flush_interval: 1000, percent_threshold: vec![], ..Options::default() };
    options.graphite.legacy_namespace = false;
    options
}

fn dog() -> Options {
    Options { dialect: Dialect::Dogstatsd, ..small() }
}

/// Ingests each packet and gives the series of one flush but the daemon's own, sorted.
fn run(aggregator: &mut Aggregator, packets: &[&str]) -> Vec<String> {
    for packet in packets {
        aggregator.ingest(packet.as_bytes(), START_S);
    }
    let mut flush = Flush::new();
    aggregator.emit(START_S + 1, &mut flush);
    let mut got: Vec<String> = flush
        .iter()
        .filter(|(name, _)| !name.contains("statsd."))
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    got.sort();
    got
}

fn check(options: Options, packets: &[&str], want: &[&str]) {
    assert_eq!(run(&mut Aggregator::new(options, START_S), packets), want);
}

#[test]
fn dogstatsd_gauges_are_values_and_tags_are_sorted() {
    check(dog(), &["g:10|g\ng:-4|g\ng:+2|g|#z,a:1"], &["stats.gauges.g -4", "stats.gauges.g;a=1;z=true 2"]);
}

#[test]
fn dogstatsd_packs_values_of_every_type_but_sets() {
    let mut options = dog();
    options.calculated_timer_metrics = vec!["count".into(), "sum".into()];
    check(
        options,
        &["c:1:2|c|@0.5", "g:1:2|g", "d:1:-2|d|@0.5", "s:1:2|s\ns:1|s"],
        &[
            "stats.counters.c.count 6",
            "stats.counters.c.rate 6",
            "stats.gauges.g 2",
            "stats.sets.s.count 2",
            "stats.timers.d.count 4",
            "stats.timers.d.sum -1",
        ],
    );
}

#[test]
fn a_value_with_a_timestamp_is_not_aggregated() {
    let mut aggregator = Aggregator::new(dog(), START_S);
    aggregator.ingest(b"c:6|c|#a:1|T1600000000\ng:7|g|T1600000001", START_S);
    let mut flush = Flush::new();
    aggregator.emit(START_S + 1, &mut flush);
    let stamped: Vec<String> = flush.stamped().iter().map(|p| format!("{} {} {}", p.name, p.value, p.ts_s)).collect();
    assert_eq!(
        stamped,
        [
            "stats.counters.c.rate;a=1 6 1600000000",
            "stats.counters.c.count;a=1 6 1600000000",
            "stats.gauges.g 7 1600000001"
        ]
    );
    assert_eq!(run(&mut aggregator, &[]), [""; 0]);
    aggregator.emit(START_S + 2, &mut flush);
    assert_eq!(flush.stamped(), []);
}

#[test]
fn events_and_service_checks_are_kept_for_the_server() {
    let mut aggregator = Aggregator::new(dog(), START_S);
    aggregator
        .ingest(b"_e{5,6}:title|te\\nxt|t:error|#a:b,c\n_sc|db|2|d:1600000000|h:web|m:down\n_e{9,9}:x|y", START_S);
    let notices = aggregator.take_notices();
    let told: Vec<String> = notices
        .iter()
        .map(|n| {
            format!("{}|{}|{}|{:?}|{}|{}|{}", n.title, n.text, n.ts_s, n.status, n.alert_type, n.host, n.tags.join(","))
        })
        .collect();
    assert_eq!(told, ["title|te\nxt|1700000000|None|error||a:b,c", "db|down|1600000000|Some(2)||web|"]);
    assert_eq!((aggregator.bad_lines(), aggregator.take_notices().len()), (1, 0));
}

/// Points with times of their own of one flush: `name value time`.
fn stamped(options: Options, packet: &[u8]) -> Vec<String> {
    let mut aggregator = Aggregator::new(options, START_S);
    aggregator.ingest(packet, START_S);
    let mut flush = Flush::new();
    aggregator.emit(START_S + 1, &mut flush);
    flush.stamped().iter().map(|s| format!("{} {} {}", s.name, s.value, s.ts_s)).collect()
}

#[test]
fn service_checks_are_points() {
    let packet = b"_sc|db.up|2|d:1600000000|h:web-1|#zone:eu,a|m:down\n_sc|disk|0";
    let want = ["stats.checks.db.up;a=true;host=web-1;zone=eu 2 1600000000", "stats.checks.disk 0 1700000000"];
    assert_eq!(stamped(dog(), packet), want);
    let mut legacy = dog();
    legacy.graphite.legacy_namespace = true;
    assert_eq!(stamped(legacy, packet), want);
    assert_eq!(stamped(Options { max_events: 1, ..dog() }, packet).len(), 1);
}

#[test]
fn containers_are_a_tag_if_asked_for() {
    let packet = "g:1|g|#z:1|c:ci-abc\ng:2|g|c:in-7";
    check(dog(), &[packet], &["stats.gauges.g 2", "stats.gauges.g;z=1 1"]);
    let options = Options { container_tag: "container".into(), ..dog() };
    check(options, &[packet], &["stats.gauges.g;container=abc;z=1 1", "stats.gauges.g;container=in-7 2"]);
}

#[test]
fn tags_may_stand_in_the_name_if_asked_for() {
    use TagStyle::{Influx, Librato, Signalfx};
    let lines = ["a,x=1,y=2:1|g", "b#x=1,y:1|g", "c[x=1].d:1|g", "e[x=1:1|g", "f,x=1:1|g|#z:3", ",x=1:1|g"].join("\n");
    for (styles, want) in [
        (vec![Influx], vec!["a;x=1;y=2", "bx=1;y", "cx=1.d", "ex=1", "f;x=1;z=3", "x=1"]),
        (vec![Librato], vec!["ax=1y=2", "b;x=1;y", "cx=1.d", "ex=1", "fx=1;z=3", "x=1"]),
        (vec![Signalfx], vec!["ax=1y=2", "bx=1y", "c.d;x=1", "ex=1", "fx=1;z=3", "x=1"]),
        (vec![], vec!["ax=1y=2", "bx=1y", "cx=1.d", "ex=1", "fx=1;z=3", "x=1"]),
    ] {
        let mut want: Vec<String> = want.iter().map(|key| format!("stats.gauges.{key} 1")).collect();
        want.sort();
        let mut aggregator = Aggregator::new(Options { tag_styles: styles.clone(), ..small() }, START_S);
        let got = run(&mut aggregator, &[&lines]);
        assert_eq!(got, want, "{styles:?}");
        assert_eq!(run(&mut aggregator, &[&lines]), want, "the same when the key is known: {styles:?}");
    }
}

#[test]
fn bad_lines_leave_samples() {
    let mut aggregator = Aggregator::new(small(), START_S);
    let long = "x".repeat(1_000);
    aggregator.ingest(format!("{}{long}", "bad\n".repeat(3)).as_bytes(), START_S);
    let lens: Vec<usize> = aggregator.take_bad_samples().iter().map(Vec::len).collect();
    assert_eq!(lens, [3, 3, 3, 200]);
    aggregator.ingest("bad\n".repeat(100).as_bytes(), START_S);
    assert_eq!((aggregator.take_bad_samples().len(), aggregator.take_bad_samples().len()), (8, 0));
}

#[test]
fn limits_are_kept_and_counted() {
    let mut options = Options { max_keys: 6, max_timer_samples: 2, max_set_members: 1, max_tags: 1, ..small() };
    options.max_line_bytes = 20;
    options.calculated_timer_metrics = vec!["count".into(), "sum".into()];
    let mut aggregator = Aggregator::new(options, START_S);
    let got = run(
        &mut aggregator,
        &["t:1|ms\nt:2|ms\nt:4|ms", "s:a|s\ns:b|s\ns:a|s", "new:1|c:2|c", "t:1|ms|#a,b", "long.long.long.lo:1|ms"],
    );
    // The daemon's own four keys count; the sample that is left out is in the count.
    assert_eq!(got, ["stats.sets.s.count 1", "stats.timers.t.count 3", "stats.timers.t.sum 3"]);
    assert_eq!(
        aggregator.drops(),
        Drops { keys: 2, samples: 1, members: 1, long_lines: 1, tagged_lines: 1, events: 0 }
    );
    assert_eq!((aggregator.bad_lines(), aggregator.key_count()), (2, 6));

    let options = Options { max_samples: 3, ..small() };
    let mut aggregator = Aggregator::new(options, START_S);
    run(&mut aggregator, &["t:1|ms\nu:2|ms\ns:4|s\ns:5|s\nt:9|ms"]);
    assert_eq!(aggregator.drops(), Drops { samples: 1, members: 1, ..Drops::default() });
    run(&mut aggregator, &["t:1|ms\nu:2|ms\ns:4|s"]);
    assert_eq!(aggregator.drops(), Drops { samples: 1, members: 1, ..Drops::default() });

    let mut aggregator = Aggregator::new(Options { max_events: 1, ..dog() }, START_S);
    run(&mut aggregator, &["_e{1,1}:a|b\n_e{1,1}:c|d\ng:1|g|T16\ng:1|g|T17"]);
    assert_eq!(aggregator.drops(), Drops { events: 2, ..Drops::default() });
}

#[test]
fn a_line_of_the_expected_key_is_no_longer_than_others() {
    let mut aggregator = Aggregator::new(Options { max_line_bytes: 20, ..small() }, START_S);
    // With the last of them it is long known what comes next.
    let packet = "a.key:1|g\nb.key:2|g\n".repeat(10);
    let longest = "a.key:000000000000|g\nb.key:000000000000|g";
    let got = run(&mut aggregator, &[&packet, longest, "a.key:0000000000003|g\nb.key:0000000000003|g"]);
    assert_eq!(got, ["stats.gauges.a.key 0", "stats.gauges.b.key 0"]);
    assert_eq!((aggregator.drops().long_lines, aggregator.bad_lines()), (2, 2));
}

#[test]
fn samples_of_a_deleted_timer_go_and_those_of_others_stay() {
    let options = Options { calculated_timer_metrics: vec!["count".into(), "upper".into()], max_samples: 5, ..small() };
    let mut aggregator = Aggregator::new(options, START_S);
    aggregator.ingest(b"a:1|ms\nb:7|ms\na:3|ms\nc:5|ms\nb:2|ms\na:4|ms", START_S);
    let timers = vec![("a", vec![1.0], 2), ("b", vec![7.0], 2), ("c", vec![5.0], 1)];
    assert_eq!((aggregator.timers(1), aggregator.drops().samples), (timers, 1));
    assert_eq!(aggregator.delete(rhythmite_statsd::packet::Kind::Timer, "b"), ["b"]);
    // There is room again; the timer that comes back has the new sample alone.
    let got = run(&mut aggregator, &["c:6|ms\nb:9|ms\nc:8|ms"]);
    let counts = ["stats.timers.a.count 3", "stats.timers.b.count 1", "stats.timers.c.count 3"];
    let uppers = ["stats.timers.a.upper 3", "stats.timers.b.upper 9", "stats.timers.c.upper 6"];
    let all: Vec<&str> = counts.into_iter().zip(uppers).flat_map(|(count, upper)| [count, upper]).collect();
    assert_eq!((got.iter().map(String::as_str).collect(), aggregator.drops().samples), (all, 2));
}

#[test]
fn a_flush_names_who_first_sent_each_key() {
    let ip = |last: u8| Some(std::net::IpAddr::from([10, 0, 0, last]));
    let mut aggregator = Aggregator::new(Options { delete_counters: Some(true), ..dog() }, 0);
    for (packet, sender) in [
        ("a:1|g\nc:1|c", ip(1)),
        ("b:1|g\na:2|g", ip(2)),
        ("n:1|g", None),
        ("t:1|ms\nc:1|c", ip(3)),
        ("b:2|g|T9", ip(4)),
    ] {
        aggregator.ingest_from(packet.as_bytes(), 0, sender);
    }
    let mut flush = Flush::new();
    let named = |flush: &Flush, path: &str| {
        let found = flush.iter().zip(flush.senders()).find(|((name, _), _)| name.ends_with(path));
        found.unwrap_or_else(|| panic!("{path} is there")).1
    };
    let want = [
        ("stats.gauges.a", ip(1)),
        ("stats.gauges.b", ip(2)),
        ("stats.gauges.n", None),
        ("stats.counters.c.rate", ip(1)),
        ("stats.timers.t.mean", ip(3)),
        (".numStats", None),
    ];
    aggregator.emit(10, &mut flush);
    assert_eq!(want.map(|(path, _)| (path, named(&flush, path))), want);
    assert_eq!(flush.senders().count(), flush.len());
    assert_eq!(flush.stamped().iter().map(|s| s.sender).collect::<Vec<_>>(), [ip(4)]);
    // Keys that moved because others were forgotten keep theirs.
    for n in 0..50 {
        aggregator.ingest_from(format!("gone{n}:1|c").as_bytes(), 0, ip(9));
    }
    for flushes in 2..60 {
        aggregator.emit(10 * flushes, &mut flush);
    }
    assert_eq!(want[..3].iter().map(|(path, _)| (*path, named(&flush, path))).collect::<Vec<_>>(), want[..3]);
}

#[test]
fn a_full_table_takes_new_keys_again_once_idle_ones_are_deleted() {
    let options = Options { max_keys: 6, delete_idle_stats: true, flush_counts: false, ..small() };
    let mut aggregator = Aggregator::new(options, START_S);
    assert_eq!(run(&mut aggregator, &["a:1|c\nb:1|c\nc:1|c"]), ["stats.counters.a.rate 1", "stats.counters.b.rate 1"]);
    assert_eq!(run(&mut aggregator, &["c:1|c\nb:2|c"]), ["stats.counters.b.rate 2", "stats.counters.c.rate 1"]);
    assert_eq!(aggregator.drops().keys, 1);
}

#[test]
fn tags_come_out_in_graphites_order_and_both_spellings_stay_apart() {
    // As in the reference, where the later line of the two holds.
    let options = Options { flush_counts: false, ..small() };
    let want = ["stats.counters.a.rate;a=1;b=2 1", "stats.counters.a.rate;a=1;b=2 5"];
    check(options, &["a:1|c|#b:2,a:1", "a:5|c|#a:1,b:2"], &want);
}

#[test]
fn the_daemons_own_series_follow_the_namespace() {
    for (legacy, suffix, want) in [
        (true, "", ["statsd.numStats 4", "stats.statsd.processing_time 7", "stats.gauges.statsd.timestamp_lag 0"]),
        (
            true,
            "h",
            ["statsd.numStats.h 4", "stats.statsd.processing_time.h 7", "stats.gauges.statsd.timestamp_lag.h 0"],
        ),
        (
            false,
            "",
            ["stats.statsd.numStats 4", "stats.statsd.processing_time 7", "stats.gauges.statsd.timestamp_lag 0"],
        ),
    ] {
        let mut options = small();
        options.graphite.legacy_namespace = legacy;
        options.graphite.global_suffix = suffix.into();
        let mut aggregator = Aggregator::new(options, START_S);
        let mut flush = Flush::new();
        aggregator.emit(START_S, &mut flush);
        assert!(!flush.iter().any(|(name, _)| name.contains("timestamp_lag")));
        aggregator.report(FlushReport { processing_ms: 7.0, ..FlushReport::default() });
        aggregator.emit(START_S + 1, &mut flush);
        let got: Vec<String> = flush.iter().map(|(name, value)| format!("{name} {value}")).collect();
        for name in want {
            assert!(got.iter().any(|g| g == name), "{name} is not in {got:?}");
        }
    }
}

/// Bytes that look like lines, and bytes that do not.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("a"),
        Just("b.c"),
        Just(":"),
        Just("|"),
        Just("|#"),
        Just("@"),
        Just("1"),
        Just("-"),
        Just("."),
        Just("e9"),
        Just("c"),
        Just("ms"),
        Just("g"),
        Just("s"),
        Just("h"),
        Just("\n"),
        Just(","),
        Just("_e{"),
        Just("_sc|"),
        Just("}:"),
        Just("T1"),
        Just("0x"),
        Just("\u{a0}"),
        Just(" "),
        Just(";"),
        Just("="),
        Just("Infinity"),
    ];
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

proptest! {
    #[test]
    fn no_bytes_do_harm(
        list in proptest::collection::vec(packets(), 1..8), dogstatsd: bool, clean: bool, delete: bool, commands in ".*"
    ) {
        let dialect = if dogstatsd { Dialect::Dogstatsd } else { Dialect::Statsd };
        let options = Options {
            dialect, key_name_sanitize: clean, delete_idle_stats: delete, max_keys: 8, max_samples: 10, max_events: 2, ..small()
        };
        let mut aggregator = Aggregator::new(options, START_S);
        let mut admin = Admin::new(Default::default());
        let mut flush = Flush::new();
        let mut lines = 0.0;
        for packet in &list {
            aggregator.ingest(packet, START_S);
            lines += packet.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count() as f64;
        }
        let own = |name: &str| aggregator.counters().find(|(key, _)| *key == name).map(|(_, value)| value);
        prop_assert_eq!(own("statsd.metrics_received"), Some(lines));
        prop_assert_eq!(own("statsd.packets_received"), Some(list.len() as f64));
        for command in ["counters", "gauges", "timers", "stats", "config", "deltimers a b.*", commands.as_str()] {
            admin.reply(command, &mut aggregator, START_S);
        }
        aggregator.emit(START_S + 1, &mut flush);
        prop_assert!(aggregator.key_count() <= 8);
        for (name, value) in flush.iter() {
            prop_assert!(!value.is_nan(), "{}", name);
        }
        // An idle interval has no more series than a busy one, but for the lag.
        let busy = flush.len();
        aggregator.emit(START_S + 2, &mut flush);
        prop_assert!(flush.len() <= busy + 1);
    }
}
