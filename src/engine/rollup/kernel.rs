//! From the points of one stream to the aggregates of its windows.

use std::ops::Range;

use rhythmite_model::sketch::{Counts, STORED_BUCKETS_MAX};
use rhythmite_model::{Aggregate, Aggregates, Column, FieldId, Strings};

use crate::scan::Stream;

/// How a stream is cut: windows of `step_ns`, and where a partition ends within one, there too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) step_ns: i64,
    pub(crate) partition_ns: i64,
}

impl Cut {
    /// First moment of the piece that a time lies in.
    pub(crate) fn start(&self, time_ns: i64) -> i64 {
        floor(time_ns, self.step_ns).max(floor(time_ns, self.partition_ns))
    }

    /// Last moment of the piece that a time lies in.
    pub(crate) fn end(&self, time_ns: i64) -> i64 {
        let last = |length: i64| floor(time_ns, length).saturating_add(length.max(1) - 1);
        last(self.step_ns).min(last(self.partition_ns))
    }

    /// The pieces of ascending times: where each starts, and its rows.
    pub(crate) fn pieces(&self, times_ns: &[i64]) -> (Vec<i64>, Vec<Range<usize>>) {
        let (mut starts, mut rows) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(&time_ns) = times_ns.get(at) {
            let last_ns = self.end(time_ns);
            let end = at + times_ns[at..].iter().take_while(|t| **t <= last_ns).count();
            starts.push(self.start(time_ns));
            rows.push(at..end);
            at = end;
        }
        (starts, rows)
    }
}

/// The multiple of `length` at or before a time; the first moment of all where there is none.
fn floor(time_ns: i64, length: i64) -> i64 {
    time_ns.checked_sub(time_ns.rem_euclid(length.max(1))).unwrap_or(i64::MIN)
}

/// The wanted aggregates of one field's points, as far as there are such of its type: streams of the pieces' starts, in the
/// order in which they are stored. Times ascend. NaN is no value. `capped` counts sketches that have lost their lowest buckets.
pub(crate) fn roll_up(
    field: FieldId,
    times_ns: &[i64],
    values: &Column,
    cut: Cut,
    wanted: Aggregates,
    capped: &mut u64,
) -> Vec<Stream> {
    if let Column::Float(floats) = values
        && floats.iter().any(|v| v.is_nan())
    {
        let known = || times_ns.iter().zip(floats).filter(|(_, v)| !v.is_nan());
        let times_ns: Vec<i64> = known().map(|(t, _)| *t).collect();
        let values = Column::Float(known().map(|(_, v)| *v).collect());
        return streams(field, &times_ns, &values, cut, wanted, capped);
    }
    streams(field, times_ns, values, cut, wanted, capped)
}

fn streams(
    field: FieldId,
    times_ns: &[i64],
    values: &Column,
    cut: Cut,
    wanted: Aggregates,
    capped: &mut u64,
) -> Vec<Stream> {
    let (starts_ns, rows) = cut.pieces(times_ns);
    if starts_ns.is_empty() {
        return Vec::new();
    }
    let mut stream = |aggregate: Aggregate| {
        aggregate.field_type(values.field_type())?;
        let values = fold(aggregate, values, &rows, capped)?;
        Some(Stream { field: aggregate.of(field)?, times_ns: starts_ns.clone(), values })
    };
    wanted.iter().filter_map(&mut stream).collect()
}

/// One value for each range of rows, none of which is empty.
fn fold(aggregate: Aggregate, values: &Column, rows: &[Range<usize>], capped: &mut u64) -> Option<Column> {
    fn of<T: Copy, U>(values: &[T], rows: &[Range<usize>], f: impl Fn(&[T]) -> U) -> Vec<U> {
        rows.iter().map(|rows| f(&values[rows.clone()])).collect()
    }
    /// The first that no other is better than.
    fn best<T: Copy>(values: &[T], better: impl Fn(T, T) -> bool) -> T {
        values[1..].iter().fold(values[0], |best, &v| if better(v, best) { v } else { best })
    }
    let row = |at: fn(&Range<usize>) -> usize| -> Vec<u32> { rows.iter().map(|rows| at(rows) as u32).collect() };
    Some(match aggregate {
        Aggregate::Count => Column::Integer(rows.iter().map(|rows| rows.len() as i64).collect()),
        Aggregate::First => values.gather(&row(|rows| rows.start)),
        Aggregate::Last => values.gather(&row(|rows| rows.end - 1)),
        Aggregate::Sum => match values {
            Column::Float(v) => Column::Float(of(v, rows, |v| v.iter().sum())),
            Column::Integer(v) => Column::Integer(of(v, rows, |v| v.iter().fold(0_i64, |a, b| a.wrapping_add(*b)))),
            Column::Unsigned(v) => Column::Unsigned(of(v, rows, |v| v.iter().fold(0_u64, |a, b| a.wrapping_add(*b)))),
            _ => return None,
        },
        Aggregate::Min => match values {
            Column::Float(v) => Column::Float(of(v, rows, |v| best(v, |a, b| a < b))),
            Column::Integer(v) => Column::Integer(of(v, rows, |v| best(v, |a, b| a < b))),
            Column::Unsigned(v) => Column::Unsigned(of(v, rows, |v| best(v, |a, b| a < b))),
            Column::Boolean(v) => Column::Boolean(of(v, rows, |v| best(v, |a, b| !a & b))),
            Column::String(_) => return None,
        },
        Aggregate::Max => match values {
            Column::Float(v) => Column::Float(of(v, rows, |v| best(v, |a, b| a > b))),
            Column::Integer(v) => Column::Integer(of(v, rows, |v| best(v, |a, b| a > b))),
            Column::Unsigned(v) => Column::Unsigned(of(v, rows, |v| best(v, |a, b| a > b))),
            Column::Boolean(v) => Column::Boolean(of(v, rows, |v| best(v, |a, b| a & !b))),
            Column::String(_) => return None,
        },
        Aggregate::Sketch => sketches(values, rows, capped)?,
        Aggregate::AbsMax | Aggregate::AbsMin | Aggregate::Median => {
            let Column::Float(v) = values else { return None };
            Column::Float(match aggregate {
                Aggregate::AbsMax => of(v, rows, |v| best(v, |a, b| a.abs() > b.abs())),
                Aggregate::AbsMin => of(v, rows, |v| best(v, |a, b| a.abs() < b.abs())),
                _ => of(v, rows, median),
            })
        }
    })
}

/// The text of each range's sketch; `None` where texts of a stream would take more than an arena holds.
fn sketches(values: &Column, rows: &[Range<usize>], capped: &mut u64) -> Option<Column> {
    let mut texts = Strings::default();
    let mut text = String::new();
    for rows in rows.iter().cloned() {
        let mut counts = match values {
            Column::Float(v) => Counts::of(v[rows].iter().copied()),
            Column::Integer(v) => Counts::of(v[rows].iter().map(|v| *v as f64)),
            Column::Unsigned(v) => Counts::of(v[rows].iter().map(|v| *v as f64)),
            Column::Boolean(_) | Column::String(_) => return None,
        };
        *capped += u64::from(counts.cap(STORED_BUCKETS_MAX));
        text.clear();
        counts.write(&mut text);
        if !texts.has_room(text.len()) {
            return None;
        }
        texts.push(&text);
    }
    Some(Column::String(texts))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rhythmite_model::sketch::RELATIVE_ERROR;
    use rhythmite_model::{FieldType, FieldValue};

    use super::*;

    const ALL: Aggregates = Aggregates::USUAL
        .with(Aggregate::First)
        .with(Aggregate::AbsMax)
        .with(Aggregate::AbsMin)
        .with(Aggregate::Median)
        .with(Aggregate::Sketch);

    fn check(cut: (i64, i64), points: &[(i64, f64)], expected: &str) {
        let times: Vec<i64> = points.iter().map(|p| p.0).collect();
        let values = Column::Float(points.iter().map(|p| p.1).collect());
        let cut = Cut { step_ns: cut.0, partition_ns: cut.1 };
        let found = roll_up(FieldId(3), &times, &values, cut, ALL, &mut 0);
        let text: Vec<_> = found
            .iter()
            .map(|stream| {
                let (field, aggregate) = Aggregate::split(stream.field);
                assert_eq!(field, FieldId(3));
                let values = (0..stream.values.len()).map(|i| match stream.values.get(i) {
                    FieldValue::Float(v) => format!("{}={v}", stream.times_ns[i]),
                    FieldValue::Integer(v) => format!("{}={v}", stream.times_ns[i]),
                    FieldValue::String(v) => format!("{}={v}", stream.times_ns[i]),
                    other => panic!("{other:?}"),
                });
                format!("{} {}", aggregate.unwrap().name(), values.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(text.join("; "), expected);
    }

    #[test]
    fn windows_have_aggregates() {
        let points = [(0, 3.0), (4, -5.0), (9, 5.0), (10, 1.0), (35, f64::NAN), (41, 2.0)];
        let expected = "count 0=3 10=1 40=1; sum 0=3 10=1 40=2; min 0=-5 10=1 40=2; max 0=5 10=1 40=2; \
                        first 0=3 10=1 40=2; last 0=5 10=1 40=2; absmax 0=-5 10=1 40=2; absmin 0=3 10=1 40=2; \
                        median 0=3 10=1 40=2; sketch 0=n38:1 26:1 38:1 10=0:1 40=16:1";
        check((10, 100), &points, expected);
        check((10, 100), &[(0, f64::NAN)], "");
        check((10, 100), &[], "");
    }

    #[test]
    fn a_partition_ends_a_piece() {
        let points = [(-1, 1.0), (0, 2.0), (6, 4.0), (7, 8.0), (99, 16.0)];
        let cut = Cut { step_ns: 50, partition_ns: 7 };
        let (starts, rows) = cut.pieces(&points.map(|p| p.0));
        assert_eq!((starts, rows), (vec![-7, 0, 7, 98], vec![0..1, 1..3, 3..4, 4..5]));
        assert_eq!((cut.end(6), cut.end(48), cut.end(49), cut.start(50)), (6, 48, 49, 50));
        assert_eq!((cut.start(51), cut.end(51), cut.end(i64::MAX)), (50, 55, i64::MAX));
        assert!(cut.start(i64::MIN) <= i64::MIN + 7);
    }

    #[test]
    fn every_type_has_the_aggregates_it_can_have() {
        let cut = Cut { step_ns: 10, partition_ns: 100 };
        let names = |values: Column| {
            let streams = roll_up(FieldId(0), &[1, 2], &values, cut, ALL, &mut 0);
            let names = streams.iter().map(|s| Aggregate::split(s.field).1.unwrap().name());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(Column::Float(vec![1.0, 2.0])), "count sum min max first last absmax absmin median sketch");
        assert_eq!(names(Column::Integer(vec![1, 2])), "count sum min max first last sketch");
        assert_eq!(names(Column::Unsigned(vec![1, 2])), "count sum min max first last sketch");
        assert_eq!(names(Column::Boolean(vec![true, false])), "count min max first last");
        let mut texts = Column::new(FieldType::String);
        assert!(texts.push(FieldValue::String("a")) && texts.push(FieldValue::String("b")));
        assert_eq!(names(texts), "count first last");
    }

    /// The middle of the last bucket.
    const LARGEST: f64 = (1_u64 << 60) as f64;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => -1_000.0..1_000.0,
            2 => (-40_i32..70, any::<bool>()).prop_map(|(power, is_minus)| {
                2_f64.powi(power) * 1.01 * if is_minus { -1.0 } else { 1.0 }
            }),
            1 => prop::sample::select(vec![
                0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 5e-324, -1e-12,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn pieces_are_what_a_map_says(
            points in prop::collection::btree_map(-500_i64..500, -1000_i64..1000, 0..80),
            step in 1_i64..60,
            partition in 1_i64..90,
        ) {
            let cut = Cut { step_ns: step, partition_ns: partition };
            let mut model: std::collections::BTreeMap<(i64, i64), Vec<i64>> = std::collections::BTreeMap::new();
            for (t, v) in &points {
                model.entry((t.div_euclid(step), t.div_euclid(partition))).or_default().push(*v);
            }
            let times: Vec<i64> = points.keys().copied().collect();
            let values = Column::Integer(points.values().copied().collect());
            let found = roll_up(FieldId(0), &times, &values, cut, ALL, &mut 0);
            for stream in &found {
                let starts = model.keys().map(|(w, p)| (w * step).max(p * partition)).collect::<Vec<_>>();
                prop_assert_eq!(&stream.times_ns, &starts);
                if Aggregate::split(stream.field).1 == Some(Aggregate::Sketch) {
                    continue;
                }
                let expected = model.values().map(|v| match Aggregate::split(stream.field).1.unwrap() {
                    Aggregate::Count => v.len() as i64,
                    Aggregate::Sum => v.iter().sum(),
                    Aggregate::Min => *v.iter().min().unwrap(),
                    Aggregate::Max => *v.iter().max().unwrap(),
                    Aggregate::First => v[0],
                    _ => v[v.len() - 1],
                });
                prop_assert_eq!(&stream.values, &Column::Integer(expected.collect()));
            }
            prop_assert_eq!(found.len(), if points.is_empty() { 0 } else { 7 });
        }

        /// Sketches of pieces, stored and read again, add up to the sketch of all values, and quantiles of it are off by
        /// [`RELATIVE_ERROR`] at most.
        #[test]
        fn sketches_of_pieces_add_up(
            values in prop::collection::vec(value(), 1..400),
            step in 1_i64..60,
            partition in 1_i64..90,
            share in 0.0_f64..1.0,
        ) {
            let times: Vec<i64> = (0..values.len() as i64).collect();
            let cut = Cut { step_ns: step, partition_ns: partition };
            let wanted = Aggregates::NONE.with(Aggregate::Sketch);
            let found = roll_up(FieldId(0), &times, &Column::Float(values.clone()), cut, wanted, &mut 0);
            let mut known: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
            let Some(Stream { values: Column::String(texts), .. }) = found.first() else {
                prop_assert!(known.is_empty());
                return Ok(());
            };
            let mut sum = Counts::default();
            texts.iter().for_each(|text| sum.add(&text.parse().unwrap()));
            prop_assert_eq!(&sum, &Counts::of(known.iter().copied()));
            known.sort_by(f64::total_cmp);
            let below = (share * known.len() as f64).floor();
            let (exact, found) = (known[below as usize], sum.nth(below).unwrap());
            let expected = match exact {
                // What has no bucket of its own.
                small if small.abs() < 2_f64.powi(-30) => 0.0,
                large => large.clamp(-LARGEST, LARGEST),
            };
            prop_assert!((found - expected).abs() <= expected.abs() * RELATIVE_ERROR * 1.001, "{} for {}", found, exact);
        }

        /// However many buckets are lost, and in whatever order sketches are added.
        #[test]
        fn capped_sketches_add_up(values in prop::collection::vec(value(), 1..400), at in 0_usize..400, most in 1_usize..40) {
            let sketch = |values: &[f64]| {
                let mut counts = Counts::of(values.iter().copied());
                counts.cap(most);
                counts
            };
            let (head, tail) = values.split_at(at.min(values.len()));
            let (mut forth, mut back) = (sketch(head), sketch(tail));
            forth.add(&sketch(tail));
            back.add(&sketch(head));
            forth.cap(most);
            back.cap(most);
            prop_assert_eq!(&forth, &sketch(&values));
            prop_assert_eq!(&back, &sketch(&values));
        }
    }

    #[test]
    fn a_sketch_is_bounded_and_says_when() {
        // 64 doublings fit into one sketch, one bucket more does not.
        for (buckets, lost) in [(STORED_BUCKETS_MAX, 0), (STORED_BUCKETS_MAX + 1, 1), (1_400, 1)] {
            let values: Vec<f64> = (0..buckets as i32).map(|i| 2_f64.powf(f64::from(i - 470) / 16.0) * 0.99).collect();
            let times: Vec<i64> = (0..buckets as i64).collect();
            let (cut, mut capped) = (Cut { step_ns: 10_000, partition_ns: 10_000 }, 0);
            let wanted = Aggregates::NONE.with(Aggregate::Sketch);
            let found = roll_up(FieldId(0), &times, &Column::Float(values), cut, wanted, &mut capped);
            let Column::String(texts) = &found[0].values else { panic!("no text") };
            let counts: Counts = texts.get(0).parse().unwrap();
            assert_eq!((capped, counts.total()), (lost, buckets as f64), "{buckets}");
            assert_eq!(counts.iter().count(), buckets.min(STORED_BUCKETS_MAX));
            assert!(texts.get(0).len() < 8 * STORED_BUCKETS_MAX);
        }
    }
}
