//! The letters: DejaVu Sans, Serif and Sans Mono, regular and bold, embedded in the binary.
//!
//! Widths are sums of advances, without kerning or shaping; scripts that need shaping are drawn letter by letter. Italics
//! are the upright letters, slanted. Letters that the font lacks are drawn as a box.

use ab_glyph::{Font as _, FontRef, GlyphId, OutlineCurve};
use std::sync::LazyLock;

use super::display_list::{Path, Point};

/// The forms that are embedded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// DejaVu Sans.
    Sans,
    /// DejaVu Serif.
    Serif,
    /// DejaVu Sans Mono.
    Mono,
}

impl Family {
    /// The one that is nearest to a font of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|w| name.contains(w));
        if has(&["mono", "courier", "consol", "typewriter"]) {
            Self::Mono
        } else if !name.contains("sans") && has(&["serif", "times", "georgia", "roman"]) {
            Self::Serif
        } else {
            Self::Sans
        }
    }
}

/// One file of the font.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Face {
    /// The form.
    pub family: Family,
    /// The weight.
    pub bold: bool,
}

/// A face at a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Font {
    /// Which letters.
    pub face: Face,
    /// Slanted.
    pub italic: bool,
    /// Pixels of an em.
    pub size: f64,
}

/// How far the top of an em leans to the right when slanted, in ems.
pub const SLANT: f64 = 0.2;

impl Face {
    fn file(self) -> &'static FontRef<'static> {
        macro_rules! embedded {
            ($($bytes:path),* $(,)?) => { [$(LazyLock::new(|| {
                FontRef::try_from_slice($bytes()).expect("the embedded font is a font")
            })),*] };
        }
        static FILES: [LazyLock<FontRef<'static>>; 6] = embedded![
            dejavu::sans::regular,
            dejavu::sans::bold,
            dejavu::serif::regular,
            dejavu::serif::bold,
            dejavu::sans_mono::regular,
            dejavu::sans_mono::bold,
        ];
        &FILES[self.family as usize * 2 + usize::from(self.bold)]
    }

    /// Advance of a letter in ems.
    #[must_use]
    pub fn advance(self, letter: char) -> f64 {
        let file = self.file();
        f64::from(file.h_advance_unscaled(file.glyph_id(letter))) / self.em()
    }

    /// The number of a letter's form; letters that look alike may share one, and those that are missing share number 0.
    #[must_use]
    pub fn glyph(self, letter: char) -> u16 {
        self.file().glyph_id(letter).0
    }

    /// The form of a glyph in ems, y upwards from the baseline.
    #[must_use]
    pub fn outline(self, glyph: u16) -> Path {
        let mut path = Path::default();
        let Some(outline) = self.file().outline(GlyphId(glyph)) else { return path };
        let em = self.em();
        let at = |p: ab_glyph::Point| Point { x: f64::from(p.x) / em, y: f64::from(p.y) / em };
        let mut end = None;
        for curve in &outline.curves {
            let (from, to) = match curve {
                OutlineCurve::Line(a, b) | OutlineCurve::Quad(a, _, b) | OutlineCurve::Cubic(a, _, _, b) => (*a, *b),
            };
            // Contours are told apart by the jump between them.
            if end != Some(from) {
                if end.is_some() {
                    path.close();
                }
                path.move_to(at(from));
            }
            match curve {
                OutlineCurve::Line(_, b) => path.line_to(at(*b)),
                OutlineCurve::Quad(a, c, b) => path.quad_to(at(*a), at(*c), at(*b)),
                OutlineCurve::Cubic(_, c, d, b) => path.curve_to(at(*c), at(*d), at(*b)),
            }
            end = Some(to);
        }
        if end.is_some() {
            path.close();
        }
        path
    }

    /// Height of a small letter without ascender, in ems.
    #[must_use]
    pub fn x_height(self) -> f64 {
        let file = self.file();
        file.outline(file.glyph_id('x')).map_or(0.5, |o| f64::from(o.bounds.min.y.max(o.bounds.max.y)) / self.em())
    }

    fn em(self) -> f64 {
        f64::from(self.file().units_per_em().unwrap_or(2048.0))
    }
}

impl Font {
    /// The same letters at another size.
    #[must_use]
    pub fn sized(self, size: f64) -> Self {
        Self { size, ..self }
    }

    /// Width of a line of text, px.
    #[must_use]
    pub fn width(&self, text: &str) -> f64 {
        text.chars().map(|c| self.face.advance(c)).sum::<f64>() * self.size
    }

    /// From the baseline to the top of the tallest usual letters, px.
    #[must_use]
    pub fn ascent(&self) -> f64 {
        0.76 * self.size
    }

    /// From the baseline to the bottom of the deepest usual letters, px.
    #[must_use]
    pub fn descent(&self) -> f64 {
        0.24 * self.size
    }

    /// Height of a line of text, px.
    #[must_use]
    pub fn line_height(&self) -> f64 {
        (self.size * 1.2).ceil()
    }

    /// The text, or as much of it as fits into `width` with an ellipsis behind.
    #[must_use]
    pub fn fit(&self, text: &str, width: f64) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let mut room = width - self.width("…");
        let fits = |c: &char| {
            room -= self.face.advance(*c) * self.size;
            room >= 0.0
        };
        let mut short: String = text.chars().take_while(fits).collect();
        short.push('…');
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Font = Font { face: Face { family: Family::Sans, bold: false }, italic: false, size: 10.0 };

    #[test]
    fn names_of_fonts_find_a_family() {
        for (name, want) in [
            ("Sans", Family::Sans),
            ("DejaVu Sans Mono", Family::Mono),
            ("Courier New", Family::Mono),
            ("Times", Family::Serif),
            ("serif", Family::Serif),
            ("Sans Serif", Family::Sans),
            ("Comic", Family::Sans),
        ] {
            assert_eq!(Family::named(name), want, "{name}");
        }
    }

    #[test]
    fn widths_are_the_fonts() {
        // Advances of DejaVu Sans per 2048: 0 is 1303, period 651.
        assert!((TEN.width("0.0") - (1303.0 * 2.0 + 651.0) / 204.8).abs() < 1e-6);
        let mono = Font { face: Face { family: Family::Mono, bold: true }, ..TEN };
        assert_eq!(mono.width("il"), mono.width("mW"));
        assert!((TEN.face.x_height() - 0.547).abs() < 0.001);
    }

    #[test]
    fn text_is_cut_to_fit() {
        let text = "servers.web01.cpu.user";
        assert_eq!(TEN.fit(text, 500.0), text);
        let short = TEN.fit(text, 60.0);
        assert!(short.ends_with('…') && text.starts_with(short.trim_end_matches('…')), "{short}");
        assert!(TEN.width(&short) <= 60.0 && TEN.width(&short) > 45.0, "{short}");
        assert_eq!(TEN.fit(text, 0.0), "…");
    }

    #[test]
    fn letters_have_closed_contours() {
        for face in [Family::Sans, Family::Serif, Family::Mono].map(|family| Face { family, bold: false }) {
            // The counter of an o is a contour of its own.
            let o = face.outline(face.glyph('o'));
            assert_eq!(o.contours(), 2, "{face:?}");
            assert_eq!(face.outline(face.glyph(' ')).contours(), 0);
            assert_eq!(face.glyph('\u{10ffff}'), 0);
        }
    }
}
