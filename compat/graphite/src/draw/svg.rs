//! SVG: shapes as paths, text as text.
//!
//! Text is escaped, so that no name of a series becomes markup; the file has no scripts and refers to nothing outside.

use std::fmt::Write as _;

use super::color::Color;
use super::display_list::{Anchor, DisplayList, Op, Path, Step, Text};
use super::font::Family;

/// The list as an SVG document.
#[must_use]
pub fn write(list: &DisplayList) -> String {
    let mut out = Document::default();
    let (w, h) = (list.width, list.height);
    out.add(format_args!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\">\n"
    ));
    for op in list.ops() {
        out.op(op);
    }
    out.add(format_args!("</svg>\n"));
    out.text
}

#[derive(Default)]
struct Document {
    text: String,
    /// Clips so far.
    clips: usize,
    /// Tells the clips of several pictures in one web page apart.
    mark: u32,
    /// Whether the last of them holds.
    clipped: bool,
}

impl Document {
    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        self.text.write_fmt(what).expect("a string takes every letter");
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Fill(path, color) => {
                self.text.push_str("<path d=\"");
                self.path(path);
                self.text.push('"');
                self.ink("fill", *color);
                self.narrowed();
                self.text.push_str("/>\n");
            }
            Op::Stroke(path, pen, color) => {
                self.text.push_str("<path d=\"");
                self.path(path);
                self.text.push_str("\" fill=\"none\"");
                self.ink("stroke", *color);
                self.add(format_args!(" stroke-width=\"{}\" stroke-linejoin=\"round\"", pen.width));
                if let Some(dash) = pen.dash {
                    self.add(format_args!(" stroke-dasharray=\"{dash}\""));
                }
                self.narrowed();
                self.text.push_str("/>\n");
            }
            Op::Text(text) => self.words(text),
            Op::Clip(path) => {
                // A clip that is clipped itself: both hold.
                let clip = self.clips + 1;
                if clip == 1 {
                    let mut sum = flate2::Crc::new();
                    sum.update(self.text.as_bytes());
                    self.mark = sum.sum();
                }
                let mark = self.mark;
                self.add(format_args!("<clipPath id=\"c{mark:08x}-{clip}\""));
                self.narrowed();
                self.text.push_str("><path clip-rule=\"evenodd\" d=\"");
                self.path(path);
                self.text.push_str("\"/></clipPath>\n");
                self.clips = clip;
                self.clipped = true;
            }
            Op::Unclip => self.clipped = false,
        }
    }

    fn narrowed(&mut self) {
        if self.clipped {
            let (mark, clip) = (self.mark, self.clips);
            self.add(format_args!(" clip-path=\"url(#c{mark:08x}-{clip})\""));
        }
    }

    fn ink(&mut self, what: &str, color: Color) {
        self.add(format_args!(" {what}=\"#{:02x}{:02x}{:02x}\"", color.r, color.g, color.b));
        if !color.is_opaque() {
            self.add(format_args!(" {what}-opacity=\"{}\"", Short(color.alpha())));
        }
    }

    fn path(&mut self, path: &Path) {
        for step in path.steps() {
            match step {
                Step::Move(p) => self.add(format_args!("M{} {}", Short(p.x), Short(p.y))),
                Step::Line(p) => self.add(format_args!("L{} {}", Short(p.x), Short(p.y))),
                Step::Curve(c, d, p) => self.add(format_args!(
                    "C{} {} {} {} {} {}",
                    Short(c.x),
                    Short(c.y),
                    Short(d.x),
                    Short(d.y),
                    Short(p.x),
                    Short(p.y)
                )),
                Step::Close => self.text.push('Z'),
            }
        }
    }

    fn words(&mut self, t: &Text) {
        let anchor = match t.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        // Verdana is as wide as what the lay-out has measured.
        let family = match t.font.face.family {
            Family::Sans => "DejaVu Sans,Bitstream Vera Sans,Verdana,sans-serif",
            Family::Serif => "DejaVu Serif,Bitstream Vera Serif,Georgia,serif",
            Family::Mono => "DejaVu Sans Mono,Bitstream Vera Sans Mono,monospace",
        };
        let (x, y) = (Short(t.at.x), Short(t.at.y));
        self.add(format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-family=\"{family}\" font-size=\"{}\" text-anchor=\"{anchor}\" xml:space=\"preserve\"",
            Short(t.font.size)
        ));
        if t.font.face.bold {
            self.text.push_str(" font-weight=\"bold\"");
        }
        if t.font.italic {
            self.text.push_str(" font-style=\"italic\"");
        }
        if t.turn != 0.0 {
            self.add(format_args!(" transform=\"rotate({} {x} {y})\"", Short(t.turn)));
        }
        self.ink("fill", t.color);
        self.text.push('>');
        for letter in t.text.chars() {
            match letter {
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '&' => self.text.push_str("&amp;"),
                '"' => self.text.push_str("&quot;"),
                letter => self.text.push(letter),
            }
        }
        self.text.push_str("</text>\n");
    }
}

/// A number with at most two decimals and none too many.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hundredths = (self.0 * 100.0).round() as i64;
        let (whole, rest) = (hundredths.abs() / 100, hundredths.abs() % 100);
        let sign = if hundredths < 0 { "-" } else { "" };
        match rest {
            0 => write!(f, "{sign}{whole}"),
            rest if rest % 10 == 0 => write!(f, "{sign}{whole}.{}", rest / 10),
            rest => write!(f, "{sign}{whole}.{rest:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (x, want) in
            [(0.0, "0"), (1.0, "1"), (-0.001, "0"), (1.5, "1.5"), (1.234, "1.23"), (-2.005, "-2.01"), (0.04, "0.04")]
        {
            assert_eq!(Short(x).to_string(), want);
        }
    }
}
