use super::*;

/// Reads a file's text and variables; the answer is the first message, or what `show` says of the result.
fn resolve(text: &str, environment: &[(&str, &str)]) -> Result<Config> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let file = (!text.is_empty()).then(|| (PathBuf::from("r.toml"), text.to_owned()));
    Layers { file, environment, data_dir: None }.resolve()
}

fn check_error(text: &str, environment: &[(&str, &str)], want: &str) {
    let error = resolve(text, environment).expect_err(text);
    assert!(error.message().contains(want), "{text}: {error} -- wanted: {want}");
}

fn ports(config: &Config) -> Vec<String> {
    config.addresses().iter().map(|a| format!("{} {}", a.key, a.at)).collect()
}

#[test]
fn without_a_file_every_listener_opens_on_loopback() {
    let config = resolve("", &[]).unwrap();
    assert_eq!(
        ports(&config),
        [
            "[http] listen 127.0.0.1:8086",
            "[carbon] line_listen 127.0.0.1:2003",
            "[carbon] udp_listen 127.0.0.1:2003",
            "[carbon] pickle_listen 127.0.0.1:2004",
            "[aggregator] line_listen 127.0.0.1:2023",
            "[aggregator] pickle_listen 127.0.0.1:2024",
            "[statsd] udp_listen 127.0.0.1:8125",
            "[statsd] tcp_listen 127.0.0.1:8125",
            "[statsd] admin_listen 127.0.0.1:8126",
            "[collectd] udp_listen 127.0.0.1:25826",
        ]
    );
    assert_eq!(ports(&resolve("data_dir = 'x'", &[]).unwrap()), ports(&config), "a file that names no listener");
}

#[test]
fn a_file_that_names_a_listener_opens_only_what_it_names() {
    let text = "[http]\nlisten = ['127.0.0.1:1', '[::1]:1']\n[statsd]\ntcp_listen = 'off'\n";
    assert_eq!(ports(&resolve(text, &[]).unwrap()), ["[http] listen 127.0.0.1:1", "[http] listen [::1]:1"]);
    let off = resolve("", &[("RHYTHMITE_STATSD__ADMIN_LISTEN", "off")]).unwrap();
    assert_eq!(ports(&off).len(), 9, "a variable changes one listener and closes no other");
}

#[test]
fn the_environment_is_stronger_than_the_file() {
    let text = "[http]\nlisten = '127.0.0.1:1'\n[statsd]\nflush_interval = 5\n";
    let env = [
        ("RHYTHMITE_HTTP__LISTEN", "127.0.0.1:2"),
        ("RHYTHMITE_STATSD__FLUSH_INTERVAL", "1000"),
        ("RHYTHMITE_STATSD__GRAPHITE__GLOBAL_PREFIX", "top"),
        ("RHYTHMITE_CARBON__USE_WHITELIST", "true"),
        ("RHYTHMITE_CARBON__ALLOW", "['10.0.0.0/8']"),
        ("RHYTHMITE_GRAPHITE__STORAGE_SCHEMAS", "/a/b.conf"),
        ("RHYTHMITE_MEMORY__MEMTABLE", "64MiB"),
        ("RHYTHMITE_DATA_DIR", "17"),
        ("RHYTHMITE_LOG", "debug"),
        ("PATH", "/bin"),
    ];
    let config = resolve(text, &env).unwrap();
    assert_eq!(ports(&config), ["[http] listen 127.0.0.1:2"]);
    assert_eq!(config.statsd.options.flush_interval, 1000);
    assert_eq!(config.statsd.options.graphite.global_prefix, "top");
    assert!(config.carbon.use_whitelist);
    assert_eq!(config.carbon.allow.0.len(), 1);
    assert_eq!(config.graphite.storage_schemas.as_deref(), Some("/a/b.conf".as_ref()));
    assert_eq!(config.memory.memtable, Some(Size::mib(64)));
    assert_eq!(config.data_dir, PathBuf::from("17"));

    let file = Some((PathBuf::from("r.toml"), "data_dir = 'file'".to_owned()));
    let environment = vec![("RHYTHMITE_DATA_DIR".to_owned(), "variable".to_owned())];
    let layers = Layers { file, environment, data_dir: Some("flag".into()) };
    assert_eq!(layers.resolve().unwrap().data_dir, PathBuf::from("flag"));
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let cases = [
        ("[http]\nlisen = '127.0.0.1:1'", "r.toml:2: unknown key `lisen` in [http]; did you mean `listen`?"),
        ("\n[htp]", "r.toml:2: unknown section or key `htp`; did you mean `http`?"),
        ("[nagios]", "r.toml:1: unknown section or key `nagios`"),
        ("[collectd]\nudp_listn = 'x'", "r.toml:2: unknown key `udp_listn` in [collectd]; did you mean `udp_listen`?"),
        ("[collectd]\nsecurity_level = 'sign'", "[collectd] security_level: sign and encrypt need an auth_file"),
        ("[[collectd.listener]]\nudp_listen = '127.0.0.1:1'\nport = 1", "unknown field `port`"),
        ("[statsd]\n\nflush_intervall = 1", "r.toml:3: unknown key `flush_intervall` in [statsd]; did you mean"),
        ("[statsd]\nadmin_listn = 1", "did you mean `admin_listen`?"),
        ("[statsd]\nflush_interval = 'x'", "r.toml:2:"),
        ("[statsd.graphite]\nglobal_prefx = ''", "r.toml:2: unknown field `global_prefx`"),
        ("[http]\nlisten = 8086", "r.toml:2: an address, a list of addresses or \"off\""),
        ("[http]\nlisten = 'everywhere'", "r.toml:2: `everywhere` is no address"),
        ("[http]\nlisten = '127.0.0.1:1'\nlisten = '127.0.0.1:1'", "r.toml:3: duplicate key"),
        ("[memory]\nmemtable = '128 bananas'", "r.toml:2: `128 bananas` is no size"),
        ("[memory]\nbudget = '1MiB'", "[memory] budget = 1048576: must be at least 134217728"),
        ("[memory]\nbudget = '256MiB'\nmemtable = '200MiB'", "[query] memory take"),
        ("[query]\ntimeout = 10", "r.toml:2: `10` is no duration"),
        ("[carbon]\ndurability = 'maybe'", "r.toml:2: unknown variant `maybe`"),
        ("[carbon]\nallow = ['10.0.0.0/40']", "r.toml:2: `10.0.0.0/40` is no network"),
        ("[wal]\nqueue = 1", "r.toml: [wal] queue = 1: must be at least 65536"),
        ("[influx]\nudp_precision = 'd'", "r.toml: [influx] udp_precision = \"d\": one of n ns u us ms s m h"),
        ("[http]\nallowed_origins = ['x.example']", "r.toml: [http] allowed_origins: \"x.example\" is no origin"),
        ("[http]\nallowed_hosts = ['x.example:80']", "r.toml: [http] allowed_hosts: \"x.example:80\" is no name"),
        ("[http]\nallowed_origins = ['https://x.example/']", "r.toml: [http] allowed_origins: "),
        (
            "[auth]\nshared_secret = 'short and secret'",
            "r.toml: [auth] shared_secret: the secret of web tokens needs 32",
        ),
        ("[self]\ninterval = '10ms'", "r.toml: [self] interval (ms) = 10: must be at least 1000"),
        ("http = 1", "r.toml:1:"),
        ("[http", "r.toml:1:"),
    ];
    for (text, want) in cases {
        check_error(text, &[], want);
    }
    check_error("", &[("RHYTHMITE_HTTP__LISTN", "x")], "RHYTHMITE_HTTP__LISTN: unknown key `listn` in [http]; did you");
    check_error("", &[("RHYTHMITE_HTTP__LISTEN", "x")], "RHYTHMITE_HTTP__LISTEN: `x` is no address");
    check_error("", &[("RHYTHMITE_HTTP__LISTEN__X", "1")], "RHYTHMITE_HTTP__LISTEN__X: ");
    check_error("[http]\nlisten='127.0.0.1:1'", &[("RHYTHMITE_HTTP__LISTEN__X", "1")], "`listen` is not a section");
    check_error("", &[("RHYTHMITE_WAL__QUEUE", "1")], "RHYTHMITE_WAL__QUEUE: [wal] queue = 1: must be");
}

#[test]
fn beyond_loopback_only_points_may_come_in() {
    let cases = [
        ("[http]\nlisten = '0.0.0.0:1'", false),
        ("[http]\nlisten = ['127.0.0.1:1', '[::]:1']", false),
        ("[http]\nlisten = '[::ffff:127.0.0.1]:1'", true),
        ("[http]\nlisten = '0.0.0.0:1'\n[auth]\nenabled = true", true),
        ("[statsd]\nadmin_listen = '192.0.2.1:1'", false),
        ("[statsd]\nadmin_listen = '192.0.2.1:1'\n[auth]\nenabled = true", false),
        ("[influx]\nudp_listen = '0.0.0.0:1'", true),
        ("[carbon]\nquery_listen = '0.0.0.0:1'\n[auth]\nenabled = true", false),
        ("[statsd]\nudp_listen = '0.0.0.0:1'\ntcp_listen = '0.0.0.0:1'", true),
        ("[carbon]\nline_listen = '0.0.0.0:1'\npickle_listen = '[::]:2'", true),
        ("[aggregator]\nline_listen = '0.0.0.0:1'", true),
    ];
    for (text, accepted) in cases {
        let config = resolve(text, &[]).unwrap();
        assert_eq!(config.check_exposure(false).is_ok(), accepted, "{text}");
        assert!(config.check_exposure(true).is_ok(), "{text}");
    }
}

#[test]
fn every_section_is_checked_for_unknown_keys() {
    let text = "data_dir = 'd'\n[http]\n[graphite]\n[carbon]\n[aggregator]\n[statsd]\n[influx]\n[postgres]\n[auth]\n\
                [query]\n[memory]\n[wal]\n[limits]\n[self]\n";
    assert!(resolve(text, &[]).is_ok());
    for section in text.lines().filter_map(|l| l.strip_prefix('[')).map(|l| l.trim_end_matches(']')) {
        check_error(&format!("[{section}]\nzzzzzzzz = 1"), &[], &format!("unknown key `zzzzzzzz` in [{section}]"));
    }
}

#[test]
fn the_engine_gets_what_was_set() {
    let text = "[memory]\nmemtable = '2MiB'\nindex_cache = '3MiB'\n[wal]\nsize_max = '8MiB'\ninterval = '5ms'\n[limits]\nseries = 7\n";
    let options = resolve(text, &[]).unwrap().engine(true);
    assert_eq!((options.memtable_bytes, options.index_cache_bytes), (2 << 20, 3 << 20));
    assert_eq!((options.wal.wal_bytes_max, options.wal.salvage), (8 << 20, true));
    assert_eq!(options.wal.interval.as_millis(), 5);
    assert_eq!(options.limits.series_per_scope, 7);
}
