use std::path::PathBuf;

use super::*;
use crate::config::{Config, Layers, RelayMethod};

fn resolve(text: &str) -> Config {
    Layers { file: Some((PathBuf::from("r.toml"), text.to_owned())), ..Layers::default() }.resolve().expect(text)
}

fn classic(carbon: &str, rules: &[&'static str], statsd: &str) -> Classic {
    Classic {
        dir: "/etc/carbon".into(),
        carbon: (!carbon.is_empty()).then(|| carbon.to_owned()),
        rules: rules.to_vec(),
        statsd: (!statsd.is_empty()).then(|| ("config.js".to_owned(), statsd.to_owned())),
    }
}

const CARBON: &str = "\
[cache]
USER = carbon
MAX_CACHE_SIZE = inf
MAX_CREATES_PER_MINUTE = 50
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = 2003
ENABLE_UDP_LISTENER = True
PICKLE_RECEIVER_PORT = 0
USE_WHITELIST = True
[cache:b]
LINE_RECEIVER_PORT = 2103
[aggregator]
FORWARD_ALL = False
[relay]
LINE_RECEIVER_PORT = 2013
RELAY_METHOD = rules
REPLICATION_FACTOR = 2
DESTINATIONS = 10.0.0.1:2004:a, 10.0.0.1:2104:b
ROUTER_HASH_TYPE = mmh3_ch
";

#[test]
fn carbons_daemons_become_sections() {
    let rules = ["storage-schemas.conf", "whitelist.conf", "aggregation-rules.conf", "relay-rules.conf"];
    let text = classic(CARBON, &rules, "").convert().unwrap();
    let config = resolve(&text);
    let at: Vec<String> = config.addresses().iter().map(|a| format!("{} {}", a.key, a.at)).collect();
    assert_eq!(
        at,
        [
            "[http] listen 127.0.0.1:8086",
            "[carbon] line_listen 127.0.0.1:2003",
            "[carbon] line_listen 127.0.0.1:2103",
            "[carbon] udp_listen 0.0.0.0:2003",
            "[aggregator] line_listen 0.0.0.0:2023",
            "[aggregator] pickle_listen 0.0.0.0:2024",
            "[relay] line_listen 0.0.0.0:2013",
            "[relay] pickle_listen 0.0.0.0:2014",
        ]
    );
    assert_eq!(config.graphite.storage_schemas, Some("/etc/carbon/storage-schemas.conf".into()));
    assert_eq!((config.carbon.use_whitelist, config.carbon.blacklist), (true, None));
    assert_eq!((config.limits.new_series_per_hour, config.aggregator.forward_all), (3000, false));
    let relay = &config.relay;
    assert_eq!((relay.relay_method, relay.replication_factor), (RelayMethod::Rules, 2));
    assert_eq!(relay.router_hash_type, Some(rhythmite_carbon::relay::HashType::Mmh3));
    assert_eq!(relay.destinations, ["10.0.0.1:2004:a", "10.0.0.1:2104:b"]);
    assert_eq!(relay.relay_rules, Some("/etc/carbon/relay-rules.conf".into()));
    for line in [
        "# carbon.conf:11 [cache:b] LINE_RECEIVER_PORT = 2103\n",
        "# carbon.conf:3 [cache] MAX_CACHE_SIZE = inf: [memory] memtable",
        "# carbon.conf:8 [cache] PICKLE_RECEIVER_PORT = 0: 0 switches it off",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn every_setting_of_carbon_has_an_effect_or_a_reason() {
    let text = classic(CARBON, &[], "").convert().unwrap();
    for setting in CARBON.lines().filter(|l| l.contains('=')) {
        // Interfaces and switches are part of their port's address.
        if !setting.contains("INTERFACE") && !setting.contains("ENABLE_UDP") {
            assert!(text.contains(setting), "{setting}\n{text}");
        }
    }
}

#[test]
fn statsds_options_keep_their_meaning() {
    let statsd = "{\n  port: 8225,\n  mgmt_port: 8226, backends: ['./backends/graphite', \"./backends/repeater\"],\n  \
                  percentThreshold: [90, 99.9],\n  histogram: [ { metric: 'x', bins: [ 1, 'inf' ] } ],\n  \
                  graphite: { legacyNamespace: false, prefixCounter: 'c' },\n  deleteIdleStats: true, prefixStats: null,\n  \
                  repeater: [ { host: 'localhost', port: 8125 } ], frobnicate: 1\n}\n";
    let text = classic("", &[], statsd).convert().unwrap();
    let config = resolve(&text);
    let at: Vec<String> = config.addresses().iter().map(|a| format!("{} {}", a.key, a.at)).collect();
    assert_eq!(
        at,
        ["[http] listen 127.0.0.1:8086", "[statsd] udp_listen 0.0.0.0:8225", "[statsd] admin_listen 127.0.0.1:8226"]
    );
    let options = &config.statsd.options;
    assert_eq!((options.percent_threshold.as_slice(), options.histogram.len()), (&[90.0, 99.9][..], 1));
    assert_eq!((options.delete_idle_stats, options.graphite.prefix_counter.as_str()), (true, "c"));
    assert!(!options.graphite.legacy_namespace);
    assert_eq!(config.statsd.repeater, ["127.0.0.1:8125".parse().unwrap()]);
    assert!(text.contains("# config.js:4 percentThreshold: [90, 99.9]\n"), "{text}");
    assert!(text.contains("# config.js:8 frobnicate: 1: nothing like it here\n"), "{text}");
    let both =
        classic("", &[], "{servers: [{server: './servers/tcp', port: 9}, {server: './servers/udp', address: '::1'}]}");
    let config = resolve(&both.convert().unwrap());
    assert_eq!(config.statsd.tcp_listen.addresses(), ["0.0.0.0:9".parse().unwrap()]);
    assert_eq!(config.statsd.udp_listen.addresses(), ["[::1]:8125".parse().unwrap()]);
    let error = classic("", &[], "{\nport: process.env.P}").convert().unwrap_err();
    assert!(error.message().starts_with("config.js: line 2: "), "{error}");
}

#[test]
fn a_hostile_value_stays_in_its_comment() {
    let text = classic("[cache]\nUSER = a\n  [http]\n  listen = 0.0.0.0:1\n", &[], "").convert().unwrap();
    assert_eq!(resolve(&text).http.listen.addresses(), ["127.0.0.1:8086".parse().unwrap()]);
}
