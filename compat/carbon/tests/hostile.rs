//! Bytes from anywhere: every line is answered once, nothing panics, nothing is held beyond its limit.

use proptest::prelude::*;
use rhythmite_carbon::framer::{LineFramer, split_frame};
use rhythmite_carbon::name;
use rhythmite_carbon::pickle::Decoder;
use rhythmite_carbon::plaintext::Parser;
use rhythmite_carbon::{Point, Reason, Reject, Sink};

const LINE_BYTES_MAX: usize = 64;

#[derive(Default, Debug, PartialEq)]
struct Seen {
    points: Vec<(String, i64, u64)>,
    rejects: Vec<Reason>,
}

impl Sink for Seen {
    fn point(&mut self, p: Point<'_>) {
        let mut scratch = String::new();
        assert_eq!(name::canonical(p.path, &mut scratch), Ok(p.path), "the name is canonical");
        assert!(!p.value.is_nan() && (0..1 << 32).contains(&p.ts_s));
        self.points.push((p.path.to_owned(), p.ts_s, p.value.to_bits()));
    }
    fn reject(&mut self, r: Reject<'_>) {
        assert!(r.sample.len() <= 400);
        self.rejects.push(r.reason);
    }
}

fn parser() -> Parser {
    let mut parser = Parser::default();
    parser.line_bytes_max = LINE_BYTES_MAX;
    parser
}

/// Bytes that look like lines more often than chance would have it.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => "[a-c.~;={}\",]{1,12} -?[0-9._e]{1,5} [0-9.-]{1,12}\r?\n".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..90),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"ok 1 2\n".to_vec()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_line_is_answered_once(buf in stream()) {
        let mut seen = Seen::default();
        parser().parse_lines(&buf, 1000, &mut seen);
        let answered = seen.points.len() + seen.rejects.len();
        let lines = buf.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let blank = lines.clone().filter(|l| std::str::from_utf8(l).is_ok_and(|l| l.split_whitespace().all(|w| {
            w.bytes().all(|b| (0x1c..0x20).contains(&b))
        })));
        let long = blank.clone().filter(|l| l.len() > LINE_BYTES_MAX).count();
        prop_assert_eq!(answered, lines.count() - blank.count() + long);
    }

    #[test]
    fn how_a_stream_is_cut_makes_no_difference(buf in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let complete = buf.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let mut whole = Seen::default();
        parser().parse_lines(&buf[..complete], 1000, &mut whole);

        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(buf.len() + 1)).collect();
        cuts.extend([0, buf.len()]);
        cuts.sort_unstable();
        let (mut seen, mut framer, mut parser) = (Seen::default(), LineFramer::new(LINE_BYTES_MAX), parser());
        for pair in cuts.windows(2) {
            framer.feed(&buf[pair[0]..pair[1]], |lines| parser.parse_lines(lines, 1000, &mut seen));
            prop_assert!(framer.pending_bytes() <= LINE_BYTES_MAX + 1);
        }
        // Of an over-long line only the head is kept, which may or may not show bytes that are not UTF-8.
        let coarse = |seen: &Seen| (seen.points.clone(), seen.rejects.len());
        prop_assert_eq!(coarse(&seen), coarse(&whole));
    }

    #[test]
    fn names_are_canonical_or_refused(raw in "([ab.~;={}\"\\\\,!^:ü]|;(name|[ab]{1,2})=|[{,]a=\"|\"}){0,20}(\"})?") {
        let (mut scratch, mut again) = (String::new(), String::new());
        if let Ok(canonical) = name::canonical(&raw, &mut scratch) {
            prop_assert_eq!(name::canonical(canonical, &mut again), Ok(canonical), "from {:?}", raw);
        }
    }

    #[test]
    fn frames_and_pickles_of_any_bytes(buf in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut decoder, mut rest, mut seen) = (Decoder::default(), &buf[..], Seen::default());
        while let Ok(Some(frame)) = split_frame(rest, 100) {
            prop_assert!(frame.payload.len() <= 100);
            let _ = decoder.decode(frame.payload, 0, &mut seen);
            rest = frame.rest;
        }
    }
}
