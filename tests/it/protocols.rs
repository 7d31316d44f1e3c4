//! Points come in by every protocol, are seen at once, and outlive the server.

use std::net::UdpSocket;

use crate::support::{Server, free_address, now_s, send, wait_for};

/// A schema of one second, so that what is written is what is read.
fn with_schemas(dir: &std::path::Path, sections: &str) -> String {
    let schemas = dir.join("storage-schemas.conf");
    std::fs::write(&schemas, "[all]\npattern = .*\nretentions = 1s:1h\n").unwrap();
    format!("[graphite]\nstorage_schemas = '{}'\n[self]\ninterval = '0'\n{sections}", schemas.display())
}

fn frame(pickle: &[u8]) -> Vec<u8> {
    [&u32::try_from(pickle.len()).unwrap().to_be_bytes(), pickle].concat()
}

/// `[('name', ('time', 'value'))]` in protocol 0.
fn pickled(name: &str, time_s: i64, value: &str) -> Vec<u8> {
    frame(format!("(lp0\n(S'{name}'\n(S'{time_s}'\nS'{value}'\ntta.").as_bytes())
}

#[test]
fn carbon_takes_lines_and_pickles_and_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    let (line, udp, pickle) = (free_address(), free_address(), free_address());
    let extra = with_schemas(
        dir.path(),
        &format!("[carbon]\nline_listen = '{line}'\nudp_listen = '{udp}'\npickle_listen = '{pickle}'\n"),
    );
    let server = Server::start(dir.path(), &extra);
    let t = now_s() - 60;
    send(line, format!("tcp.a 1 {t}\ntcp.b 2 {t}\nnonsense\ntcp.c 3 {t}\nunfinished 1 {t}").as_bytes());
    send(pickle, &pickled("pickle.a", t, "4.5"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(format!("udp.a 5 {t}\nudp.b 6 {t}").as_bytes(), udp).unwrap();

    let want = [("tcp.a", 1.0), ("tcp.b", 2.0), ("tcp.c", 3.0), ("pickle.a", 4.5), ("udp.a", 5.0), ("udp.b", 6.0)];
    for (path, value) in want {
        wait_for(path, || server.point(path, t) == Some(value));
    }
    wait_for("counters", || server.counter("carbon_rejected_total{reason=\"unfinished\"}") == 1);
    assert_eq!(server.counter("carbon_rejected_total{reason=\"shape\"}"), 1);
    assert_eq!(server.counter("carbon_points_total"), 6);
    server.stop();

    let server = Server::start(dir.path(), &extra);
    for (path, value) in want {
        assert_eq!(server.point(path, t), Some(value), "{path} after a restart");
    }
}

#[test]
fn the_aggregator_emits_and_forwards() {
    let dir = tempfile::tempdir().unwrap();
    let line = free_address();
    let rules = dir.path().join("rules.conf");
    std::fs::write(&rules, "<env>.all.requests (1) = sum <env>.*.requests\n").unwrap();
    let extra =
        with_schemas(dir.path(), &format!("[aggregator]\nline_listen = '{line}'\nrules = '{}'\n", rules.display()));
    let server = Server::start(dir.path(), &extra);
    let t = now_s();
    send(line, format!("prod.a.requests 3 {t}\nprod.b.requests 4 {t}\n").as_bytes());
    wait_for("the input", || server.point("prod.a.requests", t) == Some(3.0));
    wait_for("the aggregate", || server.point("prod.all.requests", t) == Some(7.0));
    assert_eq!(server.counter("aggregator_points_total"), 2);
}

#[test]
fn what_the_aggregator_holds_is_stored_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let line = free_address();
    let rules = dir.path().join("rules.conf");
    std::fs::write(&rules, "all.requests (600) = sum *.requests\n").unwrap();
    let extra = with_schemas(
        dir.path(),
        &format!("[aggregator]\nline_listen = '{line}'\nforward_all = false\nrules = '{}'\n", rules.display()),
    );
    let server = Server::start(dir.path(), &extra);
    let t = now_s();
    send(line, format!("a.requests 3 {t}\nb.requests 4 {t}\n").as_bytes());
    wait_for("the input", || server.counter("aggregator_points_total") == 2);
    server.stop();
    let server = Server::start(dir.path(), &extra);
    assert_eq!(server.point("all.requests", t - t % 600), Some(7.0));
}

#[test]
fn statsd_flushes_at_its_interval_and_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (udp, tcp, admin) = (free_address(), free_address(), free_address());
    let sections = |interval_ms| {
        format!(
            "[statsd]\nudp_listen = '{udp}'\ntcp_listen = '{tcp}'\nadmin_listen = '{admin}'\nflush_interval = {interval_ms}\n"
        )
    };
    let server = Server::start(dir.path(), &with_schemas(dir.path(), &sections(1000)));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"hits:2|c\nlevel:7|g", udp).unwrap();
    send(tcp, b"hits:3|c\nlost:1|c");
    wait_for("the gauge", || server.last("stats.gauges.level") == Some(7.0));
    wait_for("the counts", || server.sum("stats_counts.hits") == 5.0);
    let reply = send(admin, b"gauges\nquit\n");
    assert!(reply.contains("level: 7") && reply.ends_with("END\n\n"), "{reply}");
    server.stop();

    // The flush is due later: the end of the server brings it forward, under the time it was due at.
    let server = Server::start(dir.path(), &with_schemas(dir.path(), &sections(20_000)));
    socket.send_to(b"last:4|c", udp).unwrap();
    wait_for("the packet", || server.counter("statsd_packets_total") == 1);
    server.stop();
    let server = Server::start(dir.path(), &with_schemas(dir.path(), &sections(1000)));
    wait_for("the last flush", || server.sum("stats_counts.last") == 4.0);
}

#[test]
fn an_empty_server_has_its_own_series() {
    let dir = tempfile::tempdir().unwrap();
    let schemas = with_schemas(dir.path(), "").replace("interval = '0'", "interval = '1s'");
    let server = Server::start(dir.path(), &schemas);
    for target in ["rhythmite.*.process.resident_bytes", "carbon.agents.*.memUsage", "rhythmite.*.machine.load.1m"] {
        wait_for(target, || server.last(target).is_some_and(|value| value > 0.0));
    }
    wait_for("a rate", || server.last("rhythmite.*.paths.points").is_some_and(|rate| rate > 10.0));
}
