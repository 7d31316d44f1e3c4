//! PDF 1.4, one page, a pixel being a point.
//!
//! Letters are a Type 3 font of the forms that the page uses, with a table back to the text, so that it can be searched
//! and copied. No time of making: the same list gives the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::color::Color;
use super::display_list::{Anchor, DisplayList, Op, Path, Pen, Step, Text};
use super::font::{Face, SLANT};

/// Codes of one font.
const CODES: usize = 256;

/// The list as a PDF.
#[must_use]
pub fn write(list: &DisplayList) -> Vec<u8> {
    let mut page = Page::default();
    // From here on y points downwards, as in the list.
    page.add(format_args!("1 0 0 -1 0 {} cm\n", list.height));
    list.ops().iter().for_each(|op| page.op(op));
    if page.clipped {
        page.add(format_args!("Q\n"));
    }
    page.file(list.width, list.height)
}

/// A letter of a face, by the order of its first use.
#[derive(Default)]
struct Letters {
    codes: BTreeMap<char, usize>,
    order: Vec<char>,
}

impl Letters {
    fn code(&mut self, letter: char) -> usize {
        let next = self.order.len();
        let code = *self.codes.entry(letter).or_insert(next);
        if code == next {
            self.order.push(letter);
        }
        code
    }
}

#[derive(Default)]
struct Page {
    content: String,
    faces: BTreeMap<Face, Letters>,
    /// Opacities, 0 to 255, that the page needs.
    alphas: BTreeMap<u8, ()>,
    clipped: bool,
}

impl Page {
    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        self.content.write_fmt(what).expect("a string takes every letter");
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Fill(path, color) => {
                self.ink(*color, "rg");
                self.path(path);
                self.add(format_args!("f\n"));
            }
            Op::Stroke(path, pen, color) => {
                self.ink(*color, "RG");
                self.pen(*pen);
                self.path(path);
                self.add(format_args!("S\n"));
            }
            Op::Text(text) => self.words(text),
            Op::Clip(path) => {
                if !std::mem::replace(&mut self.clipped, true) {
                    self.add(format_args!("q\n"));
                }
                self.path(path);
                self.add(format_args!("W* n\n"));
            }
            Op::Unclip => {
                if std::mem::take(&mut self.clipped) {
                    self.add(format_args!("Q\n"));
                }
            }
        }
    }

    /// Sets colour and opacity; `operator` says of what.
    fn ink(&mut self, color: Color, operator: &str) {
        self.alphas.insert(color.a, ());
        let part = |c: u8| Short(f64::from(c) / 255.0);
        let (r, g, b) = (part(color.r), part(color.g), part(color.b));
        self.add(format_args!("/A{} gs {r} {g} {b} {operator}\n", color.a));
    }

    fn pen(&mut self, pen: Pen) {
        match pen.dash {
            Some(dash) => self.add(format_args!("{} w 1 j [{}] 0 d\n", Short(pen.width), Short(dash))),
            None => self.add(format_args!("{} w 1 j [] 0 d\n", Short(pen.width))),
        }
    }

    fn path(&mut self, path: &Path) {
        write_path(&mut self.content, path, 1.0);
    }

    fn words(&mut self, t: &Text) {
        self.ink(t.color, "rg");
        let back = match t.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -t.font.width(&t.text) / 2.0,
            Anchor::End => -t.font.width(&t.text),
        };
        let (sin, cos) = t.turn.to_radians().sin_cos();
        let (x, y) = (t.at.x + back * cos, t.at.y + back * sin);
        let slant = if t.font.italic { SLANT } else { 0.0 };
        // Letters have y upwards: the second column turns them over, and leans them.
        let (c, d) = (slant * cos + sin, slant * sin - cos);
        self.add(format_args!("BT {} {} {} {} {} {} Tm\n", Fine(cos), Fine(sin), Fine(c), Fine(d), Short(x), Short(y)));
        let letters = self.faces.entry(t.font.face).or_default();
        let codes: Vec<usize> = t.text.chars().map(|letter| letters.code(letter)).collect();
        for part in codes.chunk_by(|a, b| a / CODES == b / CODES) {
            let font = name(t.font.face, part[0] / CODES);
            self.add(format_args!("/{font} {} Tf <", Short(t.font.size)));
            part.iter().for_each(|code| self.add(format_args!("{:02x}", code % CODES)));
            self.add(format_args!("> Tj\n"));
        }
        self.add(format_args!("ET\n"));
    }

    fn file(self, width: u32, height: u32) -> Vec<u8> {
        let mut file = File::new();
        // Objects 1 to 3 are known before what they refer to.
        let (catalog, pages, page) = (file.reserve(), file.reserve(), file.reserve());
        file.object(catalog, &format!("<</Type/Catalog/Pages {pages} 0 R>>"));
        file.object(pages, &format!("<</Type/Pages/Kids[{page} 0 R]/Count 1>>"));
        let content = file.stream(self.content.as_bytes());
        let mut fonts = String::new();
        for (face, letters) in &self.faces {
            for (part, chars) in letters.order.chunks(CODES).enumerate() {
                let font = font(&mut file, *face, chars);
                fonts.push_str(&format!("/{} {font} 0 R", name(*face, part)));
            }
        }
        let alpha = |a: &u8| format!("/A{a}<</ca {0}/CA {0}>>", Short(f64::from(*a) / 255.0));
        let alphas: String = self.alphas.keys().map(alpha).collect();
        file.object(
            page,
            &format!(
                "<</Type/Page/Parent {pages} 0 R/MediaBox[0 0 {width} {height}]/Contents {content} 0 R\
                 /Resources<</Font<<{fonts}>>/ExtGState<<{alphas}>>>>>>"
            ),
        );
        file.finish(catalog)
    }
}

fn name(face: Face, part: usize) -> String {
    format!("{:?}{}{part}", face.family, if face.bold { "B" } else { "" })
}

/// Units of an em in the letters' forms.
const EM: f64 = 1000.0;

/// Writes a font of these letters; gives its number.
fn font(file: &mut File, face: Face, chars: &[char]) -> usize {
    let mut forms = String::new();
    let mut names = String::new();
    let mut widths = String::new();
    for (code, letter) in chars.iter().enumerate() {
        let width = (face.advance(*letter) * EM).round();
        // `d1`: the form has no colour of its own.
        let mut form = format!("{width} 0 -500 -500 2000 1500 d1\n");
        write_path(&mut form, &face.outline(face.glyph(*letter)), EM);
        form.push_str("f\n");
        let number = file.stream(form.as_bytes());
        forms.push_str(&format!("/g{code} {number} 0 R"));
        names.push_str(&format!("/g{code}"));
        widths.push_str(&format!("{width} "));
    }
    let table = file.stream(to_unicode(chars).as_bytes());
    let last = chars.len() - 1;
    let number = file.reserve();
    file.object(
        number,
        &format!(
            "<</Type/Font/Subtype/Type3/FontBBox[-500 -500 2000 1500]/FontMatrix[.001 0 0 .001 0 0]/FirstChar 0\
             /LastChar {last}/Widths[{widths}]/CharProcs<<{forms}>>/Encoding<</Type/Encoding/Differences[0{names}]>>\
             /Resources<<>>/ToUnicode {table} 0 R>>"
        ),
    );
    number
}

/// The table from codes to text.
fn to_unicode(chars: &[char]) -> String {
    /// Lines of one block, as the format allows.
    const BLOCK: usize = 100;
    let mut table = String::from(
        "/CIDInit/ProcSet findresource begin 12 dict begin begincmap\n\
         /CMapName/Text def/CMapType 2 def\n1 begincodespacerange <00><ff> endcodespacerange\n",
    );
    let mut code = 0;
    for block in chars.chunks(BLOCK) {
        table.push_str(&format!("{} beginbfchar\n", block.len()));
        for letter in block {
            table.push_str(&format!("<{code:02x}><"));
            let mut units = [0u16; 2];
            letter.encode_utf16(&mut units).iter().for_each(|unit| table.push_str(&format!("{unit:04x}")));
            table.push_str(">\n");
            code += 1;
        }
        table.push_str("endbfchar\n");
    }
    table.push_str("endcmap CMapName currentdict/CMap defineresource pop end end\n");
    table
}

fn write_path(out: &mut String, path: &Path, scale: f64) {
    let s = |c: f64| Short(c * scale);
    for step in path.steps() {
        let written = match step {
            Step::Move(p) => writeln!(out, "{} {} m", s(p.x), s(p.y)),
            Step::Line(p) => writeln!(out, "{} {} l", s(p.x), s(p.y)),
            Step::Curve(c, d, p) => {
                writeln!(out, "{} {} {} {} {} {} c", s(c.x), s(c.y), s(d.x), s(d.y), s(p.x), s(p.y))
            }
            Step::Close => writeln!(out, "h"),
        };
        written.expect("a string takes every letter");
    }
}

/// Objects with numbers, and where each begins.
struct File {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl File {
    fn new() -> Self {
        // Four bytes beyond ASCII tell programs that this is no text.
        Self { bytes: b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec(), starts: Vec::new() }
    }

    fn reserve(&mut self) -> usize {
        self.starts.push(0);
        self.starts.len()
    }

    fn object(&mut self, number: usize, body: &str) {
        self.starts[number - 1] = self.bytes.len();
        self.bytes.extend(format!("{number} 0 obj\n{body}\nendobj\n").bytes());
    }

    fn stream(&mut self, data: &[u8]) -> usize {
        let number = self.reserve();
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
        let packed = encoder.write_all(data).and_then(|()| encoder.finish()).expect("a vector takes every byte");
        self.starts[number - 1] = self.bytes.len();
        let head = format!("{number} 0 obj\n<</Length {}/Filter/FlateDecode>>\nstream\n", packed.len());
        self.bytes.extend(head.bytes());
        self.bytes.extend(packed);
        self.bytes.extend(b"\nendstream\nendobj\n");
        number
    }

    fn finish(mut self, catalog: usize) -> Vec<u8> {
        let table = self.bytes.len();
        let mut tail = format!("xref\n0 {}\n0000000000 65535 f \n", self.starts.len() + 1);
        self.starts.iter().for_each(|start| tail.push_str(&format!("{start:010} 00000 n \n")));
        tail.push_str(&format!(
            "trailer\n<</Size {}/Root {catalog} 0 R>>\nstartxref\n{table}\n%%EOF\n",
            self.starts.len() + 1
        ));
        self.bytes.extend(tail.bytes());
        self.bytes
    }
}

/// A number with at most three decimals: PDF has no exponents.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        decimal(f, self.0, 3)
    }
}

/// A number with at most six decimals.
struct Fine(f64);

impl std::fmt::Display for Fine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        decimal(f, self.0, 6)
    }
}

fn decimal(f: &mut std::fmt::Formatter<'_>, x: f64, decimals: u32) -> std::fmt::Result {
    let power = 10i64.pow(decimals);
    let parts = (x * power as f64).round() as i64;
    write!(f, "{}{}", if parts < 0 { "-" } else { "" }, parts.abs() / power)?;
    let rest = parts.abs() % power;
    if rest == 0 {
        return Ok(());
    }
    let digits = format!("{rest:0width$}", width = decimals as usize);
    write!(f, ".{}", digits.trim_end_matches('0'))
}
