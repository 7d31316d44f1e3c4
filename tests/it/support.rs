//! A server process of its own for a test, and plain HTTP to talk to it.

#![allow(dead_code, reason = "each module of tests uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start or to stop: debug builds on a busy machine are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// An address on loopback that nobody listened on a moment ago.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// A reply.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A `rhythmite serve` process; killed when dropped.
pub struct Server {
    child: Child,
    pub http: SocketAddr,
    pub config: PathBuf,
    pub log: PathBuf,
}

impl Server {
    /// Starts a server on `dir` with the sections of `extra` added to its configuration, and waits until it is ready.
    pub fn start(dir: &Path, extra: &str) -> Self {
        let http = free_address();
        let data = dir.join("data");
        Self::start_with(
            dir,
            http,
            &format!("data_dir = \"{}\"\n\n[http]\nlisten = \"{http}\"\n\n{extra}\n", data.display()),
        )
    }

    /// Starts a server with this configuration, which has it listen at `http`.
    pub fn start_with(dir: &Path, http: SocketAddr, text: &str) -> Self {
        let config = dir.join("rhythmite.toml");
        std::fs::write(&config, text).expect("the test's directory is writable");
        let log = dir.join("server.log");
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("writable");
        let child = Command::new(env!("CARGO_BIN_EXE_rhythmite"))
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary under test runs");
        let mut server = Self { child, http, config, log };
        let start = now();
        while !server.is_ready() {
            if let Some(status) = server.child.try_wait().expect("a child can be asked") {
                panic!("the server ended with {status}:\n{}", server.log_text());
            }
            assert!(start.elapsed() < PATIENCE, "not ready in time:\n{}", server.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn is_ready(&self) -> bool {
        self.try_request("GET", "/ready", &[], b"").is_ok_and(|reply| reply.status < 300)
    }

    /// What the server has printed so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One request on a connection of its own.
    pub fn try_request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        request(self.http, method, target, headers, body)
    }

    /// GET; panics when the server does not answer.
    pub fn get(&self, target: &str) -> Reply {
        self.try_request("GET", target, &[], b"").expect("the server answers")
    }

    /// POST; panics when the server does not answer.
    pub fn post(&self, target: &str, body: &str) -> Reply {
        self.try_request("POST", target, &[], body.as_bytes()).expect("the server answers")
    }

    /// A figure of `/metrics`, named without `rhythmite_`; 0 when it is not there.
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|l| l.strip_prefix("rhythmite_")?.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a figure is a number"))
    }

    /// Time and value of the known points of the last hour of the first series that `target` finds.
    pub fn points(&self, target: &str) -> Vec<(i64, f64)> {
        let reply = self.get(&format!("/render?format=json&from=-1h&target={}", encode(target)));
        assert_eq!(reply.status, 200, "{}", reply.body);
        let series: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
        let points = series[0]["datapoints"].as_array().cloned().unwrap_or_default();
        points.iter().filter_map(|p| Some((p[1].as_i64()?, p[0].as_f64()?))).collect()
    }

    /// The value at `time_s`.
    pub fn point(&self, target: &str, time_s: i64) -> Option<f64> {
        self.points(target).into_iter().find(|(t, _)| *t == time_s).map(|(_, value)| value)
    }

    /// The newest value.
    pub fn last(&self, target: &str) -> Option<f64> {
        self.points(target).last().map(|(_, value)| *value)
    }

    /// The sum of the values.
    pub fn sum(&self, target: &str) -> f64 {
        self.points(target).iter().map(|(_, value)| value).sum()
    }

    /// SIGKILL: nothing is flushed or said good-bye to.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).expect("process ids are small");
        let killed = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().expect("kill runs");
        assert!(killed.success());
        let start = now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                assert!(status.success(), "ended with {status}:\n{}", self.log_text());
                return;
            }
            assert!(start.elapsed() < PATIENCE, "did not end in time:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail harmlessly when the child has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP/1.1 request on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "not an HTTP reply"))
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, v)| v.parse().ok());
    let body = if chunked {
        unchunk(body)?
    } else {
        // A reply cut off by a dying server is no reply.
        body.get(..length.unwrap_or(body.len()))?.to_vec()
    };
    Some(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let line = body.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?.split(';').next()?, 16).ok()?;
        body = &body[line + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(body.get(..size)?);
        body = body.get(size + 2..)?;
    }
}

/// Sends bytes on a connection of their own, says that there are no more, and returns what comes back.
pub fn send(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.write_all(bytes).expect("the server reads");
    stream.shutdown(std::net::Shutdown::Write).expect("the connection is open");
    let mut reply = String::new();
    // A server that closes before it has read everything resets the connection.
    let _ = stream.read_to_string(&mut reply);
    reply
}

/// Waits until `done`, or panics with `what`.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "a test watches real processes")]
pub fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs() as i64)
}

/// Percent-encodes a query parameter.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[allow(clippy::disallowed_methods, reason = "a test watches real processes")]
pub fn now() -> Instant {
    Instant::now()
}
