//! `template=NAME`: colours that a picture begins with, as in the reference's `graphTemplates.conf`.

/// Colours of a picture; each a text for [`super::Color::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// What `template=` calls it.
    pub name: &'static str,
    /// Behind everything.
    pub background: &'static str,
    /// Text.
    pub foreground: &'static str,
    /// Grid lines that have labels.
    pub major_line: &'static str,
    /// Grid lines between them.
    pub minor_line: &'static str,
    /// Series, in turn.
    pub line_colors: &'static str,
}

const LINE_COLORS: &str = "blue,green,red,purple,brown,yellow,aqua,grey,magenta,pink,gold,mistyrose";
const CLASSIC_LINE_COLORS: &str = "blue,green,red,purple,brown,yellow,aqua,grey,magenta,pink,gold,rose";
const SOLARIZED: &str = "268bd2aa,859900aa,dc322faa,d33682aa,db4b16aa,b58900aa,2aa198aa,6c71c4aa";

/// The template for everything that is not named otherwise.
pub const DEFAULT: Template = Template {
    name: "default",
    background: "white",
    foreground: "black",
    major_line: "rose",
    minor_line: "grey",
    line_colors: LINE_COLORS,
};

/// All templates.
pub const ALL: [Template; 8] = [
    DEFAULT,
    Template {
        name: "plain",
        background: "white",
        foreground: "black",
        major_line: "grey",
        minor_line: "rose",
        line_colors: LINE_COLORS,
    },
    Template {
        name: "classic",
        background: "black",
        foreground: "white",
        major_line: "white",
        minor_line: "grey",
        line_colors: CLASSIC_LINE_COLORS,
    },
    Template {
        name: "noc",
        background: "black",
        foreground: "white",
        major_line: "white",
        minor_line: "grey",
        line_colors: "blue,green,red,yellow,purple,brown,aqua,grey,magenta,pink,gold,rose",
    },
    Template {
        // The reference leaves the foreground black, which nobody can read on black.
        name: "summary",
        background: "black",
        foreground: "white",
        major_line: "rose",
        minor_line: "grey",
        line_colors: "#6666ff,#66ff66,#ff6666",
    },
    Template {
        name: "alphas",
        background: "white",
        foreground: "black",
        major_line: "grey",
        minor_line: "rose",
        line_colors: "00ff00aa,ff000077,00337799",
    },
    Template {
        name: "solarized-light",
        background: "#fdf6e3",
        foreground: "#657b83",
        major_line: "#073642",
        minor_line: "#586e75",
        line_colors: SOLARIZED,
    },
    Template {
        name: "solarized-dark",
        background: "#002b36",
        foreground: "#839496",
        major_line: "#fdf6e3",
        minor_line: "#eee8d5",
        line_colors: SOLARIZED,
    },
];

impl Template {
    /// The template of that name; [`DEFAULT`] when there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        ALL.into_iter().find(|t| t.name == name).unwrap_or(DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Color;
    use super::*;

    #[test]
    fn every_template_can_be_read() {
        for t in ALL {
            let one = [t.background, t.foreground, t.major_line, t.minor_line];
            one.into_iter().for_each(|c| assert!(Color::parse(c).is_ok(), "{}: {c}", t.name));
            assert!(Color::parse_list(t.line_colors).is_ok(), "{}", t.name);
            assert_eq!(Template::named(t.name), t);
        }
        assert_eq!(Template::named("nobody's"), DEFAULT);
    }
}
