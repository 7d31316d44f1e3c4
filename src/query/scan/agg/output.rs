//! Slots become record batches.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use rhythmite_model::FieldType;

use super::accumulator::{Accumulator, Answer, What};
use super::query::{Asked, Key, Order, Spec};
use super::state::State;

/// The answer in the order asked for; groups of equal order come in the order of their keys.
///
/// # Errors
/// None but bugs.
pub(super) fn batch(spec: &Spec, state: &State) -> Result<RecordBatch, ArrowError> {
    let rows = sorted(spec, state);
    let column = |&at: &usize| match spec.keys.get(at) {
        Some(Key::Window) => Ok(windows(state, &rows)),
        Some(Key::Tag(tag)) => texts(state, *tag, &rows),
        None => {
            let shown = spec.shown[at - spec.keys.len()];
            Ok(answers(&spec.aggregates[shown.aggregate], &state.results()[shown.aggregate], shown.share, &rows))
        }
    };
    let columns = spec.output.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(spec.schema.clone(), columns, &options)
}

/// The slots in the order of the answer, no more than it may have.
pub(super) fn sorted(spec: &Spec, state: &State) -> Vec<u32> {
    let plain = |key| Order { key, descending: false, nulls_first: false };
    let order: Vec<Order> = spec.order.iter().copied().chain((0..spec.keys.len()).map(plain)).collect();
    let compare = |a: &u32, b: &u32| {
        let ((group_a, window_a), (group_b, window_b)) = (state.slot(*a as usize), state.slot(*b as usize));
        for by in &order {
            let ordering = match spec.keys[by.key] {
                Key::Window => directed(window_a.cmp(&window_b), by),
                Key::Tag(_) if group_a == group_b => Ordering::Equal,
                Key::Tag(tag) => match (state.text(group_a, tag), state.text(group_b, tag)) {
                    (None, None) => Ordering::Equal,
                    (None, Some(_)) if by.nulls_first => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(_), None) if by.nulls_first => Ordering::Greater,
                    (Some(_), None) => Ordering::Less,
                    (Some(a), Some(b)) => directed(a.cmp(b), by),
                },
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        Ordering::Equal
    };
    let mut rows: Vec<u32> = (0..state.slots() as u32).collect();
    match spec.fetch {
        Some(0) => rows.clear(),
        Some(fetch) if fetch < rows.len() => {
            rows.select_nth_unstable_by(fetch - 1, compare);
            rows.truncate(fetch);
        }
        _ => {}
    }
    rows.sort_unstable_by(compare);
    rows
}

fn directed(ordering: Ordering, by: &Order) -> Ordering {
    if by.descending { ordering.reverse() } else { ordering }
}

fn windows(state: &State, rows: &[u32]) -> ArrayRef {
    let starts: Vec<i64> = rows.iter().map(|&row| state.slot(row as usize).1).collect();
    Arc::new(TimestampNanosecondArray::from(starts))
}

fn texts(state: &State, tag: usize, rows: &[u32]) -> Result<ArrayRef, ArrowError> {
    let mut numbers: HashMap<&str, i32> = HashMap::new();
    let mut values: Vec<&str> = Vec::new();
    // Rows of one group mostly follow each other.
    let mut before: Option<(u32, Option<i32>)> = None;
    let number = |row: &u32| {
        let (group, _) = state.slot(*row as usize);
        if let Some((_, number)) = before.filter(|(g, _)| *g == group) {
            return number;
        }
        let number = state.text(group, tag).map(|text| {
            *numbers.entry(text).or_insert_with(|| {
                values.push(text);
                values.len() as i32 - 1
            })
        });
        before = Some((group, number));
        number
    };
    let keys: Int32Array = rows.iter().map(number).collect();
    let values = Arc::new(StringArray::from_iter_values(values));
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
}

fn answers(asked: &Asked, results: &Accumulator, share: Option<f64>, rows: &[u32]) -> ArrayRef {
    let results = rows.iter().map(|&row| results.result(row as usize, share));
    match asked.what {
        // A count is never NULL.
        What::Rows | What::Count => {
            let counts = results.map(|r: Option<Answer>| match r {
                Some(Answer::Integer(n)) => n,
                _ => 0,
            });
            Arc::new(Int64Array::from_iter_values(counts))
        }
        what => match what.result(asked.field_type) {
            Some(FieldType::Integer) => {
                let integer = |r: Option<Answer>| match r {
                    Some(Answer::Integer(n)) => Some(n),
                    _ => None,
                };
                Arc::new(results.map(integer).collect::<Int64Array>())
            }
            Some(FieldType::Unsigned) => {
                let unsigned = |r: Option<Answer>| match r {
                    Some(Answer::Unsigned(n)) => Some(n),
                    _ => None,
                };
                Arc::new(results.map(unsigned).collect::<UInt64Array>())
            }
            _ => {
                let float = |r: Option<Answer>| match r {
                    Some(Answer::Float(n)) => Some(n),
                    _ => None,
                };
                Arc::new(results.map(float).collect::<Float64Array>())
            }
        },
    }
}
