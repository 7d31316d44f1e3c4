//! The parameters of `/render` that say how a picture looks.
//!
//! An empty value and `default` mean the same as none. What the reference fails at is refused: numbers, colours and words
//! that mean nothing; and so are sizes beyond the limits here. What it accepts is accepted: an unknown template, unit
//! system, font, side or `pieLabels` is the default, and options of two axes only count when there are two.

use super::color::Color;
use super::font::{Face, Family, Font};
use super::template::Template;
use super::unit::UnitSystem;
use crate::answer::{GraphType, Params, PieMode, RenderOptions};
use crate::time;
use jiff::tz::TimeZone;
use rhythmite_model::{Error, Result};

/// Longest side of a picture, px.
pub const SIDE_PX_MAX: u32 = 20_000;
/// Most pixels of a picture; a PNG takes four bytes for each while it is painted.
pub const PIXELS_MAX: u32 = 10_000_000;
/// Largest letters, px.
pub const FONT_SIZE_MAX: f64 = 200.0;
/// Thickest line, px.
pub const LINE_WIDTH_MAX: f64 = 1_000.0;
/// Most minor grid lines between two major ones.
pub const MINOR_LINES_MAX: u32 = 100;
/// Largest number of pieces that `yDivisors` may ask for.
pub const DIVISOR_MAX: u32 = 1_000;
/// From so many series on there is no legend unless it is asked for.
pub const LEGEND_ITEMS_MAX: usize = 10;

/// How lines connect points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineMode {
    /// From point to point; unknown points are gaps.
    Slope,
    /// Each value lasts until the next.
    Staircase,
    /// From known point to known point, across at most so many unknown ones.
    Connected {
        /// Unknown points that a line crosses.
        limit: usize,
    },
}

/// What is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaMode {
    /// Only what functions ask for.
    None,
    /// Below the first series.
    First,
    /// Below every series.
    All,
    /// Below every series, one on top of the other.
    Stacked,
}

/// An end of a y axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// At this value.
    At(f64),
    /// At the data's own end: `yMax=max`.
    Data,
}

/// Options that there are for each y axis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SideOptions {
    /// Lower end.
    pub min: Option<Bound>,
    /// Upper end.
    pub max: Option<Bound>,
    /// What the upper end does not exceed.
    pub limit: Option<f64>,
    /// Distance between labels.
    pub step: Option<f64>,
    /// Colour of its series.
    pub color: Option<Color>,
    /// Width of its lines, px.
    pub width: Option<f64>,
    /// Whether its lines are dashed.
    pub dashed: bool,
}

/// Where the labels of the only y axis stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On the left.
    Left,
    /// On the right.
    Right,
}

/// What is written on slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueLabels {
    /// Nothing.
    None,
    /// The value.
    Number,
    /// The share.
    Percent,
}

/// Options of pies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PieOptions {
    /// The value of a slice.
    pub mode: PieMode,
    /// Whether labels lie along the radius.
    pub rotated: bool,
    /// What labels say.
    pub labels: ValueLabels,
    /// Slices below have no label; in the labels' unit.
    pub labels_min: f64,
    /// Colour of labels.
    pub labels_color: Color,
}

/// Options of both axes and of lines.
#[derive(Clone, Debug, PartialEq)]
pub struct LineOptions {
    /// How points are connected.
    pub line_mode: LineMode,
    /// Width of lines, px; none are drawn when it is not positive.
    pub line_width: f64,
    /// What is filled.
    pub area_mode: AreaMode,
    /// Opacity of fills; when it is set, lines are drawn as well.
    pub area_alpha: Option<f64>,
    /// Unknown points count as zero.
    pub null_as_zero: bool,
    /// Neither axes nor grid.
    pub hide_axes: bool,
    /// No time labels.
    pub hide_x_axis: bool,
    /// No value labels.
    pub hide_y_axis: bool,
    /// No grid.
    pub hide_grid: bool,
    /// Nothing but the lines, to the edges of the picture.
    pub graph_only: bool,
    /// Where the labels of the only y axis stand.
    pub y_axis_side: Side,
    /// The only axis.
    pub single: SideOptions,
    /// The left axis of two.
    pub left: SideOptions,
    /// The right axis of two.
    pub right: SideOptions,
    /// What is wrong with the options of two axes; nobody minds while there is one.
    pub two_axes_fault: Option<String>,
    /// Units of labels.
    pub units: UnitSystem,
    /// In how many pieces labels may divide an axis.
    pub divisors: Vec<u32>,
    /// Logarithmic axes.
    pub log_base: Option<f64>,
    /// Minor grid lines between two major ones.
    pub minor_y: u32,
    /// Format of time labels.
    pub x_format: Option<String>,
    /// Least distance of points, px; values are merged to keep it. 0: all are drawn.
    pub min_x_step: f64,
    /// Text along the left side.
    pub vtitle: Option<String>,
    /// Text along the right side, with two axes.
    pub vtitle_right: Option<String>,
}

/// How a picture looks.
#[derive(Clone, Debug)]
pub struct DrawOptions {
    /// Lines or slices.
    pub graph_type: GraphType,
    /// Zone of time labels.
    pub zone: TimeZone,
    /// Width, px.
    pub width: u32,
    /// Height, px.
    pub height: u32,
    /// Free space on each side, px.
    pub margin: f64,
    /// Colour behind everything.
    pub background: Color,
    /// Colour of text.
    pub foreground: Color,
    /// Colour of grid lines that have labels.
    pub major_line: Color,
    /// Colour of grid lines between them.
    pub minor_line: Color,
    /// Colours of series, in turn; not empty.
    pub line_colors: Vec<Color>,
    /// The letters.
    pub font: Font,
    /// Text at the top.
    pub title: Option<String>,
    /// Whether there is a legend; `None`: up to [`LEGEND_ITEMS_MAX`] series.
    pub legend: Option<bool>,
    /// Each name once.
    pub unique_legend: bool,
    /// Series without a known point are left out of the legend.
    pub hide_null_from_legend: bool,
    /// Of line graphs.
    pub line: LineOptions,
    /// Of pies.
    pub pie: PieOptions,
}

impl DrawOptions {
    /// Reads the parameters; graph type, pie mode and zone are those of `render`.
    ///
    /// # Errors
    /// `Invalid`, naming the parameter.
    pub fn parse(params: Params<'_>, render: &RenderOptions) -> Result<Self> {
        let p = Reader(params);
        if let Some(zone) =
            p.text("tz").filter(|zone| render.graph_type == GraphType::Line && time::zone(zone).is_none())
        {
            // Labels of another zone than was asked for would be wrong.
            return Err(Error::invalid(format!("tz: '{}' is no zone", short(zone))));
        }
        let template = Template::named(p.text("template").unwrap_or("default"));
        let graph_only = p.flag("graphOnly").unwrap_or(false);
        let (width, height) = (p.side("width", 330)?, p.side("height", 250)?);
        if width * height > PIXELS_MAX {
            return Err(Error::invalid(format!("width times height is more than {PIXELS_MAX} pixels")));
        }
        let text = |name: &str| p.text(name).filter(|_| !graph_only).map(str::to_owned);
        Ok(Self {
            graph_type: render.graph_type,
            zone: render.zone.clone(),
            width,
            height,
            margin: if graph_only { 0.0 } else { p.margin(width, height)? },
            background: p.color("bgcolor", template.background)?,
            foreground: p.color("fgcolor", template.foreground)?,
            major_line: p.color("majorGridLineColor", template.major_line)?,
            minor_line: p.color("minorGridLineColor", template.minor_line)?,
            line_colors: named("colorList", Color::parse_list(p.text("colorList").unwrap_or(template.line_colors)))?,
            font: Font {
                face: Face {
                    family: Family::named(p.text("fontName").unwrap_or("Sans")),
                    bold: p.flag("fontBold").unwrap_or(false),
                },
                italic: p.flag("fontItalic").unwrap_or(false),
                size: p.number("fontSize", 1.0, FONT_SIZE_MAX)?.unwrap_or(10.0),
            },
            title: text("title"),
            legend: if graph_only { Some(false) } else { p.flag("hideLegend").map(|hide| !hide) },
            unique_legend: p.flag("uniqueLegend").unwrap_or(false),
            hide_null_from_legend: p.flag("hideNullFromLegend").unwrap_or(false),
            line: LineOptions::parse(p, graph_only)?,
            pie: PieOptions::parse(p, render.pie_mode)?,
        })
    }
}

impl PieOptions {
    fn parse(p: Reader<'_>, mode: PieMode) -> Result<Self> {
        Ok(Self {
            mode,
            rotated: p.text("pieLabels") == Some("rotated"),
            labels: p
                .choice(
                    "valueLabels",
                    &[
                        ("none", ValueLabels::None),
                        ("number", ValueLabels::Number),
                        ("numbers", ValueLabels::Number),
                        ("percent", ValueLabels::Percent),
                    ],
                )?
                .unwrap_or(ValueLabels::Percent),
            labels_min: p.any_number("valueLabelsMin")?.unwrap_or(5.0),
            labels_color: p.color("valueLabelsColor", "black")?,
        })
    }
}

impl LineOptions {
    fn parse(p: Reader<'_>, graph_only: bool) -> Result<Self> {
        // Negative is none, as 0.
        let limit = p.any_number("connectedLimit")?.map_or(usize::MAX, |limit| limit as usize);
        let modes = [
            ("slope", LineMode::Slope),
            ("staircase", LineMode::Staircase),
            ("connected", LineMode::Connected { limit }),
        ];
        let areas = [
            ("none", AreaMode::None),
            ("first", AreaMode::First),
            ("all", AreaMode::All),
            ("stacked", AreaMode::Stacked),
        ];
        let flag = |name: &str| p.flag(name).unwrap_or(false);
        let text = |name: &str| p.text(name).filter(|_| !graph_only).map(str::to_owned);
        let sides = SideOptions::parse(p, "Left").and_then(|left| {
            let (left, right) = (left.lines(p, "left")?, SideOptions::parse(p, "Right")?.lines(p, "right")?);
            Ok((left, right))
        });
        let (left, right, two_axes_fault) = match sides {
            Ok((left, right)) => (left, right, None),
            Err(e) => (SideOptions::default(), SideOptions::default(), Some(e.message().to_owned())),
        };
        Ok(Self {
            line_mode: p.choice("lineMode", &modes)?.unwrap_or(LineMode::Slope),
            line_width: p.number("lineWidth", f64::MIN, LINE_WIDTH_MAX)?.unwrap_or(1.2),
            area_mode: p.choice("areaMode", &areas)?.unwrap_or(AreaMode::None),
            area_alpha: p.any_number("areaAlpha").ok().flatten().map(|a| a.clamp(0.0, 1.0)),
            null_as_zero: flag("drawNullAsZero"),
            hide_axes: graph_only || flag("hideAxes"),
            hide_x_axis: flag("hideXAxis"),
            hide_y_axis: flag("hideYAxis"),
            hide_grid: graph_only || flag("hideGrid"),
            graph_only,
            y_axis_side: if p.text("yAxisSide") == Some("right") { Side::Right } else { Side::Left },
            single: SideOptions::parse(p, "")?,
            left,
            right,
            two_axes_fault,
            units: UnitSystem::named(p.text("yUnitSystem").unwrap_or("si")),
            divisors: p.divisors()?,
            log_base: p.log_base()?,
            minor_y: p.any_number("minorY")?.map_or(1, |n| (n as u32).min(MINOR_LINES_MAX)),
            x_format: p.text("xFormat").map(str::to_owned),
            min_x_step: p.any_number("minXStep")?.unwrap_or(1.0).max(0.0),
            vtitle: text("vtitle"),
            vtitle_right: text("vtitleRight"),
        })
    }
}

impl SideOptions {
    /// `suffix` ends the names of the axis's options.
    fn parse(p: Reader<'_>, suffix: &str) -> Result<Self> {
        let own = |name: &str| format!("{name}{suffix}");
        let (min, max) = (own("yMin"), own("yMax"));
        let to_data = p.text(&max).is_some_and(|text| text.eq_ignore_ascii_case("max"));
        let side = Self {
            min: p.any_number(&min)?.map(Bound::At),
            max: if to_data { Some(Bound::Data) } else { p.any_number(&max)?.map(Bound::At) },
            limit: p.any_number(&own("yLimit"))?,
            step: p.any_number(&own("yStep"))?,
            ..Self::default()
        };
        if side.step.is_some_and(|step| step <= 0.0) {
            return Err(Error::invalid(format!("{} must be more than 0", own("yStep"))));
        }
        if let (Some(Bound::At(low)), Some(Bound::At(high))) = (side.min, side.max)
            && low >= high
        {
            return Err(Error::invalid(format!("{min} must be less than {max}")));
        }
        Ok(side)
    }

    /// The same with the options of its lines, whose names begin with `prefix`.
    fn lines(self, p: Reader<'_>, prefix: &str) -> Result<Self> {
        let color = format!("{prefix}Color");
        Ok(Self {
            color: p.text(&color).map(|text| named(&color, Color::parse(text))).transpose()?,
            width: p.number(&format!("{prefix}Width"), f64::MIN, LINE_WIDTH_MAX)?,
            dashed: p.flag(&format!("{prefix}Dashed")).unwrap_or(false),
            ..self
        })
    }
}

#[derive(Clone, Copy)]
struct Reader<'a>(Params<'a>);

impl<'a> Reader<'a> {
    fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name).filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("default"))
    }

    /// `false` and `0` are false, anything else is true.
    fn flag(self, name: &str) -> Option<bool> {
        let text = self.text(name)?.trim();
        Some(!text.eq_ignore_ascii_case("false") && text.parse() != Ok(0))
    }

    fn any_number(self, name: &str) -> Result<Option<f64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        number.map(Some).ok_or_else(|| Error::invalid(format!("{name}: '{}' is not a number", short(text))))
    }

    fn number(self, name: &str, min: f64, max: f64) -> Result<Option<f64>> {
        match self.any_number(name)? {
            Some(n) if n > max && min == f64::MIN => Err(Error::invalid(format!("{name} must be at most {max}"))),
            Some(n) if n < min || n > max => Err(Error::invalid(format!("{name} must be {min} to {max}"))),
            n => Ok(n),
        }
    }

    fn side(self, name: &str, default: u32) -> Result<u32> {
        Ok(self.number(name, 1.0, f64::from(SIDE_PX_MAX))?.map_or(default, |px| px as u32))
    }

    fn margin(self, width: u32, height: u32) -> Result<f64> {
        let Some(margin) = self.any_number("margin")? else { return Ok(10.0) };
        if 2.0 * margin >= f64::from(width.min(height)) {
            return Err(Error::invalid(format!("a margin of {margin} leaves no room")));
        }
        Ok(margin.max(0.0))
    }

    fn color(self, name: &str, default: &str) -> Result<Color> {
        named(name, Color::parse(self.text(name).unwrap_or(default)))
    }

    fn choice<T: Copy>(self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = choices.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        found.map(|(_, choice)| Some(*choice)).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            Error::invalid(format!("{name}: '{}' is none of {}", short(text), words.join(", ")))
        })
    }

    fn divisors(self) -> Result<Vec<u32>> {
        const NAME: &str = "yDivisors";
        const MEMBERS_MAX: usize = 20;
        let Some(text) = self.text(NAME) else { return Ok(vec![4, 5, 6]) };
        let one = |part: &str| {
            let n = part.trim().parse().ok().filter(|n| (1..=DIVISOR_MAX).contains(n));
            n.ok_or_else(|| {
                Error::invalid(format!("{NAME}: '{}' is not a number from 1 to {DIVISOR_MAX}", short(part)))
            })
        };
        text.split(',').take(MEMBERS_MAX).map(one).collect()
    }

    fn log_base(self) -> Result<Option<f64>> {
        const NAME: &str = "logBase";
        match self.text(NAME) {
            Some("e") => Ok(Some(std::f64::consts::E)),
            Some(_) => match self.any_number(NAME)? {
                // As the reference reads it.
                Some(base) if base < 1.0 => Ok(None),
                // A base of almost 1 has more powers than anybody could draw.
                Some(base) if base < 1.1 => Err(Error::invalid(format!("{NAME} must be at least 1.1"))),
                base => Ok(base),
            },
            None => Ok(None),
        }
    }
}

fn named<T>(name: &str, result: Result<T>) -> Result<T> {
    result.map_err(|e| Error::new(e.kind(), format!("{name}: {}", e.message())))
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
