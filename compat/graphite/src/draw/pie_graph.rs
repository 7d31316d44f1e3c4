//! Pies: one slice for each series, clockwise from the top.
//!
//! A slice is the average, maximum or minimum of a series' known points. What is unknown, negative or zero has no slice
//! but a place in the legend.

use super::color::Color;
use super::display_list::{Anchor, DisplayList, Path, Point, Text};
use super::layout::Layout;
use super::legend::Entry;
use super::options::{DrawOptions, ValueLabels};
use super::unit;
use crate::answer::PieMode;
use crate::series::Series;
use rhythmite_model::Result;

/// Where along the radius labels stand.
const LABEL_RADIUS: f64 = 0.65;

struct Slice {
    value: f64,
    color: Color,
}

/// Lays a pie out.
///
/// # Errors
/// `Invalid` for a bad colour that a function has set.
pub fn pie_graph(series: &[Series], options: &DrawOptions) -> Result<DisplayList> {
    let mut layout = Layout::new(options);
    if series.is_empty() {
        return Ok(layout.no_data());
    }
    let mut colors = options.line_colors.iter().copied().cycle();
    let mut slices = Vec::with_capacity(series.len());
    let mut entries = Vec::with_capacity(series.len());
    for s in series {
        let color = match &s.look.color {
            Some(text) => Color::parse(text)?,
            None => colors.next().unwrap_or(options.foreground),
        };
        let color = s.look.alpha.map_or(color, |alpha| color.with_alpha(alpha));
        let value = value(&s.values, options.pie.mode);
        slices.push(Slice { value: value.unwrap_or(0.0).clamp(0.0, 1e300), color });
        if value.is_some() || !options.hide_null_from_legend {
            entries.push(Entry { name: s.name.clone(), color, right: false });
        }
    }
    layout.title();
    layout.legend(entries, series.len());
    draw(&mut layout, &slices);
    Ok(layout.list)
}

/// `None` when no point is known.
fn value(values: &[f64], mode: PieMode) -> Option<f64> {
    let known = || values.iter().copied().filter(|v| !v.is_nan());
    let count = known().count();
    if count == 0 {
        return None;
    }
    let value = match mode {
        PieMode::Average => known().sum::<f64>() / count as f64,
        PieMode::Maximum => known().fold(f64::NEG_INFINITY, f64::max),
        PieMode::Minimum => known().fold(f64::INFINITY, f64::min),
    };
    (!value.is_nan()).then_some(value)
}

fn draw(layout: &mut Layout<'_>, slices: &[Slice]) {
    use std::f64::consts::{FRAC_PI_2, TAU};
    // Dividing first keeps the sum of large values a number.
    let total: f64 = slices.iter().map(|s| s.value / slices.len() as f64).sum();
    let (area, options) = (layout.area, layout.options);
    // A little air to the title and the legend.
    let radius = (area.width().min(area.height()) / 2.0 - 4.0).floor();
    if total <= 0.0 || radius < 1.0 {
        return;
    }
    let center = Point::new(((area.left + area.right) / 2.0).round(), ((area.top + area.bottom) / 2.0).round());
    let share = |s: &Slice| s.value / slices.len() as f64 / total;
    let mut angle = -FRAC_PI_2;
    for slice in slices.iter().filter(|s| s.value > 0.0) {
        let end = angle + share(slice) * TAU;
        layout.list.fill(Path::slice(center, radius, angle, end), slice.color);
        angle = end;
    }
    let font = options.font;
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    let mut angle = -FRAC_PI_2;
    for slice in slices.iter().filter(|s| s.value > 0.0) {
        let percent = share(slice) * 100.0;
        let middle = angle + share(slice) * TAU / 2.0;
        angle += share(slice) * TAU;
        let (shown, text) = match options.pie.labels {
            ValueLabels::None => continue,
            ValueLabels::Percent => (percent, format!("{percent:.2}%")),
            ValueLabels::Number => (slice.value, plain(slice.value)),
        };
        if shown < options.pie.labels_min {
            continue;
        }
        let at = |r: f64| (center.x + radius * r * middle.cos(), center.y + radius * r * middle.sin());
        let (mut x, mut y) = at(LABEL_RADIUS);
        let mut turn = 0.0;
        if options.pie.rotated {
            // Never upside down.
            turn = middle.to_degrees();
            if middle.cos() < 0.0 {
                turn -= 180.0;
            }
            let (sin, cos) = turn.to_radians().sin_cos();
            x -= sin * font.ascent() / 2.0;
            y += cos * font.ascent() / 2.0;
        } else {
            y += font.ascent() / 2.0;
            // A label that would lie on another is left out; the legend names its slice.
            let half = font.width(&text) / 2.0;
            let over = |(a, b, w): &(f64, f64, f64)| (a - x).abs() < w + half && (b - y).abs() < font.line_height();
            if taken.iter().any(over) {
                continue;
            }
            taken.push((x, y, half));
        }
        let at = Point::new(x, y);
        let color = options.pie.labels_color;
        layout.list.text(Text { at, anchor: Anchor::Middle, turn, font, color, text });
    }
}

/// A value with at least three digits where it has so many.
fn plain(value: f64) -> String {
    let step = 10f64.powf(value.abs().log10().floor() - 2.0);
    let text = unit::number(value, step);
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
