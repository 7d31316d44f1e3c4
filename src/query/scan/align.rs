//! One series' streams joined by time.

use rhythmite_engine::{SeriesPoints, Stream};

/// No value at this time.
pub(super) const ABSENT: u32 = u32::MAX;

/// The times at which any stream has a value, and where each stream's values are.
pub(super) struct Aligned {
    pub streams: Vec<Stream>,
    /// Of all streams together; `None` if all have the times of the first.
    union: Option<Union>,
}

struct Union {
    times_ns: Vec<i64>,
    /// Per stream the place of the value at each time, or [`ABSENT`].
    places: Vec<Vec<u32>>,
}

impl Aligned {
    /// Joins the streams; copies nothing when all have the same times.
    pub fn new(points: SeriesPoints) -> Self {
        let streams = points.streams;
        let Some((first, rest)) = streams.split_first() else { return Self { streams, union: None } };
        if rest.iter().all(|s| s.times_ns == first.times_ns) {
            return Self { streams, union: None };
        }
        let mut times_ns: Vec<i64> = streams.iter().flat_map(|s| &s.times_ns).copied().collect();
        times_ns.sort_unstable();
        times_ns.dedup();
        Self::at(streams, times_ns)
    }

    /// The rows of these times, which ascend, whether or not the streams have values there.
    pub fn at(streams: Vec<Stream>, times_ns: Vec<i64>) -> Self {
        let places = streams
            .iter()
            .map(|stream| {
                let mut at = 0;
                let place = |t: &i64| {
                    // Mostly the next one is meant; where few rows are, many are passed over.
                    if stream.times_ns.get(at).is_some_and(|own| own < t) {
                        at += 1;
                        if stream.times_ns.get(at).is_some_and(|own| own < t) {
                            at += stream.times_ns[at..].partition_point(|own| own < t);
                        }
                    }
                    if stream.times_ns.get(at) == Some(t) { at as u32 } else { ABSENT }
                };
                times_ns.iter().map(place).collect()
            })
            .collect();
        Self { streams, union: Some(Union { times_ns, places }) }
    }

    /// Ascending, each once.
    pub fn times_ns(&self) -> &[i64] {
        match &self.union {
            Some(union) => &union.times_ns,
            None => self.streams.first().map_or(&[], |s| &s.times_ns),
        }
    }

    /// Where the values of a stream are; `None` if value `i` is that of time `i`.
    pub fn places(&self, stream: usize) -> Option<&[u32]> {
        self.union.as_ref().map(|u| u.places[stream].as_slice())
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let streams: usize = self.streams.iter().map(|s| s.times_ns.capacity() * 8 + s.values.heap_bytes()).sum();
        let union =
            self.union.as_ref().map_or(0, |u| u.times_ns.capacity() * 8 + u.places.len() * u.times_ns.len() * 4);
        streams + union
    }
}

#[cfg(test)]
mod tests {
    use rhythmite_model::{Column, FieldId, SeriesId};

    use super::*;

    fn check(streams: &[&[i64]], times: &[i64], places: Option<&[&[u32]]>) {
        let stream = |(at, times): (usize, &&[i64])| Stream {
            field: FieldId(at as u16),
            times_ns: times.to_vec(),
            values: Column::Float(vec![0.0; times.len()]),
        };
        let streams = streams.iter().enumerate().map(stream).collect::<Vec<_>>();
        let aligned = Aligned::new(SeriesPoints { series: SeriesId(1), streams: streams.clone() });
        assert_eq!(aligned.times_ns(), times);
        for at in 0..streams.len() {
            assert_eq!(aligned.places(at), places.map(|p| p[at]), "stream {at}");
        }
    }

    #[test]
    fn streams_are_looked_up_at_times() {
        const X: u32 = ABSENT;
        let check = |own: &[i64], at: &[i64], places: &[u32]| {
            let values = Column::Float(vec![0.0; own.len()]);
            let streams = vec![Stream { field: FieldId(0), times_ns: own.to_vec(), values }];
            let aligned = Aligned::at(streams, at.to_vec());
            assert_eq!((aligned.times_ns(), aligned.places(0)), (at, Some(places)), "{own:?}");
        };
        check(&[1, 2, 3, 4, 5, 6], &[1, 5, 6], &[0, 4, 5]);
        check(&[2, 4, 6, 8], &[1, 2, 3, 8, 9], &[X, 0, X, 3, X]);
        check(&[], &[1], &[X]);
        check(&[7], &[], &[]);
    }

    #[test]
    fn streams_are_joined_by_time() {
        const X: u32 = ABSENT;
        check(&[], &[], None);
        check(&[&[1, 2]], &[1, 2], None);
        check(&[&[1, 2], &[1, 2]], &[1, 2], None);
        check(&[&[1, 3], &[2, 3]], &[1, 2, 3], Some(&[&[0, X, 1], &[X, 0, 1]]));
        check(&[&[5], &[1, 2, 9], &[9]], &[1, 2, 5, 9], Some(&[&[X, X, 0, X], &[0, 1, X, 2], &[X, X, X, 0]]));
    }
}
