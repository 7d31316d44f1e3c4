//! `integral`: the area under the points, window by window.

use rhythmite_model::FieldType;

use super::super::frame::Frame;
use super::super::points::{Points, linear};
use super::super::value::Value;
use super::super::window::{Windows, shown};

/// The area in value times `unit_ns`. What lies between the last point of a window and the first of the next is shared
/// at the border of the windows.
pub(in super::super) fn integral(
    frame: &Frame,
    unit_ns: i64,
    windows: &Windows,
    range: (i64, i64),
    ascending: bool,
) -> Points {
    let mut out = Points::empty(FieldType::Float, &[]);
    let bounds = |at: i64| {
        let (start, end) = windows.bounds(at, range);
        if ascending { (start, end) } else { (end, start) }
    };
    let unit = unit_ns as f64;
    let mut sum = 0.0;
    let mut previous: Option<(i64, f64)> = None;
    let (mut start, mut end) = (0, 0);
    let values = frame.value.as_ref();
    let whole = values.is_some_and(|col| col.field_type() != FieldType::Float);
    // Of whole numbers 1.x takes the bounds of time for a window.
    let windowed = whole || !windows.is_one();
    for (row, &time) in frame.times_ns.iter().enumerate() {
        let Some(value) = values.and_then(|col| col.value(row).as_f64()) else { continue };
        let Some((before, height)) = &mut previous else {
            previous = Some((time, value));
            if windowed {
                (start, end) = bounds(time);
                start = shown(start);
            }
            continue;
        };
        if *before == time {
            previous = Some((time, value));
            continue;
        }
        // The height that the area up to this point ends with.
        let mut last = value;
        let beyond = if ascending { time >= end } else { time <= end };
        if windowed && beyond {
            if *before != end {
                let border = linear(end, *before, time, *height, value);
                sum += 0.5 * (border + *height) * ((end - *before) as f64 / unit);
                *before = end;
                // Of whole numbers 1.x goes on from the point before with the height at the border.
                if whole {
                    last = border;
                } else {
                    *height = border;
                }
            }
            out.push(start, &Value::Float(sum));
            (start, end) = bounds(time);
            sum = 0.0;
        }
        sum += 0.5 * (last + *height) * ((time - *before) as f64 / unit);
        previous = Some((time, value));
    }
    // A last point at the start of its window has no area there.
    if previous.is_some_and(|(time, _)| time != start) {
        out.push(start, &Value::Float(sum));
    }
    out
}
