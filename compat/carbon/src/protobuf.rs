//! carbon's protobuf frames: `Payload { repeated Metric metrics = 1 }`, `Metric { string metric = 1; repeated Point
//! points = 2 }`, `Point { uint32 timestamp = 1; double value = 2 }`. The length before a frame is that of a pickle
//! ([`crate::framer::split_frame`]).
//!
//! A frame is walked twice: first whether it can be read at all, then for its points. Unknown fields are skipped. Nothing is
//! allocated; messages are not nested deeper than these three.
//!
//! Source: carbon.proto of carbon 1.1 and go-carbon.

use std::fmt;

use crate::point::{Reason, Sink, deliver, reject};

/// A frame is refused whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtobufError {
    /// It ends within a field.
    Short,
    /// A field has a type that it cannot have, or a number of more than ten bytes.
    Malformed,
}

impl fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "it ends within a field",
            Self::Malformed => "a field is none of carbon.proto's",
        })
    }
}

impl std::error::Error for ProtobufError {}

/// Hands every point of one frame (without its length) to `sink`, in order. `now_s` is what a time of -1 would stand for,
/// which this protocol cannot send.
///
/// # Errors
/// The frame is refused whole; the sink has seen nothing of it. The connection can go on.
pub fn decode(frame: &[u8], now_s: i64, sink: &mut impl Sink) -> Result<(), ProtobufError> {
    walk(frame, |_, _, _| ())?;
    let mut scratch = String::new();
    walk(frame, |name, ts_s, value| match std::str::from_utf8(name) {
        Ok(path) => deliver(sink, &mut scratch, (path, Some(value), Some(ts_s)), now_s, name),
        Err(_) => reject(sink, Reason::NotUtf8, name),
    })
}

fn walk(frame: &[u8], mut point: impl FnMut(&[u8], f64, f64)) -> Result<(), ProtobufError> {
    fields(frame, |field| {
        let (1, Field::Bytes(metric)) = field else { return field.not(&[1]) };
        let mut name = &b""[..];
        // The name may stand behind the points.
        fields(metric, |field| match field {
            (1, Field::Bytes(text)) => {
                name = text;
                Ok(())
            }
            (2, Field::Bytes(_)) => Ok(()),
            other => other.not(&[1, 2]),
        })?;
        fields(metric, |field| {
            let (2, Field::Bytes(bytes)) = field else { return Ok(()) };
            let (mut ts_s, mut value) = (0.0, 0.0);
            fields(bytes, |field| match field {
                // Numbers above 32 bits are cut, as protobuf does.
                (1, Field::Varint(n)) => {
                    ts_s = f64::from(n as u32);
                    Ok(())
                }
                (2, Field::Fixed64(bits)) => {
                    value = f64::from_bits(bits);
                    Ok(())
                }
                other => other.not(&[1, 2]),
            })?;
            point(name, ts_s, value);
            Ok(())
        })
    })
}

enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// A field that is not one of the known numbers is skipped; one that is has the wrong type.
trait Skip {
    fn not(&self, known: &[u64]) -> Result<(), ProtobufError>;
}

impl Skip for (u64, Field<'_>) {
    fn not(&self, known: &[u64]) -> Result<(), ProtobufError> {
        if known.contains(&self.0) { Err(ProtobufError::Malformed) } else { Ok(()) }
    }
}

fn fields<'a>(
    mut rest: &'a [u8],
    mut field: impl FnMut((u64, Field<'a>)) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            0 => Field::Varint(varint(&mut rest)?),
            1 => {
                let (bytes, tail) = rest.split_first_chunk::<8>().ok_or(ProtobufError::Short)?;
                rest = tail;
                Field::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let len = usize::try_from(varint(&mut rest)?).map_err(|_| ProtobufError::Short)?;
                let (bytes, tail) = rest.split_at_checked(len).ok_or(ProtobufError::Short)?;
                rest = tail;
                Field::Bytes(bytes)
            }
            5 => {
                let (_, tail) = rest.split_first_chunk::<4>().ok_or(ProtobufError::Short)?;
                rest = tail;
                Field::Fixed32
            }
            _ => return Err(ProtobufError::Malformed),
        };
        match key >> 3 {
            0 => return Err(ProtobufError::Malformed),
            number => field((number, value))?,
        }
    }
    Ok(())
}

fn varint(rest: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut number = 0;
    for (i, byte) in rest.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Ok(number);
        }
    }
    Err(if rest.len() < 10 { ProtobufError::Short } else { ProtobufError::Malformed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::{Point, Reject};

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Sink for Seen {
        fn point(&mut self, p: Point<'_>) {
            self.0.push(format!("{} {} {}", p.path, p.value, p.ts_s));
        }
        fn reject(&mut self, r: Reject<'_>) {
            self.0.push(format!("{:?}", r.reason));
        }
    }

    fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    /// A point with a time of two bytes.
    fn point(ts_s: u64, value: f64) -> Vec<u8> {
        let varint = [8, (ts_s & 0x7f) as u8 | 0x80, (ts_s >> 7) as u8];
        message(2, &[&varint[..], &[17], &value.to_le_bytes()].concat())
    }

    fn check(frame: &[u8], want: Result<&[&str], ProtobufError>) {
        let mut seen = Seen::default();
        let got = decode(frame, 0, &mut seen).map(|()| seen.0.clone());
        let want = want.map(|points| points.iter().map(|&p| p.to_owned()).collect::<Vec<_>>());
        assert_eq!(got, want);
        assert!(got.is_ok() || seen.0.is_empty(), "nothing of a refused frame");
    }

    #[test]
    fn metrics_and_their_points() {
        let one = [message(1, b"a..b"), point(1_000, 1.5), point(1_001, -2.0)].concat();
        let behind = [point(1_002, 3.0), message(1, b"c;y=2;x=1")].concat();
        let frame = [message(1, &one), message(1, &behind)].concat();
        check(&frame, Ok(&["a.b 1.5 1000", "a.b -2 1001", "c;x=1;y=2 3 1002"]));
        check(b"", Ok(&[]));
        // Unknown fields of every type are skipped.
        let unknown = [&frame[..], &[0x18, 5, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4, 0x32, 1, 9]].concat();
        check(&unknown, Ok(&["a.b 1.5 1000", "a.b -2 1001", "c;x=1;y=2 3 1002"]));
        let odd = [message(1, b"a\xff"), point(1_000, 1.0)].concat();
        let nan = [message(1, b"a"), point(1_000, f64::NAN)].concat();
        check(&[message(1, &odd), message(1, &nan)].concat(), Ok(&["NotUtf8", "Nan"]));
    }

    #[test]
    fn what_cannot_be_read_is_refused_whole() {
        let good = message(1, &[message(1, b"a"), point(1_000, 1.0)].concat());
        for end in 1..good.len() {
            let cut = [&good[..], &good[..end]].concat();
            assert!(decode(&cut, 0, &mut Seen::default()).is_err(), "{end}");
        }
        check(&[&good[..], &[0x08, 1]].concat(), Err(ProtobufError::Malformed));
        check(&[0x0b], Err(ProtobufError::Malformed));
        check(&[0x02, 0], Err(ProtobufError::Malformed));
        check(&[0xff; 11], Err(ProtobufError::Malformed));
        check(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Err(ProtobufError::Short));
    }
}
