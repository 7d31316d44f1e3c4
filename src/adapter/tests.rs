//! Real sockets on loopback, a real engine in a temporary directory.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rhythmite_carbon::aggregator::{AggregationRules, Options as AggregatorOptions, RewriteRules};
use rhythmite_carbon::framer::FRAME_BYTES_MAX;
use rhythmite_carbon::rules::{Filter, NameList};
use rhythmite_engine::registry::Scope;
use rhythmite_engine::{Durability, Engine, Options, SeriesFilter};
use rhythmite_env::{Env, SystemClock};
use rhythmite_model::{Column, Result, Tier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::carbon::{Aggregation, Carbon, Destination, NameFilter, Settings};
use super::statsd::{Folding, Statsd};
use super::*;
use crate::catalog::Catalog;
use crate::counters::Counter;
use crate::ingest::{PathPoints, PathRules, RulesText, events};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with one listener of each kind, as `server` would start it.
struct Server {
    shared: Shared,
    engine: Engine,
    lines: SocketAddr,
    datagrams: SocketAddr,
    pickles: SocketAddr,
    aggregator: SocketAddr,
    statsd_udp: SocketAddr,
    statsd_tcp: SocketAddr,
    admin: SocketAddr,
    folding: Folding,
    emitting: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

/// What a test changes.
#[derive(Default)]
struct Setup {
    memtable_bytes: Option<usize>,
    connections_max: Option<usize>,
    idle: Option<Duration>,
    allow: Option<&'static str>,
    frames_pending_bytes: Option<usize>,
    frame_time: Option<Duration>,
    blacklist: &'static str,
    aggregator: AggregatorOptions,
    statsd: rhythmite_statsd::Options,
}

/// What adapters are given, over an engine of its own.
async fn shared(setup: &Setup) -> (Shared, Engine, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
    let schemas = Some(("[all]\npattern = .*\nretentions = 1s:1d\n".to_owned(), "s.conf".to_owned()));
    let (rules, _) = PathRules::load(&RulesText { schemas, aggregation: None }, &catalog).await.unwrap();
    let policies = catalog.databases().policies().map(|p| p.policy.clone()).collect();
    let mut options = Options::new(dir.path());
    options.memtable_bytes = setup.memtable_bytes.unwrap_or(options.memtable_bytes);
    let (engine, _) = Engine::open(Env::real(), options, Arc::new(catalog.manifest()), policies).unwrap();
    let clock = Arc::new(SystemClock::new());
    let counters = Arc::new(Counters::default());
    let (events, writer) = events::queue(catalog.events(), clock.clone(), counters.clone());
    tokio::spawn(writer.run(CancellationToken::new()));
    let shared = Shared {
        clock: clock.clone(),
        paths: Arc::new(PathIngest::new(engine.clone(), clock, rules)),
        events,
        counters,
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        cut: CancellationToken::new(),
        connections_max: setup.connections_max.unwrap_or(100),
        idle: setup.idle,
    };
    (shared, engine, dir)
}

/// The same for tests of one room.
pub(super) async fn bare() -> (Shared, tempfile::TempDir) {
    let (shared, _, dir) = shared(&Setup::default()).await;
    (shared, dir)
}

async fn start(setup: Setup) -> Server {
    let (shared, engine, dir) = shared(&setup).await;
    let allow = Allow(setup.allow.iter().map(|cidr| cidr.parse().unwrap()).collect());
    let filter = Filter { whitelist: NameList::default(), blacklist: NameList::parse(setup.blacklist, "").0 };
    let settings = Settings {
        durability: Durability::Interval,
        filter: Arc::new(NameFilter::new(filter)),
        line_bytes_max: 200,
        frame_bytes_max: FRAME_BYTES_MAX,
        frames_pending_bytes: setup.frames_pending_bytes.unwrap_or(carbon::FRAMES_PENDING_BYTES),
        frame_time: setup.frame_time.unwrap_or(carbon::FRAME_TIME),
    };
    let carbon = Carbon::new(shared.clone(), settings);
    let aggregation = Aggregation::new(
        AggregationRules::parse("all.<m> (1) = sum host.*.<m>", "").0,
        RewriteRules::parse("[pre]\n^old\\. = host.\n[post]\n^host\\.(\\w+)\\. = by.\\1.\n", "").0,
        setup.aggregator,
    );
    let (statsd, folding) = Statsd::start(shared.clone(), setup.statsd, Durability::Interval, 1 << 20, &[]).unwrap();
    let (lines, at_lines) = tcp(&allow).await;
    let (pickles, at_pickles) = tcp(&allow).await;
    let (aggregator, at_aggregator) = tcp(&allow).await;
    let (streams, at_streams) = tcp(&allow).await;
    let (admin, at_admin) = tcp(&allow).await;
    let (datagrams, at_datagrams) = udp(&allow).await;
    let (packets, at_packets) = udp(&allow).await;
    shared.tasks.spawn(carbon.clone().lines(lines, Destination::Store));
    shared.tasks.spawn(carbon.clone().pickles(pickles, Destination::Store));
    shared.tasks.spawn(carbon.clone().lines(aggregator, Destination::Aggregate(aggregation.clone())));
    shared.tasks.spawn(carbon.clone().datagrams(datagrams));
    shared.tasks.spawn(statsd.clone().datagrams(packets));
    shared.tasks.spawn(statsd.clone().streams(streams));
    shared.tasks.spawn(statsd.admin(admin));
    Server {
        emitting: tokio::spawn(carbon.emit(aggregation)),
        shared,
        engine,
        lines: at_lines,
        datagrams: at_datagrams,
        pickles: at_pickles,
        aggregator: at_aggregator,
        statsd_udp: at_packets,
        statsd_tcp: at_streams,
        admin: at_admin,
        folding,
        _dir: dir,
    }
}

async fn tcp(allow: &Allow) -> (Port, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    (Port { socket, allow: allow.clone(), key: "test" }, at)
}

async fn udp(allow: &Allow) -> (UdpPort, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    (UdpPort { socket, allow: allow.clone() }, at)
}

impl Server {
    fn now_s(&self) -> i64 {
        self.shared.clock.now_s()
    }

    fn read(&self, path: &str, base_s: i64) -> Vec<(i64, f64)> {
        read(&self.engine, path, base_s)
    }

    async fn expect(&self, path: &str, base_s: i64, want: &[(i64, f64)]) {
        until(
            &format!("{path}: {want:?}"),
            || self.read(path, base_s) == want,
            || format!("{:?}", self.read(path, base_s)),
        )
        .await;
    }

    async fn counts(&self, counter: impl Fn(&Counters) -> &Counter, want: u64) {
        let get = || counter(&self.shared.counters).get();
        until(&format!("a count of {want}"), || get() == want, || get().to_string()).await;
    }

    /// Stops as `server` does.
    async fn stop(self) -> (Engine, tempfile::TempDir) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        tokio::time::timeout(PATIENCE, self.shared.tasks.wait()).await.expect("connections end");
        tokio::time::timeout(PATIENCE, self.emitting).await.expect("the aggregator ends").unwrap();
        tokio::time::timeout(PATIENCE, self.folding.finished()).await.expect("StatsD ends");
        (self.engine, self._dir)
    }
}

/// Times and values of a path, times relative to `base_s`.
fn read(engine: &Engine, path: &str, base_s: i64) -> Vec<(i64, f64)> {
    let id = {
        let names = engine.registry().read();
        let Some(slot) = names.find_series(Scope::Paths, path.as_bytes()) else { return Vec::new() };
        names.series_id(slot)
    };
    let filter = SeriesFilter::List(Arc::new([id]));
    let scan = engine.snapshot().scan(id.table(), Tier(0), filter, None, i64::MIN..=i64::MAX).unwrap();
    let mut out = Vec::new();
    for points in scan.map(Result::unwrap) {
        let Column::Float(values) = &points.streams[0].values else { panic!("floats went in") };
        let times = points.streams[0].times_ns.iter().map(|t| t / 1_000_000_000 - base_s);
        out.extend(times.zip(values.iter().copied()));
    }
    out
}

async fn until(what: &str, holds: impl Fn() -> bool, seen: impl Fn() -> String) {
    let holding = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holding).await.is_ok(), "wanted {what}, saw {}", seen());
}

async fn connect(at: SocketAddr) -> TcpStream {
    TcpStream::connect(at).await.unwrap()
}

/// Whether the server has closed the connection; an answer before that is a mistake.
async fn is_closed(stream: &mut TcpStream) -> bool {
    match tokio::time::timeout(PATIENCE, stream.read(&mut [0; 8])).await.expect("an end") {
        Ok(n) => n == 0,
        Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
    }
}

async fn datagram(at: SocketAddr, bytes: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(bytes, at).await.unwrap();
}

#[tokio::test]
async fn lines_are_stored_however_they_are_cut() {
    let server = start(Setup::default()).await;
    let t = server.now_s() - 100;
    let mut stream = connect(server.lines).await;
    for chunk in ["a.b 1 ", &format!("{t}\na.b "), &format!("2 {}", t + 1), "\r\nlost 1 2"] {
        stream.write_all(chunk.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.expect("a.b", t, &[(0, 1.0), (1, 2.0)]).await;
    drop(stream);
    server.counts(|c| &c.carbon_rejected_unfinished, 1).await;
    server.counts(|c| &c.connections_open, 0).await;
    assert_eq!(server.shared.counters.carbon_points.get(), 2);
    assert_eq!(server.read("lost", t), []);
}

#[tokio::test]
async fn a_bad_line_costs_only_itself() {
    let server = start(Setup { blacklist: "secret", ..Setup::default() }).await;
    let t = server.now_s() - 100;
    let mut stream = connect(server.lines).await;
    stream.write_all(b"bad\xff 1 2\n").await.unwrap();
    stream.write_all(&[b'x'; 70_000]).await.unwrap();
    let rest = format!("\nshape 1\nvalue x {t}\nnan nan {t}\ntime 1 x\na;b 1 {t}\nmy.secret 1 {t}\nok 7 {t}\n");
    stream.write_all(rest.as_bytes()).await.unwrap();
    server.expect("ok", t, &[(0, 7.0)]).await;
    let c = &server.shared.counters;
    let rejected = [
        &c.carbon_rejected_utf8,
        &c.carbon_rejected_length,
        &c.carbon_rejected_shape,
        &c.carbon_rejected_value,
        &c.carbon_rejected_nan,
        &c.carbon_rejected_time,
        &c.carbon_rejected_name,
        &c.carbon_rejected_blacklist,
    ];
    assert_eq!(rejected.map(Counter::get), [1; 8]);
}

#[tokio::test]
async fn datagrams_are_stored_with_and_without_a_last_line_feed() {
    let server = start(Setup::default()).await;
    let t = server.now_s() - 100;
    datagram(server.datagrams, format!("u.a 1 {t}").as_bytes()).await;
    datagram(server.datagrams, format!("u.a 2 {}\nnonsense\nu.b 3 {t}\n", t + 1).as_bytes()).await;
    server.expect("u.b", t, &[(0, 3.0)]).await;
    server.expect("u.a", t, &[(0, 1.0), (1, 2.0)]).await;
    server.counts(|c| &c.carbon_datagrams, 2).await;
}

/// A frame of one point, protocol 2: `[(path, (time, value))]`.
fn pickle(path: &str, time_s: i64, value: u8) -> Vec<u8> {
    let mut body = b"\x80\x02]U".to_vec();
    body.push(path.len() as u8);
    body.extend_from_slice(path.as_bytes());
    body.push(b'J');
    body.extend_from_slice(&(time_s as i32).to_le_bytes());
    body.extend_from_slice(&[b'K', value, 0x86, 0x86, b'a', b'.']);
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

#[tokio::test]
async fn pickles_are_stored_and_a_bad_one_costs_only_itself() {
    let server = start(Setup::default()).await;
    let t = server.now_s() - 100;
    let mut stream = connect(server.pickles).await;
    let frames = [pickle("p.a", t, 1), b"\0\0\0\x03abc".to_vec(), pickle("p.b", t, 2)].concat();
    for chunk in frames.chunks(7) {
        stream.write_all(chunk).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.expect("p.b", t, &[(0, 2.0)]).await;
    server.expect("p.a", t, &[(0, 1.0)]).await;
    assert_eq!(server.shared.counters.carbon_pickles_refused.get(), 1);
}

#[tokio::test]
async fn a_pickle_above_the_limit_ends_its_connection() {
    let server = start(Setup::default()).await;
    let t = server.now_s() - 100;
    let mut stream = connect(server.pickles).await;
    let length = (FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
    stream.write_all(&[&pickle("p.a", t, 1)[..], &length].concat()).await.unwrap();
    assert!(is_closed(&mut stream).await);
    server.expect("p.a", t, &[(0, 1.0)]).await;
    server.counts(|c| &c.carbon_pickles_too_long, 1).await;
}

/// The start of a frame that announces 50,000 bytes, with the first 40,000 of them.
fn unfinished_pickle() -> Vec<u8> {
    [&50_000_u32.to_be_bytes()[..], &[0; 40_000]].concat()
}

#[tokio::test]
async fn unfinished_pickles_of_all_connections_share_a_budget() {
    // Room for the first or the second: a buffer may be up to twice as long as what is in it.
    let server = start(Setup { frames_pending_bytes: Some(100_010), ..Setup::default() }).await;
    let mut first = connect(server.pickles).await;
    first.write_all(&unfinished_pickle()).await.unwrap();
    server.counts(|c| &c.carbon_bytes, 40_004).await;
    let mut second = connect(server.pickles).await;
    second.write_all(&[&70_000_u32.to_be_bytes()[..], &[0; 65_000]].concat()).await.unwrap();
    assert!(is_closed(&mut second).await);
    server.counts(|c| &c.carbon_pickles_no_room, 1).await;
    server.counts(|c| &c.carbon_rejected_unfinished, 1).await;
    // The first goes on, and what it held is there for the next.
    let t = server.now_s() - 100;
    first.write_all(&[&[0; 10_000][..], &pickle("p.a", t, 1)].concat()).await.unwrap();
    server.expect("p.a", t, &[(0, 1.0)]).await;
    let mut third = connect(server.pickles).await;
    third.write_all(&[unfinished_pickle(), vec![0; 10_000], pickle("p.b", t, 2)].concat()).await.unwrap();
    server.expect("p.b", t, &[(0, 2.0)]).await;
    assert_eq!(server.shared.counters.carbon_pickles_no_room.get(), 1);
}

#[tokio::test]
async fn a_pickle_that_is_started_must_be_finished_in_time() {
    let server = start(Setup { frame_time: Some(Duration::from_millis(200)), ..Setup::default() }).await;
    let mut quiet = connect(server.pickles).await;
    let t = server.now_s() - 100;
    quiet.write_all(&pickle("p.a", t, 1)).await.unwrap();
    let mut slow = connect(server.pickles).await;
    slow.write_all(&unfinished_pickle()).await.unwrap();
    // Bytes do not give it more time.
    let dripping = async {
        while slow.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dripping).await.expect("the connection is closed");
    // Between two pickles a connection may be quiet.
    quiet.write_all(&pickle("p.a", t + 1, 2)).await.unwrap();
    server.expect("p.a", t, &[(0, 1.0), (1, 2.0)]).await;
    server.counts(|c| &c.carbon_pickles_slow, 1).await;
}

#[tokio::test]
async fn connections_above_the_limit_are_closed() {
    let server = start(Setup { connections_max: Some(1), ..Setup::default() }).await;
    let first = connect(server.lines).await;
    server.counts(|c| &c.connections_open, 1).await;
    assert!(is_closed(&mut connect(server.lines).await).await);
    server.counts(|c| &c.connections_refused, 1).await;
    drop(first);
    server.counts(|c| &c.connections_open, 0).await;
    let t = server.now_s() - 100;
    connect(server.lines).await.write_all(format!("a 1 {t}\n").as_bytes()).await.unwrap();
    server.expect("a", t, &[(0, 1.0)]).await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = start(Setup { idle: Some(Duration::from_millis(50)), ..Setup::default() }).await;
    assert!(is_closed(&mut connect(server.lines).await).await);
    server.counts(|c| &c.connections_idle, 1).await;
}

#[tokio::test]
async fn peers_that_are_not_allowed_are_not_heard() {
    let server = start(Setup { allow: Some("10.0.0.0/8"), ..Setup::default() }).await;
    assert!(is_closed(&mut connect(server.lines).await).await);
    datagram(server.datagrams, b"a 1 -1").await;
    datagram(server.statsd_udp, b"a:1|c").await;
    server.counts(|c| &c.connections_not_allowed, 3).await;
    assert_eq!(server.shared.counters.carbon_points.get(), 0);
    assert_eq!(server.shared.counters.statsd_packets.get(), 0);
}

#[tokio::test]
async fn when_the_engine_is_behind_streams_wait_and_datagrams_are_dropped() {
    let server = start(Setup { memtable_bytes: Some(0), ..Setup::default() }).await;
    let t = server.now_s() - 100;
    let mut full = PathPoints::default();
    full.push("full", t, 1.0);
    server.shared.paths.write_paths(&full, Durability::Sync).unwrap().wait().unwrap();
    let mut stream = connect(server.lines).await;
    stream.write_all(format!("a 1 {t}\n").as_bytes()).await.unwrap();
    server.counts(|c| &c.carbon_waits, 1).await;
    datagram(server.datagrams, format!("b 1 {t}").as_bytes()).await;
    server.counts(|c| &c.carbon_dropped, 1).await;
    // While its batch waits the connection is not read, however much is sent.
    stream.write_all(format!("a 2 {}\n", t + 1).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.shared.counters.carbon_points.get(), 2);
    server.engine.flush().unwrap();
    server.expect("a", t, &[(0, 1.0)]).await;
    let flushing = async {
        while server.read("a", t).len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            server.engine.flush().unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, flushing).await.expect("the second line follows");
    assert_eq!(server.shared.counters.carbon_waits.get(), 2);
    assert_eq!(server.shared.counters.carbon_failed.get(), 0);
    assert_eq!(server.read("b", t), []);
}

#[tokio::test]
async fn what_arrived_before_the_stop_is_stored() {
    let server = start(Setup::default()).await;
    let t = server.now_s() - 100;
    let mut stream = connect(server.lines).await;
    server.counts(|c| &c.connections_open, 1).await;
    let lines: String = (0..20_000).map(|i| format!("s.{} {i} {t}\n", i % 7)).collect();
    stream.write_all(lines.as_bytes()).await.unwrap();
    let shared = server.shared.clone();
    let (engine, _dir) = server.stop().await;
    assert_eq!(shared.counters.carbon_points.get(), 20_000);
    assert_eq!(read(&engine, "s.6", t), [(0, 19_998.0)]);
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn an_eager_sender_does_not_hold_up_the_end() {
    let server = start(Setup { memtable_bytes: Some(0), ..Setup::default() }).await;
    let mut full = PathPoints::default();
    full.push("full", server.now_s(), 1.0);
    server.shared.paths.write_paths(&full, Durability::Sync).unwrap().wait().unwrap();
    let mut stream = connect(server.lines).await;
    stream.write_all(b"a 1 -1\n").await.unwrap();
    server.counts(|c| &c.carbon_waits, 1).await;
    let shared = server.shared.clone();
    shared.stop.cancel();
    shared.tasks.close();
    assert!(tokio::time::timeout(Duration::from_millis(100), shared.tasks.wait()).await.is_err());
    shared.cut.cancel();
    tokio::time::timeout(PATIENCE, shared.tasks.wait()).await.expect("connections end");
    assert_eq!(shared.counters.carbon_failed.get(), 1);
}

#[tokio::test]
async fn the_aggregator_forwards_rewrites_and_emits() {
    let server = start(Setup { blacklist: "^all\\.secret$", ..Setup::default() }).await;
    let t = server.now_s() - 100;
    let mut stream = connect(server.aggregator).await;
    let lines = format!("host.x.req 1 {t}\nold.y.req 2 {t}\nhost.x.secret 1 {t}\nother 5 {t}\n");
    stream.write_all(lines.as_bytes()).await.unwrap();
    server.expect("by.x.req", t, &[(0, 1.0)]).await;
    server.expect("by.y.req", t, &[(0, 2.0)]).await;
    server.expect("other", t, &[(0, 5.0)]).await;
    server.expect("all.req", t, &[(0, 3.0)]).await;
    server.counts(|c| &c.carbon_rejected_blacklist, 1).await;
    server.counts(|c| &c.aggregator_emitted, 2).await;
    assert_eq!(
        [&server.shared.counters.aggregator_points, &server.shared.counters.carbon_points].map(Counter::get),
        [4, 0]
    );
}

#[tokio::test]
async fn what_the_aggregator_cannot_hold_is_counted_and_stored_all_the_same() {
    let aggregator = AggregatorOptions { intervals_max: 1, ..AggregatorOptions::default() };
    let server = start(Setup { aggregator, ..Setup::default() }).await;
    let t = server.now_s() - 100;
    let lines = format!("host.x.one 1 {t}\nhost.x.two 2 {t}\nhost.y.one 3 {t}\n");
    connect(server.aggregator).await.write_all(lines.as_bytes()).await.unwrap();
    server.expect("by.x.two", t, &[(0, 2.0)]).await;
    server.counts(|c| &c.aggregator_refused, 1).await;
    server.expect("all.one", t, &[(0, 4.0)]).await;
    server.expect("all.two", t, &[]).await;
}

#[tokio::test]
async fn the_aggregator_emits_what_it_holds_at_the_end() {
    let server = start(Setup::default()).await;
    let t = server.now_s() - 100;
    connect(server.aggregator).await.write_all(format!("host.x.req 4 {t}\n").as_bytes()).await.unwrap();
    server.counts(|c| &c.aggregator_points, 1).await;
    let (engine, _dir) = server.stop().await;
    assert_eq!([read(&engine, "by.x.req", t), read(&engine, "all.req", t)], [[(0, 4.0)]; 2]);
}

fn every_second() -> Setup {
    let statsd = rhythmite_statsd::Options { flush_interval: 1000, ..rhythmite_statsd::Options::default() };
    Setup { statsd, ..Setup::default() }
}

#[tokio::test]
async fn packets_of_all_ways_meet_in_one_flush_with_one_time() {
    let server = start(every_second()).await;
    // Just after a flush, so that all of it belongs to the next one.
    let into_ns = server.shared.clock.now_ns().rem_euclid(1_000_000_000);
    tokio::time::sleep(Duration::from_nanos(1_050_000_000 - into_ns as u64)).await;
    let flush_s = server.now_s() + 1;
    datagram(server.statsd_udp, b"hits:2|c\nlat:10|ms\nlat:30|ms").await;
    let mut stream = connect(server.statsd_tcp).await;
    stream.write_all(b"hits:3|c\ntemp:21.5|g\nbad\nhits:9").await.unwrap();
    let first = |path: &str| server.read(path, flush_s).into_iter().find(|(_, value)| *value != 0.0);
    let want = [
        ("stats_counts.hits", 5.0),
        ("stats.hits", 5.0),
        ("stats.timers.lat.mean", 20.0),
        ("stats.timers.lat.count", 2.0),
        ("stats.gauges.temp", 21.5),
        ("stats_counts.statsd.bad_lines_seen", 1.0),
    ];
    let seen = || want.map(|(path, _)| first(path));
    until("the flush", || seen() == want.map(|(_, value)| Some((0, value))), || format!("{:?}", seen())).await;
    server.counts(|c| &c.statsd_packets, 2).await;
    assert_eq!(server.shared.counters.statsd_dropped.get(), 0);
}

#[tokio::test]
async fn flushes_come_once_a_second_without_gap_or_double() {
    let server = start(every_second()).await;
    datagram(server.statsd_udp, b"temp:1|g").await;
    until("four flushes", || server.shared.counters.statsd_flushes.get() >= 4, String::new).await;
    let times: Vec<i64> = server.read("stats.gauges.temp", 0).into_iter().map(|(t, _)| t).collect();
    assert!(times.len() >= 3 && times.windows(2).all(|pair| pair[1] == pair[0] + 1), "{times:?}");
}

#[tokio::test]
async fn what_was_counted_is_stored_at_the_end() {
    let server = start(Setup::default()).await;
    datagram(server.statsd_udp, b"hits:2|c").await;
    server.counts(|c| &c.statsd_packets, 1).await;
    let interval_s = 10;
    let next_s = (server.now_s() / interval_s + 1) * interval_s;
    let (engine, _dir) = server.stop().await;
    let points = read(&engine, "stats_counts.hits", next_s);
    // A tick may have passed since the time was looked at.
    assert!(
        points == [(0, 2.0)] || points == [(interval_s, 2.0)] || points == [(0, 2.0), (interval_s, 0.0)],
        "{points:?}"
    );
}

#[tokio::test]
async fn a_flush_waits_for_the_engine_and_packets_do_not() {
    let server = start(Setup { memtable_bytes: Some(0), ..every_second() }).await;
    let mut full = PathPoints::default();
    full.push("full", server.now_s(), 1.0);
    server.shared.paths.write_paths(&full, Durability::Sync).unwrap().wait().unwrap();
    datagram(server.statsd_udp, b"temp:1|g").await;
    until("a flush that waits", || server.shared.counters.statsd_waits.get() > 0, String::new).await;
    let reply = ask(server.admin, "gauges").await;
    assert!(reply.contains("temp: 1"), "{reply}");
    server.engine.flush().unwrap();
    until("the flush", || server.shared.counters.statsd_flushed_points.get() > 0, String::new).await;
    // Nobody makes room any more: what cannot be stored within two intervals is lost, and that is counted.
    until("a lost flush", || server.shared.counters.statsd_failed.get() > 0, String::new).await;
}

async fn ask(at: SocketAddr, command: &str) -> String {
    let mut stream = connect(at).await;
    stream.write_all(format!("{command}\nquit\n").as_bytes()).await.unwrap();
    let mut reply = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut reply)).await.expect("quit closes").unwrap();
    reply
}

#[tokio::test]
async fn the_admin_interface_sees_and_deletes_what_packets_made() {
    let server = start(Setup::default()).await;
    datagram(server.statsd_udp, b"temp:21.5|g\nhits:2|c").await;
    server.counts(|c| &c.statsd_packets, 1).await;
    let replies = [
        ("gauges", "{ temp: 21.5 }\nEND\n\n"),
        ("delgauges temp nope", "deleted: temp\nmetric nope not found\nEND\n\n"),
        ("gauges\nhealth down\nhealth", "{}\nEND\n\nhealth: down\nhealth: down\n"),
        ("nonsense", "ERROR\n"),
    ];
    for (command, reply) in replies {
        assert_eq!(ask(server.admin, command).await, reply, "{command}");
    }
    assert!(ask(server.admin, "counters").await.contains("hits: 2"));
}
