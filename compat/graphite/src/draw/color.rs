//! Colours: names, hexadecimal digits, and how a list of them is written.

use rhythmite_model::{Error, Result};
use std::fmt;

/// A colour with its opacity, 255 being opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color {
    /// Red.
    pub r: u8,
    /// Green.
    pub g: u8,
    /// Blue.
    pub b: u8,
    /// Opacity.
    pub a: u8,
}

/// Graphite's names. They are not CSS's: its blue is lighter, its green darker.
const NAMES: [(&str, u32); 25] = [
    ("aqua", 0x009696),
    ("black", 0x000000),
    ("blue", 0x6464ff),
    ("brown", 0x966432),
    ("cyan", 0x00ffff),
    ("darkblue", 0x0000ff),
    ("darkgray", 0x6f6f6f),
    ("darkgreen", 0x00ff00),
    ("darkgrey", 0x6f6f6f),
    ("darkred", 0xff0000),
    ("gold", 0xc8c800),
    ("gray", 0xafafaf),
    ("green", 0x00c800),
    ("grey", 0xafafaf),
    ("magenta", 0xff00ff),
    ("mistyrose", 0xffe4e1),
    ("orange", 0xffa500),
    ("pink", 0xff6464),
    ("purple", 0xc864ff),
    ("red", 0xc80032),
    ("rose", 0xc896c8),
    ("teal", 0x008080),
    ("transparent", 0xffffff),
    ("white", 0xffffff),
    ("yellow", 0xffff00),
];

impl Color {
    /// `#000000`
    pub const BLACK: Self = Self::opaque(0);
    /// `#ffffff`
    pub const WHITE: Self = Self::opaque(0xffffff);

    const fn opaque(rgb: u32) -> Self {
        Self { r: (rgb >> 16) as u8, g: (rgb >> 8) as u8, b: rgb as u8, a: 255 }
    }

    /// A name in any case, `transparent`, or 3, 6 or 8 hexadecimal digits with or without `#`; of eight the last two are
    /// the opacity.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("Invalid color '{}'", text.chars().take(40).collect::<String>()));
        let word = text.trim();
        let lower = word.to_ascii_lowercase();
        if let Ok(at) = NAMES.binary_search_by(|(name, _)| (*name).cmp(&lower)) {
            let color = Self::opaque(NAMES[at].1);
            return Ok(if lower == "transparent" { color.with_alpha(0.0) } else { color });
        }
        let digits = word.strip_prefix('#').or_else(|| word.strip_prefix("%23")).unwrap_or(word);
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let value = u32::from_str_radix(digits, 16).map_err(|_| bad())?;
        match digits.len() {
            3 => {
                let twice = |shift: u32| ((value >> shift) & 15) as u8 * 0x11;
                Ok(Self { r: twice(8), g: twice(4), b: twice(0), a: 255 })
            }
            6 => Ok(Self::opaque(value)),
            8 => Ok(Self { a: value as u8, ..Self::opaque(value >> 8) }),
            _ => Err(bad()),
        }
    }

    /// Colours separated by commas; at least one.
    ///
    /// # Errors
    /// `Invalid` for a bad colour.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        text.split(',').map(Self::parse).collect()
    }

    /// The same colour with this opacity, 0 to 1.
    #[must_use]
    pub fn with_alpha(self, alpha: f64) -> Self {
        // NaN becomes 0.
        Self { a: (alpha.clamp(0.0, 1.0) * 255.0).round() as u8, ..self }
    }

    /// The same colour, fainter by this factor.
    #[must_use]
    pub fn fainter(self, factor: f64) -> Self {
        self.with_alpha(f64::from(self.a) / 255.0 * factor)
    }

    /// Opacity, 0 to 1.
    #[must_use]
    pub fn alpha(self) -> f64 {
        f64::from(self.a) / 255.0
    }

    /// Whether nothing shows through.
    #[must_use]
    pub fn is_opaque(self) -> bool {
        self.a == 255
    }
}

/// `#rrggbb`, with opacity `#rrggbbaa`.
impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.r, self.g, self.b)?;
        if self.is_opaque() { Ok(()) } else { write!(f, "{:02x}", self.a) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_read() {
        assert!(NAMES.is_sorted());
        for (text, want) in [
            ("red", "#c80032"),
            ("Blue", "#6464ff"),
            ("#6666ff", "#6666ff"),
            ("%23abc", "#aabbcc"),
            ("f00", "#ff0000"),
            ("00ff00aa", "#00ff00aa"),
            ("#00ff00FF", "#00ff00"),
            (" white ", "#ffffff"),
            ("transparent", "#ffffff00"),
        ] {
            assert_eq!(Color::parse(text).unwrap().to_string(), want, "{text}");
        }
        for text in ["", "#", "ff", "12345", "1234567", "123456789", "blurple", "+12345", "#ggg", "é"] {
            assert!(Color::parse(text).is_err(), "{text}");
        }
        assert_eq!(Color::parse_list("red, f00").unwrap().len(), 2);
        assert!(Color::parse_list("red,,f00").is_err());
        assert!(Color::parse_list(",").is_err());
        assert!(Color::parse_list("red,nope").is_err());
    }

    #[test]
    fn opacity_multiplies() {
        let half = Color::BLACK.with_alpha(0.5);
        assert_eq!((half.a, half.fainter(0.5).a, Color::BLACK.with_alpha(f64::NAN).a), (128, 64, 0));
    }
}
