//! Applying changed storage schemas is killed at every moment, in a server and as a command: what has moved and what has
//! not is there once, and the job goes on or is cancelled.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Server, encode, free_address, now_s, send, wait_for};

/// Kills; more (a night's worth) by `RHYTHMITE_CRASH_ROUNDS`.
const ROUNDS: u32 = 2;
/// Two steps of the job move them.
const SERIES: i64 = 4_500;
const POINTS: i64 = 3;
const STEP_S: i64 = 10;
/// What each series has as a point of the first archive in either.
const SCHEMAS: [&str; 2] = ["10s:1d", "10s:2d,60s:7d"];

fn set_schema(dir: &Path, number: usize) {
    let text = format!("[all]\npattern = .*\nretentions = {}\n", SCHEMAS[number % SCHEMAS.len()]);
    std::fs::write(dir.join("storage-schemas.conf"), text).unwrap();
}

/// Every point, by path and time.
fn expected(start_s: i64) -> Vec<String> {
    let point = |series: i64, at: i64| {
        let value = series * POINTS + at;
        format!("a{}.b{:03}.c {} {value}", series % 9, series / 9, start_s + at * STEP_S)
    };
    let mut points: Vec<_> = (0..SERIES).flat_map(|series| (0..POINTS).map(move |at| point(series, at))).collect();
    points.sort();
    points
}

fn check(server: &Server, expected: &[String], when: &str) {
    let sql = "SELECT path, CAST(EXTRACT(epoch FROM time) AS BIGINT), CAST(value AS BIGINT) FROM metrics";
    let reply = server.get(&format!("/api/v3/query_sql?db=graphite&format=csv&q={}", encode(sql)));
    assert_eq!(reply.status, 200, "{}", reply.body);
    let mut found: Vec<String> = reply.body.lines().skip(1).map(|line| line.replace(',', " ")).collect();
    found.sort();
    if found != expected {
        let differs = found.iter().zip(expected).find(|(found, expected)| found != expected);
        panic!("{when}: {} points of {}, first {differs:?}", found.len(), expected.len());
    }
}

fn status(server: &Server) -> Value {
    serde_json::from_str(&server.get("/api/v1/schema/apply").body).unwrap()
}

fn wait_for_end(server: &Server) {
    wait_for("the job ends", || status(server)["phase"] != "running");
}

/// Series that lie where their schema does not want them.
fn left_to_move(server: &Server) -> u64 {
    let plan = server.post("/api/v1/schema/apply", r#"{"dry_run": true}"#);
    assert_eq!(plan.status, 200, "{}", plan.body);
    let plan: Value = serde_json::from_str(&plan.body).unwrap();
    let schemas = plan["schemas"].as_array().unwrap();
    schemas.iter().map(|schema| schema["series_moved"].as_u64().unwrap()).sum()
}

#[test]
fn a_schema_that_is_applied_survives_kill_9() {
    let rounds = std::env::var("RHYTHMITE_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let dir = tempfile::tempdir().unwrap();
    let line = free_address();
    let extra = format!(
        "[graphite]\nstorage_schemas = '{}'\n[self]\ninterval = '0'\n[carbon]\nline_listen = '{line}'\n",
        dir.path().join("storage-schemas.conf").display()
    );
    set_schema(dir.path(), 0);
    let start_s = (now_s() - 600) / 60 * 60;
    let points = expected(start_s);
    let server = Server::start(dir.path(), &extra);
    send(
        line,
        points
            .iter()
            .map(|p| p.split(' ').collect::<Vec<_>>())
            .fold(String::new(), |text, p| text + &format!("{} {} {}\n", p[0], p[2], p[1]))
            .as_bytes(),
    );
    wait_for("all points", || server.counter("path_points_total") == (SERIES * POINTS) as u64);
    check(&server, &points, "before");
    server.stop();

    // How long it takes when nobody kills it.
    set_schema(dir.path(), 1);
    let server = Server::start(dir.path(), &extra);
    assert_eq!(left_to_move(&server), SERIES as u64);
    assert_eq!(server.post("/api/v1/schema/apply", "").status, 202);
    let mut longest = Duration::ZERO;
    wait_for("the job ends", || {
        longest += Duration::from_millis(20);
        status(&server)["phase"] != "running"
    });
    assert_eq!((status(&server)["phase"].clone(), left_to_move(&server)), (Value::from("done"), 0));
    check(&server, &points, "nobody killed it");
    server.stop();

    let mut was_under_way = 0;
    for round in 0..rounds {
        set_schema(dir.path(), round as usize);
        let pause = longest * (2 * round + 1) / (2 * rounds);
        let when = format!("round {round}, killed after {pause:?}");
        if round % 2 == 0 {
            let server = Server::start(dir.path(), &extra);
            assert_eq!(server.post("/api/v1/schema/apply", "").status, 202, "{when}");
            std::thread::sleep(pause);
            server.kill();
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rhythmite"));
            command.args(["schema", "apply", "--config"]).arg(dir.path().join("rhythmite.toml"));
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(pause);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        was_under_way += u32::from(dir.path().join("data/schema-apply.json").exists());
        // It goes on by itself.
        let server = Server::start(dir.path(), &extra);
        check(&server, &points, &when);
        if round % 4 == 1 || round % 4 == 2 {
            let cancelled = server.try_request("DELETE", "/api/v1/schema/apply", &[], b"").unwrap();
            assert_eq!(cancelled.status, 200, "{when}");
            wait_for_end(&server);
            check(&server, &points, &format!("{when}, cancelled"));
            assert!(!dir.path().join("data/schema-apply.json").exists(), "{when}: not to go on once more");
            server.post("/api/v1/schema/apply", "");
        }
        wait_for_end(&server);
        check(&server, &points, &format!("{when}, to its end"));
        // Killed before it had begun it does not know that it should.
        if left_to_move(&server) > 0 {
            assert_eq!(status(&server)["phase"], "idle", "{when}");
            server.post("/api/v1/schema/apply", "");
            wait_for_end(&server);
        }
        assert_eq!(left_to_move(&server), 0, "{when}");
        check(&server, &points, &format!("{when}, at last"));
        server.stop();
    }
    // The job may be faster than when it was measured; not every time.
    assert!(was_under_way > 0 || rounds < 10, "no kill of {rounds} met the job");
    println!("{was_under_way} of {rounds} kills met the job");
}
