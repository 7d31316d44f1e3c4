//! The legend below a graph: a box of each series' colour and its name, in columns.
//!
//! With two axes the left one's series stand on the left, the right one's on the right. A legend takes at most
//! [`SHARE_MAX`] of the picture and leaves [`GRAPH_PX_MIN`]; what does not fit is counted in its last place.

use super::color::Color;
use super::display_list::{Anchor, Path, Pen, Point, Rect};
use super::layout::Layout;
use super::options::LEGEND_ITEMS_MAX;

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is called.
    pub name: String,
    /// Its colour.
    pub color: Color,
    /// Whether it belongs to the right axis of two.
    pub right: bool,
}

/// Part of the room that a legend may take.
const SHARE_MAX: f64 = 0.5;
/// Room that a legend leaves to the graph in any case, px.
const GRAPH_PX_MIN: f64 = 50.0;
/// Between box and name, and between columns, px.
const GAP: f64 = 5.0;
/// Between graph and legend, px.
const ABOVE: f64 = 6.0;

impl Layout<'_> {
    /// Draws the legend at the bottom of the room that is left. `series` is their number without those that the legend
    /// leaves out.
    pub fn legend(&mut self, mut entries: Vec<Entry>, series: usize) {
        if !self.options.legend.unwrap_or(series <= LEGEND_ITEMS_MAX) {
            return;
        }
        if self.options.unique_legend {
            let mut seen = std::collections::HashSet::new();
            entries.retain(|e| seen.insert(e.name.clone()));
        }
        if entries.is_empty() {
            return;
        }
        let font = self.options.font;
        let line = font.line_height() + 1.0;
        let side = font.line_height() - 1.0;
        // Below the graph the margin's left edge is free of labels.
        let area = Rect { left: self.options.margin, ..self.area };
        let room = (area.height() * SHARE_MAX).min(area.height() - GRAPH_PX_MIN);
        let lines_max = ((room - ABOVE) / line).floor();
        if lines_max < 1.0 || area.width() < side {
            return;
        }
        let two_sides = entries.iter().any(|e| e.right);
        let room = if two_sides { (area.width() - 2.0 * GAP) / 2.0 } else { area.width() };
        let widest = entries.iter().map(|e| font.width(&e.name)).fold(0.0, f64::max);
        let column = (side + GAP + widest + 2.0 * GAP).min(room + 2.0 * GAP);
        // The last column needs no gap behind it.
        let columns = ((room + 2.0 * GAP) / column).floor().max(1.0) as usize;
        let lines = |count: usize| count.div_ceil(columns);
        let (left, right): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|e| !e.right);
        let all = lines(left.len()).max(lines(right.len()));
        let shown = all.min(lines_max as usize);
        if shown < all && shown * columns == 1 {
            // The only place would say that there are others.
            return;
        }
        let height = shown as f64 * line + ABOVE;
        let top = area.bottom - height + ABOVE;
        for (entries, right) in [(left, false), (right, true)] {
            let places = shown * columns;
            let more = entries.len().saturating_sub(places);
            for (i, entry) in entries.iter().enumerate().take(places) {
                let y = top + (i / columns) as f64 * line;
                let x = (i % columns) as f64 * column;
                let baseline = (y + side / 2.0 + font.ascent() / 2.0 - 0.5).round();
                let text = font.fit(&entry.name, (room - side - GAP).max(0.0));
                let (edge, anchor) = if right { (area.right - x, Anchor::End) } else { (area.left + x, Anchor::Start) };
                if more > 0 && i + 1 == places {
                    let text = format!("… and {} more", more + 1);
                    self.write(Point::new(edge, baseline), anchor, 0.0, font, &text);
                    continue;
                }
                let left = if right { edge - side } else { edge };
                let rect = |inset: f64| Rect {
                    left: left.round() + inset,
                    top: y.round() + inset,
                    right: (left + side).round() - inset,
                    bottom: (y + side).round() - inset,
                };
                self.list.fill(Path::rect(rect(0.0)), entry.color);
                let frame = Pen { width: 1.0, dash: None };
                self.list.stroke(Path::rect(rect(0.5)), frame, self.options.foreground.fainter(0.5));
                let at = if right { left - GAP } else { left + side + GAP };
                self.write(Point::new(at.round(), baseline), anchor, 0.0, font, &text);
            }
        }
        self.area.bottom -= height;
    }
}
