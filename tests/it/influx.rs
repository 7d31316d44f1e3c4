//! InfluxDB's interface from outside: what was acknowledged is found, by InfluxQL, also after a crash.

use std::path::Path;

use crate::support::{Reply, Server, encode};

fn query(server: &Server, database: &str, text: &str) -> Reply {
    server.post(&format!("/query?db={database}&epoch=s&q={}", encode(text)), "")
}

/// The rows of the first series of the first result.
fn rows(server: &Server, database: &str, text: &str) -> String {
    let reply = query(server, database, text);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let answer: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
    let result = &answer["results"][0];
    assert!(result["error"].is_null(), "{text}: {}", reply.body);
    result["series"][0]["values"].to_string()
}

fn start(dir: &Path) -> Server {
    Server::start(dir, "")
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    assert_eq!(query(&server, "", "CREATE DATABASE d").status, 200);
    assert_eq!(server.post("/write?db=d&precision=s", "cpu,host=a v=1,n=1i 10\ncpu,host=b v=2,s=\"x\" 10").status, 204);
    assert_eq!(server.post("/api/v2/write?bucket=d/autogen&precision=s", "cpu,host=a v=3 20").status, 204);
    assert_eq!(server.post("/api/v3/write_lp?db=e&precision=second", "mem free=7i 10").status, 204);
    let expected = r#"[[10,"a",1,null,1],[10,"b",null,"x",2],[20,"a",null,null,3]]"#;
    assert_eq!(rows(&server, "d", "SELECT * FROM cpu"), expected);
    server.kill();

    let server = start(dir.path());
    assert_eq!(rows(&server, "d", "SELECT * FROM cpu"), expected);
    assert_eq!(rows(&server, "e", "SELECT free FROM mem"), "[[10,7]]");
    let conflict = server.post("/write?db=d", "cpu,host=c v=t");
    assert_eq!(conflict.status, 400);
    assert!(conflict.body.contains("is type boolean, already exists as type float dropped=1"), "{}", conflict.body);
    server.stop();

    let server = start(dir.path());
    assert_eq!(rows(&server, "d", "SELECT * FROM cpu"), expected);
}

#[test]
fn a_point_is_found_as_soon_as_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    assert_eq!(query(&server, "", "CREATE DATABASE d").status, 200);
    for n in 1..=20 {
        let no_sync = n % 2 == 0;
        let target = format!("/api/v3/write_lp?db=d&precision=second&no_sync={no_sync}");
        assert_eq!(server.post(&target, &format!("m v={n}i {n}")).status, 204);
        assert_eq!(rows(&server, "d", "SELECT last(v) FROM m"), format!("[[{n},{n}]]"));
    }
}

#[test]
fn a_write_that_fails_in_part_is_counted_by_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    assert_eq!(query(&server, "", "CREATE DATABASE d WITH DURATION 1h").status, 200);
    let reply = server.post("/write?db=d&precision=s", "m v=1\nm v=1i\nm v=2 10\nbad\nm v=3\n");
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("partial write: field type conflict"), "{}", reply.body);
    // Both good lines have the time of the batch: one point.
    let found = rows(&server, "d", "SELECT count(v), last(v) FROM m");
    assert!(found.ends_with(",1,3]]"), "{found}");
    for (counter, value) in [
        ("influx_points_total", 2),
        ("influx_refused_total{reason=\"syntax\"}", 1),
        ("influx_refused_total{reason=\"rule\"}", 1),
        ("influx_refused_total{reason=\"old\"}", 1),
    ] {
        assert_eq!(server.counter(counter), value, "{counter}");
    }
}

#[test]
fn a_long_answer_comes_in_chunks_and_whole() {
    const ROWS: usize = 30_000;
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    assert_eq!(query(&server, "", "CREATE DATABASE d").status, 200);
    let body: String = (0..ROWS).map(|n| format!("m v={n}i {n}\n")).collect();
    assert_eq!(server.post("/write?db=d&precision=s", &body).status, 204);
    let reply = query(&server, "d", "SELECT v FROM m");
    let answer: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
    let values = answer["results"][0]["series"][0]["values"].as_array().expect("rows");
    assert_eq!((values.len(), values[ROWS - 1].to_string()), (ROWS, format!("[{0},{0}]", ROWS - 1)));
    let chunked = server.get("/query?db=d&epoch=s&chunked=true&q=SELECT+v+FROM+m");
    assert_eq!(chunked.body.lines().count(), 3);
    assert_eq!(chunked.body.matches("\"partial\":true").count(), 4);
}

#[test]
fn a_body_may_be_packed() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    assert_eq!(query(&server, "", "CREATE DATABASE d").status, 200);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    (0..1_000).for_each(|n| writeln!(packed, "m v={n} {n}").unwrap());
    let packed = packed.finish().unwrap();
    let headers = [("Content-Encoding", "gzip")];
    let reply = server.try_request("POST", "/write?db=d&precision=s", &headers, &packed).unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (204, ""));
    assert_eq!(rows(&server, "d", "SELECT count(v) FROM m"), "[[0,1000]]");
}
