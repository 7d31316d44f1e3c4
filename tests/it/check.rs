//! `rhythmite check`: what an operator does with a damaged data directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Server, encode};

fn check(data: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rhythmite"));
    command.arg("check").args(args).arg("--data-dir").arg(data).output().unwrap()
}

/// Runs a check, which must end with this status; returns what it printed.
fn expect(data: &Path, args: &[&str], status: i32) -> String {
    let output = check(data, args);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {out} {}", String::from_utf8_lossy(&output.stderr));
    out
}

/// Everything that is asked before and after.
fn answers(server: &Server) -> Vec<String> {
    ["SHOW DATABASES", "SHOW RETENTION POLICIES ON d", "SHOW USERS", "SHOW CONTINUOUS QUERIES", "SELECT * FROM d..cpu"]
        .map(|q| server.get(&format!("/query?q={}", encode(q))).body)
        .to_vec()
}

fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path, end)),
            false if path.to_str().unwrap().ends_with(end) => found.push(path),
            false => {}
        }
    }
    found
}

#[test]
fn a_lost_catalogue_and_a_damaged_index_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(dir.path(), "");
    for q in [
        "CREATE DATABASE d",
        "CREATE RETENTION POLICY week ON d DURATION 7d REPLICATION 1",
        "CREATE USER ann WITH PASSWORD 'secret' WITH ALL PRIVILEGES",
        "CREATE CONTINUOUS QUERY c ON d BEGIN SELECT mean(load) INTO m FROM cpu GROUP BY time(1h) END",
    ] {
        let reply = server.post(&format!("/query?q={}", encode(q)), "");
        assert!(reply.status == 200 && !reply.body.contains("error"), "{q}: {}", reply.body);
    }
    let lines: String =
        (0..500).map(|i| format!("cpu,host=h{} load={},n={i}i {i}\n", i % 7, f64::from(i) / 4.0)).collect();
    assert_eq!(server.post("/write?db=d&precision=s", &lines).status, 204);
    let before = answers(&server);
    assert!(before[4].contains("124.75"), "{before:?}");
    let running = check(&data, &[]);
    assert_eq!(running.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&running.stderr).contains("in use"), "a check needs a stopped server");
    server.stop();
    assert!(expect(&data, &[], 0).ends_with("clean\n"));

    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(data.join(file));
    }
    let config = dir.path().join("rhythmite.toml");
    let start =
        Command::new(env!("CARGO_BIN_EXE_rhythmite")).args(["serve", "--config"]).arg(&config).output().unwrap();
    assert_eq!(start.status.code(), Some(1), "an empty catalogue would make leftovers of all files");
    assert!(String::from_utf8_lossy(&start.stderr).contains("check --repair"));
    assert!(expect(&data, &[], 2).contains("catalog.sqlite: is missing"));
    assert!(expect(&data, &["--repair"], 3).contains("made again from the copy"));
    assert!(expect(&data, &[], 0).ends_with("clean\n"));
    let server = Server::start(dir.path(), "");
    assert_eq!(answers(&server), before);
    server.stop();

    let index = files(&data.join("data"), ".idx").pop().expect("a stop flushes");
    let whole = std::fs::read(&index).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    std::fs::write(&index, bytes).unwrap();
    let report: serde_json::Value = serde_json::from_str(&expect(&data, &["--json"], 2)).unwrap();
    assert_eq!(report["status"], "problems");
    assert!(report["problems"][0]["path"].as_str().unwrap().ends_with(".idx"), "{report}");
    let report: serde_json::Value = serde_json::from_str(&expect(&data, &["--json", "--repair"], 3)).unwrap();
    assert_eq!((report["status"].as_str(), report["lost_rows"].as_u64()), (Some("repaired"), Some(0)), "{report}");
    assert!(std::fs::read(&index).unwrap() == whole, "the index is what it was");
    assert!(Path::new(report["quarantine"].as_str().unwrap()).join("moved.jsonl").exists(), "{report}");
    let server = Server::start(dir.path(), "");
    assert_eq!(answers(&server), before);
    server.stop();
}
