//! PNG: shapes by tiny-skia, letters by exact coverage, the file by hand.
//!
//! Small upright letters are stretched a little so that their tops meet the pixels: without that, text of 10 px is grey
//! mist. A picture without translucent ground is written as RGB, another as RGBA; each row takes the filter that leaves
//! the smallest differences. The same list gives the same bytes.

use std::io::Write as _;

use ab_glyph_rasterizer::Rasterizer;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use rhythmite_model::{Error, Result};
use tiny_skia::{FillRule, LineCap, LineJoin, Mask, Paint, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};

use super::color::Color;
use super::display_list::{Anchor, DisplayList, Op, Path, Pen, Point, Step, Text};
use super::font::SLANT;

/// Letters up to this size are stretched to meet the pixels, px.
const STRETCH_SIZE_MAX: f64 = 20.0;

/// Paints the list. `go_on` is asked before each op.
///
/// # Errors
/// Those of `go_on`; `Internal` when the picture has no size.
pub fn write(list: &DisplayList, go_on: &dyn Fn() -> Result<()>) -> Result<Vec<u8>> {
    let mut sheet = Pixmap::new(list.width, list.height)
        .ok_or_else(|| Error::internal("a picture of this size cannot be painted"))?;
    let mut clip: Option<Mask> = None;
    for op in list.ops() {
        go_on()?;
        match op {
            Op::Fill(path, color) => {
                if let Some(path) = skia(path) {
                    sheet.fill_path(&path, &paint(*color), FillRule::Winding, Transform::identity(), clip.as_ref());
                }
            }
            Op::Stroke(path, pen, color) => {
                if let Some(path) = skia(path) {
                    sheet.stroke_path(&path, &paint(*color), &stroke(*pen), Transform::identity(), clip.as_ref());
                }
            }
            Op::Text(text) => letters(&mut sheet, text),
            Op::Clip(path) => {
                let Some(path) = skia(path) else { continue };
                if let Some(mask) = &mut clip {
                    mask.intersect_path(&path, FillRule::EvenOdd, true, Transform::identity());
                } else if let Some(mut mask) = Mask::new(list.width, list.height) {
                    mask.fill_path(&path, FillRule::EvenOdd, true, Transform::identity());
                    clip = Some(mask);
                }
            }
            Op::Unclip => clip = None,
        }
    }
    Ok(file(&sheet))
}

fn paint(color: Color) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(color.r, color.g, color.b, color.a);
    paint.anti_alias = true;
    paint
}

fn stroke(pen: Pen) -> Stroke {
    let dash = pen.dash.and_then(|d| StrokeDash::new(vec![d as f32, d as f32], 0.0));
    // Round joins where they can be seen; mitres of a thin line would be spikes.
    let line_join = if pen.width > 2.5 { LineJoin::Round } else { LineJoin::Bevel };
    Stroke { width: pen.width as f32, line_cap: LineCap::Butt, line_join, dash, ..Stroke::default() }
}

fn skia(path: &Path) -> Option<tiny_skia::Path> {
    let mut builder = PathBuilder::new();
    for step in path.steps() {
        match *step {
            Step::Move(p) => builder.move_to(p.x as f32, p.y as f32),
            Step::Line(p) => builder.line_to(p.x as f32, p.y as f32),
            Step::Curve(c, d, p) => {
                builder.cubic_to(c.x as f32, c.y as f32, d.x as f32, d.y as f32, p.x as f32, p.y as f32);
            }
            Step::Close => builder.close(),
        }
    }
    builder.finish()
}

/// From letters' own ems to pixels.
struct Place {
    origin: Point,
    sin: f64,
    cos: f64,
    size: f64,
    stretch: f64,
    slant: f64,
}

impl Place {
    /// Where a point of a letter comes to lie whose left end is `along` px behind the text's.
    fn at(&self, along: f64, p: Point) -> Point {
        let (x, y) = (along + (p.x + self.slant * p.y) * self.size, -p.y * self.size * self.stretch);
        Point { x: self.origin.x + x * self.cos - y * self.sin, y: self.origin.y + x * self.sin + y * self.cos }
    }
}

fn letters(sheet: &mut Pixmap, text: &Text) {
    let font = text.font;
    let x_height = font.face.x_height() * font.size;
    let upright = text.turn == 0.0;
    let stretch = if upright && font.size <= STRETCH_SIZE_MAX && x_height > 2.0 {
        // Rather up than down: small letters gain from it.
        (x_height + 0.2).round().max(1.0) / x_height
    } else {
        1.0
    };
    let (sin, cos) = text.turn.to_radians().sin_cos();
    let back = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -font.width(&text.text) / 2.0,
        Anchor::End => -font.width(&text.text),
    };
    let slant = if font.italic { SLANT } else { 0.0 };
    let place = Place { origin: text.at, sin, cos, size: font.size, stretch, slant };
    let mut along = back;
    for letter in text.text.chars() {
        let outline = font.face.outline(font.face.glyph(letter));
        glyph(sheet, &place, along, &outline, text.color);
        along += font.face.advance(letter) * font.size;
    }
}

fn glyph(sheet: &mut Pixmap, place: &Place, along: f64, outline: &Path, color: Color) {
    let at = |p: Point| place.at(along, p);
    let mut ends = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    let mut widen = |p: Point| {
        ends = [ends[0].min(p.x), ends[1].min(p.y), ends[2].max(p.x), ends[3].max(p.y)];
    };
    for step in outline.steps() {
        match *step {
            Step::Move(p) | Step::Line(p) => widen(at(p)),
            Step::Curve(c, d, p) => [c, d, p].into_iter().for_each(|p| widen(at(p))),
            Step::Close => {}
        }
    }
    let (width, height) = (f64::from(sheet.width()), f64::from(sheet.height()));
    // Letters off the sheet are nobody's; the rest is a small box around one letter.
    if outline.is_empty() || ends[0] >= width || ends[1] >= height || ends[2] <= 0.0 || ends[3] <= 0.0 {
        return;
    }
    let (left, top) = (ends[0].floor(), ends[1].floor());
    let (columns, rows) = ((ends[2] - left).ceil() as usize + 1, (ends[3] - top).ceil() as usize + 1);
    let mut raster = Rasterizer::new(columns, rows);
    let local = |p: Point| {
        let p = at(p);
        ab_glyph_rasterizer::point((p.x - left) as f32, (p.y - top) as f32)
    };
    let (mut start, mut here) = (Point::default(), Point::default());
    for step in outline.steps() {
        match *step {
            Step::Move(p) => (start, here) = (p, p),
            Step::Line(p) => {
                raster.draw_line(local(here), local(p));
                here = p;
            }
            Step::Curve(c, d, p) => {
                raster.draw_cubic(local(here), local(c), local(d), local(p));
                here = p;
            }
            Step::Close => {
                raster.draw_line(local(here), local(start));
                here = start;
            }
        }
    }
    let (left, top) = (left as i64, top as i64);
    let stride = sheet.width() as usize;
    let (width, height) = (i64::from(sheet.width()), i64::from(sheet.height()));
    let pixels = sheet.data_mut();
    raster.for_each_pixel_2d(|x, y, coverage| {
        let (x, y) = (left + i64::from(x), top + i64::from(y));
        if coverage <= 0.0 || x < 0 || y < 0 || x >= width || y >= height {
            return;
        }
        let alpha = f64::from(coverage.min(1.0)) * color.alpha();
        let at = (y as usize * stride + x as usize) * 4;
        for (channel, ink) in pixels[at..at + 4].iter_mut().zip([color.r, color.g, color.b, 255]) {
            let mixed = f64::from(ink) * alpha + f64::from(*channel) * (1.0 - alpha);
            *channel = (mixed + 0.5) as u8;
        }
    });
}

fn file(sheet: &Pixmap) -> Vec<u8> {
    let opaque = sheet.pixels().iter().all(|p| p.alpha() == 255);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut head = Vec::with_capacity(13);
    head.extend(sheet.width().to_be_bytes());
    head.extend(sheet.height().to_be_bytes());
    head.extend([8, if opaque { 2 } else { 6 }, 0, 0, 0]);
    chunk(&mut out, b"IHDR", &head);
    chunk(&mut out, b"IDAT", &pixels(sheet, opaque));
    chunk(&mut out, b"IEND", &[]);
    out
}

/// Rows, filtered and compressed.
fn pixels(sheet: &Pixmap, opaque: bool) -> Vec<u8> {
    let channels = if opaque { 3 } else { 4 };
    let width = sheet.width() as usize * channels;
    let mut above = vec![0u8; width];
    let mut row = vec![0u8; width];
    let mut filtered = [vec![0u8; width], vec![0u8; width], vec![0u8; width]];
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(5));
    for pixels in sheet.pixels().chunks(sheet.width() as usize) {
        for (to, pixel) in row.chunks_exact_mut(channels).zip(pixels) {
            let c = pixel.demultiply();
            to.copy_from_slice(&[c.red(), c.green(), c.blue(), c.alpha()][..channels]);
        }
        let before = |i: usize| if i < channels { 0 } else { row[i - channels] };
        for i in 0..width {
            filtered[0][i] = row[i];
            filtered[1][i] = row[i].wrapping_sub(before(i));
            filtered[2][i] = row[i].wrapping_sub(above[i]);
        }
        let weight = |bytes: &[u8]| bytes.iter().map(|b| u64::from((*b as i8).unsigned_abs())).sum::<u64>();
        // On a tie the later one: rows like the one above compress best.
        let best = (0..filtered.len()).rev().min_by_key(|i| weight(&filtered[*i])).unwrap_or(0);
        let written = encoder.write_all(&[best as u8]).and_then(|()| encoder.write_all(&filtered[best]));
        written.expect("a vector takes every byte");
        std::mem::swap(&mut above, &mut row);
    }
    encoder.finish().expect("a vector takes every byte")
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    // Pictures are bounded far below 4 GiB.
    out.extend((data.len() as u32).to_be_bytes());
    out.extend(kind);
    out.extend(data);
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    out.extend(crc.sum().to_be_bytes());
}
