//! What receivers outlive, and what they take up while they run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use crate::support::{Server, free_address, now_s, send, wait_for};

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    // Never half a file where the server looks.
    let temporary = dir.join(format!("{name}.new"));
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(&temporary, &path).unwrap();
    path.display().to_string()
}

#[test]
fn rules_that_change_are_taken_while_the_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (line, aggregator) = (free_address(), free_address());
    let schemas = write(dir.path(), "schemas.conf", "[all]\npattern = .*\nretentions = 10s:1d\n");
    let blacklist = write(dir.path(), "blacklist.conf", "^secret\n");
    let rules = write(dir.path(), "rules.conf", "sum.a (1) = sum in.*\n");
    let text = format!(
        "[self]\ninterval = '0'\n[graphite]\nstorage_schemas = '{schemas}'\n\
         [carbon]\nline_listen = '{line}'\nuse_whitelist = true\nblacklist = '{blacklist}'\n\
         [aggregator]\nline_listen = '{aggregator}'\nrules = '{rules}'\nforward_all = false\n"
    );
    let server = Server::start(dir.path(), &text);
    let t = now_s() / 10 * 10 + 3;
    send(line, format!("a.b 1 {t}\nsecret.a 1 {t}\n").as_bytes());
    wait_for("the coarse point", || server.point("a.b", t - 3) == Some(1.0));
    assert_eq!(server.counter("carbon_rejected_total{reason=\"blacklist\"}"), 1);

    write(dir.path(), "schemas.conf", "[all]\npattern = .*\nretentions = 1s:1d\n");
    write(dir.path(), "blacklist.conf", "^other\n");
    write(dir.path(), "rules.conf", "sum.b (1) = sum in.*\n");
    wait_for("all three", || server.log_text().matches("read again").count() == 3);
    send(line, format!("a.b 2 {t}\nsecret.a 2 {t}\n").as_bytes());
    wait_for("the fine point", || server.point("a.b", t) == Some(2.0));
    assert_eq!(server.point("secret.a", t), Some(2.0));
    let t = now_s();
    // Within a second: what comes before goes by the old rules.
    wait_for("the new rule", || {
        send(aggregator, format!("in.x 4 {t}\n").as_bytes());
        server.sum("sum.b") > 0.0
    });

    // What cannot be read leaves what holds.
    std::fs::remove_file(&schemas).unwrap();
    wait_for("the warning", || server.log_text().contains("rules are not read again"));
    send(line, format!("a.c 1 {t}\n").as_bytes());
    wait_for("a point", || server.point("a.c", t) == Some(1.0));
}

#[test]
fn slow_and_idle_connections_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (line, pickle, statsd) = (free_address(), free_address(), free_address());
    let text = format!(
        "[self]\ninterval = '0'\n[carbon]\nline_listen = '{line}'\npickle_listen = '{pickle}'\n\
         [statsd]\ntcp_listen = '{statsd}'\nflush_interval = 1000\n"
    );
    let server = Server::start(dir.path(), &text);
    let idle: Vec<TcpStream> = (0..600).map(|n| TcpStream::connect([line, pickle, statsd][n % 3]).unwrap()).collect();
    wait_for("all connections", || server.counter("connections_open") == 600);
    // A byte now and then, on each kind of port: a line, the length of a pickle, a StatsD line.
    let t = now_s() / 10 * 10;
    let mut slow = [line, pickle, statsd].map(|at| TcpStream::connect(at).unwrap());
    let texts = [format!("slow.line 7 {t}\n"), "\0\0\u{1}\0".to_owned(), "slow:3|g\n".to_owned()];
    for n in 0..texts[0].len() {
        for (stream, text) in slow.iter_mut().zip(&texts) {
            text.as_bytes().get(n..=n).into_iter().for_each(|byte| stream.write_all(byte).unwrap());
        }
        if n % 5 == 0 {
            send(line, format!("fast.n{n} 1 {t}\n").as_bytes());
            wait_for("somebody else's point", || server.point(&format!("fast.n{n}"), t) == Some(1.0));
        }
    }
    wait_for("the slow line", || server.point("slow.line", t) == Some(7.0));
    wait_for("the slow gauge", || server.last("stats.gauges.slow") == Some(3.0));
    drop(idle);
    drop(slow);
    wait_for("the end", || server.counter("connections_open") == 0);
}

#[test]
fn a_name_of_a_mebibyte_is_refused_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let [line, pickle, aggregator, statsd] = [free_address(), free_address(), free_address(), free_address()];
    let text = format!(
        "[self]\ninterval = '0'\n[carbon]\nline_listen = '{line}'\npickle_listen = '{pickle}'\nframe_length = '2MiB'\n\
         [aggregator]\nline_listen = '{aggregator}'\n[statsd]\ntcp_listen = '{statsd}'\nflush_interval = 1000\n"
    );
    let server = Server::start(dir.path(), &text);
    let name = "x".repeat(1 << 20);
    let t = now_s() / 10 * 10;
    send(line, format!("{name} 1 {t}\nok.line 1 {t}\n").as_bytes());
    send(aggregator, format!("{name} 1 {t}\nok.aggregator 1 {t}\n").as_bytes());
    send(statsd, format!("{name}:1|c\nok:1|g\n").as_bytes());
    let frame = |name: &str| {
        let mut body = b"\x80\x02](X".to_vec();
        body.extend_from_slice(&(name.len() as u32).to_le_bytes());
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(format!("I{t}\nI1\n").as_bytes());
        body.extend_from_slice(b"\x86\x86e.");
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    };
    send(pickle, &[frame(&name), frame("ok.pickle")].concat());
    let put = server.post("/collectd", &format!("PUTVAL {name}/load/load N:1:2:3\nPUTVAL h/load/load N:1:2:3\n"));
    assert_eq!(put.status, 400);
    for target in ["ok.line", "ok.aggregator", "ok.pickle"] {
        wait_for(target, || server.point(target, t) == Some(1.0));
    }
    wait_for("ok.statsd", || server.last("stats.gauges.ok") == Some(1.0));
    assert!(server.get("/api/v1/ingest").body.len() < 100_000, "samples are cut");
}

#[test]
fn the_relay_passes_on_and_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (relay, far, http) = (free_address(), free_address(), dir.path().join("far"));
    let text =
        format!("[self]\ninterval = '0'\n[relay]\nline_listen = '{relay}'\ndestinations = ['{far}:a']\nstore = true\n");
    let server = Server::start(dir.path(), &text);
    let t = now_s() / 10 * 10;
    send(relay, format!("r.one 1 {t}\n").as_bytes());
    wait_for("the first try", || server.counter("relay_failures_total") > 0);
    assert_eq!(server.point("r.one", t), Some(1.0), "stored here too");
    assert_eq!(server.counter("relay_queued_points"), 1);
    let shown: serde_json::Value = serde_json::from_str(&server.get("/api/v1/ingest").body).unwrap();
    let shown = &shown["destinations"][0];
    assert_eq!(
        (shown["destination"].as_str(), shown["connected"].as_bool()),
        (Some(&*format!("{far}:a")), Some(false))
    );
    assert!(shown["last_error"].as_str().unwrap().contains("refused") && shown["queued_points"] == 1, "{shown}");
    // What waits outlives a restart.
    server.stop();
    let server = Server::start(dir.path(), &text);
    assert_eq!(server.counter("relay_queued_points"), 1);
    send(relay, format!("r.two 2 {t}\n").as_bytes());
    std::fs::create_dir(&http).unwrap();
    let behind = Server::start(&http, &format!("[self]\ninterval = '0'\n[carbon]\npickle_listen = '{far}'\n"));
    wait_for("both", || behind.point("r.one", t) == Some(1.0) && behind.point("r.two", t) == Some(2.0));
    wait_for("an empty queue", || server.counter("relay_queued_points") == 0);
    assert_eq!(server.counter("relay_sent_total"), 2);
}

#[test]
fn a_classic_configuration_is_converted_and_served() {
    let dir = tempfile::tempdir().unwrap();
    let line = free_address();
    let (ip, port) = (line.ip(), line.port());
    let conf = format!(
        "[cache]\nLINE_RECEIVER_INTERFACE = {ip}\nLINE_RECEIVER_PORT = {port}\nPICKLE_RECEIVER_PORT = 0\nUSER = me\n"
    );
    write(dir.path(), "carbon.conf", &conf);
    write(dir.path(), "storage-schemas.conf", "[all]\npattern = .*\nretentions = 1s:1d\n");
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_rhythmite"))
        .args(["config", "convert", "--from"])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let http = free_address();
    let text = text
        .replace("\"127.0.0.1:8086\"", &format!("\"{http}\""))
        .replace("/var/lib/rhythmite", &dir.path().join("data").display().to_string());
    let server = Server::start_with(dir.path(), http, &text);
    let t = now_s();
    let mut stream = TcpStream::connect(line).unwrap();
    stream.write_all(format!("a 1 {t}\n").as_bytes()).unwrap();
    wait_for("a point", || server.point("a", t) == Some(1.0));
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(stream.read(&mut [0; 1]).is_err(), "nothing is said");
}

#[test]
fn graphite_web_may_ask_as_it_asks_a_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (line, query) = (free_address(), free_address());
    let text = format!("[self]\ninterval = '0'\n[carbon]\nline_listen = '{line}'\nquery_listen = '{query}'\n");
    let server = Server::start(dir.path(), &text);
    let t = now_s() / 10 * 10;
    send(line, format!("a.b 2.5 {t}\na.b 1 {}\n", t - 3600).as_bytes());
    wait_for("a point", || server.point("a.b", t) == Some(2.5));
    let mut stream = TcpStream::connect(query).unwrap();
    let mut ask = |body: &[u8]| {
        stream.write_all(&[&(body.len() as u32).to_be_bytes()[..], body].concat()).unwrap();
        let mut len = [0; 4];
        stream.read_exact(&mut len).unwrap();
        let mut reply = vec![0; u32::from_be_bytes(len) as usize];
        stream.read_exact(&mut reply).unwrap();
        reply
    };
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let float = |number: f64| [&b"G"[..], &number.to_be_bytes()].concat();
    let question = |kind: &str, key: &str, value: &str| {
        [&b"\x80\x02}("[..], &text("type"), &text(kind), &text(key), &text(value), b"u."].concat()
    };
    // What is older than ten minutes is not in a cache.
    let want = [&b"\x80\x02}"[..], &text("datapoints"), b"](", &float(t as f64), &float(2.5), b"\x86es."].concat();
    assert_eq!(ask(&question("cache-query", "metric", "a.b")), want);
    let none = [&b"\x80\x02}"[..], &text("datapoints"), b"](es."].concat();
    assert_eq!(ask(&question("cache-query", "metric", "no.such")), none);
    let error = [&b"\x80\x02}"[..], &text("error"), &text("Invalid request type \"x\""), b"s."].concat();
    assert_eq!(ask(&question("x", "metric", "a.b")), error);
    assert_eq!(server.counter("carbon_queries_total"), 3);
    // What would run something ends the connection, and only that.
    assert_eq!(send(query, b"\0\0\0\x17cos\nsystem\n(S'true'\ntR.\n"), "");
    assert_eq!(server.get("/ready").status, 200);
}

/// Bytes that the measured cases send to a kind of port.
fn sent(cases: &str, way: &str) -> Vec<Vec<u8>> {
    let bytes = |text: &str| match text.strip_prefix("hex:") {
        Some(hex) => {
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect::<Vec<u8>>()
        }
        None => text.replace("{p}", "cut").into_bytes(),
    };
    let kit: serde_json::Value = serde_json::from_str(cases).unwrap();
    let texts = |of: &serde_json::Value| -> Vec<Vec<u8>> {
        of.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(bytes)).collect()
    };
    let mut found = Vec::new();
    for case in kit["cases"].as_array().unwrap() {
        for step in case["steps"].as_array().into_iter().flatten() {
            found.extend(texts(&step[way]));
        }
        for item in case["send"].as_array().into_iter().flatten().filter(|item| item["via"] == way) {
            found.extend([texts(&item["data"]), texts(&item["frames"])].concat());
        }
    }
    found.retain(|one| (1..1_000).contains(&one.len()));
    assert!(found.len() > 10, "{way}");
    found
}

#[test]
fn packets_cut_at_each_byte_hurt_nobody() {
    const STATSD: &str = include_str!("../../compat/statsd/tests/data/cases.json");
    const CARBON: &str = include_str!("../../compat/carbon/tests/data/kit.json");
    let dir = tempfile::tempdir().unwrap();
    let [line, pickle, aggregator, udp, stream] = [(); 5].map(|()| free_address());
    let text = format!(
        "[self]\ninterval = '0'\n[carbon]\nline_listen = '{line}'\npickle_listen = '{pickle}'\n\
         [aggregator]\nline_listen = '{aggregator}'\n\
         [statsd]\nudp_listen = '{udp}'\ntcp_listen = '{stream}'\nflush_interval = 1000\ndialect = 'dogstatsd'\n"
    );
    let server = Server::start(dir.path(), &text);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut packets = 0;
    for packet in sent(STATSD, "udp") {
        for end in 1..packet.len() {
            socket.send_to(&packet[..end], udp).unwrap();
            packets += 1;
            // Not faster than a debug build folds.
            if packets % 100 == 0 {
                let so_far = || server.counter("statsd_packets_total") + server.counter("statsd_kernel_drops_total");
                wait_for("packets", || so_far() + 200 > packets);
            }
        }
    }
    // A connection that ends within a line or a frame, at every byte of some and every so manieth of the others.
    for (way, ports, every) in [("line", [line, aggregator, stream], 9), ("pickle", [pickle; 3], 31)] {
        for (n, bytes) in sent(CARBON, way).into_iter().enumerate() {
            for end in (0..bytes.len()).step_by(if n == 0 { 1 } else { every }) {
                for at in &ports[..if way == "line" { 3 } else { 1 }] {
                    TcpStream::connect(at).unwrap().write_all(&bytes[..end]).unwrap();
                }
            }
        }
    }
    let t = now_s() / 10 * 10;
    send(line, format!("after.line 1 {t}\n").as_bytes());
    send(aggregator, format!("after.aggregator 1 {t}\n").as_bytes());
    send(stream, b"after.stream:1|g\n");
    socket.send_to(b"after.udp:1|g", udp).unwrap();
    for target in ["after.line", "after.aggregator"] {
        wait_for(target, || server.point(target, t) == Some(1.0));
    }
    for target in ["stats.gauges.after.stream", "stats.gauges.after.udp"] {
        wait_for(target, || server.last(target) == Some(1.0));
    }
    assert!(server.counter("carbon_rejected_total{reason=\"unfinished\"}") > 100);
    assert!(server.counter("statsd_bad_lines_total") > 100);
    wait_for("the end of all connections", || server.counter("connections_open") == 0);
}

#[test]
fn protobuf_frames_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let at = free_address();
    let server = Server::start(dir.path(), &format!("[carbon]\nprotobuf_listen = '{at}'\n"));
    let t = now_s() / 60 * 60;
    let point = |value: f64| {
        let mut time = vec![8];
        let mut rest = t as u64;
        while rest > 0x7f {
            time.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        time.push(rest as u8);
        [&time[..], &[17], &value.to_le_bytes()].concat()
    };
    let message = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let metric = [message(1, b"by.protobuf"), message(2, &point(1.5))].concat();
    let frame = |payload: &[u8]| [&(payload.len() as u32).to_be_bytes()[..], payload].concat();
    // What is no message costs only itself.
    send(at, &[frame(b"\x0b"), frame(&message(1, &metric))].concat());
    wait_for("the point", || server.point("by.protobuf", t) == Some(1.5));
    assert_eq!(server.counter("carbon_pickles_refused_total"), 1);
}

#[test]
fn events_of_statsd_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let udp = free_address();
    let text = format!("[statsd]\nudp_listen = '{udp}'\nflush_interval = 1000\ndialect = 'dogstatsd'\n");
    let server = Server::start(dir.path(), &text);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let event = "_e{8,11}:deployed|of\\nversion|d:1700000000|h:web 1|t:success|p:low|s:ci|k:42|#env:prod,blue";
    socket.send_to(event.as_bytes(), udp).unwrap();
    socket.send_to(b"_sc|db.up|2|#env:prod|m:gone", udp).unwrap();
    let found = || server.get("/events/get_data?tags=blue%20host:web_1&set=intersection").body;
    wait_for("the event", || found().contains("deployed"));
    let events: serde_json::Value = serde_json::from_str(&found()).unwrap();
    let tags = "env:prod blue host:web_1 alert_type:success priority:low source_type_name:ci aggregation_key:42";
    assert_eq!(events[0]["what"], "deployed");
    assert_eq!(events[0]["data"], "of\nversion");
    assert_eq!(events[0]["when"], 1_700_000_000);
    assert_eq!(events[0]["tags"], serde_json::json!(tags.split(' ').collect::<Vec<_>>()));
    wait_for("the check", || server.last("seriesByTag('name=stats.checks.db.up','env=prod')") == Some(2.0));
    assert_eq!(server.counter("statsd_notices_total"), 2);
    assert!(!server.get("/events/get_data").body.contains("db.up"));
}
