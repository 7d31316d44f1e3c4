//! Options as they stand in a TOML file, alone and within a server's section.

use std::collections::BTreeMap;

use rhythmite_statsd::Options;
use rhythmite_statsd::options::{Bin, Deletes, Dialect, Graphite, Histogram};
use serde::Deserialize;

const ALL: &str = r#"
    dialect = "dogstatsd"
    flush_interval = 2000
    percent_threshold = [50, 99.9, -10]
    histogram = [{ metric = "lat", bins = [10, 25.5, "inf"] }, { metric = "", bins = [] }]
    calculated_timer_metrics = ["count", "upper_percent"]
    delete_idle_stats = true
    delete_counters = false
    gauges_max_ttl = 3
    flush_counts = false
    key_name_sanitize = false
    prefix_stats = "daemon"
    health_status = "down"
    [graphite]
    legacy_namespace = false
    global_prefix = ""
    global_suffix = "host1"
"#;

/// How a server embeds the options.
#[derive(Deserialize)]
struct Section {
    udp_listen: String,
    #[serde(flatten)]
    options: Options,
    #[serde(flatten)]
    unknown: BTreeMap<String, toml::Value>,
}

fn want() -> Options {
    let histogram = |metric: &str, bins: &[f64]| Histogram {
        metric: metric.to_owned(),
        bins: bins.iter().map(|b| Bin(*b)).collect(),
    };
    Options {
        dialect: Dialect::Dogstatsd,
        flush_interval: 2000,
        percent_threshold: vec![50.0, 99.9, -10.0],
        histogram: vec![histogram("lat", &[10.0, 25.5, f64::INFINITY]), histogram("", &[])],
        calculated_timer_metrics: vec!["count".into(), "upper_percent".into()],
        delete_idle_stats: true,
        delete_counters: Some(false),
        gauges_max_ttl: 3,
        flush_counts: false,
        key_name_sanitize: false,
        prefix_stats: "daemon".into(),
        health_status: rhythmite_statsd::options::Health::Down,
        graphite: Graphite {
            legacy_namespace: false,
            global_prefix: String::new(),
            global_suffix: "host1".into(),
            ..Graphite::default()
        },
        ..Options::default()
    }
}

#[test]
fn every_option_of_the_reference_is_read() {
    let got: Options = toml::from_str(ALL).unwrap();
    assert_eq!(got, want());
    assert_eq!(got.deletes(), Deletes { counters: false, timers: true, sets: true, gauges: true });
    got.validate().unwrap();
}

#[test]
fn defaults_are_the_references() {
    let got: Options = toml::from_str("").unwrap();
    assert_eq!(got, Options::default());
    assert_eq!((got.flush_interval_ms(), got.percent_threshold, got.flush_counts), (10_000, vec![90.0], true));
    for (text, percents) in [("80", vec![80.0]), ("0", vec![90.0]), ("[]", vec![]), ("99.5", vec![99.5])] {
        let got: Options = toml::from_str(&format!("percent_threshold = {text}")).unwrap();
        assert_eq!(got.percent_threshold, percents);
    }
    let zero: Options = toml::from_str("flush_interval = 0").unwrap();
    assert_eq!(zero.flush_interval_ms(), 10_000);
}

#[test]
fn unknown_and_impossible_options_are_refused() {
    for text in [
        "flushinterval = 1",
        "[graphite]\nlegacy = true",
        "dialect = \"etsy\"",
        "flush_interval = -1",
        "histogram = [{ metric = \"x\", bins = [\"ten\"] }]",
        "histogram = [{ metric = \"x\", bins = [nan] }]",
        "percent_threshold = \"90\"",
    ] {
        assert!(toml::from_str::<Options>(text).is_err(), "{text}");
    }
    for text in ["percent_threshold = [nan]", "flush_interval = 99999999999", "max_keys = 5000000000"] {
        let options: Options = toml::from_str(text).unwrap();
        let key = text.split(' ').next().unwrap();
        assert!(options.validate().unwrap_err().message().starts_with(key), "{text}");
    }
}

#[test]
fn a_servers_section_may_hold_the_options_beside_its_own() {
    let section: Section = toml::from_str(&format!("udp_listen = \"127.0.0.1:8125\"\n{ALL}")).unwrap();
    assert_eq!((section.udp_listen.as_str(), section.options), ("127.0.0.1:8125", want()));
    assert!(section.unknown.is_empty());
    let wrong: Section = toml::from_str("udp_listen = \"x\"\nflush_intervall = 1").unwrap();
    assert_eq!(wrong.unknown.keys().collect::<Vec<_>>(), ["flush_intervall"]);
}

#[test]
fn the_list_of_keys_is_complete() {
    let error = toml::from_str::<Options>("x = 1").unwrap_err().to_string();
    let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
    assert_eq!(known, Options::KEYS);
}
