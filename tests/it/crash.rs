//! The server is killed at random moments: what it acknowledged is there afterwards, once, and nothing else is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Server, encode, request};

/// Kills; more (a night's worth) by `RHYTHMITE_CRASH_ROUNDS`.
const ROUNDS: u64 = 20;
const WRITERS: u64 = 3;
const LINES: u64 = 40;

/// What the writers know: batch number -> acknowledged. A batch is listed before it is sent.
type Book = Arc<Mutex<BTreeMap<u64, bool>>>;

/// The lines of a batch: points of its own in series shared by all, and one point that every batch of its writer
/// overwrites.
fn lines(batch: u64) -> String {
    let mut text = String::new();
    for i in 0..LINES {
        let time = batch * 1_000 + i;
        text.push_str(&format!("crash,host=s{} n={batch}i,f={}.25 {time}\n", i % 7, batch));
    }
    text.push_str(&format!("last,writer=w{} n={batch}i 0\n", batch % WRITERS));
    text
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("RHYTHMITE_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let dir = tempfile::tempdir().expect("a directory");
    // Small sizes, so that kills meet flushes and merges too.
    let extra = "[memory]\nmemtable = \"1MiB\"\n";
    let book: Book = Arc::default();
    let mut next = 0_u64;
    let mut server = Server::start(dir.path(), extra);
    let reply = server.post(&format!("/query?q={}", encode("CREATE DATABASE d")), "");
    assert_eq!(reply.status, 200, "{}", reply.body);
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (book, stop, http) = (book.clone(), stop.clone(), server.http);
                let first = next + writer;
                std::thread::spawn(move || {
                    let mut batch = first;
                    while !stop.load(Ordering::Acquire) {
                        book.lock().expect("no writer panics").insert(batch, false);
                        let sent = request(http, "POST", "/write?db=d", &[], lines(batch).as_bytes());
                        match sent {
                            Ok(reply) if reply.status == 204 => {
                                book.lock().expect("no writer panics").insert(batch, true);
                            }
                            // Turned away: nothing of it was written.
                            Ok(reply) if reply.status == 503 => std::thread::sleep(Duration::from_millis(5)),
                            Ok(reply) => panic!("{}: {}", reply.status, reply.body),
                            Err(_) => return batch,
                        }
                        batch += WRITERS;
                    }
                    batch
                })
            })
            .collect();
        // Not random numbers but as good: rounds of every length between 10 and 400 ms.
        std::thread::sleep(Duration::from_millis(10 + round * 7_919 % 390));
        server.kill();
        stop.store(true, Ordering::Release);
        let reached = writers.into_iter().map(|w| w.join().expect("no writer panics")).max();
        next = (reached.unwrap_or(next) / WRITERS + 1) * WRITERS;
        server = Server::start(dir.path(), extra);
        check(&server, &book.lock().expect("no writer panics"));
    }
    let acknowledged = book.lock().expect("no writer panics").values().filter(|a| **a).count();
    assert!(acknowledged as u64 > rounds, "only {acknowledged} batches were acknowledged in {rounds} rounds");
    server.stop();
}

/// Every acknowledged batch is whole; a batch that was not is whole or absent; no point was invented.
fn check(server: &Server, book: &BTreeMap<u64, bool>) {
    let rows = values(server, "SELECT n, f, host FROM crash");
    let mut found: BTreeMap<u64, u64> = BTreeMap::new();
    let mut last = None;
    for row in &rows {
        let time = row[0].as_u64().expect("a time");
        let (batch, i) = (time / 1_000, time % 1_000);
        assert!(last < Some(time), "each point is there once, in order: {time} after {last:?}");
        last = Some(time);
        assert!(book.contains_key(&batch) && i < LINES, "a point that was never sent: {row}");
        assert_eq!(row[1].as_u64(), Some(batch), "{row}");
        assert_eq!(row[2].as_f64(), Some(batch as f64 + 0.25), "{row}");
        assert_eq!(row[3].as_str(), Some(format!("s{}", i % 7).as_str()), "{row}");
        *found.entry(batch).or_default() += 1;
    }
    for (batch, acknowledged) in book {
        let points = found.get(batch).copied().unwrap_or(0);
        let whole = points == LINES || (points == 0 && !acknowledged);
        assert!(whole, "batch {batch} (acknowledged: {acknowledged}) has {points} of {LINES} points");
    }
    let counted = values(server, "SELECT count(n) FROM crash");
    let counted = counted.first().map_or(Some(0), |row| row[1].as_u64());
    assert_eq!(counted, Some(rows.len() as u64), "what is counted is what is found");
    (0..WRITERS).for_each(|writer| check_overwritten(server, book, writer));
}

/// The point that every batch of a writer overwrites is that of the last acknowledged one, or of a later one.
fn check_overwritten(server: &Server, book: &BTreeMap<u64, bool>, writer: u64) {
    let acknowledged = book.iter().rev().find(|(batch, acknowledged)| **acknowledged && *batch % WRITERS == writer);
    let rows = values(server, &format!("SELECT n FROM last WHERE writer = 'w{writer}'"));
    assert!(rows.len() <= 1, "a point is there once: {rows:?}");
    let found = rows.first().map(|row| row[1].as_u64().expect("a batch"));
    assert!(found >= acknowledged.map(|(batch, _)| *batch), "w{writer}: {found:?} is older than {acknowledged:?}");
    let sent = |batch: u64| book.contains_key(&batch) && batch % WRITERS == writer;
    assert!(found.is_none_or(sent), "w{writer} never sent {found:?}");
}

/// The rows of the only series of an answer; none if there is no series.
fn values(server: &Server, query: &str) -> Vec<serde_json::Value> {
    let reply = server.get(&format!("/query?db=d&epoch=ns&q={}", encode(query)));
    assert_eq!(reply.status, 200, "{}", reply.body);
    let json: serde_json::Value = serde_json::from_str(&reply.body).expect("an answer is JSON");
    assert!(json["results"][0]["error"].is_null(), "{}", reply.body);
    json["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default()
}
