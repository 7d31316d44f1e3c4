//! Requests that ask for the impossible: each is refused (or answered) soon, memory stays bounded, others are served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Server, encode, free_address, now, now_s, send, wait_for};

/// Longest time for an answer: a second. What is refused is refused before the work is done, so a debug build takes
/// longer only because it reads the request slowly, and because others use the machine.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 4 } else { 1 });
/// Most memory that the process may ever have held, in KiB.
const MEMORY_KIB_MAX: u64 = 1_500_000;

/// A target, further parameters, and what the error must say; an empty text is an answer without an error.
fn cases() -> Vec<(String, &'static str, &'static str)> {
    let case = |target: &str, more, want| (target.to_owned(), more, want);
    let deep = |open: &str, inner: &str, close: &str, n: usize| [&open.repeat(n), inner, &close.repeat(n)].concat();
    vec![
        // Braces and globs that stand for more than there is room for.
        case(&"{a,b}".repeat(40), "", "stands for more than 10000 variants"),
        case(&vec!["{a,b}".repeat(12); 300].join("."), "", "stands for more than 10000 variants"),
        (format!("{}{{{}}}", "n".repeat(500_000), vec!["a"; 200_000].join(",")), "", "stands for more than"),
        case(&vec!["**"; 60].join("."), "&from=-1min", ""),
        case(&vec!["*"; 2_000].join("."), "", "more than 1024 segments"),
        case(&format!("deep.{}", "*a".repeat(5_000)), "", ""),
        // A thousand million points.
        case("time('x',1)", "&from=0&until=1700000000", "points are more than the 10000000 of a series"),
        case("randomWalk('x',1)", "&from=0&until=1700000000", "points are more than"),
        case("summarize(time('x',600),'1s')", "&from=0&until=1700000000", "points are more than"),
        case("events('*')", "&from=0&until=1700000000", "points are more than"),
        case("timeStack(time('x',1),'1d',0,10000)", "&from=-1d", "would hold more than 50000000 points"),
        case("summarize(time('x'),'-1min')", "", "must be longer than nothing"),
        case("hitcount(time('x'),'-1min')", "", "must be longer than nothing"),
        case("movingAverage(deep.*,9223372036854775807)", "&from=-1min", "too large"),
        // Long windows.
        case("movingMedian(time('x',1),50000)", "&from=-1d", ""),
        case("movingWindow(time('x',1),50000,'stddev')", "&from=-1d", ""),
        // Nesting.
        (deep("absolute(", "deep.a", ")", 5_000), "", "nested deeper than 128"),
        (deep("{", "a", "}", 5_000), "", "nested deeper than 128"),
        (format!("deep.a{}", "|absolute()".repeat(5_000)), "", "nested deeper than 128"),
        (deep("movingAverage(", "deep.a", ",'1min')", 60), "", "more than 10 functions that look at another range"),
        (deep("timeStack(", "deep.a", ",'1min',0,100)", 10), "", "more than"),
        (deep("movingMedian(", "deep.a", ",'7min')", 10), "", ""),
        // Megabytes.
        (format!("group({})", vec!["deep.a"; 60_000].join(",")), "", "more than 50000 arguments"),
        (format!("aliasByNode(deep.**,{})", vec!["0"; 49_000].join(",")), "&from=-1min", "bytes of series and names"),
        (
            format!("aliasByNode(alias(deep.a,'{}'),{})", "x".repeat(500_000), vec!["0"; 2_000].join(",")),
            "",
            "bytes of series and names",
        ),
        ("a".repeat(1_100_000), "", "longer than 1048576 bytes"),
        (format!("alias(deep.a,'{}')", "x".repeat(1_040_000)), "", ""),
        (format!("aliasSub(alias(deep.a,'{0}'),'x','{0}')", "x".repeat(500_000)), "", "makes more than 1048576 bytes"),
        (
            format!("applyByNode(alias(deep.a,'{}'),0,'{}')", "x".repeat(500_000), "%".repeat(500_000)),
            "",
            "grow beyond",
        ),
        (format!("template({},a='{}')", "$a".repeat(250_000), "x".repeat(400_000)), "", "grow beyond"),
        // Regular expressions that back-track for ever.
        (format!("aliasSub(alias(deep.a,'{}'),'(?=(a|a)*b)(a|a)*\\1c','')", "a".repeat(60)), "", "too many steps"),
        (format!("grep(alias(deep.a,'{}'),'(a*)*\\1b')", "a".repeat(1_000)), "", "too many steps"),
        (format!("grep(alias(deep.**,'{}'),'(?=(a|a)*b)\\1c')", "a".repeat(9)), "&from=-1min", "too many steps"),
        case("grep(deep.*,'((((a{1000}){1000}){1000}){1000})')", "", "bad regular expression"),
        case("seriesByTag('name=~(?=(a|a)*b)(a|a)*\\1c')", "", ""),
        // Half a request.
        case("scale(deep.a", "", "at position 12"),
        case("nosuch(deep.a)", "", "unknown function"),
    ]
}

#[test]
fn impossible_requests_are_refused_soon() {
    let dir = tempfile::tempdir().unwrap();
    let line = free_address();
    let server = Server::start(dir.path(), &format!("[self]\ninterval = '0'\n[carbon]\nline_listen = '{line}'\n"));
    let t = now_s();
    // Paths of every depth up to twenty, for patterns of `**`.
    let path = |i: usize| (0..i % 20).map(|depth| format!("d{depth}.")).collect::<String>();
    let lines: String = (0..2_000).map(|i| format!("deep.{}n{i} {i} {t}\n", path(i))).collect();
    send(line, format!("{lines}deep.a 1 {t}\n").as_bytes());
    wait_for("the series", || server.counter("carbon_points_total") == 2_001);
    let (done, failures) = (AtomicBool::new(false), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let started = now();
                let reply = server.get("/render?target=deep.a&from=-1h&format=json");
                assert_eq!(reply.status, 200, "{}", reply.body);
                slowest = slowest.max(started.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            slowest
        });
        for (target, more, want) in cases() {
            let shown: String = target.chars().take(80).collect();
            let body = format!("target={}&format=json{more}", encode(&target));
            let started = now();
            let reply = server.post("/render", &body);
            let took = started.elapsed();
            let as_wanted = match want {
                "" => reply.status == 200,
                part => reply.status == 400 && reply.body.contains(part),
            };
            if !as_wanted || took > PATIENCE {
                let answer: String = reply.body.chars().take(300).collect();
                failures.lock().unwrap().push(format!("{shown}: {} {answer} after {took:?}", reply.status));
            }
        }
        done.store(true, Ordering::Relaxed);
        let slowest = others.join().unwrap();
        assert!(slowest < PATIENCE, "another request took {slowest:?}");
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap_or_default();
    let peak =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok());
    let peak: u64 = peak.unwrap_or(0);
    assert!(peak < MEMORY_KIB_MAX, "the server held {peak} KiB");
    assert!(server.counter("graphite_refused_total") > 10);
}
