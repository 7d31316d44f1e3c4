//! Every limit is reached once: what the sender sees, and the counter.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::support::{Server, free_address, now_s, send, wait_for};

/// A server with one line port and these further keys.
fn carbon(dir: &std::path::Path, keys: &str) -> (Server, SocketAddr) {
    let line = free_address();
    let text = format!("[self]\ninterval = '0'\n[carbon]\nline_listen = '{line}'\n{keys}");
    (Server::start(dir, &text), line)
}

/// Whether the peer has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    !matches!(stream.read(&mut [0; 16]), Ok(n) if n > 0)
}

#[test]
fn a_long_line_is_lost_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (server, line) = carbon(dir.path(), "line_length = 100\n");
    let t = now_s();
    let long = "x".repeat(200_000);
    send(line, format!("a 1 {t}\n{long} 1 {t}\nb nan {t}\nc 2 {t}\n").as_bytes());
    wait_for("the others", || server.counter("carbon_points_total") == 2);
    assert_eq!(server.counter("carbon_rejected_total{reason=\"length\"}"), 1);
    assert_eq!(server.counter("carbon_rejected_total{reason=\"nan\"}"), 1);
}

#[test]
fn a_long_pickle_ends_its_connection_and_a_hostile_one_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let pickle = free_address();
    let text = format!("[self]\ninterval = '0'\n[carbon]\npickle_listen = '{pickle}'\nframe_length = 1000\n");
    let server = Server::start(dir.path(), &text);
    let mut stream = TcpStream::connect(pickle).unwrap();
    let hostile = b"cos\nsystem\n(S'true'\ntR.";
    let good = format!("(lp0\n(S'a'\n(I{}\nF1\ntta.", now_s());
    for frame in [&hostile[..], good.as_bytes()] {
        stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
        stream.write_all(frame).unwrap();
    }
    wait_for("the good one", || server.counter("carbon_points_total") == 1);
    assert_eq!(server.counter("carbon_pickles_refused_total"), 1);
    stream.write_all(&1001u32.to_be_bytes()).unwrap();
    assert!(is_closed(&mut stream));
    assert_eq!(server.counter("carbon_pickles_too_long_total"), 1);
}

#[test]
fn connections_are_limited_and_quiet_ones_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (server, line) = carbon(dir.path(), "[limits]\nconnections = 1\nidle_timeout = '1s'\n");
    let mut first = TcpStream::connect(line).unwrap();
    wait_for("the first", || server.counter("connections_open") == 1);
    let mut second = TcpStream::connect(line).unwrap();
    assert!(is_closed(&mut second), "above the limit");
    assert_eq!(server.counter("connections_refused_total{reason=\"limit\"}"), 1);
    assert!(is_closed(&mut first), "idle");
    wait_for("the end", || server.counter("connections_open") == 0);
    assert_eq!(server.counter("connections_idle_total"), 1);
}

#[test]
fn only_allowed_peers_may_send() {
    let dir = tempfile::tempdir().unwrap();
    let udp = free_address();
    let (server, line) = carbon(dir.path(), &format!("udp_listen = '{udp}'\nallow = ['192.0.2.0/24']\n"));
    assert!(is_closed(&mut TcpStream::connect(line).unwrap()));
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"a 1 2\n", udp).unwrap();
    wait_for("both", || server.counter("connections_refused_total{reason=\"allow\"}") == 2);
    assert_eq!(server.counter("carbon_points_total"), 0);
}

#[test]
fn lists_keep_names_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let (white, black) = (file("white", "^good\n"), file("black", "bad$\n"));
    let keys = format!("use_whitelist = true\nwhitelist = '{white}'\nblacklist = '{black}'\n");
    let (server, line) = carbon(dir.path(), &keys);
    let t = now_s();
    send(line, format!("good.a 1 {t}\ngood.bad 1 {t}\nother 1 {t}\ngood.bad 2 {t}\n").as_bytes());
    wait_for("the points", || server.counter("carbon_points_total") == 4);
    assert_eq!(server.counter("carbon_rejected_total{reason=\"blacklist\"}"), 2);
    assert_eq!(server.counter("carbon_rejected_total{reason=\"whitelist\"}"), 1);
    wait_for("the good one", || server.counter("path_points_total") == 1);
}

#[test]
fn too_many_series_cost_only_the_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (server, line) = carbon(dir.path(), "[limits]\nseries = 2\n");
    let t = now_s();
    send(line, format!("a 1 {t}\nb 1 {t}\nc 1 {t}\na 2 {t}\n").as_bytes());
    wait_for("the refusal", || server.counter("path_points_refused_total") == 1);
    assert_eq!(server.counter("path_points_total"), 3);
    assert!(server.counter("names_refused_total{limit=\"series\"}") >= 1);
}

#[test]
fn statsd_drops_keys_and_lines_above_its_limits() {
    let dir = tempfile::tempdir().unwrap();
    let tcp = free_address();
    let text = format!(
        "[self]\ninterval = '0'\n[statsd]\ntcp_listen = '{tcp}'\nflush_interval = 1000\nmax_keys = 6\nmax_line_bytes = 100\n"
    );
    let server = Server::start(dir.path(), &text);
    let long = "x".repeat(1000) + "\n";
    send(tcp, format!("a:1|c\nb:1|c\nc:1|c\nd:1|c\ne:1|c\nf:1|c\ng:1|c\n{long}{long}unfinished").as_bytes());
    wait_for("keys", || server.counter("statsd_limited_total") > 0);
    wait_for("lines that are too long", || server.counter("statsd_bad_lines_total") == 2);
    wait_for("the unfinished line", || server.counter("statsd_lines_unfinished_total") == 1);
}

#[test]
fn http_limits_bodies_heads_and_connections() {
    let dir = tempfile::tempdir().unwrap();
    let http = free_address();
    let text = format!(
        "data_dir = '{}'\n[http]\nlisten = '{http}'\nbody_max = 1000\nheader_timeout = '1s'\nconnections = 2\n",
        dir.path().join("data").display()
    );
    let server = Server::start_with(dir.path(), http, &text);
    assert_eq!(server.post("/api/v3/write_lp?db=d", &"x".repeat(1001)).status, 413);
    assert_eq!(server.counter("http_too_large_total"), 1);

    let mut slow = TcpStream::connect(http).unwrap();
    slow.write_all(b"GET /ready HTTP/1.1\r\nHo").unwrap();
    // Hyper answers 408 or just closes.
    let mut rest = Vec::new();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(slow.read_to_end(&mut rest).is_ok(), "cut off");
    assert_eq!(server.counter("http_header_timeouts_total"), 1);

    let held = [TcpStream::connect(http).unwrap(), TcpStream::connect(http).unwrap()];
    // The third is answered when one of the two has been cut off for saying nothing.
    assert_eq!(server.get("/ready").status, 200);
    assert!(server.counter("http_connections_waited_total") >= 1);
    drop(held);
    assert_eq!(server.get("/no/such/page").status, 404);
    assert!(server.counter("http_errors_total{class=\"4xx\"}") >= 2);
}

#[test]
fn too_many_databases_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    // `graphite` is the first.
    let server = Server::start(dir.path(), "[limits]\ndatabases = 2\n");
    assert_eq!(server.post("/api/v3/write_lp?db=one", "m f=1\n").status, 204);
    let refused = server.post("/api/v3/write_lp?db=two", "m f=1\n");
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("[limits] databases"), "{}", refused.body);
    assert_eq!(server.post("/api/v3/write_lp?db=one", "m f=2\n").status, 204);
    assert_eq!(server.counter("databases_refused_total"), 1);
}

/// `GET /api/v1/ingest?lost` as `receiver.reason count sample`.
fn lost(server: &Server) -> Vec<String> {
    let answer: serde_json::Value = serde_json::from_str(&server.get("/api/v1/ingest?lost").body).unwrap();
    let mut out = Vec::new();
    for receiver in answer["receivers"].as_array().unwrap() {
        for lost in receiver["lost"].as_array().unwrap() {
            let sample = lost["last"][0]["sample"].as_str().unwrap_or("-");
            let (name, reason) = (receiver["name"].as_str().unwrap(), lost["reason"].as_str().unwrap());
            out.push(format!("{name}.{reason} {} {sample}", lost["count"]));
        }
    }
    out
}

/// All samples of a reason.
fn samples(server: &Server, receiver: &str, reason: &str) -> Vec<String> {
    let answer: serde_json::Value = serde_json::from_str(&server.get("/api/v1/ingest?lost").body).unwrap();
    let of = |list: &serde_json::Value, key: &str, name: &str| -> serde_json::Value {
        list.as_array().unwrap().iter().find(|item| item[key] == name).cloned().unwrap_or_default()
    };
    let lost = of(&of(&answer["receivers"], "name", receiver)["lost"], "reason", reason);
    let last = lost["last"].as_array().cloned().unwrap_or_default();
    last.iter().map(|sample| sample["sample"].as_str().unwrap().to_owned()).collect()
}

/// One datagram from an address of this machine that is not the usual one.
fn send_from(from: &str, to: SocketAddr, bytes: &[u8]) {
    UdpSocket::bind((from, 0)).unwrap().send_to(bytes, to).unwrap();
}

#[test]
fn whose_series_a_limit_refuses_is_said_of_every_way_by_udp() {
    let dir = tempfile::tempdir().unwrap();
    let [carbon_udp, influx, paths, joined] = std::array::from_fn(|_| free_address());
    let keys = format!(
        "udp_listen = '{carbon_udp}'\n[influx]\nudp_listen = '{influx}'\n[collectd]\nudp_listen = '{paths}'\n\
         [[collectd.listener]]\nudp_listen = '{joined}'\nnames = 'measurements'\ndatabase = 'joined'\n\
         [limits]\nseries = 2\n"
    );
    let (server, line) = carbon(dir.path(), &keys);
    let t = now_s();
    let is_said = |receiver: &str, reason: &str, start: &str, end: &str| {
        let said = || samples(&server, receiver, reason).iter().any(|s| s.starts_with(start) && s.ends_with(end));
        wait_for(&format!("{start} ... {end}"), said);
    };
    // Those that are there are taken of everybody.
    send(line, format!("a 1 {t}\nb 1 {t}\n").as_bytes());
    wait_for("the first two", || server.counter("path_points_total") == 2);
    send_from("127.0.0.2", carbon_udp, format!("a 2 {t}\nc 1 {t}\n").as_bytes());
    is_said("paths", "refused", "c", "c from 127.0.0.2");
    send_from("127.0.0.3", carbon_udp, format!("d 1 {t}\n").as_bytes());
    is_said("paths", "refused", "d", "d from 127.0.0.3");
    assert_eq!(server.counter("path_points_total"), 3);
    assert_eq!(server.counter("path_points_refused_total"), 2);
    let limited = server.counter("names_refused_total{limit=\"series\"}");

    send_from("127.0.0.2", influx, b"m,host=a v=1\nm,host=b v=1\nm,host=a v=2\n");
    wait_for("the lines", || server.counter("influx_points_total") == 3);
    send_from("127.0.0.4", influx, b"m,host=c v=1\nm,host=a v=3");
    is_said("influx", "refused.rule", "m,host=c v=1", " from 127.0.0.4");
    send_from("127.0.0.5", influx, b"nonsense");
    is_said("influx", "refused.syntax", "nonsense", "nonsense from 127.0.0.5");
    send_from("127.0.0.5", influx, b"m,host=a v=1i");
    is_said("influx", "refused.rule", "m,host=a v=1i", " from 127.0.0.5");
    assert_eq!(server.counter("influx_points_total"), 4);
    assert_eq!(server.counter("names_refused_total{limit=\"series\"}"), limited + 1);

    let datagrams = crate::collectd::datagrams("plain");
    datagrams.iter().for_each(|datagram| send_from("127.0.0.6", paths, datagram));
    is_said("paths", "refused", "web1_example_org.", " from 127.0.0.6");
    datagrams.iter().for_each(|datagram| send_from("127.0.0.7", joined, datagram));
    is_said("collectd", "rejected.rule", "", " from 127.0.0.7");
    send_from("127.0.0.8", paths, &datagrams[0][..3]);
    is_said("collectd", "rejected.malformed", "", " from 127.0.0.8");

    let log = server.log_text();
    assert!(log.contains("1 points refused, from 127.0.0.2: series \"c\" is not made"), "{log}");
    assert!(log.contains("1 lines refused, from 127.0.0.4: series \"m,host=c\" is not made"), "{log}");
}

#[test]
fn whoever_first_sent_a_statsd_key_is_named_when_a_limit_refuses_its_series() {
    let dir = tempfile::tempdir().unwrap();
    let [udp, tcp] = [free_address(), free_address()];
    let keys = format!(
        "[statsd]\nudp_listen = '{udp}'\ntcp_listen = '{tcp}'\nflush_interval = 1000\n[limits]\nseries = 100\n"
    );
    let (server, line) = carbon(dir.path(), &keys);
    // The daemon's own series are there before the limit is reached.
    wait_for("flushes", || server.counter("statsd_flushes_total") >= 2);
    let t = now_s();
    send(line, (0..101).map(|n| format!("fill.{n} 1 {t}\n")).collect::<String>().as_bytes());
    wait_for("the limit", || server.counter("path_points_refused_total") > 0);
    send_from("127.0.0.2", udp, b"temp:1|g");
    wait_for("the packet", || server.counter("statsd_packets_total") == 1);
    send_from("127.0.0.3", udp, b"temp:2|g\nlevel:2|g");
    send(tcp, b"depth:3|g\n");
    for said in
        ["stats.gauges.temp from 127.0.0.2", "stats.gauges.level from 127.0.0.3", "stats.gauges.depth from 127.0.0.1"]
    {
        wait_for(said, || samples(&server, "paths", "refused").iter().any(|sample| sample == said));
    }
}

#[test]
fn every_loss_is_shown_with_a_sample() {
    let dir = tempfile::tempdir().unwrap();
    let (udp, tcp) = (free_address(), free_address());
    let keys = format!(
        "udp_listen = '{udp}'\nline_length = 100\n[statsd]\ntcp_listen = '{tcp}'\nflush_interval = 1000\n[limits]\nseries = 9\n"
    );
    let (server, line) = carbon(dir.path(), &keys);
    assert_eq!(lost(&server), [] as [String; 0]);
    let t = now_s();
    send(line, format!("no\x01value\nb nan {t}\nc 1 x\nd 1 0\n{} 1 {t}\nhalf", "x".repeat(200)).as_bytes());
    send(tcp, b"bad\n");
    server.post("/query?q=CREATE+DATABASE+d", "");
    assert_eq!(server.post("/write?db=d", "m\nm v=1\nm v=1i\n").status, 400);
    let want = [
        "carbon.rejected.shape 1 no\\x01value",
        "carbon.rejected.time 1 c 1 x",
        "carbon.rejected.length 1 xxxxxx",
        "carbon.rejected.nan 1 b nan",
        "carbon.rejected.unfinished 1 -",
        "statsd.bad_lines 1 bad",
        "influx.refused.syntax 1 m",
        "influx.refused.rule 1 m v=1i",
        "paths.too_old 1 d",
    ];
    let shown = |lost: &[String]| want.iter().all(|w| lost.iter().any(|l| l.starts_with(w)));
    wait_for("all of them", || shown(&lost(&server)));
}

#[test]
fn a_full_log_slows_streams_refuses_requests_and_drops_datagrams() {
    let dir = tempfile::tempdir().unwrap();
    let [udp, influx, collectd] = [free_address(), free_address(), free_address()];
    let keys = format!(
        "udp_listen = '{udp}'\n[influx]\nudp_listen = '{influx}'\n[collectd]\nudp_listen = '{collectd}'\n\
         [wal]\nsize_max = '4MiB'\nsegment = '1MiB'\n"
    );
    let (server, line) = carbon(dir.path(), &keys);
    assert_eq!(server.post("/query?q=CREATE+DATABASE+d", "").status, 200);
    // A file where the flush wants a directory: flushes fail, and the log keeps everything.
    let in_the_way = dir.path().join("data/data/d");
    std::fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    std::fs::write(&in_the_way, "").unwrap();
    // Text that does not shrink, in smaller and smaller writes until the smallest is refused.
    let mut seed = 1_u64;
    let mut text = |bytes: usize| -> String {
        let next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + 2 + ((seed >> 33) % 80) as u8)
        };
        std::iter::repeat_with(next).filter(|c| *c != '\\').take(bytes).collect()
    };
    let mut refused = None;
    for bytes in [1 << 20, 64 << 10, 4 << 10, 256, 1] {
        refused =
            (0..200).map(|_| server.post("/write?db=d", &format!("m s=\"{}\"", text(bytes)))).find(|r| r.status != 204);
        assert!(refused.is_some(), "the log never filled up: {}", server.log_text());
    }
    let refused = refused.unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains(&("retry-after".to_owned(), "1".to_owned())), "{refused:?}");
    assert!(server.counter("wal_refused_total{reason=\"size\"}") >= 5);

    let t = now_s() / 10 * 10;
    let mut stream = TcpStream::connect(line).unwrap();
    stream.write_all(format!("slow.a 1 {t}\n").as_bytes()).unwrap();
    wait_for("the stream to wait", || server.counter("carbon_waits_total") == 1);
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(format!("lost.a 1 {t}\n").as_bytes(), udp).unwrap();
    wait_for("the datagram to be dropped", || server.counter("carbon_dropped_total") == 1);
    assert!(lost(&server).contains(&"carbon.dropped 1 lost.a from 127.0.0.1".to_owned()), "{:?}", lost(&server));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"m lost=1", influx).unwrap();
    wait_for("line protocol to be dropped", || server.counter("influx_udp_dropped_total") == 1);
    assert!(lost(&server).contains(&"influx.udp.dropped 1 m lost=1 from 127.0.0.1".to_owned()), "{:?}", lost(&server));
    // A host, a plugin, a type, a time of eight bytes, and one gauge of 1.
    let mut load = b"\0\0\0\x06h\0\0\x02\0\x09load\0\0\x04\0\x0agauge\0\0\x01\0\x0c".to_vec();
    load.extend(now_s().to_be_bytes());
    load.extend(b"\0\x06\0\x0f\0\x01\x01\0\0\0\0\0\0\xf0\x3f");
    client.send_to(&load, collectd).unwrap();
    wait_for("a value of collectd to be dropped", || server.counter("collectd_dropped_total") == 1);
    // More than sockets hold: the sender feels it.
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let lines = format!("slow.b 1 {t}\n").repeat(1_000_000);
    assert!(stream.write_all(lines.as_bytes()).is_err(), "the stream is read though nothing can be stored");

    std::fs::remove_file(&in_the_way).unwrap();
    wait_for("room", || server.point("slow.a", t) == Some(1.0));
    assert_eq!(server.post("/write?db=d", "m s=\"x\"").status, 204);
    assert_eq!(server.points("lost.a"), []);
    assert_eq!(server.counter("carbon_failed_total"), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_kernel_drops_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let [carbon, statsd, collectd, influx] = std::array::from_fn(|_| free_address());
    let text = format!(
        "[self]\ninterval = '1s'\n[carbon]\nudp_listen = '{carbon}'\n[statsd]\nudp_listen = '{statsd}'\n\
         [collectd]\nudp_listen = '{collectd}'\n[influx]\nudp_listen = '{influx}'\n"
    );
    let server = Server::start(dir.path(), &text);
    // A process that is stopped reads nothing: its sockets fill up.
    signal(&server, "STOP");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagram = vec![b'#'; 60_000];
    for to in [carbon, statsd, collectd, influx] {
        (0..1_000).for_each(|_| drop(client.send_to(&datagram, to)));
    }
    signal(&server, "CONT");
    for receiver in ["carbon", "statsd", "collectd", "influx_udp"] {
        wait_for(receiver, || server.counter(&format!("{receiver}_kernel_drops_total")) > 0);
    }
}

/// Sends a signal to a server.
#[cfg(target_os = "linux")]
fn signal(server: &Server, name: &str) {
    let sent = std::process::Command::new("kill").args([format!("-{name}"), server.pid().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_without_free_descriptors_goes_on_when_there_are_some_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, line) = carbon(dir.path(), "[limits]\nconnections = 1000\n");
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let few = format!("--nofile={n}:{n}", n = open + 20);
    let limited = std::process::Command::new("prlimit").args(["--pid", &server.pid().to_string(), &few]).status();
    assert!(limited.unwrap().success());
    let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(line).unwrap()).collect();
    // Not asked by HTTP, for which there is no descriptor either.
    wait_for("the error", || server.log_text().contains("cannot accept a connection"));
    drop(idle);
    let t = now_s() / 10 * 10;
    send(line, format!("later 1 {t}\n").as_bytes());
    wait_for("the point", || server.point("later", t) == Some(1.0));
    assert!(server.counter("accept_errors_total") > 0);
}

#[test]
fn datagrams_of_this_machines_programs_are_counted_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("statsd.sock");
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    other.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let text = format!(
        "[self]\ninterval = '0'\n[statsd]\nunixgram_listen = '{}'\nflush_interval = 1000\nrepeater = ['{}']\n",
        path.display(),
        other.local_addr().unwrap()
    );
    // A file that a killed server left.
    drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
    let server = Server::start(dir.path(), &text);
    let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
    client.send_to(b"here:5|g", &path).unwrap();
    wait_for("the gauge", || server.last("stats.gauges.here") == Some(5.0));
    let mut buffer = [0; 100];
    let n = other.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"here:5|g", "repeated as it came");
    server.stop();
    assert!(!path.exists());
}

#[test]
fn a_nearly_full_disk_turns_writes_away_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let udp = free_address();
    let (server, line) = carbon(
        dir.path(),
        &format!("udp_listen = '{udp}'\n[memory]\nmemtable = '1MiB'\n[limits]\ndisk_max = '3MB'\ndisk_free = '1MB'\n"),
    );
    assert_eq!(server.post("/query?q=CREATE+DATABASE+d", "").status, 200);
    let t = now_s() - 10_000;
    // Values that do not compress: what was flushed fills the little disk for good.
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / 7.0
    };
    let mut refused = 0;
    for round in 0..600 {
        let body: String = (0..2_000).map(|n| format!("m,s={} v={} {}\n", n % 50, random(), t + n / 50)).collect();
        let reply = server
            .post(&format!("/write?db=d&precision=s&n={round}"), &body.replace("m,", &format!("m{},", round % 20)));
        match reply.status {
            204 => refused = 0,
            507 => {
                assert!(reply.body.contains("disk_free"), "{}", reply.body);
                refused += 1;
                std::thread::sleep(Duration::from_millis(500));
            }
            503 => std::thread::sleep(Duration::from_millis(100)),
            other => panic!("{other}: {}", reply.body),
        }
        // Refused and nothing left to flush.
        if refused > 4 && server.counter("wal_live_bytes") < 100_000 {
            break;
        }
    }
    assert!(refused > 0, "the disk is never full: {} bytes", server.counter("file_bytes"));
    assert_eq!(server.counter("disk_low"), 1);
    assert!(server.counter("no_space_total") > 0 && server.counter("disk_free_bytes") < 1_125_000);
    assert_eq!(server.counter("read_only"), 0);
    // Queries are answered; datagrams are dropped and counted; a stream waits.
    assert!(server.get("/query?db=d&q=SELECT+count(v)+FROM+m1").body.contains("count"));
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(format!("lost.a 1 {}\n", now_s()).as_bytes(), udp).unwrap();
    wait_for("the datagram to be dropped", || server.counter("carbon_dropped_total") == 1);
    let mut stream = TcpStream::connect(line).unwrap();
    stream.write_all(format!("kept.a 2 {}\n", now_s()).as_bytes()).unwrap();
    wait_for("the stream to wait", || server.counter("carbon_waits_total") == 1);
    assert!(server.get("/metrics/find?query=*").body.contains("[]"));
    // Space comes back, and with it the stream goes on.
    assert_eq!(server.post("/query?db=d&q=DROP+DATABASE+d", "").status, 200);
    wait_for("what waited", || server.last("kept.a") == Some(2.0));
    assert_eq!(server.counter("disk_low"), 0);
}
