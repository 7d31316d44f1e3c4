//! Lines over time: which series is drawn how, on which axis, above what.
//!
//! The order of events: colours, unknown points, title, legend, titles of axes, merging of points, stacking, axes, grid,
//! areas, lines.
//! Areas come first so that no line is hidden; a later area shows only where earlier ones are not.
//!
//! Limits: [`POINTS_MAX`] points after merging, [`CLIPPED_AREAS_MAX`] areas that show through.

use std::sync::Arc;

use super::axis::{Ask, Axis, LINES_MAX};
use super::color::Color;
use super::display_list::{Anchor, DisplayList, Path, Pen, Point, Rect};
use super::layout::Layout;
use super::legend::Entry;
use super::options::{AreaMode, DrawOptions, LineMode, Side, SideOptions};
use super::time_axis::TimeAxis;
use crate::series::Series;
use rhythmite_model::{Error, Result};

/// Points of a picture, after merging.
pub const POINTS_MAX: usize = 5_000_000;
/// Areas that are not opaque, or lie between two series: each narrows what later ones may paint.
pub const CLIPPED_AREAS_MAX: usize = 200;

/// Widths of lines that are not data, px.
const MAJOR: Pen = Pen { width: 0.6, dash: None };
const MINOR: Pen = Pen { width: 0.3, dash: None };
/// Between an axis and its labels, px.
const LABEL_GAP: f64 = 4.0;
/// Between the graph and the times below it, px: the lowest value's label hangs in there.
const TIME_GAP: f64 = 7.0;
/// Half the width of what stands for a point without neighbours, px.
const LONELY_PX: f64 = 1.0;
/// Dashes of `leftDashed` and `rightDashed`, px.
const DASH: f64 = 2.5;

/// A series with all that is known about its looks.
struct Line {
    series: Series,
    color: Color,
    pen: Pen,
    right: bool,
    /// Colour of the area below.
    fill: Option<Color>,
    stroked: bool,
    /// Whether there was a known point before unknown ones became zero.
    known: bool,
}

/// Where data are drawn.
struct Plot {
    area: Rect,
    /// What is painted of them: lines along an edge are seen in full.
    seen: Rect,
    mode: LineMode,
    start_s: f64,
    range_s: f64,
}

impl Plot {
    fn x(&self, at_s: f64) -> f64 {
        self.area.left + (at_s - self.start_s) / self.range_s * self.area.width()
    }

    fn y(&self, place: f64) -> f64 {
        self.area.bottom - place * self.area.height()
    }
}

/// Lays a line graph out. `go_on` is asked for each series.
///
/// # Errors
/// `Invalid` for a bad colour or consolidation that a function has set, and beyond the limits; those of `go_on`.
pub fn line_graph(series: Vec<Series>, options: &DrawOptions, go_on: &dyn Fn() -> Result<()>) -> Result<DisplayList> {
    let mut layout = Layout::new(options);
    if series.is_empty() {
        return Ok(layout.no_data());
    }
    let mut lines = lines(series, options)?;
    let two_axes = lines.iter().any(|l| l.right);
    let line = &options.line;
    if let Some(fault) = line.two_axes_fault.as_ref().filter(|_| two_axes) {
        return Err(Error::invalid(fault.clone()));
    }
    layout.title();
    let listed = |l: &&Line| !l.series.look.invisible && (l.known || !options.hide_null_from_legend);
    let entries = lines.iter().filter(listed).map(|l| Entry {
        name: l.series.name.clone(),
        color: l.color.with_alpha(1.0),
        right: l.right,
    });
    let entries = entries.collect();
    layout.legend(entries, lines.len());
    room_for_time_labels(&mut layout);
    if let Some(text) = &line.vtitle {
        layout.side_title(text, !two_axes && line.y_axis_side == Side::Right);
    }
    if let Some(text) = line.vtitle_right.as_ref().filter(|_| two_axes) {
        layout.side_title(text, true);
    }

    let (start_s, end_s) = range(&lines, line.line_mode);
    let range_s = end_s.saturating_sub(start_s).max(1) as f64;
    merge_points(&mut lines, layout.area.width(), range_s, line.min_x_step, go_on)?;
    if line.area_mode == AreaMode::Stacked {
        stack(&mut lines, false)?;
        stack(&mut lines, true)?;
    }

    // Labels that are not shown need no room.
    let labels_max = match line.hide_axes || line.hide_y_axis {
        true => LINES_MAX,
        false => (layout.area.height() / (options.font.line_height() * 1.1)).max(2.0) as usize,
    };
    let axis = |right: bool, side: &SideOptions| {
        let data = extent(lines.iter().filter(|l| l.right == right), line.log_base.is_some());
        Axis::new(&Ask { data, side, line, labels_max })
    };
    let left = axis(false, if two_axes { &line.left } else { &line.single });
    let right = two_axes.then(|| axis(true, &line.right));
    let area = value_labels(&mut layout, &left, right.as_ref());
    let seen = Rect { left: area.left, top: area.top - 1.0, right: area.right + 1.0, bottom: area.bottom + 1.0 };
    let plot = Plot { area, seen, mode: line.line_mode, start_s: start_s as f64, range_s };
    time_labels(&mut layout, &plot, start_s, end_s, [Some(&left), right.as_ref()]);

    if area.width() >= 1.0 && area.height() >= 1.0 {
        let axis_of = |l: &Line| right.as_ref().filter(|_| l.right).unwrap_or(&left);
        areas(&mut layout.list, &plot, &lines, &axis_of, go_on)?;
        layout.list.clip(Path::rect(plot.seen));
        for l in lines.iter().filter(|l| l.stroked) {
            go_on()?;
            stroke(&mut layout.list, &plot, l, axis_of(l));
        }
        layout.list.unclip();
    }
    Ok(layout.list)
}

/// Colours and pens; unknown points become zero if they are to.
fn lines(series: Vec<Series>, options: &DrawOptions) -> Result<Vec<Line>> {
    let line = &options.line;
    let two_axes = series.iter().any(|s| s.look.second_y_axis);
    let mut colors = options.line_colors.iter().copied().cycle();
    let mut lines = Vec::with_capacity(series.len());
    let mut area_given = false;
    for mut series in series {
        let look = series.look.clone();
        let right = look.second_y_axis;
        let side = two_axes.then_some(if right { &line.right } else { &line.left });
        let own = look.color.as_deref().map(Color::parse).transpose()?;
        let color = match own.or(side.and_then(|s| s.color)) {
            Some(color) => color,
            None => colors.next().unwrap_or(options.foreground),
        };
        let width = look.line_width.or(side.and_then(|s| s.width)).unwrap_or(line.line_width);
        let dash = look.dashed.or(side.filter(|s| s.dashed).map(|_| DASH));
        let filled = match line.area_mode {
            _ if look.draw_as_infinite => false,
            AreaMode::None => look.stacked,
            AreaMode::First => look.stacked || !std::mem::replace(&mut area_given, true),
            AreaMode::All | AreaMode::Stacked => true,
        };
        let stroke_color = look.alpha.map_or(color, |alpha| color.with_alpha(alpha));
        let alpha = look.alpha.or(line.area_alpha.filter(|_| line.area_mode != AreaMode::None));
        let fill_color = alpha.map_or(color, |alpha| color.with_alpha(alpha));
        let outlined = line.area_alpha.is_some() && line.area_mode != AreaMode::None;
        let known = series.values.iter().any(|v| !v.is_nan());
        if line.null_as_zero && !look.draw_as_infinite {
            series.values_mut().iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = 0.0);
        }
        lines.push(Line {
            color: stroke_color,
            pen: Pen { width, dash },
            right,
            fill: filled.then_some(if look.invisible { fill_color.with_alpha(0.0) } else { fill_color }),
            stroked: !look.invisible && (!filled || outlined),
            known,
            series,
        });
    }
    Ok(lines)
}

/// The first and the last instant of the graph. Instants of `drawAsInfinite` do not widen it, nor do series that end before
/// they begin (forecasts from too few points).
fn range(lines: &[Line], mode: LineMode) -> (i64, i64) {
    let end = |s: &Series| match mode {
        LineMode::Staircase => s.end_s.max(s.start_s),
        _ => s.points().next_back().map_or(s.start_s, |(at_s, _)| at_s),
    };
    let finite = lines.iter().any(|l| !l.series.look.draw_as_infinite);
    let shown = lines.iter().any(|l| l.series.point_count() > 0);
    let chosen = || {
        let all = lines.iter().map(|l| &l.series);
        all.filter(|s| (!finite || !s.look.draw_as_infinite) && (!shown || s.point_count() > 0))
    };
    let start_s = chosen().map(|s| s.start_s).min().unwrap_or(0);
    let end_s = chosen().map(end).max().unwrap_or(0);
    if end_s > start_s {
        return (start_s, end_s);
    }
    // A single instant gets the room of one step.
    let step = chosen().map(|s| s.step_s).max().unwrap_or(1).max(1);
    (start_s, start_s.saturating_add(step))
}

/// Merges points until they are `min_px` apart, each series in its own way.
fn merge_points(
    lines: &mut [Line],
    width: f64,
    range_s: f64,
    min_px: f64,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let mut drawn = 0usize;
    for line in lines {
        go_on()?;
        let s = &mut line.series;
        let points = range_s / s.step_s.max(1) as f64;
        if min_px > 0.0 {
            let places = (width / min_px).floor().max(1.0);
            let per_point = (points / places).ceil().max(1.0) as usize;
            if per_point > 1 && s.values.len() > 1 {
                s.consolidate(per_point)?;
            }
        }
        drawn = drawn.saturating_add(s.values.len());
        if drawn > POINTS_MAX {
            return Err(Error::invalid(format!("a picture has at most {POINTS_MAX} points; ask for fewer series")));
        }
    }
    Ok(())
}

/// Adds up the series of one axis, each on top of those before it. Series of different steps or starts are first brought
/// to the coarsest step among them.
fn stack(lines: &mut [Line], right: bool) -> Result<()> {
    let mut chosen: Vec<&mut Series> =
        lines.iter_mut().filter(|l| l.right == right && l.fill.is_some()).map(|l| &mut l.series).collect();
    let grid = |s: &Series| (s.start_s, s.step_s);
    if !chosen.windows(2).all(|pair| grid(pair[0]) == grid(pair[1])) {
        let start_s = chosen.iter().map(|s| s.start_s).min().unwrap_or(0);
        let step_s = chosen.iter().map(|s| s.step_s).max().unwrap_or(1).max(1);
        let mut points = 0usize;
        for s in &mut chosen {
            let slots = s.start_s.saturating_sub(start_s) / step_s;
            points = points.saturating_add(usize::try_from(slots).unwrap_or(0)).saturating_add(s.values.len());
            if points > POINTS_MAX {
                return Err(Error::invalid("series of such different times cannot be stacked"));
            }
            let values = onto(s, start_s, step_s)?;
            (s.start_s, s.step_s, s.values) = (start_s, step_s, Arc::new(values));
        }
    }
    let mut totals: Vec<f64> = Vec::new();
    for s in chosen {
        let values = s.values_mut();
        totals.resize(totals.len().max(values.len()), 0.0);
        for (value, total) in values.iter_mut().zip(&mut totals).filter(|(v, _)| !v.is_nan()) {
            *total += *value;
            *value = *total;
        }
    }
    Ok(())
}

/// The values in slots of `step_s` from `start_s`, which is not later than the series' own start. `step_s` is not shorter
/// than its step.
fn onto(s: &Series, start_s: i64, step_s: i64) -> Result<Vec<f64>> {
    let slot = |i: usize| (s.start_s - start_s + i as i64 * s.step_s.max(1)) / step_s;
    let mut slots: Vec<f64> = Vec::new();
    let mut at = 0;
    while at < s.values.len() {
        let here = slot(at);
        let end = (at..s.values.len()).find(|i| slot(*i) != here).unwrap_or(s.values.len());
        let merged = s.consolidation.apply(&s.values[at..end], end - at, s.x_files_factor)?;
        slots.resize(usize::try_from(here).unwrap_or(0), f64::NAN);
        slots.extend(merged);
        at = end;
    }
    Ok(slots)
}

/// The least and the largest value; infinite ones do not count, nor others than `positive` ones if it is set.
fn extent<'l>(lines: impl Iterator<Item = &'l Line>, positive: bool) -> Option<(f64, f64)> {
    let finite = lines.filter(|l| !l.series.look.draw_as_infinite);
    let values = finite.flat_map(|l| l.series.values.iter().copied());
    let counted = values.filter(|v| v.is_finite() && (!positive || *v > 0.0));
    counted.fold(None, |ends: Option<(f64, f64)>, v| Some(ends.map_or((v, v), |(min, max)| (min.min(v), max.max(v)))))
}

/// Takes the line of labels below the graph from the room that is left.
fn room_for_time_labels(layout: &mut Layout<'_>) {
    let (font, line) = (layout.options.font, &layout.options.line);
    layout.area.bottom -= match (line.hide_axes, line.hide_x_axis, line.hide_y_axis) {
        (true, _, _) | (_, true, true) => 0.0,
        // Half a letter below for the lowest value.
        (_, true, false) => (font.size / 2.0).round(),
        (_, false, _) => font.line_height() + TIME_GAP,
    };
}

/// Writes the values' labels; gives the room without them.
fn value_labels(layout: &mut Layout<'_>, left: &Axis, right: Option<&Axis>) -> Rect {
    let options = layout.options;
    let (font, line) = (options.font, &options.line);
    let mut plot = layout.area;
    if !line.hide_axes && !line.hide_x_axis {
        // The last time may stand on the edge.
        plot.right -= 2.0;
    }
    if !line.hide_axes && !line.hide_y_axis {
        // Half a letter above for the topmost label.
        plot.top += (font.size / 2.0).round();
        let width = |axis: &Axis| axis.labels.iter().map(|(_, text)| font.width(text)).fold(0.0, f64::max).ceil();
        let on_right = right.is_none() && line.y_axis_side == Side::Right;
        let (left_axis, right_axis) = if on_right { (None, Some(left)) } else { (Some(left), right) };
        if let Some(axis) = left_axis {
            plot.left += width(axis) + LABEL_GAP;
        }
        if let Some(axis) = right_axis {
            plot.right -= width(axis) + LABEL_GAP;
        }
        for (axis, anchor, x) in
            [(left_axis, Anchor::End, plot.left - LABEL_GAP), (right_axis, Anchor::Start, plot.right + LABEL_GAP)]
        {
            let mut last = f64::INFINITY;
            for (value, text) in axis.iter().flat_map(|a| &a.labels) {
                let Some(place) = axis.and_then(|a| a.place(*value)) else { continue };
                let y = plot.bottom - place * plot.height() + font.ascent() / 2.0;
                // In a picture of few pixels even two labels may be too many.
                if last - y < font.size {
                    continue;
                }
                last = y;
                layout.write(Point::new(x, y.round()), anchor, 0.0, font, text);
            }
        }
    }
    plot
}

/// Draws the grid and writes the times' labels.
fn time_labels(layout: &mut Layout<'_>, plot: &Plot, start_s: i64, end_s: i64, axes: [Option<&Axis>; 2]) {
    let options = layout.options;
    let (font, line) = (options.font, &options.line);
    if line.hide_axes {
        return;
    }
    let area = plot.area;
    let format = line.x_format.as_deref();
    let times = TimeAxis::new(start_s, end_s, area.width(), &options.zone, &font, format);
    if !line.hide_grid {
        // Lines in the middle of a pixel are sharp.
        let sharp = |c: f64| c.floor() + 0.5;
        let mut minor = Path::default();
        let mut major = Path::default();
        let down = |path: &mut Path, t: i64| {
            let x = sharp(plot.x(t as f64));
            path.polyline([Point::new(x, area.top), Point::new(x, area.bottom)]);
        };
        let across = |path: &mut Path, axis: &Axis, value: f64| {
            if let Some(place) = axis.place(value) {
                let y = sharp(plot.y(place));
                path.polyline([Point::new(area.left, y), Point::new(area.right, y)]);
            }
        };
        times.minors.iter().for_each(|t| down(&mut minor, *t));
        times.labels.iter().for_each(|(t, _)| down(&mut major, *t));
        // Two axes share the left one's lines: two grids on top of each other cannot be read.
        if let Some(axis) = axes[0] {
            axis.minors.iter().for_each(|v| across(&mut minor, axis, *v));
            axis.labels.iter().for_each(|(v, _)| across(&mut major, axis, *v));
        }
        for x in [area.left, area.right] {
            major.polyline([Point::new(sharp(x), area.top), Point::new(sharp(x), area.bottom)]);
        }
        layout.list.stroke(minor, MINOR, options.minor_line);
        layout.list.stroke(major, MAJOR, options.major_line);
    }
    if line.hide_x_axis {
        return;
    }
    let baseline = (area.bottom + TIME_GAP + font.ascent()).round();
    for (t, text) in &times.labels {
        let x = plot.x(*t as f64);
        let half = font.width(text) / 2.0;
        // A label that would leave the picture is left out.
        if x - half >= 0.0 && x + half <= f64::from(options.width) {
            layout.write(Point::new(x.round(), baseline), Anchor::Middle, 0.0, font, text);
        }
    }
}

/// Fills the areas; each hides what later ones paint.
fn areas<'l>(
    list: &mut DisplayList,
    plot: &Plot,
    lines: &'l [Line],
    axis_of: &dyn Fn(&'l Line) -> &'l Axis,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let filled: Vec<(&Line, Color)> = lines.iter().filter_map(|l| Some((l, l.fill?))).collect();
    if filled.is_empty() {
        return Ok(());
    }
    list.clip(Path::rect(plot.seen));
    let path = |l: &'l Line| {
        let axis = axis_of(l);
        let ground = plot.y(axis.ground());
        let mut path = Path::default();
        for run in runs(plot, &l.series, axis) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let feet = [Point::new(last.x, ground), Point::new(first.x, ground)];
            path.polyline(run.iter().copied().chain(feet));
            path.close();
        }
        path
    };
    if filled.iter().all(|(_, color)| color.is_opaque()) {
        // PERF: opaque areas hide what is below them; painted from the last to the first they need no clips.
        for (l, color) in filled.into_iter().rev() {
            go_on()?;
            list.fill(path(l), color);
        }
        list.unclip();
        return Ok(());
    }
    if filled.len() > CLIPPED_AREAS_MAX {
        return Err(Error::invalid(format!("a picture has at most {CLIPPED_AREAS_MAX} areas that show through")));
    }
    let count = filled.len();
    for (i, (l, color)) in filled.into_iter().enumerate() {
        go_on()?;
        let shape = path(l);
        let mut outside = Path::rect(plot.seen);
        outside.append(&shape);
        list.fill(shape, color);
        if i + 1 < count {
            list.clip(outside);
        }
    }
    list.unclip();
    Ok(())
}

fn stroke(list: &mut DisplayList, plot: &Plot, line: &Line, axis: &Axis) {
    let s = &line.series;
    let mut path = Path::default();
    if s.look.draw_as_infinite {
        let shown = s.points().filter(|(_, v)| !v.is_nan() && *v != 0.0);
        for (t, _) in shown {
            let x = plot.x(t as f64);
            path.polyline([Point::new(x, plot.area.bottom), Point::new(x, plot.area.top)]);
        }
    } else {
        runs(plot, s, axis).into_iter().for_each(|run| path.polyline(run));
    }
    list.stroke(path, line.pen, line.color);
}

/// The known points of a series as unbroken lines, each of two points at least.
fn runs(plot: &Plot, s: &Series, axis: &Axis) -> Vec<Vec<Point>> {
    let mut runs: Vec<Vec<Point>> = Vec::new();
    let mut run: Vec<Point> = Vec::new();
    let mut end = |run: &mut Vec<Point>| {
        if let [only] = *run.as_slice() {
            // A point without neighbours would not be seen.
            *run = vec![Point::new(only.x - LONELY_PX, only.y), Point::new(only.x + LONELY_PX, only.y)];
        }
        if !run.is_empty() {
            runs.push(std::mem::take(run));
        }
    };
    let step = s.step_s as f64;
    let mut unknown = 0usize;
    for (at_s, value) in s.points() {
        let Some(place) = axis.place(value) else {
            unknown += 1;
            let crossed = matches!(plot.mode, LineMode::Connected { limit } if unknown <= limit);
            if !crossed {
                end(&mut run);
            }
            continue;
        };
        unknown = 0;
        let t = at_s as f64;
        let y = plot.y(place);
        run.push(Point::new(plot.x(t), y));
        if plot.mode == LineMode::Staircase {
            run.push(Point::new(plot.x(t + step), y));
        }
    }
    end(&mut run);
    runs
}
