//! Bytes from anywhere: no panic, and no more memory than the file's length justifies.

// A test's helpers fail by panicking too.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rhythmite_whisper::{AggregationMethod, Ring, Whisper, write};

fn valid() -> Vec<u8> {
    let fine: Vec<_> = (0..40).map(|i| (1_717_243_200 - i * 10, f64::from(i))).collect();
    let coarse: Vec<_> = (0..50).map(|i| (1_717_243_200 - i * 60, f64::from(i))).collect();
    let rings = [Ring { step_s: 10, points: 60, data: &fine }, Ring { step_s: 60, points: 60, data: &coarse }];
    write(AggregationMethod::Average, 0.5, &rings).unwrap()
}

/// Reads everything there is to read and holds it against the file's length.
fn read_all(bytes: &[u8], now_s: u32) {
    let slots = bytes.len() / 12;
    let Ok(file) = Whisper::parse(bytes) else { return };
    assert!(file.archives().len() <= slots);
    for i in 0..file.archives().len() {
        let salvage = file.salvage(i, u32::MAX).unwrap();
        assert!(salvage.points.capacity() <= slots);
        assert_eq!(file.points(i).is_ok(), salvage.damage.is_none());
    }
    for (from, until) in [(i64::MIN, i64::MAX), (0, now_s.into()), (i64::from(now_s) - 600, now_s.into())] {
        if let Ok(Some(got)) = file.fetch(from, until, now_s) {
            assert!(got.values.len() <= slots + 1, "{} values of {slots} slots", got.values.len());
            assert_eq!(got.values.len() as i64 * i64::from(got.step_s), got.end_s - got.start_s);
        }
    }
}

#[test]
fn every_truncation_is_read_or_refused() {
    let bytes = valid();
    for len in 0..=bytes.len() {
        read_all(&bytes[..len], 1_717_243_200);
    }
}

proptest! {
    #[test]
    fn flipped_bytes(flips in prop::collection::vec((0usize..64, any::<u8>()), 1..6), now in any::<u32>()) {
        let mut bytes = valid();
        for (at, byte) in flips {
            bytes[at] = byte;
        }
        read_all(&bytes, now);
        read_all(&bytes, 1_717_243_200);
    }

    #[test]
    fn arbitrary_archives(
        words in prop::collection::vec(prop_oneof![Just(0), Just(u32::MAX), 0u32..200, any::<u32>()], 4..60),
        archives in 0u32..5,
        now in any::<u32>(),
    ) {
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        bytes[..4].copy_from_slice(&1u32.to_be_bytes());
        bytes[8..12].copy_from_slice(&0.5f32.to_bits().to_be_bytes());
        bytes[12..16].copy_from_slice(&archives.to_be_bytes());
        read_all(&bytes, now);
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), now in any::<u32>()) {
        read_all(&bytes, now);
    }
}
