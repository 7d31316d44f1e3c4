//! carbon.conf and the files beside it.

use rhythmite_carbon::conf::{self, Section, Setting};
use rhythmite_carbon::relay::Destination;

use super::{Classic, Out, quote};

const STORED_HERE: &str = "points go to a log and to columnar files, not to whisper files through a cache";
const NO_LIMIT: &str = "carbon's default: no limit";

/// Settings without effect, and why.
const SILENT: [(&str, &str); 38] = [
    ("STORAGE_DIR", "data_dir has everything; `rhythmite import whisper` reads what is there"),
    ("LOCAL_DATA_DIR", "`rhythmite import whisper DIR` reads what is there"),
    ("CONF_DIR", "files are named one by one"),
    ("LOG_DIR", "the log goes to standard error"),
    ("PID_DIR", "a service manager knows the process"),
    ("USER", "a service manager starts it as the right user"),
    ("DATABASE", STORED_HERE),
    ("ENABLE_LOGROTATION", "the log goes to standard error"),
    (
        "MAX_CACHE_SIZE",
        "[memory] memtable and [wal] bound what is not in files; what does not fit waits, it is not dropped",
    ),
    ("USE_FLOW_CONTROL", "always: a stream that is too fast is not read"),
    ("MAX_UPDATES_PER_SECOND", STORED_HERE),
    ("MAX_UPDATES_PER_SECOND_ON_SHUTDOWN", STORED_HERE),
    ("MIN_TIMESTAMP_RESOLUTION", STORED_HERE),
    ("MIN_TIMESTAMP_LAG", STORED_HERE),
    ("CACHE_WRITE_STRATEGY", STORED_HERE),
    (
        "CACHE_QUERY_INTERFACE",
        "points can be queried as soon as they are accepted; [carbon] query_listen answers all the same",
    ),
    (
        "CACHE_QUERY_PORT",
        "points can be queried as soon as they are accepted; [carbon] query_listen answers all the same",
    ),
    ("USE_INSECURE_UNPICKLER", "never: pickles are read without running anything"),
    ("LOG_LISTENER_CONN_SUCCESS", "--log rhythmite=debug"),
    ("LOG_LISTENER_CONN_LOST", "--log rhythmite=debug"),
    ("LOG_UPDATES", "/metrics counts them"),
    ("LOG_CREATES", "/metrics counts them"),
    ("LOG_CACHE_HITS", "there is no cache"),
    ("LOG_CACHE_QUEUE_SORTS", "there is no cache"),
    ("LOG_AGGREGATOR_MISSES", "/metrics counts them"),
    ("WHISPER_AUTOFLUSH", STORED_HERE),
    ("WHISPER_SPARSE_CREATE", STORED_HERE),
    ("WHISPER_FALLOCATE_CREATE", STORED_HERE),
    ("WHISPER_LOCK_WRITES", STORED_HERE),
    ("WHISPER_FADVISE_RANDOM", STORED_HERE),
    ("ENABLE_TAGS", "tags are always indexed"),
    ("TAG_UPDATE_INTERVAL", "tags are indexed at once"),
    ("TAG_HASH_FILENAMES", STORED_HERE),
    ("GRAPHITE_URL", "tags are indexed here"),
    ("TIME_TO_DEFER_SENDING", "the relay sends at once, and many points together when they come fast"),
    ("QUEUE_LOW_WATERMARK_PCT", "who sends to the relay is never paused: its queues are on disk"),
    ("USE_RATIO_RESET", "a destination that does not take what is sent within 5 s is connected to anew"),
    ("WRITE_BACK_FREQUENCY", "every rule's own frequency holds"),
];

/// A daemon's listeners: switch, interface and port in carbon, whether it is on without the switch, the default port,
/// section and key here.
struct Port {
    switch: Option<&'static str>,
    interface: &'static str,
    port: &'static str,
    default: u16,
    key: &'static str,
}

const PORTS: [Port; 3] = [
    Port {
        switch: None,
        interface: "LINE_RECEIVER_INTERFACE",
        port: "LINE_RECEIVER_PORT",
        default: 2003,
        key: "line_listen",
    },
    Port {
        switch: Some("ENABLE_UDP_LISTENER"),
        interface: "UDP_RECEIVER_INTERFACE",
        port: "UDP_RECEIVER_PORT",
        default: 2003,
        key: "udp_listen",
    },
    Port {
        switch: None,
        interface: "PICKLE_RECEIVER_INTERFACE",
        port: "PICKLE_RECEIVER_PORT",
        default: 2004,
        key: "pickle_listen",
    },
];

pub(super) fn convert(classic: &Classic, out: &mut Out) {
    for (name, key) in
        [("storage-schemas.conf", "storage_schemas"), ("storage-aggregation.conf", "storage_aggregation")]
    {
        if let Some(path) = classic.rule(name) {
            out.add("graphite", key, path, name.to_owned());
        }
    }
    let sections = classic.carbon.as_deref().map(conf::parse).unwrap_or_default();
    for section in &sections {
        let general = sections.iter().find(|s| s.daemon == section.daemon && s.instance.is_empty());
        match section.daemon.as_str() {
            "cache" => daemon("carbon", section, general, 0, out),
            "aggregator" => daemon("aggregator", section, general, 20, out),
            "relay" => daemon("relay", section, general, 10, out),
            _ => out.silent(&format!("carbon.conf [{}]", section.daemon), "not a daemon of carbon"),
        }
        for setting in &section.settings {
            general_setting(classic, section, setting, out);
        }
    }
    if sections.iter().any(|s| s.daemon == "aggregator") {
        for (name, key) in [("aggregation-rules.conf", "rules"), ("rewrite-rules.conf", "rewrite_rules")] {
            if let Some(path) = classic.rule(name) {
                out.add("aggregator", key, path, name.to_owned());
            }
        }
    }
    let by_rules = out.keys.iter().any(|k| k.key == "relay_method" && k.values == [quote("rules")]);
    if let Some(path) = classic.rule("relay-rules.conf").filter(|_| by_rules) {
        out.add("relay", "relay_rules", path, "relay-rules.conf".to_owned());
    }
}

/// The listeners of a daemon or of one of its instances; `offset` is what its default ports are beyond the cache's.
fn daemon(to: &'static str, section: &Section, general: Option<&Section>, offset: u16, out: &mut Out) {
    for port in PORTS.iter().filter(|p| to == "carbon" || p.switch.is_none()) {
        let get = |key: &str| section.get(key).or_else(|| general?.get(key));
        if port.switch.is_some_and(|switch| !get(switch).is_some_and(|s| is_true(&s.value))) {
            continue;
        }
        // An instance without a port of its own has that of the general section, once.
        let Some(number) = section.get(port.port).or_else(|| get(port.port).filter(|_| section.instance.is_empty()))
        else {
            if section.instance.is_empty() {
                let address = quote(&format!("0.0.0.0:{}", port.default + offset));
                out.append(to, port.key, address, format!("carbon.conf [{}]: carbon's default", section.daemon));
            }
            continue;
        };
        if number.value == "0" {
            out.silent(&from(section, number), "0 switches it off, as here");
            continue;
        }
        let interface = get(port.interface).map_or("0.0.0.0", |s| s.value.as_str());
        let address = if interface.contains(':') {
            format!("[{interface}]:{}", number.value)
        } else {
            format!("{interface}:{}", number.value)
        };
        if address.parse::<std::net::SocketAddr>().is_err() {
            out.silent(
                &from(section, number),
                &format!("{address} is no address here: write the IP address of the interface"),
            );
            continue;
        }
        out.append(to, port.key, quote(&address), from(section, number));
    }
}

/// A setting that is no port.
fn general_setting(classic: &Classic, section: &Section, setting: &Setting, out: &mut Out) {
    let (from, value) = (from(section, setting), setting.value.as_str());
    let number = value.parse::<u64>().ok();
    let daemon = section.daemon.as_str();
    match (daemon, setting.key.as_str()) {
        (_, key) if PORTS.iter().any(|p| [Some(p.interface), Some(p.port), p.switch].contains(&Some(key))) => {}
        (_, "PICKLE_RECEIVER_MAX_LENGTH") => match number {
            Some(n) => out.add("carbon", "frame_length", n.to_string(), from),
            None => out.silent(&from, "not a number"),
        },
        (_, "USE_WHITELIST") if is_true(value) => {
            out.add("carbon", "use_whitelist", "true".to_owned(), from);
            for (name, key) in [("whitelist.conf", "whitelist"), ("blacklist.conf", "blacklist")] {
                if let Some(path) = classic.rule(name) {
                    out.add("carbon", key, path, name.to_owned());
                }
            }
        }
        (_, "USE_WHITELIST") => out.silent(&from, "false is the default"),
        (_, "MAX_RECEIVER_CONNECTIONS") => match number {
            Some(n) if n > 0 => out.add("limits", "connections", n.to_string(), from),
            _ => out.silent(&from, NO_LIMIT),
        },
        (_, "METRIC_CLIENT_IDLE_TIMEOUT") => match number {
            Some(n) => out.add("limits", "idle_timeout", quote(&format!("{n}s")), from),
            None => out.silent(&from, NO_LIMIT),
        },
        ("cache", "MAX_CREATES_PER_MINUTE") => match number {
            Some(n) => {
                let why = format!("{from}: here by the hour, and what is refused is counted");
                out.add("limits", "new_series_per_hour", (n * 60).to_string(), why);
            }
            None => out.silent(&from, NO_LIMIT),
        },
        ("cache", "CARBON_METRIC_INTERVAL") => match number {
            Some(n) => out.add("self", "interval", quote(&format!("{n}s")), from),
            None => out.silent(&from, "not a number"),
        },
        ("cache", "CARBON_METRIC_PREFIX") => out.add("self", "carbon_metric_prefix", quote(value), from),
        ("aggregator", "FORWARD_ALL") => out.add("aggregator", "forward_all", is_true(value).to_string(), from),
        ("aggregator", "MAX_AGGREGATION_INTERVALS") => match number {
            Some(n) => out.add("aggregator", "max_aggregation_intervals", n.to_string(), from),
            None => out.silent(&from, "not a number"),
        },
        ("aggregator", "DESTINATIONS") => out.silent(&from, "what the aggregator emits is stored here"),
        ("relay", "RELAY_METHOD") => match value {
            "rules"
            | "consistent-hashing"
            | "aggregated-consistent-hashing"
            | "fast-hashing"
            | "fast-aggregated-hashing" => out.add("relay", "relay_method", quote(value), from),
            _ => out.silent(&from, "carbon 1.1.10 has no such method"),
        },
        ("relay", "DESTINATIONS") => {
            for destination in value.split(',').map(str::trim).filter(|d| !d.is_empty()) {
                match destination.parse::<Destination>() {
                    Ok(_) => out.append("relay", "destinations", quote(destination), from.clone()),
                    Err(e) => out.silent(&from, &e),
                }
            }
        }
        ("relay", "REPLICATION_FACTOR") => match number {
            Some(n) => out.add("relay", "replication_factor", n.to_string(), from),
            None => out.silent(&from, "not a number"),
        },
        ("relay", "DIVERSE_REPLICAS") => out.add("relay", "diverse_replicas", is_true(value).to_string(), from),
        ("relay", "ROUTER_HASH_TYPE") => match value {
            "carbon_ch" | "fnv1a_ch" | "mmh3_ch" => out.add("relay", "router_hash_type", quote(value), from),
            _ => out.silent(&from, "carbon 1.1.10 has no such hash"),
        },
        ("relay", "DESTINATION_PROTOCOL") => match value {
            "pickle" | "line" => out.add("relay", "destination_protocol", quote(value), from),
            _ => out.silent(&from, "this version has pickle and line"),
        },
        ("relay", "DESTINATION_TRANSPORT") => match value {
            "none" => out.add("relay", "destination_transport", quote(value), from),
            "ssl" => out.silent(&from, "set [relay] destination_transport = \"ssl\" with a destination_ca"),
            _ => out.silent(&from, "this version has none and ssl"),
        },
        ("relay", "MAX_DATAPOINTS_PER_MESSAGE") => match number {
            Some(n) => out.add("relay", "max_datapoints_per_message", n.to_string(), from),
            None => out.silent(&from, "not a number"),
        },
        ("relay", "MAX_QUEUE_SIZE") => out.silent(&from, "queues are on disk and measured in bytes: [relay] queue"),
        (_, key) => {
            let known = SILENT.iter().find(|(name, _)| *name == key);
            out.silent(&from, known.map_or("nothing like it here", |(_, why)| why));
        }
    }
}

fn from(section: &Section, setting: &Setting) -> String {
    let instance = if section.instance.is_empty() { String::new() } else { format!(":{}", section.instance) };
    format!("carbon.conf:{} [{}{instance}] {} = {}", setting.line, section.daemon, setting.key, setting.value)
}

fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1")
}
