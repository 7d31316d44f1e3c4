//! Other times: the same series at another range.

use crate::eval::Stop;
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::{Default, Function, Group, Invocation};
use crate::time;
use jiff::Timestamp;
use rhythmite_model::{Error, Result};

pub(crate) const ALL: &[Function] = &[TIME_SHIFT, TIME_SLICE, TIME_STACK];

const SUGGESTED: &[&str] = &["1h", "6h", "12h", "1d", "2d", "7d", "14d", "30d"];

/// Most shifts of one `timeStack()`.
const SHIFTS_MAX: i64 = 10_000;

const TIME_SHIFT: Function = Function {
    names: &["timeShift"],
    group: Group::Transform,
    about: "The series as they were that long ago, drawn at the range; an interval without sign goes back. \
            `alignDst` makes up for a clock change between the ranges.",
    params: &[
        P::SERIES,
        P::required("timeShift", T::Interval).such_as(SUGGESTED),
        P::optional("resetEnd", T::Boolean).or(Default::Flag(true)),
        P::optional("alignDst", T::Boolean).or(Default::Flag(false)),
    ],
    aggregator: false,
    run: |c| {
        let (mut delta_s, text) = backwards(c, "timeShift")?;
        let reset_end = c.flag("resetEnd")?;
        if c.flag("alignDst")? {
            delta_s += clock_change(c, delta_s)?;
        }
        let original = c.series("seriesList")?;
        let Some(first) = original.first() else { return Ok(Vec::new().into()) };
        let mut series = c.first_in_range(c.scope.from_s + delta_s, c.scope.until_s + delta_s)?;
        for s in &mut series {
            s.tags.set("timeShift", &text);
            s.name = format!("timeShift({}, \"{text}\")", s.name);
            s.end_s = if reset_end { first.end_s } else { s.end_s - s.start_s + first.start_s };
            s.start_s = first.start_s;
        }
        Ok(series.into())
    },
};

const TIME_SLICE: Function = Function {
    names: &["timeSlice"],
    group: Group::Transform,
    about: "Only the values between two instants.",
    params: &[
        P::SERIES,
        P::required("startSliceAt", T::Date),
        P::optional("endSliceAt", T::Date).or(Default::Text("now")),
    ],
    aggregator: false,
    run: |c| {
        let missing = || Error::invalid("missing argument startSliceAt");
        let start_s = c.opt_time("startSliceAt")?.ok_or_else(missing)?;
        let end_s = c.opt_time("endSliceAt")?.unwrap_or(c.eval.request.now_s);
        let from_s = c.scope.from_s;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("timeSliceStart", start_s);
            s.tags.set("timeSliceEnd", end_s);
            s.name = format!("timeSlice({}, {start_s}, {end_s})", s.name);
            let step_s = s.step_s;
            // As in the reference the first value counts as being at the start of the range.
            for (i, v) in s.values_mut().iter_mut().enumerate() {
                let ts = from_s + i as i64 * step_s;
                if ts < start_s || ts > end_s {
                    *v = f64::NAN;
                }
            }
        }
        Ok(series.into())
    },
};

const TIME_STACK: Function = Function {
    names: &["timeStack"],
    group: Group::Transform,
    about: "The series shifted by `timeShiftStart`, ... up to but not including `timeShiftEnd` times the unit.",
    params: &[
        P::SERIES,
        P::optional("timeShiftUnit", T::Interval).or(Default::Text("1d")).such_as(SUGGESTED),
        P::optional("timeShiftStart", T::Integer).or(Default::Int(0)),
        P::optional("timeShiftEnd", T::Integer).or(Default::Int(7)),
    ],
    aggregator: false,
    run: |c| {
        let (delta_s, text) = backwards(c, "timeShiftUnit")?;
        let (start, end) = (c.int("timeShiftStart")?, c.int("timeShiftEnd")?);
        if end.saturating_sub(start) > SHIFTS_MAX {
            return Err(Error::invalid(format!("more than {SHIFTS_MAX} shifts")).into());
        }
        let original = c.series("seriesList")?;
        let Some(first) = original.first() else { return Ok(Vec::new().into()) };
        // Refused before the first shift, not at the one for which there is no room.
        let shifts = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let points = original.iter().map(|s| s.values.len()).sum::<usize>();
        c.eval.points.expect(points.saturating_mul(shifts))?;
        let mut results = Vec::new();
        let mut pending = false;
        for shift in start..end {
            let by_s = delta_s.saturating_mul(shift).clamp(-time::SECOND_MAX, time::SECOND_MAX);
            let series = match c.first_in_range(c.scope.from_s + by_s, c.scope.until_s + by_s) {
                Err(Stop::Pending) => {
                    pending = true;
                    continue;
                }
                other => other?,
            };
            results.extend(series.into_iter().map(|mut s| {
                s.tags.set("timeShiftUnit", &text);
                s.tags.set("timeShift", shift);
                s.rename(format!("timeShift({}, {text}, {shift})", s.name));
                (s.start_s, s.end_s) = (first.start_s, first.end_s);
                s
            }));
        }
        if pending { Err(Stop::Pending) } else { Ok(results.into()) }
    },
};

/// An interval that goes back unless it has a sign, and its text with the sign.
fn backwards(c: &Invocation<'_, '_, '_>, name: &str) -> Result<(i64, String)> {
    let mut text = c.text(name)?;
    if text.starts_with(|ch: char| ch.is_ascii_digit()) {
        text.insert(0, '-');
    }
    let seconds = time::parse_interval(&text)?;
    Ok((seconds.clamp(-time::SECOND_MAX, time::SECOND_MAX), text))
}

/// An hour forward if summer time holds in the whole range but not in the shifted one, an hour
/// back if it is the other way round.
fn clock_change(c: &Invocation<'_, '_, '_>, delta_s: i64) -> Result<i64> {
    let zone = &c.eval.request.zone;
    let summer = |ts_s: i64| -> Result<bool> {
        let ts = Timestamp::from_second(ts_s).map_err(|e| Error::invalid(e.to_string()))?;
        Ok(zone.to_offset_info(ts).dst().is_dst())
    };
    let here = (summer(c.scope.from_s)?, summer(c.scope.until_s)?);
    let there = (summer(c.scope.from_s + delta_s)?, summer(c.scope.until_s + delta_s)?);
    Ok(match (here, there) {
        ((true, true), (false, false)) => 3_600,
        ((false, false), (true, true)) => -3_600,
        _ => 0,
    })
}
