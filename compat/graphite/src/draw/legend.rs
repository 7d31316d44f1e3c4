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

/// The entries of one side, in columns as wide as the widest of them.
struct Block {
    entries: Vec<Entry>,
    right: bool,
    /// What one entry may take, px.
    room: f64,
    /// From one column to the next, px.
    column: f64,
    columns: usize,
}

impl Block {
    fn new(entries: Vec<Entry>, right: bool, room: f64, need: f64) -> Self {
        let column = need.min(room) + 2.0 * GAP;
        // The last column needs no gap behind it.
        let columns = ((room + 2.0 * GAP) / column).floor().max(1.0) as usize;
        Self { entries, right, room, column, columns }
    }

    fn lines(&self) -> usize {
        self.entries.len().div_ceil(self.columns)
    }
}

impl Layout<'_> {
    /// Draws the legend at the bottom of the room that is left. `series` is their number, those that the legend leaves
    /// out included.
    pub fn legend(&mut self, mut entries: Vec<Entry>, series: usize) {
        if !self.options.legend.unwrap_or(series <= LEGEND_ITEMS_MAX) {
            return;
        }
        if self.options.unique_legend {
            let mut seen = std::collections::HashSet::new();
            entries.retain(|e| seen.insert(e.name.clone()));
        }
        let line = self.options.font.line_height() + 1.0;
        // Below the graph the margin's left edge is free of labels.
        let area = Rect { left: self.options.margin, ..self.area };
        let room = (area.height() * SHARE_MAX).min(area.height() - GRAPH_PX_MIN);
        let lines_max = ((room - ABOVE) / line).floor();
        if entries.is_empty() || lines_max < 1.0 || area.width() < self.box_side() {
            return;
        }
        let blocks = self.blocks(entries, area.width());
        let all = blocks.iter().map(Block::lines).max().unwrap_or(0);
        let shown = all.min(lines_max as usize);
        if shown < all && blocks.iter().all(|b| shown * b.columns == 1) {
            // The only place would say that there are others.
            return;
        }
        let height = shown as f64 * line + ABOVE;
        let rows = Rect { top: area.bottom - height + ABOVE, ..area };
        blocks.iter().for_each(|block| self.block(block, rows, shown));
        self.area.bottom -= height;
    }

    /// Side of the coloured boxes, px.
    fn box_side(&self) -> f64 {
        self.options.font.line_height() - 1.0
    }

    /// Shares the width among the sides: a half each, but what one does not need the other may have.
    fn blocks(&self, entries: Vec<Entry>, width: f64) -> Vec<Block> {
        let need = |entries: &[Entry]| {
            let widest = entries.iter().map(|e| self.options.font.width(&e.name)).fold(0.0, f64::max);
            self.box_side() + GAP + widest.ceil()
        };
        let (left, right): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(|e| !e.right);
        if right.is_empty() {
            let need = need(&left);
            return vec![Block::new(left, false, width, need)];
        }
        let (all, needs) = ((width - 2.0 * GAP).max(0.0), (need(&left), need(&right)));
        let half = all / 2.0;
        let room = match (needs.0 <= half, needs.1 <= half) {
            (false, true) => all - needs.1,
            (true, false) => needs.0,
            _ => half,
        };
        vec![Block::new(left, false, room, needs.0), Block::new(right, true, all - room, needs.1)]
    }

    /// Draws as much of a block as `shown` lines hold.
    fn block(&mut self, block: &Block, area: Rect, shown: usize) {
        let (font, side) = (self.options.font, self.box_side());
        let places = shown * block.columns;
        let more = block.entries.len().saturating_sub(places);
        for (i, entry) in block.entries.iter().enumerate().take(places) {
            let y = (area.top + (i / block.columns) as f64 * (side + 2.0)).round();
            let x = (i % block.columns) as f64 * block.column;
            let baseline = (y + side / 2.0 + font.ascent() / 2.0).round();
            let (edge, anchor) =
                if block.right { (area.right - x, Anchor::End) } else { (area.left + x, Anchor::Start) };
            if more > 0 && i + 1 == places {
                let text = format!("… and {} more", more + 1);
                self.write(Point::new(edge, baseline), anchor, 0.0, font, &text);
                continue;
            }
            let left = (if block.right { edge - side } else { edge }).round();
            let square = |inset: f64| {
                let (right, bottom) = (left + side - inset, y + side - inset);
                Path::rect(Rect { left: left + inset, top: y + inset, right, bottom })
            };
            self.list.fill(square(0.0), entry.color);
            self.list.stroke(square(0.5), Pen { width: 1.0, dash: None }, self.options.foreground.fainter(0.5));
            let at = if block.right { left - GAP } else { left + side + GAP };
            let text = font.fit(&entry.name, (block.room - side - GAP).max(0.0));
            self.write(Point::new(at, baseline), anchor, 0.0, font, &text);
        }
    }
}
