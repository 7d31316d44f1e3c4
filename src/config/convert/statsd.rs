//! StatsD's configuration file.

use rhythmite_model::{Error, Result};
use rhythmite_statsd::config_js::{self, Node, Value};

use super::{Out, quote};

/// Names here of StatsD's options that mean the same; of the section `statsd`.
const SAME: [(&str, &str); 17] = [
    ("flushInterval", "flush_interval"),
    ("percentThreshold", "percent_threshold"),
    ("histogram", "histogram"),
    ("calculatedTimerMetrics", "calculated_timer_metrics"),
    ("deleteIdleStats", "delete_idle_stats"),
    ("deleteCounters", "delete_counters"),
    ("deleteTimers", "delete_timers"),
    ("deleteSets", "delete_sets"),
    ("deleteGauges", "delete_gauges"),
    ("gaugesMaxTTL", "gauges_max_ttl"),
    ("flush_counts", "flush_counts"),
    ("keyNameSanitize", "key_name_sanitize"),
    ("prefixStats", "prefix_stats"),
    ("healthStatus", "health_status"),
    ("mgmt_port", ""),
    ("mgmt_address", ""),
    ("address", ""),
];

/// The same of the section `statsd.graphite`.
const SAME_NAMES: [(&str, &str); 7] = [
    ("legacyNamespace", "legacy_namespace"),
    ("globalPrefix", "global_prefix"),
    ("prefixCounter", "prefix_counter"),
    ("prefixTimer", "prefix_timer"),
    ("prefixGauge", "prefix_gauge"),
    ("prefixSet", "prefix_set"),
    ("globalSuffix", "global_suffix"),
];

/// Options without effect, and why.
const SILENT: [(&str, &str); 14] = [
    ("graphiteHost", "what is counted is stored here"),
    ("graphitePort", "what is counted is stored here"),
    ("graphitePicklePort", "what is counted is stored here"),
    ("graphiteProtocol", "what is counted is stored here"),
    ("backends", "what is counted is stored here"),
    ("console", "what is counted is stored here"),
    ("repeaterProtocol", "the repeater sends by UDP"),
    ("debug", "--log rhythmite=debug"),
    ("dumpMessages", "GET /api/v1/ingest shows what was refused"),
    ("log", "the log goes to standard error"),
    ("title", "nothing like it here"),
    ("automaticConfigReload", "a restart reads the file"),
    ("keyFlush", "SELECT counts what is stored"),
    ("address_ipv6", "the address says it"),
];

pub(super) fn convert(file: &str, text: &str, out: &mut Out) -> Result<()> {
    let members = config_js::parse(text).map_err(|e| Error::invalid(format!("{file}: {e}")))?;
    let get = |name: &str| members.iter().rev().find(|(n, _)| n == name).map(|(_, node)| node);
    let from = |name: &str, node: &Node| format!("{file}:{} {name}: {}", node.line, short(&node.value));
    listeners(file, &get, out);
    for (name, node) in &members {
        let from = from(name, node);
        match name.as_str() {
            "port" | "server" | "servers" => {}
            "graphite" => graphite(file, node, out),
            "repeater" => repeater(node, &from, out),
            _ => match SAME.iter().find(|(theirs, _)| theirs == name) {
                Some((_, "")) => {}
                Some((_, ours)) => same("statsd", ours, node, from, out),
                None => {
                    let why = SILENT.iter().find(|(theirs, _)| theirs == name);
                    out.silent(&from, why.map_or("nothing like it here", |(_, why)| why));
                }
            },
        }
    }
    Ok(())
}

/// The ports: `servers`, or `server`, `address` and `port`; and the admin interface.
fn listeners<'n>(file: &str, get: &impl Fn(&str) -> Option<&'n Node>, out: &mut Out) {
    let text = |node: Option<&Node>| match node.map(|n| &n.value) {
        Some(Value::Text(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let address = text(get("address")).unwrap_or_else(|| "0.0.0.0".to_owned());
    let port = text(get("port")).unwrap_or_else(|| "8125".to_owned());
    let mut listen = |server: &str, address: &str, port: &str, from: String| {
        let key = if server.contains("tcp") { "tcp_listen" } else { "udp_listen" };
        socket("statsd", key, address, port, from, out);
    };
    match get("servers").map(|node| (&node.value, node.line)) {
        Some((Value::List(servers), _)) => {
            for server in servers {
                let Value::Object(members) = &server.value else { continue };
                let member = |name: &str| text(members.iter().find(|(n, _)| n == name).map(|(_, node)| node));
                let module = member("server").unwrap_or_default();
                let (address, port) = (
                    member("address").unwrap_or_else(|| address.clone()),
                    member("port").unwrap_or_else(|| port.clone()),
                );
                listen(&module, &address, &port, format!("{file}:{} servers: {module}", server.line));
            }
        }
        _ => {
            let server = text(get("server")).unwrap_or_default();
            let line = get("port").map_or(1, |node| node.line);
            listen(&server, &address, &port, format!("{file}:{line} port: {port}"));
        }
    }
    let admin_port = text(get("mgmt_port")).unwrap_or_else(|| "8126".to_owned());
    let from = format!("{file}:{} mgmt_port: {admin_port}", get("mgmt_port").map_or(1, |node| node.line));
    let admin_address = text(get("mgmt_address")).unwrap_or_else(|| "0.0.0.0".to_owned());
    if admin_address == "0.0.0.0" {
        // It can delete what is counted: without authentication on loopback only.
        let from = format!("{from}; on loopback, since it can delete");
        socket("statsd", "admin_listen", "127.0.0.1", &admin_port, from, out);
    } else {
        socket("statsd", "admin_listen", &admin_address, &admin_port, from, out);
    }
}

fn socket(section: &'static str, key: &'static str, address: &str, port: &str, from: String, out: &mut Out) {
    let address = match address {
        "localhost" => "127.0.0.1",
        other => other,
    };
    let at = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    match at.parse::<std::net::SocketAddr>() {
        Ok(_) => out.append(section, key, quote(&at), from),
        Err(_) => out.silent(&from, &format!("{at} is no address here: write an IP address and a port")),
    }
}

fn graphite(file: &str, node: &Node, out: &mut Out) {
    let Value::Object(members) = &node.value else { return };
    for (name, node) in members {
        let from = format!("{file}:{} graphite.{name}: {}", node.line, short(&node.value));
        match SAME_NAMES.iter().find(|(theirs, _)| theirs == name) {
            Some((_, ours)) => same("statsd.graphite", ours, node, from, out),
            None => out.silent(&from, "nothing like it here"),
        }
    }
}

fn repeater(node: &Node, from: &str, out: &mut Out) {
    let Value::List(items) = &node.value else { return };
    for item in items {
        let Value::Object(members) = &item.value else { continue };
        let member = |name: &str| members.iter().find(|(n, _)| n == name).map(|(_, node)| plain(&node.value));
        let (host, port) = (member("host").unwrap_or_default(), member("port").unwrap_or_default());
        let host = if host == "localhost" { "127.0.0.1".to_owned() } else { host };
        let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        match at.parse::<std::net::SocketAddr>() {
            Ok(_) => out.append("statsd", "repeater", quote(&at), from.to_owned()),
            Err(_) => out.silent(from, &format!("{at} is no address here: write an IP address and a port")),
        }
    }
}

/// A value that means the same here.
fn same(section: &'static str, key: &'static str, node: &Node, from: String, out: &mut Out) {
    match toml(&node.value) {
        Some(value) => out.add(section, key, value, from),
        None => out.silent(&from, "null is the default"),
    }
}

/// A value as TOML; `None` for null.
fn toml(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(b) => b.to_string(),
        Value::Number(n) if *n == f64::INFINITY => quote("inf"),
        Value::Number(n) => n.to_string(),
        Value::Text(text) => quote(text),
        Value::List(items) => {
            format!("[{}]", items.iter().filter_map(|item| toml(&item.value)).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let members = members.iter().filter_map(|(name, node)| Some(format!("{name} = {}", toml(&node.value)?)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(n) => n.to_string(),
        _ => String::new(),
    }
}

/// A value for a comment.
fn short(value: &Value) -> String {
    let text = toml(value).unwrap_or_else(|| "null".to_owned());
    if text.chars().count() > 60 { format!("{}...", text.chars().take(57).collect::<String>()) } else { text }
}
