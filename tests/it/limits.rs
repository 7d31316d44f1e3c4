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
    let long = "x".repeat(1000);
    send(tcp, format!("a:1|c\nb:1|c\nc:1|c\nd:1|c\ne:1|c\nf:1|c\ng:1|c\n{long}").as_bytes());
    wait_for("keys", || server.counter("statsd_limited_total") > 0);
    assert_eq!(server.counter("statsd_lines_skipped_total"), 1);
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
