//! The command line: what it refuses, in words that help.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use crate::support::{Server, free_address, wait_for};

fn run(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rhythmite"));
    command.args(args).envs(environment.iter().copied()).output().unwrap()
}

/// Runs `serve` with this file; it must refuse with `want` in its message.
fn check_refused(dir: &Path, text: &str, want: &str) {
    let config = dir.join("refused.toml");
    std::fs::write(&config, format!("data_dir = '{}'\n{text}", dir.join("refused").display())).unwrap();
    let output = run(&["serve", "--config", config.to_str().unwrap()], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}: {said}");
    assert!(said.contains(want), "{text}: {said} -- wanted: {want}");
}

#[test]
fn a_start_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let free = free_address();
    let cases = [
        (format!("[http]\nlisten = '{at}'"), format!("[http] listen = {at}: ")),
        (format!("[carbon]\nline_listen = '{at}'"), "another program has this port".into()),
        (format!("[carbon]\nudp_listen = '192.0.2.1:{}'", free.port()), "this machine has no such address".into()),
        (format!("[http]\nlisten = '0.0.0.0:{}'", free.port()), "--insecure-no-auth".into()),
        (
            format!("[auth]\nenabled = true\n[statsd]\nadmin_listen = '0.0.0.0:{}'", free.port()),
            "its protocol has no passwords".into(),
        ),
        ("[http]\nlisen = 'x'".into(), "refused.toml:3: unknown key `lisen` in [http]; did you mean `listen`?".into()),
        (
            format!("[http]\nlisten = '{free}'\n[graphite]\nstorage_schemas = '/no/such/file'"),
            "[graphite] storage_schemas: /no/such/file: ".into(),
        ),
    ];
    for (text, want) in cases {
        check_refused(dir.path(), &text, &want);
    }
}

#[test]
fn one_data_directory_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "");
    let data = dir.path().join("data");
    let listen = free_address().to_string();
    let environment = [("RHYTHMITE_HTTP__LISTEN", listen.as_str())];
    let off = dir.path().join("off.toml");
    std::fs::write(&off, "[http]\nlisten = 'off'\n").unwrap();
    let args = ["serve", "--data-dir", data.to_str().unwrap(), "--config", off.to_str().unwrap()];
    let second = run(&args, &environment);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("is in use by another process (pid {})", server.pid())), "{said}");
    let import = run(&["import", "whisper", "/tmp", "--data-dir", data.to_str().unwrap()], &[]);
    assert!(!import.status.success());
    server.stop();
}

#[test]
fn the_configuration_can_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let schemas = dir.path().join("schemas.conf");
    std::fs::write(&schemas, "[a]\npattern = x\nretentions = banana\n").unwrap();
    let config = dir.path().join("c.toml");
    let text = format!("[http]\nlisten = '127.0.0.1:1'\n[graphite]\nstorage_schemas = '{}'\n", schemas.display());
    std::fs::write(&config, text).unwrap();
    let output = run(&["config", "check", "--config", config.to_str().unwrap()], &[]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("[http] listen 127.0.0.1:1"), "{out} {err}");
    assert!(err.contains("schemas.conf"), "what is skipped is said: {err}");
    let output = run(&["config", "check"], &[("RHYTHMITE_HTTP__LISTN", "x")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("RHYTHMITE_HTTP__LISTN: unknown key"));
    assert!(run(&["--version"], &[]).status.success());
}

/// A demo takes the default ports: one at a time.
static DEMO: Mutex<()> = Mutex::new(());

#[test]
fn the_demo_shows_this_machine() {
    let _alone = DEMO.lock();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("demo");
    // Somebody's data directory: what is not the demo's stays as it is.
    let schemas = data.join("storage-schemas.conf");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(&schemas, "[mine]\npattern = .*\nretentions = 1m:1d\n").unwrap();
    let output = run(&["demo", "--pictures", "1", "--data-dir", data.to_str().unwrap()], &[]);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{out} {}", String::from_utf8_lossy(&output.stderr));
    for line in ["load of the machine", "points a second, stored", "Ask yourself"] {
        assert!(out.contains(line), "{out}");
    }
    assert_eq!(std::fs::read_to_string(&schemas).unwrap(), "[mine]\npattern = .*\nretentions = 1m:1d\n");
    assert!(out.contains(" .. ") && !out.contains("processors busy, %           no points"), "{out}");
}

#[test]
fn the_demo_ends_when_nobody_reads_it() {
    let _alone = DEMO.lock();
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_rhythmite"))
        .args(["demo", "--data-dir"])
        .arg(dir.path().join("demo"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut ended = None;
    wait_for("the demo's end", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(ended.unwrap().success() && !said.contains("panicked"), "{said}");
}
