//! collectd's protocols from outside: datagrams that a collectd sent, posts of `write_http`, and what is no such thing.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use serde_json::Value;

use crate::support::{Server, encode, free_address, wait_for};

/// Captured from collectd 5.12.
const FIXTURES: &str = include_str!("../../compat/collectd/tests/data/fixtures.json");

fn fixtures() -> Value {
    serde_json::from_str(FIXTURES).unwrap()
}

/// The datagrams of a kind: `plain`, `signed`, `encrypted`.
pub fn datagrams(kind: &str) -> Vec<Vec<u8>> {
    let hex =
        |text: &str| (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    fixtures()["datagrams"][kind].as_array().unwrap().iter().map(|d| hex(d.as_str().unwrap())).collect()
}

fn send(to: SocketAddr, datagrams: &[Vec<u8>]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in datagrams {
        socket.send_to(datagram, to).unwrap();
    }
}

/// The series of a database's measurement, as `columns: rows` in JSON.
fn rows(server: &Server, database: &str, query: &str) -> String {
    let reply = server.post(&format!("/query?db={database}&epoch=ms&q={}", encode(query)), "");
    let answer: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let series = &answer["results"][0]["series"][0];
    format!("{} {}", series["columns"], series["values"])
}

/// Points of the fixtures, which are of November 2023, below `prefix`.
fn count(server: &Server, target: &str) -> usize {
    let reply = server.get(&format!("/render?format=json&from=1699999900&until=1700000200&target={}", encode(target)));
    let series: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let known = |s: &Value| s["datapoints"].as_array().map_or(0, |p| p.iter().filter(|p| !p[0].is_null()).count());
    series.as_array().map_or(0, |all| all.iter().map(known).sum())
}

fn schemas(dir: &Path) -> String {
    let path = dir.join("schemas.conf");
    std::fs::write(&path, "[all]\npattern = .*\nretentions = 1s:20y\n").unwrap();
    format!("[graphite]\nstorage_schemas = '{}'\n", path.display())
}

#[test]
fn listeners_have_their_own_names_and_databases() {
    let dir = tempfile::tempdir().unwrap();
    let [paths, joined, split] = [free_address(), free_address(), free_address()];
    let text = format!(
        "{}[collectd]\nudp_listen = '{paths}'\ndatabase = 'joined'\n\
         [[collectd.listener]]\nudp_listen = '{joined}'\nnames = 'measurements'\n\
         [[collectd.listener]]\nudp_listen = '{split}'\nnames = 'measurements'\ndatabase = 'split'\n\
         parse_multivalue_plugin = 'split'\n",
        schemas(dir.path())
    );
    let server = Server::start(dir.path(), &text);
    for to in [paths, joined, split] {
        send(to, &datagrams("plain"));
    }
    wait_for("paths", || count(&server, "web1_example_org.load.load.shortterm") == 2);
    let load = r#"["time","host","longterm","midterm","shortterm","type"] [[1700000000000,"web1.example.org",2,1.5,0.25,"load"]]"#;
    wait_for("joined", || rows(&server, "joined", "SELECT * FROM load LIMIT 1") == load);
    let load = r#"["time","host","type","value"] [[1700000000000,"web1.example.org","load",0.25]]"#;
    wait_for("split", || rows(&server, "split", "SELECT * FROM load_shortterm LIMIT 1") == load);
    // Half a second stays half a second.
    let memory = r#"["time","value"] [[1700000000500,-1500000000]]"#;
    assert_eq!(rows(&server, "joined", "SELECT value FROM memory"), memory);
    assert_eq!(server.counter("collectd_notifications_total"), 3);
    let notification = fixtures()["notification"].clone();
    let found = || server.get("/events/get_data?tags=collectd%20host:web1.example.org&set=intersection").body;
    wait_for("events", || found().matches("\"what\"").count() == 3);
    let events: Value = serde_json::from_str(&found()).unwrap();
    assert_eq!(events[0]["what"], notification["message"]);
    assert_eq!(events[0]["when"], notification["time"]);
    for reason in ["malformed", "incomplete", "insecure", "credentials", "type", "count", "name", "rule"] {
        assert_eq!(server.counter(&format!("collectd_rejected_total{{reason=\"{reason}\"}}")), 0, "{reason}");
    }
}

#[test]
fn every_reason_to_refuse_has_its_counter() {
    let dir = tempfile::tempdir().unwrap();
    let udp = free_address();
    let auth = dir.path().join("auth");
    std::fs::write(&auth, "carol: correct horse\n").unwrap();
    let text = format!("[collectd]\nudp_listen = '{udp}'\nsecurity_level = 'sign'\nauth_file = '{}'\n", auth.display());
    let server = Server::start(dir.path(), &text);
    let refused = |reason: &str| server.counter(&format!("collectd_rejected_total{{reason=\"{reason}\"}}"));
    send(udp, &datagrams("plain"));
    wait_for("insecure", || refused("insecure") > 0);
    let mut changed = datagrams("signed");
    changed.iter_mut().for_each(|d| *d.last_mut().unwrap() ^= 1);
    send(udp, &changed);
    wait_for("credentials", || refused("credentials") == changed.len() as u64);
    send(udp, &[b"\0\0\0\x03".to_vec()]);
    wait_for("malformed", || refused("malformed") == 1);
    assert_eq!(server.counter("collectd_lists_total"), 0);
    send(udp, &datagrams("encrypted"));
    wait_for("values", || server.counter("collectd_points_total") > 0);

    let post = |body: &str| server.post("/collectd", body);
    let reply = post("PUTVAL h/p/nonsense N:1\nPUTVAL h/load/load N:1:2:3:4\nPUTVAL h/load/load N:1:2:3\nPUTNOTIF x\n");
    assert_eq!(reply.status, 400);
    assert!(reply.body.starts_with("1 value lists stored, 3 lines refused"), "{}", reply.body);
    assert_eq!([refused("type"), refused("count"), refused("malformed")], [1, 1, 2]);
    assert_eq!(post("[{\"values\":[1]}]").status, 400);
    assert_eq!(refused("malformed"), 3);
    assert_eq!(post("PUTVAL h/load/load N:1:2:3\n").body, "1 value lists\n");
}

#[test]
fn datagrams_cut_at_every_byte_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let udp = free_address();
    let auth = dir.path().join("auth");
    std::fs::write(&auth, "carol: correct horse\n").unwrap();
    let keys = format!("udp_listen = '{udp}'\nauth_file = '{}'\n", auth.display());
    let server = Server::start(dir.path(), &format!("{}[collectd]\n{keys}", schemas(dir.path())));
    let mut sent = 0;
    for datagram in ["plain", "signed", "encrypted"].into_iter().flat_map(datagrams) {
        for len in 0..datagram.len() {
            send(udp, &[datagram[..len].to_vec()]);
            sent += 1;
            // Not faster than they are read: none may be lost.
            if sent % 64 == 0 {
                wait_for("the datagrams so far", || server.counter("collectd_datagrams_total") == sent);
            }
        }
    }
    wait_for("all", || server.counter("collectd_datagrams_total") == sent);
    send(udp, &datagrams("plain"));
    wait_for("good ones", || count(&server, "web1_example_org.load.load.shortterm") == 2);
}

#[test]
fn series_beyond_max_series_have_no_rates() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = [free_address(), free_address()];
    let text = format!(
        "[collectd]\nudp_listen = '{one}'\n[collectd.graphite]\nmax_series = 1\n[[collectd.listener]]\nudp_listen = '{other}'\n"
    );
    let server = Server::start(dir.path(), &text);
    let reply = server.post("/collectd", "PUTVAL h/a/derive N:1\nPUTVAL h/b/derive N:1\nPUTVAL h/b/gauge N:1\n");
    assert_eq!(reply.body, "3 value lists\n");
    assert_eq!(server.counter("collectd_series"), 1);
    assert_eq!(server.counter("collectd_rates_refused_total"), 1);
    // Each listener remembers for itself; the counters are those of all.
    let cpu = b"\0\0\0\x06h\0\0\x02\0\x08cpu\0\0\x04\0\x0bderive\0\0\x01\0\x0c\0\0\0\0\x65\x53\xf1\0\
        \0\x06\0\x0f\0\x01\x02\0\0\0\0\0\0\0\x07";
    send(other, &[cpu.to_vec()]);
    wait_for("the other listener", || server.counter("collectd_series") == 2);
    assert_eq!(server.counter("collectd_rates_refused_total"), 1);
    wait_for("what needs no rate", || server.last("h.b.gauge") == Some(1.0));
}
