//! A driven clock and destinations that die and come back.

use std::collections::BTreeMap;
use std::io;

use rhythmite_carbon::plaintext::Parser;
use rhythmite_carbon::relay::Hashing;
use rhythmite_carbon::{Point, Reject, Sink};
use rhythmite_env::{Clock, ManualClock, RealFs, SystemRandom};

use super::sender::Wire;
use super::*;

/// What a destination is and has seen; the test's end of a [`FakeWire`].
#[derive(Default)]
struct Far {
    alive: bool,
    connects: usize,
    seen: BTreeMap<String, Vec<i64>>,
}

struct FakeWire {
    far: Arc<Mutex<Far>>,
    open: bool,
}

impl Sink for Far {
    fn point(&mut self, point: Point<'_>) {
        self.seen.entry(point.path.to_owned()).or_default().push(point.ts_s);
    }

    fn reject(&mut self, reject: Reject<'_>) {
        panic!("{}", reject.reason);
    }
}

impl Wire for FakeWire {
    fn connect(&mut self) -> io::Result<()> {
        let mut far = self.far.lock();
        far.connects += 1;
        self.open = far.alive;
        if far.alive { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut far = self.far.lock();
        if !far.alive {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Parser::default().parse_lines(bytes, 0, &mut *far);
        Ok(())
    }

    fn is_closed(&mut self) -> bool {
        false
    }

    fn close(&mut self) {
        self.open = false;
    }
}

/// One destination with its queue, on a clock that the test drives.
struct World {
    clock: Arc<ManualClock>,
    env: Env,
    counters: Arc<Counters>,
    options: Options,
    dir: tempfile::TempDir,
}

impl World {
    fn new(memory_bytes: usize, disk_bytes: u64) -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
        let env = Env { clock: clock.clone(), fs: Arc::new(RealFs), random: Arc::new(SystemRandom) };
        let options = Options { protocol: Protocol::Line, memory_bytes, disk_bytes, ..Options::default() };
        Self { clock, env, counters: Arc::default(), options, dir: tempfile::tempdir().unwrap() }
    }

    fn lane(&self, name: &str) -> (Arc<Queue>, Sender<FakeWire>, Arc<Mutex<Far>>) {
        let queue = Queue::open(&self.env, self.dir.path().join(name), &self.options, self.counters.clone()).unwrap();
        let queue = Arc::new(queue);
        let far = Arc::new(Mutex::new(Far { alive: true, ..Far::default() }));
        let wire = FakeWire { far: far.clone(), open: false };
        let destination = format!("{name}:1").parse().unwrap();
        let (env, counters) = (self.env.clone(), self.counters.clone());
        (queue.clone(), Sender::new(queue, wire, &self.options, env, counters, &destination), far)
    }

    /// The files of a queue.
    fn files(&self, name: &str) -> usize {
        std::fs::read_dir(self.dir.path().join(name)).unwrap().count()
    }

    /// Lets senders work until nothing is to be done at this time.
    fn work(&self, senders: &mut [&mut Sender<FakeWire>]) {
        for sender in senders {
            while sender.step().is_none() {}
        }
    }
}

/// Points of one second: `paths` of them.
fn second(ts_s: i64, paths: usize) -> Chunk {
    let mut chunk = Chunk::default();
    (0..paths).for_each(|n| chunk.push(&format!("servers.host{n}.load"), ts_s, 0.5));
    chunk
}

#[test]
fn a_destination_dies_for_ten_minutes_and_comes_back() {
    let world = World::new(100_000, 100 << 20);
    let (queue, mut sender, far) = world.lane("one");
    let (other_queue, mut other, other_far) = world.lane("two");
    let mut held_max = 0;
    for s in 0..720 {
        far.lock().alive = !(60..660).contains(&s);
        queue.push(second(s, 100));
        other_queue.push(second(s, 100));
        world.work(&mut [&mut sender, &mut other]);
        held_max = held_max.max(queue.levels().memory_bytes);
        // The other has everything at once, whatever the first does.
        assert_eq!(other_far.lock().seen["servers.host99.load"].len() as i64, s + 1);
        world.clock.advance(Duration::from_secs(1));
    }
    assert!(held_max <= 100_000, "{held_max}");
    let far = far.lock();
    let all: Vec<i64> = (0..720).collect();
    assert!(far.seen.values().all(|times| *times == all), "in order, none twice, none lost");
    assert_eq!((far.seen.len(), queue.levels()), (100, queue::Levels::default()));
    assert_eq!(world.files("one"), 0, "files that were sent are removed");
    // 1 + 2 + 4 + 8 + 16 s, then every 30 s: not a try each second.
    assert!((20..40).contains(&far.connects), "{}", far.connects);
    assert_eq!((other_far.lock().connects, world.counters.relay_dropped.get()), (1, 0));
}

#[test]
fn what_is_beyond_the_limits_is_dropped_and_counted() {
    let world = World::new(10_000, 50_000);
    let (queue, mut sender, far) = world.lane("one");
    far.lock().alive = false;
    for s in 0..100 {
        queue.push(second(s, 100));
    }
    let levels = queue.levels();
    assert!(levels.memory_bytes <= 10_000 && levels.disk_bytes <= 50_000 && levels.disk_bytes > 40_000, "{levels:?}");
    assert_eq!(levels.points + levels.dropped, 10_000);
    assert_eq!(world.counters.relay_dropped.get(), levels.dropped);
    assert_eq!(world.counters.offenders.last("relay.dropped")[0].text, "servers.host0.load");
    far.lock().alive = true;
    world.work(&mut [&mut sender]);
    let seen = far.lock().seen.values().map(|times| times.len() as u64).sum::<u64>();
    assert_eq!((seen, world.counters.relay_sent.get()), (levels.points, levels.points));
    // There is room again.
    queue.push(second(200, 1));
    assert_eq!(queue.levels().points, 1);
}

#[test]
fn what_waits_survives_a_restart_in_order() {
    let world = World::new(10_000, 1 << 20);
    let (queue, mut sender, far) = world.lane("one");
    far.lock().alive = false;
    for s in 0..10 {
        queue.push(second(s, 100));
    }
    // A chunk was taken and could not be sent.
    assert!(sender.step().is_some());
    queue.close();
    sender.run();
    drop(queue);

    let (queue, mut sender, far) = world.lane("one");
    assert_eq!(queue.levels().points, 1_000);
    queue.push(second(10, 100));
    world.work(&mut [&mut sender]);
    let want: Vec<i64> = (0..=10).collect();
    assert!(far.lock().seen.values().all(|times| *times == want));
    assert_eq!(world.files("one"), 0);
}

#[test]
fn a_torn_record_costs_only_itself() {
    let world = World::new(0, 1 << 20);
    let (queue, ..) = world.lane("one");
    for s in 0..3 {
        queue.push(second(s, 10));
    }
    drop(queue);
    let dir = world.dir.path().join("one");
    let path = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let (queue, mut sender, far) = world.lane("one");
    assert_eq!((queue.levels().points, world.counters.relay_damaged.get()), (20, 1));
    queue.push(second(3, 10));
    world.work(&mut [&mut sender]);
    assert_eq!(far.lock().seen["servers.host9.load"], [0, 1, 3]);
    assert_eq!(world.files("one"), 0);
}

#[test]
fn a_file_of_another_version_is_refused_and_left_alone() {
    let world = World::new(0, 1 << 20);
    let dir = world.dir.path().join("one");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("00000000004294967296.queue");
    std::fs::write(&path, b"RHYREL\x02\0later").unwrap();
    let open = Queue::open(&world.env, dir.clone(), &world.options, world.counters.clone());
    let message = open.err().unwrap().to_string();
    assert!(message.contains("not a queue of this version"), "{message}");
    assert!(path.exists());
    // One that a crash cut at its very beginning holds nothing.
    std::fs::write(&path, b"RHY").unwrap();
    let queue = Queue::open(&world.env, dir, &world.options, world.counters.clone()).unwrap();
    assert_eq!((queue.levels().points, world.files("one")), (0, 0));
}

#[test]
fn names_that_a_line_cannot_hold_are_counted() {
    let world = World::new(10_000, 0);
    let (queue, mut sender, far) = world.lane("one");
    let mut chunk = Chunk::default();
    chunk.push("a b", 1, 1.0);
    chunk.push("c", 1, 1.0);
    queue.push(chunk);
    world.work(&mut [&mut sender]);
    assert_eq!(far.lock().seen.keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(world.counters.relay_unsendable.get(), 1);
}

#[test]
fn points_reach_their_destinations_by_tcp() {
    use std::io::Read;
    let listeners: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let destinations = listeners.iter().enumerate().map(|(n, l)| {
        let port = l.local_addr().unwrap().port();
        format!("127.0.0.1:{port}:{n}").parse().unwrap()
    });
    let router =
        Router::hashing(destinations.collect(), Hashing { diverse_replicas: false, ..Hashing::default() }).unwrap();
    let mut want = [0, 0];
    let mut points = PathPoints::default();
    for n in 0..1_000 {
        let path = format!("a.b{n}");
        router.route(&path, |at| want[at] += 1);
        points.push(&path, 1_700_000_000, f64::from(n));
    }
    let (counters, dir) = (Arc::new(Counters::default()), tempfile::tempdir().unwrap());
    let options = Options { protocol: Protocol::Line, ..Options::default() };
    let relay = Relay::start(&Env::real(), dir.path(), router, &options, &counters).unwrap();
    relay.send(&points);
    let readers = listeners.into_iter().map(|listener| {
        std::thread::spawn(move || {
            let mut text = String::new();
            listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
            text.lines().count()
        })
    });
    let readers: Vec<_> = readers.collect();
    let clock = rhythmite_env::SystemClock::new();
    while counters.relay_sent.get() < 1_000 && clock.monotonic() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(relay.status().iter().all(|s| s.health.connected && s.queued_points == 0));
    relay.stop();
    assert_eq!(readers.into_iter().map(|r| r.join().unwrap()).collect::<Vec<_>>(), want);
    assert!(want.iter().all(|n| *n > 300), "{want:?}");
}

/// A destination that speaks TLS with the certificate of `tests/data/tls`; gives what each connection sent.
fn tls_listener(connections: usize) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    use std::io::Read;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../../tests/data/tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../tests/data/tls/server.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let one = |_| {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, listener.accept().unwrap().0);
            let mut text = Vec::new();
            // An end without a farewell, or a handshake that the peer does not like, is an end too.
            let _ = stream.read_to_end(&mut text);
            String::from_utf8(text).unwrap()
        };
        (0..connections).map(one).collect()
    };
    (port, std::thread::spawn(serve))
}

#[test]
fn points_reach_a_destination_by_tls_if_its_certificate_is_believed() {
    const OURS: &[u8] = include_bytes!("../../tests/data/tls/ca.pem");
    const ANOTHER: &[u8] = include_bytes!("../../tests/data/tls/other-ca.pem");
    let clock = rhythmite_env::SystemClock::new();
    for (host, authorities, believed) in [
        ("localhost", OURS, true),
        ("127.0.0.1", OURS, true),
        ("localhost", ANOTHER, false),
        ("127.0.0.1", ANOTHER, false),
    ] {
        let (port, far) = tls_listener(1);
        let destination = format!("{host}:{port}").parse::<Destination>().unwrap();
        let router = Router::hashing(vec![destination], Hashing::default()).unwrap();
        let (counters, dir) = (Arc::new(Counters::default()), tempfile::tempdir().unwrap());
        let tls = Some(Tls::new(authorities).unwrap());
        let options = Options { protocol: Protocol::Line, tls, ..Options::default() };
        let relay = Relay::start(&Env::real(), dir.path(), router, &options, &counters).unwrap();
        let mut points = PathPoints::default();
        points.push("a.b", 1_700_000_000, 1.5);
        relay.send(&points);
        let until = clock.monotonic() + Duration::from_secs(20);
        let done = || if believed { counters.relay_sent.get() } else { counters.relay_failures.get() };
        while done() == 0 && clock.monotonic() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = relay.status().remove(0);
        relay.stop();
        let text = far.join().unwrap().concat();
        assert_eq!((status.health.connected, status.queued_points), (believed, u64::from(!believed)), "{host}");
        assert_eq!(text, if believed { "a.b 1.5 1700000000\n" } else { "" }, "{host}");
        assert_eq!(status.health.last_error.contains("ertificate"), !believed, "{}", status.health.last_error);
    }
    assert!(Tls::new(b"no certificate").is_err());
}

#[test]
fn another_router_of_the_same_destinations_holds_at_once() {
    let rules = |pattern: &str| {
        let text = format!(
            "[a]\npattern = {pattern}\ndestinations = 127.0.0.1:1:a\n[d]\ndefault = true\ndestinations = 127.0.0.1:1:b\n"
        );
        rhythmite_carbon::rules::RelayRules::parse(&text, "").unwrap().0
    };
    let destinations = |list: &[&str]| list.iter().map(|d| d.parse().unwrap()).collect::<Vec<Destination>>();
    let both = destinations(&["127.0.0.1:1:a", "127.0.0.1:1:b"]);
    let (counters, dir) = (Arc::new(Counters::default()), tempfile::tempdir().unwrap());
    let router = Router::rules(both.clone(), rules("^x")).unwrap();
    let relay = Relay::start(&Env::real(), dir.path(), router, &Options::default(), &counters).unwrap();
    let queued = || relay.status().iter().map(|s| s.queued_points).collect::<Vec<_>>();
    let mut points = PathPoints::default();
    points.push("x.y", 1, 1.0);
    relay.send(&points);
    assert_eq!(queued(), [1, 0]);
    assert!(relay.replace_router(Router::rules(both, rules("^z")).unwrap()));
    relay.send(&points);
    assert_eq!(queued(), [1, 1]);
    assert!(!relay.replace_router(Router::rules(destinations(&["127.0.0.1:1:a"]), rules("^x")).unwrap()));
    relay.send(&points);
    assert_eq!(queued(), [1, 2]);
    relay.stop();
}
