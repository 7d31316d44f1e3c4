//! Answers of a carbon-cache: frames with a pickled dictionary, protocol 2. Questions are read by
//! [`Decoder::decode_query`](crate::pickle::Decoder::decode_query).

/// A time in seconds and a value.
pub type Datapoint = (i64, f64);

/// `{'datapoints': [(time, value), ...]}`
pub fn datapoints(points: &[Datapoint]) -> Vec<u8> {
    frame(|out| {
        text("datapoints", out);
        list(points, out);
    })
}

/// `{'datapointsByMetric': {metric: [(time, value), ...], ...}}`
pub fn datapoints_by_metric<'a>(metrics: impl IntoIterator<Item = (&'a str, &'a [Datapoint])>) -> Vec<u8> {
    frame(|out| {
        text("datapointsByMetric", out);
        out.extend_from_slice(b"}(");
        for (metric, points) in metrics {
            text(metric, out);
            list(points, out);
        }
        out.push(b'u');
    })
}

/// `{'value': value}`
pub fn value(value: &str) -> Vec<u8> {
    pair("value", value)
}

/// `{'error': message}`
pub fn error(message: &str) -> Vec<u8> {
    pair("error", message)
}

fn pair(key: &str, value: &str) -> Vec<u8> {
    frame(|out| {
        text(key, out);
        text(value, out);
    })
}

/// A frame of a dictionary with the one member that `member` writes.
fn frame(member: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"\0\0\0\0\x80\x02}".to_vec();
    member(&mut out);
    out.extend_from_slice(b"s.");
    let len = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'X');
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn list(points: &[Datapoint], out: &mut Vec<u8>) {
    out.extend_from_slice(b"](");
    for (ts_s, value) in points {
        for number in [*ts_s as f64, *value] {
            out.push(b'G');
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(0x86);
    }
    out.push(b'e');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pickle::{CacheQuery, Decoder, PickleError};

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn questions_are_read_as_python_writes_them() {
        let ask = |frame: &[u8]| Decoder::default().decode_query(frame);
        // pickle.dumps({'type': 'cache-query', 'metric': 'a.b'}, 2), then protocols 0 and 5 of others.
        let two = hex(
            "80027d7100285804000000747970657101580b00000063616368652d7175657279710258060000006d6574726963710358030000\
             00612e627104752e",
        );
        assert_eq!(ask(&two), Ok(CacheQuery::Points("a.b".to_owned())));
        let zero = b"(dp0\nVtype\np1\nVcache-query-bulk\np2\nsVmetrics\np3\n(lp4\nVa\np5\naVb\np6\nas.";
        assert_eq!(ask(zero), Ok(CacheQuery::PointsOfMany(vec!["a".to_owned(), "b".to_owned()])));
        let five = b"\x80\x05}\x94(\x8c\x04type\x94\x8c\x0cget-metadata\x94\x8c\x06metric\x94\x8c\x01a\x94\x8c\x03key\x94\x8c\x01k\x94u.";
        assert_eq!(ask(five), Ok(CacheQuery::GetMetadata { metric: "a".to_owned(), key: "k".to_owned() }));
        assert_eq!(ask(b"\x80\x02}X\x04\0\0\0typeX\x01\0\0\0xs."), Ok(CacheQuery::Unknown("x".to_owned())));
        assert_eq!(ask(b"\x80\x02}."), Err(PickleError::NotAQuery));
        assert_eq!(ask(b"\x80\x02]."), Err(PickleError::NotAQuery));
        assert_eq!(ask(b"cos\nsystem\n."), Err(PickleError::Forbidden(b'c')));
        assert!(ask(b"\x80\x02}X\x04\0\0\0typeX\x0b\0\0\0cache-querysX\x06\0\0\0metric}s.").is_err());
    }

    #[test]
    fn answers_are_pickles_that_a_reader_of_data_takes() {
        for answer in [
            datapoints(&[]),
            datapoints(&[(1, 2.5), (1_700_000_000, -0.0)]),
            datapoints_by_metric([("a", &[(1, 1.0)][..]), ("b", &[][..])]),
            value("average"),
            error("no \u{fc}"),
        ] {
            let (len, body) = answer.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*len) as usize, body.len());
            assert_eq!(Decoder::default().decode_query(body), Err(PickleError::NotAQuery), "sound, and no question");
        }
    }
}
