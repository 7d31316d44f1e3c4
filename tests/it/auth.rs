//! Authentication from outside: a server that asks, the people and programs that come, and what it says to them.

use std::net::UdpSocket;
use std::process::{Command, Output};

use crate::support::{Reply, Server, encode, free_address, wait_for};

const ON: &str = "[auth]\nenabled = true\nshared_secret = 'a secret that is long enough to be one'\n";

fn query(server: &Server, credentials: &str, database: &str, text: &str) -> Reply {
    server.post(&format!("/query?db={database}&q={}{credentials}", encode(text)), "")
}

fn ok(reply: &Reply, wanted: &str) {
    assert!(reply.status == 200 && reply.body.contains(wanted), "{} {} -- wanted {wanted}", reply.status, reply.body);
    assert!(!reply.body.contains("\"error\""), "{}", reply.body);
}

fn refused(reply: &Reply, status: u16, wanted: &str) {
    assert!(reply.status == status && reply.body.contains(wanted), "{} {}", reply.status, reply.body);
}

fn with(server: &Server, method: &str, target: &str, authorization: &str, body: &str) -> Reply {
    server.try_request(method, target, &[("Authorization", authorization)], body.as_bytes()).unwrap()
}

fn command(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rhythmite")).args(args).output().unwrap()
}

#[test]
fn users_come_go_and_stay_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), ON);
    let (ada, bob) = ("&u=ada&p=hunter-two", "&u=bob&p=correct-horse");
    refused(&query(&server, "", "", "SHOW DATABASES"), 403, "create admin user first or disable authentication");
    ok(&query(&server, "", "", "CREATE USER ada WITH PASSWORD 'hunter-two' WITH ALL PRIVILEGES"), "statement_id");
    refused(&query(&server, "", "", "CREATE USER x WITH PASSWORD 'x' WITH ALL PRIVILEGES"), 401, "unable to parse");
    ok(&query(&server, ada, "", "CREATE DATABASE d; CREATE USER bob WITH PASSWORD 'correct-horse'"), "statement_id");
    ok(&query(&server, ada, "", "GRANT READ ON d TO bob"), "");
    assert_eq!(server.post(&format!("/write?db=d{ada}"), "m v=1 1").status, 204);
    refused(
        &server.post(&format!("/write?db=d{bob}"), "m v=2 2"),
        403,
        "\\\"bob\\\" user is not authorized to write to database \\\"d\\\"",
    );
    ok(&query(&server, bob, "d", "SELECT v FROM m"), "[\"1970-01-01T00:00:00.000000001Z\",1]");
    refused(
        &query(&server, bob, "d", "SET PASSWORD FOR ada = 'stolen'"),
        403,
        "error authorizing query: bob not authorized to execute statement 'SET PASSWORD FOR ada = [REDACTED]', requires \
         admin privilege",
    );
    ok(&query(&server, bob, "", "SHOW DATABASES"), "[[\"d\"]]");
    let log = server.log_text();
    assert!(log.contains("NO ADMINISTRATOR YET"), "{log}");
    server.stop();

    let server = Server::start(dir.path(), ON);
    ok(&query(&server, bob, "d", "SHOW MEASUREMENTS"), "[[\"m\"]]");
    ok(&query(&server, ada, "", "SHOW USERS"), "[[\"ada\",true],[\"bob\",false]]");
    refused(&query(&server, ada, "", "DROP USER ada"), 200, "the last admin user");
    ok(&query(&server, ada, "", "DROP USER bob"), "");
    refused(&query(&server, bob, "d", "SHOW MEASUREMENTS"), 401, "authorization failed");
    // Whatever was said, no secret is in the log, nor in a file of the data directory.
    let log = server.log_text();
    for secret in ["hunter-two", "correct-horse", "stolen", "a secret that is long enough"] {
        assert!(!log.contains(secret), "{log}");
    }
    server.stop();
    for file in std::fs::read_dir(dir.path().join("data")).unwrap().map(|f| f.unwrap().path()).filter(|f| f.is_file()) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains("hunter-two") && !text.contains("correct-horse"), "{}", file.display());
    }
}

#[test]
fn tokens_are_made_offline_and_online_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let at = ["--data-dir", data.to_str().unwrap()];
    let made = |args: &[&str]| {
        let output = command(&[&["token", "create"], args, &at[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let root = made(&["root", "--admin"]);
    let reader = made(&["reader", "--read", "d"]);
    assert!(!command(&["token", "create", "nothing", at[0], at[1]]).status.success());
    assert!(!command(&["token", "create", "root", "--admin", at[0], at[1]]).status.success());
    let listed = String::from_utf8(command(&["token", "list", at[0], at[1]]).stdout).unwrap();
    assert_eq!(listed, "root\tadmin\tnever\nreader\td:read\tnever\n");

    let server = Server::start(dir.path(), ON);
    let (root, reader) = (format!("Bearer {root}"), format!("Token {reader}"));
    refused(&query(&server, "", "", "CREATE USER x WITH PASSWORD 'x' WITH ALL PRIVILEGES"), 401, "unable to parse");
    let permissions = "[{\"resource_type\":\"db\",\"resource_identifier\":[\"d\"],\"actions\":[\"write\"]}]";
    let body = format!("{{\"token_name\":\"writer\",\"expiry_secs\":3600,\"permissions\":{permissions}}}");
    let reply = with(&server, "POST", "/api/v3/configure/token", &root, &body);
    assert_eq!(reply.status, 201, "{}", reply.body);
    let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let writer = format!("Token {}", answer["token"].as_str().unwrap());
    for (who, target, status) in [
        (&writer, "/api/v2/write?bucket=d&precision=s", 204),
        (&reader, "/api/v2/write?bucket=d&precision=s", 403),
        (&root, "/api/v3/write_lp?db=d&precision=second", 204),
    ] {
        assert_eq!(with(&server, "POST", target, who, "m v=1 1").status, status, "{target}");
    }
    ok(&with(&server, "GET", "/query?db=d&epoch=s&q=SELECT+v+FROM+m", &reader, ""), "[[1,1]]");
    ok(&with(&server, "GET", "/api/v3/query_sql?db=d&q=SELECT+v+FROM+m", &reader, ""), "[{\"v\":1.0}]");
    ok(
        &with(&server, "GET", "/api/v3/query_influxql?db=d&q=SELECT+v+FROM+m", &reader, ""),
        "\"iox::measurement\":\"m\"",
    );
    refused(&with(&server, "GET", "/query?db=d&q=SELECT+v+FROM+m", &writer, ""), 403, "requires READ on d");
    assert_eq!(with(&server, "DELETE", "/api/v3/configure/token?token_name=writer", &reader, "").status, 403);
    assert_eq!(with(&server, "DELETE", "/api/v3/configure/token?token_name=writer", &root, "").status, 200);
    refused(&with(&server, "POST", "/api/v2/write?bucket=d", &writer, "m v=1"), 401, "\"code\":\"unauthorized\"");
    refused(&with(&server, "POST", "/api/v2/query", &root, "{}"), 403, "Flux is not supported");
    server.stop();
}

#[test]
fn buckets_are_policies() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "");
    let json = |reply: &Reply| -> serde_json::Value { serde_json::from_str(&reply.body).expect("JSON") };
    let body = r#"{"name":"b","orgID":"x","retentionRules":[{"type":"expire","everySeconds":86400}]}"#;
    let made = server.post("/api/v2/buckets", body);
    assert_eq!((made.status, json(&made)["name"].as_str()), (201, Some("b")), "{}", made.body);
    refused(&server.post("/api/v2/buckets", body), 422, "bucket with name b already exists");
    assert_eq!(server.post("/api/v2/buckets", r#"{"name":"b/long"}"#).status, 201);
    let id = json(&made)["id"].as_str().unwrap().to_owned();
    let names = |target: &str| {
        let all = json(&server.get(target));
        all["buckets"].as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(names("/api/v2/buckets?limit=100").contains(&"b/long".to_owned()));
    assert_eq!(names("/api/v2/buckets?name=b"), ["b"]);
    assert_eq!(names("/api/v2/buckets?name=none"), [""; 0]);
    assert_eq!(json(&server.get(&format!("/api/v2/buckets/{id}")))["retentionRules"][0]["everySeconds"], 86_400);
    let target = format!("/api/v2/buckets/{id}");
    let patch = r#"{"retentionRules":[{"type":"expire","everySeconds":0}]}"#;
    let changed = server.try_request("PATCH", &target, &[], patch.as_bytes()).unwrap();
    assert_eq!(json(&changed)["retentionRules"][0]["everySeconds"], 0, "{}", changed.body);
    assert_eq!(server.post("/api/v2/write?bucket=b&precision=s", "m v=1 1").status, 204);
    assert_eq!(server.try_request("DELETE", &target, &[], b"").unwrap().status, 204);
    refused(&server.get(&target), 404, "bucket not found");
    assert_eq!(names("/api/v2/buckets?name=b/long"), ["b/long"]);
}

#[test]
fn lines_come_by_udp() {
    let dir = tempfile::tempdir().unwrap();
    let at = free_address();
    let server = Server::start(dir.path(), &format!("[influx]\nudp_listen = '{at}'\nudp_precision = 's'\n"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The second does not end its line, the third is no line.
    for datagram in ["cpu,h=a v=1 1\ncpu,h=b v=2 1\n", "cpu,h=a v=3 2", "nonsense", "cpu,h=a v=4 3"] {
        socket.send_to(datagram.as_bytes(), at).unwrap();
    }
    wait_for("four points", || {
        let reply = server.post("/query?db=udp&epoch=s&q=SELECT+sum(v)+FROM+cpu", "");
        reply.body.contains("[[0,10]]")
    });
    assert_eq!(server.counter("influx_udp_datagrams_total"), 4);
    assert_eq!(server.counter("influx_refused_total{reason=\"syntax\"}"), 1);
}
