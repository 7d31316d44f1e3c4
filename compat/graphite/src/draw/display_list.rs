//! What a picture consists of: shapes, lines and text in the order of painting.
//!
//! Lay-out writes the list, the painters ([`super::png`], [`super::svg`], [`super::pdf`]) read it; neither knows the other. Units are pixels,
//! x to the right, y downwards. Clips narrow what follows; several hold together, and [`Op::Unclip`] drops them all.
//!
//! The list prints as text, one line per op, which is what tests compare.
//!
//! Limits: coordinates are held within [`FAR`], text within [`TEXT_CHARS_MAX`] letters; letters that no printed text has
//! (controls, what XML forbids) become blanks.

use super::color::Color;
use super::font::Font;
use std::fmt;

/// Coordinates beyond are moved to here: far outside of every picture, and harmless in single precision.
pub const FAR: f64 = 100_000.0;

/// Letters of one text.
pub const TEXT_CHARS_MAX: usize = 1_000;

/// A place, px.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Downwards.
    pub y: f64,
}

impl Point {
    /// A place, held within [`FAR`]; what is no number is 0.
    #[must_use]
    pub fn new(x: f64, y: f64) -> Self {
        let near = |c: f64| if c.is_nan() { 0.0 } else { c.clamp(-FAR, FAR) };
        Self { x: near(x), y: near(y) }
    }
}

/// A rectangle with sides along the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left.
    pub left: f64,
    /// Top.
    pub top: f64,
    /// Right.
    pub right: f64,
    /// Bottom.
    pub bottom: f64,
}

impl Rect {
    /// Width, px; never negative.
    #[must_use]
    pub fn width(&self) -> f64 {
        (self.right - self.left).max(0.0)
    }

    /// Height, px; never negative.
    #[must_use]
    pub fn height(&self) -> f64 {
        (self.bottom - self.top).max(0.0)
    }
}

/// A piece of an outline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Begins a contour.
    Move(Point),
    /// A straight line.
    Line(Point),
    /// A cubic curve: two control points and the end.
    Curve(Point, Point, Point),
    /// Back to the contour's start.
    Close,
}

/// Contours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path(Vec<Step>);

impl Path {
    /// A rectangle.
    #[must_use]
    pub fn rect(r: Rect) -> Self {
        let mut path = Self::default();
        path.polyline(
            [(r.left, r.top), (r.right, r.top), (r.right, r.bottom), (r.left, r.bottom)].map(|(x, y)| Point::new(x, y)),
        );
        path.close();
        path
    }

    /// A straight line.
    #[must_use]
    pub fn line(from: Point, to: Point) -> Self {
        Self(vec![Step::Move(from), Step::Line(to)])
    }

    /// A slice of a pie; angles in radians, clockwise from the right.
    #[must_use]
    pub fn slice(center: Point, radius: f64, from: f64, to: f64) -> Self {
        use std::f64::consts::FRAC_PI_2;
        let at = |angle: f64, r: f64| Point::new(center.x + r * angle.cos(), center.y + r * angle.sin());
        let mut path = Self::default();
        path.move_to(center);
        path.line_to(at(from, radius));
        // A cubic curve is a quarter of a circle within 0.03 %.
        let pieces = ((to - from) / FRAC_PI_2).ceil().clamp(1.0, 4.0);
        let step = (to - from) / pieces;
        let reach = 4.0 / 3.0 * (step / 4.0).tan() * radius;
        for piece in 0..pieces as u32 {
            let (a, b) = (from + f64::from(piece) * step, from + f64::from(piece + 1) * step);
            let (start, end) = (at(a, radius), at(b, radius));
            path.curve_to(
                Point::new(start.x - reach * a.sin(), start.y + reach * a.cos()),
                Point::new(end.x + reach * b.sin(), end.y - reach * b.cos()),
                end,
            );
        }
        path.close();
        path
    }

    /// Begins a contour.
    pub fn move_to(&mut self, p: Point) {
        self.0.push(Step::Move(p));
    }

    /// A straight line.
    pub fn line_to(&mut self, p: Point) {
        self.0.push(Step::Line(p));
    }

    /// A cubic curve.
    pub fn curve_to(&mut self, c: Point, d: Point, p: Point) {
        self.0.push(Step::Curve(c, d, p));
    }

    /// A quadratic curve from `from`, where the path is.
    pub fn quad_to(&mut self, from: Point, c: Point, p: Point) {
        let third = |a: Point| Point { x: a.x + (c.x - a.x) * 2.0 / 3.0, y: a.y + (c.y - a.y) * 2.0 / 3.0 };
        self.curve_to(third(from), third(p), p);
    }

    /// Closes the contour.
    pub fn close(&mut self) {
        self.0.push(Step::Close);
    }

    /// A contour of straight lines, left open.
    pub fn polyline(&mut self, points: impl IntoIterator<Item = Point>) {
        for (i, p) in points.into_iter().enumerate() {
            self.0.push(if i == 0 { Step::Move(p) } else { Step::Line(p) });
        }
    }

    /// Adds the contours of another path.
    pub fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Its pieces.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether there is nothing to draw.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many contours there are.
    #[must_use]
    pub fn contours(&self) -> usize {
        self.0.iter().filter(|s| matches!(s, Step::Move(_))).count()
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pen {
    /// Width, px.
    pub width: f64,
    /// Length of dashes and of the gaps between them, px.
    pub dash: Option<f64>,
}

/// Which part of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The left end of the baseline.
    Start,
    /// The middle of the baseline.
    Middle,
    /// The right end of the baseline.
    End,
}

/// A line of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// Where the anchor stands.
    pub at: Point,
    /// Which part is there.
    pub anchor: Anchor,
    /// Clockwise turn about `at`, degrees.
    pub turn: f64,
    /// The letters.
    pub font: Font,
    /// Their colour.
    pub color: Color,
    /// What it says.
    pub text: String,
}

/// One act of painting.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Fills contours; what two of them share is in, however they turn.
    Fill(Path, Color),
    /// Draws along contours.
    Stroke(Path, Pen, Color),
    /// Writes.
    Text(Text),
    /// From here on only what lies in an odd number of contours is painted.
    Clip(Path),
    /// Everything is painted again.
    Unclip,
}

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct DisplayList {
    /// Width, px.
    pub width: u32,
    /// Height, px.
    pub height: u32,
    ops: Vec<Op>,
}

impl DisplayList {
    /// An empty picture.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, ops: Vec::new() }
    }

    /// What to paint, in order.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Fills a shape; nothing for an invisible colour.
    pub fn fill(&mut self, path: Path, color: Color) {
        if color.a > 0 && !path.is_empty() {
            self.ops.push(Op::Fill(path, color));
        }
    }

    /// Draws a line; nothing for an invisible colour or a width that is not positive.
    pub fn stroke(&mut self, path: Path, pen: Pen, color: Color) {
        if color.a > 0 && pen.width > 0.0 && !path.is_empty() {
            let dash = pen.dash.filter(|d| *d > 0.0);
            self.ops.push(Op::Stroke(path, Pen { dash, ..pen }, color));
        }
    }

    /// Writes a text; longer than [`TEXT_CHARS_MAX`] it is cut.
    pub fn text(&mut self, mut text: Text) {
        let printable = |c: char| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c };
        text.text = text.text.chars().take(TEXT_CHARS_MAX).map(printable).collect();
        if !text.text.trim().is_empty() && text.color.a > 0 {
            self.ops.push(Op::Text(text));
        }
    }

    /// Narrows what is painted.
    pub fn clip(&mut self, path: Path) {
        self.ops.push(Op::Clip(path));
    }

    /// Drops all clips.
    pub fn unclip(&mut self) {
        self.ops.push(Op::Unclip);
    }
}

/// A coordinate with one decimal where it needs one.
struct Px(f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        write!(f, "{}{}", if tenths < 0 { "-" } else { "" }, tenths.abs() / 10)?;
        match tenths.abs() % 10 {
            0 => Ok(()),
            tenth => write!(f, ".{tenth}"),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", Px(self.x), Px(self.y))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            let blank = if i == 0 { "" } else { " " };
            match step {
                Step::Move(p) => write!(f, "{blank}M{p}")?,
                Step::Line(p) => write!(f, "{blank}L{p}")?,
                Step::Curve(c, d, p) => write!(f, "{blank}C{c} {d} {p}")?,
                Step::Close => f.write_str("Z")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for DisplayList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "size {} {}", self.width, self.height)?;
        for op in &self.ops {
            match op {
                Op::Fill(path, color) => writeln!(f, "fill {color} {path}")?,
                Op::Stroke(path, pen, color) => {
                    write!(f, "stroke {color} {}", pen.width)?;
                    if let Some(dash) = pen.dash {
                        write!(f, " dash {dash}")?;
                    }
                    writeln!(f, " {path}")?;
                }
                Op::Text(t) => {
                    write!(f, "text {:?} {} {} {:?} {}", t.text, t.color, t.font.size, t.anchor, t.at)?;
                    if t.font.face.bold {
                        f.write_str(" bold")?;
                    }
                    if t.font.italic {
                        f.write_str(" italic")?;
                    }
                    if t.font.face.family != super::font::Family::Sans {
                        write!(f, " {:?}", t.font.face.family)?;
                    }
                    if t.turn != 0.0 {
                        write!(f, " turned {}", Px(t.turn))?;
                    }
                    writeln!(f)?;
                }
                Op::Clip(path) => writeln!(f, "clip {path}")?,
                Op::Unclip => writeln!(f, "unclip")?,
            }
        }
        Ok(())
    }
}
