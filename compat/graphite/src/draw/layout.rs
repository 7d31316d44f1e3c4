//! What line graphs and pies share: the paper, its title, and the room that is left.

use super::color::Color;
use super::display_list::{Anchor, DisplayList, Path, Point, Rect, Text};
use super::font::Font;
use super::options::DrawOptions;

/// Lines of a title; the rest is left out.
const TITLE_LINES_MAX: usize = 20;

/// A picture under way.
pub struct Layout<'a> {
    /// How it looks.
    pub options: &'a DrawOptions,
    /// What there is so far.
    pub list: DisplayList,
    /// The room that is left.
    pub area: Rect,
}

impl<'a> Layout<'a> {
    /// An empty sheet with its background.
    #[must_use]
    pub fn new(options: &'a DrawOptions) -> Self {
        let (width, height) = (f64::from(options.width), f64::from(options.height));
        let mut list = DisplayList::new(options.width, options.height);
        let sheet = Rect { left: 0.0, top: 0.0, right: width, bottom: height };
        list.fill(Path::rect(sheet), options.background);
        let m = options.margin;
        let area = Rect { left: m, top: m, right: width - m, bottom: height - m };
        Self { options, list, area }
    }

    /// Writes the title at the top.
    pub fn title(&mut self) {
        let Some(title) = &self.options.title else { return };
        let font = self.title_font();
        let x = f64::from(self.options.width) / 2.0;
        let room = f64::from(self.options.width) - 2.0 * self.options.margin.min(4.0);
        for line in title.split('\n').take(TITLE_LINES_MAX) {
            let at = Point::new(x, (self.area.top + font.ascent()).round());
            self.write(at, Anchor::Middle, 0.0, font, &font.fit(line, room));
            self.area.top += font.line_height();
        }
        self.area.top += (self.options.margin / 2.0).round();
    }

    /// Writes along the left or the right side.
    pub fn side_title(&mut self, text: &str, right: bool) {
        let font = self.title_font();
        let text = font.fit(text, self.area.height());
        let middle = (self.area.top + self.area.bottom) / 2.0;
        if right {
            let x = (self.area.right - font.ascent()).round();
            self.write(Point::new(x, middle), Anchor::Middle, 90.0, font, &text);
            self.area.right -= font.line_height() + 4.0;
        } else {
            let x = (self.area.left + font.ascent()).round();
            self.write(Point::new(x, middle), Anchor::Middle, -90.0, font, &text);
            self.area.left += font.line_height() + 4.0;
        }
    }

    /// The picture for no series at all.
    #[must_use]
    pub fn no_data(mut self) -> DisplayList {
        self.title();
        let (width, height) = (f64::from(self.options.width), f64::from(self.options.height));
        let size = (width * height).ln().round().max(6.0);
        let font = self.options.font.sized(size);
        let at = Point::new(width / 2.0, (height / 2.0 + font.ascent() / 2.0).round());
        // Red as the reference's, whatever the template.
        let color = Color::parse("red").unwrap_or(Color::BLACK);
        let text = "No Data".to_owned();
        self.list.text(Text { at, anchor: Anchor::Middle, turn: 0.0, font, color, text });
        self.list
    }

    /// Writes in the foreground's colour.
    pub fn write(&mut self, at: Point, anchor: Anchor, turn: f64, font: Font, text: &str) {
        let color = self.options.foreground;
        self.list.text(Text { at, anchor, turn, font, color, text: text.to_owned() });
    }

    /// Titles are a little larger than labels.
    fn title_font(&self) -> Font {
        let font = self.options.font;
        font.sized(font.size + font.size.ln().max(0.0).floor())
    }
}
