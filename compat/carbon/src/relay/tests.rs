use super::*;
use crate::pickle::Decoder;
use crate::plaintext::Parser;
use crate::point::{Reject, Sink};

/// Where carbon 1.1.10 puts 10,000 names: a line of settings, then the destinations of each name in turn, as
/// letters, as many as the replication factor says.
const PLACED: &str = include_str!("../../tests/data/relay.txt");

/// The same for its other methods, 700 names each.
const METHODS: &str = include_str!("../../tests/data/relay-methods.txt");

/// The names of the vectors.
fn name(n: usize) -> String {
    match n % 3 {
        0 => format!("servers.web{}.cpu.{}.idle", n % 97, n),
        1 => format!("stats.timers.app{}.req{}.upper_90", n % 13, n),
        _ => format!("disk.used;dc=dc{};host=h{}", n % 5, n),
    }
}

fn destinations(text: &str) -> Vec<Destination> {
    text.split(',').map(|d| d.parse().unwrap()).collect()
}

#[test]
fn names_are_placed_as_carbon_places_them() {
    let mut compared = 0;
    let mut lines = PLACED.lines();
    while let (Some(settings), Some(placed)) = (lines.next(), lines.next()) {
        let [hash, factor, diverse, list] = settings.split(' ').collect::<Vec<_>>()[..] else { panic!("{settings}") };
        let hash = if hash == "carbon_ch" { HashType::Carbon } else { HashType::Fnv1a };
        let factor: usize = factor.parse().unwrap();
        let diverse_replicas = diverse == "diverse";
        let hashing = Hashing { hash, replication_factor: factor, diverse_replicas, ..Hashing::default() };
        let router = Router::hashing(destinations(list), hashing).unwrap();
        let mut want = placed.as_bytes().chunks(factor);
        for n in 0..10_000 {
            let mut got = String::new();
            router.route(&name(n), |at| got.push(char::from(b'a' + at as u8)));
            assert_eq!(Some(got.as_bytes()), want.next(), "{settings}: {}", name(n));
            compared += 1;
        }
    }
    assert_eq!(compared, 40_000);
}

/// The rules of the vectors for the methods that look at aggregates.
const AGGREGATES: &str = "cpu.<host> (60) = sum servers.<host>.cpu.*.idle
app.<app>.upper (60) = max stats.timers.<app>.<<req>>.upper_90
all.<kind>.upper (60) = max stats.<kind>.app*.<<req>>.upper_90";

#[test]
fn the_other_methods_place_names_as_carbon_does() {
    let mut lines = METHODS.lines().skip(1);
    let mut compared = 0;
    while let (Some(settings), Some(placed)) = (lines.next(), lines.next()) {
        let [method, hash, factor, diverse, list] = settings.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{settings}")
        };
        let hashing = Hashing {
            hash: match hash {
                "carbon_ch" => HashType::Carbon,
                "fnv1a_ch" => HashType::Fnv1a,
                _ => HashType::Mmh3,
            },
            fast: method.starts_with("fast"),
            replication_factor: factor.parse().unwrap(),
            diverse_replicas: diverse == "diverse",
            aggregation: method.contains("aggregated").then(|| AggregationRules::parse(AGGREGATES, "").0),
        };
        let aggregated = hashing.aggregation.is_some();
        let router = Router::hashing(destinations(list), hashing).unwrap();
        for (n, want) in placed.split(' ').enumerate() {
            let mut got = Vec::new();
            router.route(&name(n), |at| got.push(char::from(b'a' + at as u8)));
            // carbon takes them out of a set, in any order.
            if aggregated {
                got.sort_unstable();
            }
            assert_eq!(got.iter().collect::<String>(), want, "{settings}: {}", name(n));
            compared += 1;
        }
    }
    assert_eq!(compared, 24 * 700);
}

fn routed(rules: &str, list: &str, path: &str) -> Vec<String> {
    let (rules, _) = RelayRules::parse(rules, "r.conf").unwrap();
    let router = Router::rules(destinations(list), rules).unwrap();
    let mut got = Vec::new();
    router.route(path, |at| got.push(router.destinations()[at].to_string()));
    got
}

#[test]
fn rules_are_searched_in_order_and_one_may_go_on() {
    let rules = "[a]\npattern = ^Servers\\.\ndestinations = one:1, two:2:x\n\
                 [b]\npattern = cpu\ndestinations = two:2:x,three:3\ncontinue = true\n\
                 [off]\ndefault = false\ndestinations = one:1\n\
                 [d]\ndefault = true\ndestinations = three:3, gone:4\n";
    let list = "one:1,two:2:x,three:3";
    for (path, want) in
        [("servers.cpu", &["one:1", "two:2:x"][..]), ("x.CPU.y", &["two:2:x", "three:3"]), ("other", &["three:3"])]
    {
        assert_eq!(routed(rules, list, path), want, "{path}");
    }
}

#[test]
fn what_carbon_does_not_start_with_is_refused_with_its_place() {
    for (text, want) in [
        ("[a]\npattern = x\n", "r.conf:1: [a] no destinations"),
        ("[a]\ndestinations = a:1\n", "r.conf:1: [a] neither pattern nor default"),
        ("[a]\npattern = x\ndefault = true\ndestinations = a:1\n", "r.conf:3: [a] both"),
        (
            "[a]\ndefault = true\ndestinations = a:1\n[b]\ndefault = true\ndestinations = a:1\n",
            "r.conf:5: [b] a second",
        ),
        ("[a]\npattern = x\ndestinations = a:1\n", "r.conf: no section with default"),
        ("[a]\npattern = (\ndestinations = a:1\n", "r.conf:2: [a] invalid pattern"),
        ("[a]\npattern = x\ndestinations = a\n", "r.conf:3: [a] `a` is no destination"),
        ("[a]\npattern = x\ndestinations = a:1\ncontinue = maybe\n", "r.conf:4: [a] continue is"),
    ] {
        let message = RelayRules::parse(text, "r.conf").unwrap_err();
        assert!(message.starts_with(want), "{message}");
    }
}

#[test]
fn destinations_read_back() {
    for text in ["a:1", "10.0.0.1:2004:b", "[::1]:2004", "[fd00::2]:2004:c"] {
        assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
    }
    for text in ["", "a", "a:", ":1", "a:70000", "a:1:", "a:1:b:c", "[::1:2"] {
        assert!(text.parse::<Destination>().is_err(), "{text}");
    }
    let twice = Router::hashing(destinations("a:1:x,a:2:x"), Hashing::default());
    assert!(twice.unwrap_err().starts_with("a:2:x: host and instance"));
    assert!(Router::hashing(Vec::new(), Hashing::default()).is_err());
}

#[derive(Default)]
struct Points(Vec<(String, i64, f64)>);

impl Sink for Points {
    fn point(&mut self, p: Point<'_>) {
        self.0.push((p.path.to_owned(), p.ts_s, p.value));
    }
    fn reject(&mut self, r: Reject<'_>) {
        panic!("{}", r.reason);
    }
}

#[test]
fn what_is_sent_reads_back_as_the_same_points() {
    let values = [0.0, -0.0, 1.5, 1e300, -1e-300, f64::MAX, f64::INFINITY, 1.0 / 3.0, 123_456_789_012.0];
    let want: Vec<(String, i64, f64)> = (values.iter().enumerate())
        .map(|(n, v)| (format!("a.ü{n};k=v"), [0, 1_700_000_000, i64::from(u32::MAX)][n % 3], *v))
        .collect();
    let points = || want.iter().map(|(path, ts_s, value)| Point { path, ts_s: *ts_s, value: *value });
    let mut lines = String::new();
    points().for_each(|p| write_line(p, &mut lines));
    let mut sink = Points::default();
    Parser::default().parse_lines(lines.as_bytes(), 0, &mut sink);
    assert_eq!(sink.0, want);
    let mut frame = Vec::new();
    write_pickle(points(), &mut frame);
    assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
    let mut sink = Points::default();
    Decoder::default().decode(&frame[4..], 0, &mut sink).unwrap();
    assert_eq!(sink.0, want);
}
