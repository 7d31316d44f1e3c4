use proptest::prelude::*;

use super::*;
use crate::point::{Point, Reject};

/// Pickles that Python 3.11, Python 2's cPickle or Node's StatsD wrote, as hexadecimal.
const PICKLES: &str = include_str!("../../tests/data/pickles.json");

#[derive(Default)]
struct Transcript(Vec<String>);

impl Sink for Transcript {
    fn point(&mut self, p: Point<'_>) {
        self.0.push(format!("{} {} {}", p.path, p.ts_s, p.value));
    }
    fn reject(&mut self, r: Reject<'_>) {
        self.0.push(format!("! {}: {}", r.sample.escape_ascii(), r.reason));
    }
}

fn pickle(name: &str) -> Vec<u8> {
    let all: serde_json::Value = serde_json::from_str(PICKLES).unwrap();
    let hex = all[name].as_str().unwrap_or_else(|| panic!("no pickle {name}"));
    hex.as_bytes().chunks(2).map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 16).unwrap()).collect()
}

fn run(frame: &[u8]) -> Result<Vec<String>, PickleError> {
    let mut sink = Transcript::default();
    let done = Decoder::default().decode(frame, 999, &mut sink);
    assert!(done.is_ok() || sink.0.is_empty(), "a refused frame gives nothing");
    done.map(|()| sink.0)
}

fn check(name: &str, want: &[&str]) {
    assert_eq!(
        run(&pickle(name)).as_deref(),
        Ok(&want.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]),
        "{name}"
    );
}

#[test]
fn every_protocol_gives_the_same_points() {
    for protocol in 0..=5 {
        let want = ["p.a 1700000000 1.5", "p.b 1700000000 2", "p.a 1700000001 -3"];
        check(&format!("protocol {protocol}"), &want);
    }
}

#[test]
fn python_2_and_statsd_are_understood() {
    check("python2", &["p.a 1700000000 1.5", "p.b 1700000001 2.5"]);
    check("statsd", &["p.a 1700000000 1.5", "p.b 1700000000 7"]);
    check("unicode 0", &["ü\\n.😀 1700000000 1"]);
    check("bytes 4", &["p.a 1700000000 4"]);
}

#[test]
fn any_sequence_holds_points() {
    check("tuple of lists", &["p.a 1700000000 1", "p.b 1700000000 2"]);
    check("set", &["p.a 1700000000 1"]);
    check("shared", &["p.a 1700000000 1", "p.b 1700000000 1"]);
}

#[test]
fn numbers_are_what_python_makes_floats_of() {
    let (int_64, int_128) = (2f64.powi(63), -(2f64.powi(70)));
    let value = "! p.c: the value is not a number";
    check(
        "big",
        &[&format!("p.a 1700000000 {int_64}"), &format!("p.b 1700000000 {int_128}"), value, "p.d 1700000000 1"],
    );
    check("big 0", &[&format!("p.a 1700000000 {int_64}"), "p.d 1 0"]);
    check(
        "strings",
        &[
            "p.a 1700000000 3.5",
            "p.b 1700000000 4",
            value,
            "! p.d: the time is not a number of seconds since 1970",
            "p.e 999 5",
        ],
    );
}

#[test]
fn items_of_the_wrong_shape_are_skipped_one_by_one() {
    let shape = "! : not three fields: name, value, time";
    check(
        "wrong shapes",
        &[
            shape,
            shape,
            shape,
            "! d: the value is not a number",
            shape,
            shape,
            shape,
            shape,
            "! : name: empty",
            "! nan: the value is NaN",
            "! a;b: name: a segment is not tag=value",
            "ok;b=2;x=1 1700000000 1",
        ],
    );
    check("dict inside", &[shape, "! p.b: the value is not a number", shape, "p.d 1700000000 1"]);
}

#[test]
fn what_would_build_or_call_is_refused() {
    for protocol in 0..=5 {
        let got = run(&pickle(&format!("hostile {protocol}")));
        assert!(matches!(got, Err(PickleError::Forbidden(b'c' | 0x93))), "{protocol}: {got:?}");
    }
    for op in *b"cRbioPQ\x81\x82\x83\x84\x92\x93\x97\x98" {
        assert_eq!(run(&[b']', op]), Err(PickleError::Forbidden(op)));
    }
}

#[test]
fn a_truncated_pickle_gives_nothing() {
    for protocol in 0..=5 {
        let whole = pickle(&format!("protocol {protocol}"));
        for len in 0..whole.len() {
            assert!(run(&whole[..len]).is_err(), "{protocol}: {len} of {}", whole.len());
        }
    }
}

#[test]
fn bytes_that_are_no_pickle_are_errors() {
    for (frame, want) in [
        (&b""[..], PickleError::Truncated),
        (b"\x00\x01\x02\x03\xff", PickleError::Opcode(0)),
        (b"\x80\x06N.", PickleError::Malformed(0x80)),
        (b".", PickleError::Malformed(b'.')),
        (b"K\x01.", PickleError::NotAList),
        (b"}.", PickleError::NotAList),
        (b"(.", PickleError::Malformed(b'.')),
        (b"](.", PickleError::Malformed(b'.')),
        (b"](a.", PickleError::Malformed(b'a')),
        (b"K\x01K\x02a.", PickleError::Malformed(b'a')),
        (b"K\x01(K\x02\x86.", PickleError::Malformed(0x86)),
        (b"]e.", PickleError::Malformed(b'e')),
        (b"g5\n.", PickleError::Malformed(b'g')),
        (b"]r\xff\xff\xff\xff.", PickleError::Malformed(b'r')),
        (b"X\xff\xff\xff\xff", PickleError::String),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", PickleError::String),
        (b"\x8b\xff\xff\xff\xff", PickleError::Truncated),
        (b"I1.5\n.", PickleError::Malformed(b'I')),
        (b"Fx\n.", PickleError::Malformed(b'F')),
    ] {
        assert_eq!(run(frame), Err(want), "{}", frame.escape_ascii());
    }
}

#[test]
fn nesting_is_an_error_not_an_overflow() {
    const N: usize = 400 << 10;
    let open = vec![b']'; N];
    assert_eq!(run(&open), Err(PickleError::Stack));
    assert_eq!(run(&vec![b'('; N]), Err(PickleError::Depth));
    let mut closed = vec![b']'; N / 8];
    closed.extend(vec![b'a'; N / 8 - 1]);
    closed.push(b'.');
    assert_eq!(run(&closed), Err(PickleError::Depth));
    let mut tuples = vec![b')'];
    tuples.extend(vec![0x85; N]);
    assert_eq!(run(&tuples), Err(PickleError::Depth));
    // A list inside itself has no end, and nothing looks for one.
    assert_eq!(run(b"]q\x00h\x00a.").map(|items| items.len()), Ok(1));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(frame in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = run(&frame);
    }

    #[test]
    fn flipped_bytes_are_read_or_refused(
        protocol in 0..6,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut frame = pickle(&format!("protocol {protocol}"));
        for (at, byte) in flips {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let _ = run(&frame);
    }

    /// Programs of real opcodes reach deeper than random bytes; the machine's memory stays linear.
    #[test]
    fn any_program_stays_within_its_frame(
        ops in prop::collection::vec(prop::sample::select(&b"()]}(2tlaedsu01\x85\x86\x87\x8f\x90\x91\x94h\x00h\x01q\x00K\x05N\x88"[..]), 0..400),
    ) {
        let mut frame = ops;
        frame.push(b'.');
        let mut machine = Machine::default();
        let _ = machine.run(&frame, &Limits::default());
        let (values, memo) = machine.held();
        prop_assert!(values <= frame.len() * 2 && memo <= frame.len(), "{values} values of {} bytes", frame.len());
    }
}
