//! What the index keeps of each stream's values: count, sum, least, greatest, first, last.

use rhythmite_model::{Column, FieldType, FieldValue};

/// Aggregates of a whole stream, as the index answers them without reading a page.
///
/// Floats: NaN is a value like any other for `first` and `last`, and is left out of `count`, `sum`, `min` and `max`;
/// with `count == 0` both `min` and `max` are NaN. `sum` adds from the first row to the last, one by one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregates {
    /// Rows whose value is not NaN.
    pub count: u32,
    /// Sum; of booleans the number of trues (unsigned). `None` when it is beyond the type.
    pub sum: Option<FieldValue<'static>>,
    /// Least value.
    pub min: FieldValue<'static>,
    /// Greatest value.
    pub max: FieldValue<'static>,
    /// Value of the first row.
    pub first: FieldValue<'static>,
    /// Value of the last row.
    pub last: FieldValue<'static>,
}

/// Bits of the aggregates, as the index stores them. All zero for texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawStats {
    /// Rows whose value is NaN.
    pub nans: u32,
    /// Whether the sum is beyond the type.
    pub overflow: bool,
    /// Bits of the sum.
    pub sum: u64,
    /// Bits of the least value.
    pub min: u64,
    /// Bits of the greatest value.
    pub max: u64,
    /// Bits of the first value.
    pub first: u64,
    /// Bits of the last value.
    pub last: u64,
}

impl RawStats {
    /// The aggregates of a stream of `rows` rows; `None` for texts.
    pub fn typed(&self, field_type: FieldType, rows: u32) -> Option<Aggregates> {
        let value = |bits: u64| match field_type {
            FieldType::Float => FieldValue::Float(f64::from_bits(bits)),
            FieldType::Integer => FieldValue::Integer(bits as i64),
            FieldType::Unsigned | FieldType::String => FieldValue::Unsigned(bits),
            FieldType::Boolean => FieldValue::Boolean(bits != 0),
        };
        let sum = match field_type {
            FieldType::String => return None,
            FieldType::Boolean => FieldValue::Unsigned(self.sum),
            _ => value(self.sum),
        };
        Some(Aggregates {
            count: rows.saturating_sub(self.nans),
            sum: (!self.overflow).then_some(sum),
            min: value(self.min),
            max: value(self.max),
            first: value(self.first),
            last: value(self.last),
        })
    }
}

/// Folds a stream's values, in order, piece by piece.
#[derive(Clone, Copy, Debug)]
pub enum Fold {
    /// Nothing was folded yet.
    Empty,
    /// Floats.
    Float { nans: u32, sum: f64, min: f64, max: f64, first: f64, last: f64 },
    /// Integers.
    Integer { sum: i128, min: i64, max: i64, first: i64, last: i64 },
    /// Unsigned integers.
    Unsigned { sum: u128, min: u64, max: u64, first: u64, last: u64 },
    /// Booleans.
    Boolean { trues: u64, rows: u64, first: bool, last: bool },
    /// Texts, of which nothing is kept.
    String,
}

impl Fold {
    /// Folds rows `rows` of `values`, which are of the type of those before.
    pub fn push(&mut self, values: &Column, rows: std::ops::Range<usize>) {
        let Some(end) = rows.clone().next_back() else { return };
        let start = rows.start;
        if matches!(self, Fold::Empty) {
            *self = match values {
                Column::Float(v) => Fold::Float {
                    nans: 0,
                    sum: 0.0,
                    min: f64::INFINITY,
                    max: f64::NEG_INFINITY,
                    first: v[start],
                    last: v[start],
                },
                Column::Integer(v) => {
                    Fold::Integer { sum: 0, min: i64::MAX, max: i64::MIN, first: v[start], last: v[start] }
                }
                Column::Unsigned(v) => {
                    Fold::Unsigned { sum: 0, min: u64::MAX, max: 0, first: v[start], last: v[start] }
                }
                Column::Boolean(v) => Fold::Boolean { trues: 0, rows: 0, first: v[start], last: v[start] },
                Column::String(_) => Fold::String,
            };
        }
        match (self, values) {
            (Fold::Float { nans, sum, min, max, last, .. }, Column::Float(v)) => {
                for &x in &v[rows] {
                    if x.is_nan() {
                        *nans += 1;
                    } else {
                        *sum += x;
                        *min = min.min(x);
                        *max = max.max(x);
                    }
                }
                *last = v[end];
            }
            (Fold::Integer { sum, min, max, last, .. }, Column::Integer(v)) => {
                for &x in &v[rows] {
                    *sum += i128::from(x);
                    *min = (*min).min(x);
                    *max = (*max).max(x);
                }
                *last = v[end];
            }
            (Fold::Unsigned { sum, min, max, last, .. }, Column::Unsigned(v)) => {
                for &x in &v[rows] {
                    *sum += u128::from(x);
                    *min = (*min).min(x);
                    *max = (*max).max(x);
                }
                *last = v[end];
            }
            (Fold::Boolean { trues, rows: total, last, .. }, Column::Boolean(v)) => {
                *trues += v[rows.clone()].iter().filter(|x| **x).count() as u64;
                *total += rows.len() as u64;
                *last = v[end];
            }
            (Fold::String, Column::String(_)) => {}
            (_, other) => unreachable!("the writer refuses {} values in a stream of another type", other.field_type()),
        }
    }

    /// The bits to store.
    pub fn finish(&self) -> RawStats {
        match *self {
            Fold::Empty | Fold::String => RawStats::default(),
            Fold::Float { nans, sum, min, max, first, last } => {
                // No value but NaN was seen: the ends never met.
                let (min, max) = if min > max { (f64::NAN, f64::NAN) } else { (min, max) };
                RawStats {
                    nans,
                    overflow: false,
                    sum: sum.to_bits(),
                    min: min.to_bits(),
                    max: max.to_bits(),
                    first: first.to_bits(),
                    last: last.to_bits(),
                }
            }
            Fold::Integer { sum, min, max, first, last } => {
                let (overflow, sum) = i64::try_from(sum).map_or((true, 0), |sum| (false, sum as u64));
                RawStats {
                    nans: 0,
                    overflow,
                    sum,
                    min: min as u64,
                    max: max as u64,
                    first: first as u64,
                    last: last as u64,
                }
            }
            Fold::Unsigned { sum, min, max, first, last } => {
                let (overflow, sum) = u64::try_from(sum).map_or((true, 0), |sum| (false, sum));
                RawStats { nans: 0, overflow, sum, min, max, first, last }
            }
            Fold::Boolean { trues, rows, first, last } => RawStats {
                nans: 0,
                overflow: false,
                sum: trues,
                min: u64::from(trues == rows),
                max: u64::from(trues > 0),
                first: u64::from(first),
                last: u64::from(last),
            },
        }
    }
}
