//! The points of one series, and the frame of rows that one call or one list of fields sees of them.

use std::sync::Arc;

use rhythmite_influx::influxql::{DataType, VarRef};
use rhythmite_model::{Column, FieldType, FieldValue};

use super::column::{Col, NO_ROW};
use super::condition::Residual;
use super::source::reads_tag;
use super::value::field_type;

/// One field of a series.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) name: Arc<str>,
    /// Ascending. Those of a subquery's rows may repeat.
    pub(super) times_ns: Arc<Vec<i64>>,
    pub(super) values: Arc<Col>,
}

/// One series: of a table, or the rows of a subquery with the same tags.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) tags: Arc<[(String, String)]>,
    pub(super) streams: Vec<Stream>,
    /// The times of a subquery's rows. All streams have the same; a row counts even if it has nothing but nulls.
    pub(super) rows_ns: Option<Arc<Vec<i64>>>,
    /// Calls of a subquery made the rows.
    pub(super) made: bool,
}

/// Rows of one series in order of time.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) times_ns: Arc<Vec<i64>>,
    /// The values of the call's argument, without nulls; `None` for a list of fields.
    pub(super) value: Option<Arc<Col>>,
    pub(super) aux: Vec<Col>,
}

/// What a frame is made of.
#[derive(Clone, Debug)]
pub(super) struct FramePlan<'a> {
    /// The argument of a call; `None` where rows come from the fields themselves.
    pub(super) driver: Option<&'a VarRef>,
    pub(super) aux: &'a [VarRef],
    pub(super) residual: Option<&'a Residual>,
    /// Times that count, inclusive.
    pub(super) range: (i64, i64),
    /// For a call with one window, over rows of a subquery: that window, and whether the answer ascends. A row beyond it
    /// ends the reading in 1.x, the first one with nothing read.
    pub(super) window: Option<((i64, i64), bool)>,
}

impl Series {
    /// The value of a tag; empty if the series has none.
    pub(super) fn tag(&self, key: &str) -> &str {
        self.tags.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }

    fn stream(&self, name: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| &*stream.name == name)
    }

    /// The frame of a call or a list of fields; `None` if it has no row.
    pub(super) fn frame(&self, plan: &FramePlan<'_>) -> Option<Frame> {
        let frame = match &self.rows_ns {
            Some(rows) => self.of_rows(plan, rows)?,
            None => self.of_streams(plan)?,
        };
        (!frame.times_ns.is_empty()).then_some(frame)
    }

    fn of_streams(&self, plan: &FramePlan<'_>) -> Option<Frame> {
        let (times_ns, value) = match plan.driver {
            Some(driver) => {
                if reads_tag(driver.data_type) {
                    return None;
                }
                let stream = self.stream(&driver.name)?;
                let values = cast(&stream.values, driver.data_type)?;
                let cut = within(&stream.times_ns, plan.range);
                if cut.len() == stream.times_ns.len() {
                    (stream.times_ns.clone(), Some(values))
                } else {
                    let rows: Vec<u32> = (cut.start as u32..cut.end as u32).collect();
                    (Arc::new(stream.times_ns[cut].to_vec()), Some(Arc::new(values.gather(&rows))))
                }
            }
            None => (self.union(plan)?, None),
        };
        let mut frame = Frame { times_ns, value, aux: Vec::new() };
        // PERF: rows go before the other columns are made, which are many where all fields are shown.
        if let Some(residual) = plan.residual {
            let slots: Vec<Col> = residual.columns.iter().map(|var| self.column(var, &frame.times_ns, true)).collect();
            let mask = residual.node.mask(&slots, frame.times_ns.len());
            frame = frame.filtered(&mask);
        }
        frame.aux = plan.aux.iter().map(|var| self.column(var, &frame.times_ns, false)).collect();
        Some(frame)
    }

    /// The times at which one of the fields has a value.
    fn union(&self, plan: &FramePlan<'_>) -> Option<Arc<Vec<i64>>> {
        let mut times: Option<Arc<Vec<i64>>> = None;
        for var in plan.aux.iter().filter(|var| !reads_tag(var.data_type)) {
            let Some(stream) = self.stream(&var.name) else { continue };
            let comparable = |to: FieldType| is_number(to) && is_number(stream.values.field_type());
            let of_type = |to: FieldType| to == stream.values.field_type() || comparable(to);
            if !var.data_type.and_then(field_type).is_none_or(of_type) {
                continue;
            }
            times = Some(match times {
                None => stream.times_ns.clone(),
                Some(known) if known == stream.times_ns => known,
                Some(known) => Arc::new(merge_times(&known, &stream.times_ns)),
            });
        }
        let times = times?;
        let cut = within(&times, plan.range);
        Some(if cut.len() == times.len() { times } else { Arc::new(times[cut].to_vec()) })
    }

    /// A column at the given times. A missing tag is null, in a condition the empty text.
    fn column(&self, var: &VarRef, times_ns: &[i64], in_condition: bool) -> Col {
        let rows = times_ns.len();
        if reads_tag(var.data_type) {
            return match self.tag(&var.name) {
                "" if !in_condition => Col::nulls(FieldType::String, rows),
                value => Col::repeat(FieldValue::String(value), rows),
            };
        }
        let wanted = var.data_type.and_then(field_type);
        let nothing = || Col::nulls(wanted.unwrap_or(FieldType::Float), rows);
        let Some(stream) = self.stream(&var.name) else { return nothing() };
        let Some(values) = cast(&stream.values, var.data_type) else { return nothing() };
        if **stream.times_ns == *times_ns {
            return Arc::unwrap_or_clone(values);
        }
        values.gather(&align(&stream.times_ns, times_ns))
    }

    fn of_rows(&self, plan: &FramePlan<'_>, rows_ns: &Arc<Vec<i64>>) -> Option<Frame> {
        let column = |var: &VarRef, in_condition: bool| -> Col {
            if let Some(stream) = self.stream(&var.name) {
                let wanted = var.data_type.and_then(field_type);
                let nothing = || Col::nulls(wanted.unwrap_or(FieldType::Float), rows_ns.len());
                return cast(&stream.values, var.data_type).map_or_else(nothing, Arc::unwrap_or_clone);
            }
            match self.tags.iter().find(|(key, _)| *key == var.name) {
                Some((_, value)) => Col::repeat(FieldValue::String(value), rows_ns.len()),
                None if in_condition => Col::repeat(FieldValue::String(""), rows_ns.len()),
                None => Col::nulls(var.data_type.and_then(field_type).unwrap_or(FieldType::Float), rows_ns.len()),
            }
        };
        let value = plan.driver.map(|driver| Arc::new(column(driver, false)));
        // Beside a value, what is no number stays none as a whole number too.
        let beside = |var: &VarRef| match (self.stream(&var.name).map(|stream| stream.values.values()), var.data_type) {
            (Some(Column::Float(floats)), Some(DataType::Integer)) if floats.iter().any(|value| value.is_nan()) => {
                column(var, false).without(|row| floats[row].is_nan())
            }
            _ => column(var, false),
        };
        let aux = plan.aux.iter().map(beside).collect();
        let frame = Frame { times_ns: rows_ns.clone(), value, aux };
        let mut mask = vec![true; rows_ns.len()];
        if let Some(residual) = plan.residual {
            let slots: Vec<Col> = residual.columns.iter().map(|var| column(var, true)).collect();
            mask = residual.node.mask(&slots, rows_ns.len());
        }
        if let Some(value) = &frame.value {
            if let Some((window, ascending)) = plan.window {
                let inside = |row: &usize| (window.0..=window.1).contains(&rows_ns[*row]);
                let kept = (0..rows_ns.len()).filter(|row| mask[*row] && value.is_valid(*row));
                let first = if ascending { kept.min() } else { kept.max() };
                let reached = first.is_none_or(|row| inside(&row));
                mask.iter_mut().enumerate().for_each(|(row, keep)| *keep &= reached && inside(&row));
            }
            mask.iter_mut().enumerate().for_each(|(row, keep)| *keep &= value.is_valid(row));
        }
        Some(frame.filtered(&mask))
    }
}

impl Frame {
    fn filtered(self, mask: &[bool]) -> Frame {
        if mask.iter().all(|keep| *keep) {
            return self;
        }
        let rows: Vec<u32> = (0..mask.len() as u32).filter(|row| mask[*row as usize]).collect();
        Frame {
            times_ns: Arc::new(rows.iter().map(|row| self.times_ns[*row as usize]).collect()),
            value: self.value.map(|value| Arc::new(value.gather(&rows))),
            aux: self.aux.iter().map(|col| col.gather(&rows)).collect(),
        }
    }
}

fn is_number(field_type: FieldType) -> bool {
    matches!(field_type, FieldType::Float | FieldType::Integer | FieldType::Unsigned)
}

/// What makes stored values of one type those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cast {
    /// They are as they should be.
    None,
    /// Numbers become others.
    To(FieldType),
    /// They are never values of that type.
    Never,
}

/// How values stored as one type are those that a statement names.
pub(super) fn cast_to(stored: FieldType, wanted: Option<DataType>) -> Cast {
    match wanted.and_then(field_type) {
        Some(wanted) if wanted != stored && is_number(wanted) && is_number(stored) => Cast::To(wanted),
        Some(wanted) if wanted != stored => Cast::Never,
        _ => Cast::None,
    }
}

/// Values as the type asked for; `None` if they cannot be.
fn cast(values: &Arc<Col>, wanted: Option<DataType>) -> Option<Arc<Col>> {
    match cast_to(values.field_type(), wanted) {
        Cast::None => Some(values.clone()),
        Cast::To(wanted) => Some(Arc::new(Col::clone(values).cast(wanted))),
        Cast::Never => None,
    }
}

/// The rows of ascending times within a range.
pub(super) fn within(times_ns: &[i64], (min, max): (i64, i64)) -> std::ops::Range<usize> {
    let start = times_ns.partition_point(|t| *t < min);
    let end = times_ns.partition_point(|t| *t <= max);
    start..end.max(start)
}

/// Two ascending lists of times as one, each time once.
pub(super) fn merge_times(a: &[i64], b: &[i64]) -> Vec<i64> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        out.push(*x.min(y));
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    out.extend_from_slice(&a[i..]);
    out.extend_from_slice(&b[j..]);
    out
}

/// For each of `at`, the row of `times` with that time.
fn align(times_ns: &[i64], at: &[i64]) -> Vec<u32> {
    let mut row = at.first().map_or(0, |first| times_ns.partition_point(|t| t < first));
    at.iter()
        .map(|wanted| {
            while times_ns.get(row).is_some_and(|t| t < wanted) {
                row += 1;
            }
            if times_ns.get(row) == Some(wanted) { row as u32 } else { NO_ROW }
        })
        .collect()
}
