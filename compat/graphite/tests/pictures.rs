//! The three formats of pictures, read back: the pixels of a PNG, the elements of an SVG, the objects of a PDF. And
//! series that no picture was made for: none of them may panic.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use flate2::read::ZlibDecoder;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rhythmite_graphite::answer::{Answer, Params, RenderOptions};
use rhythmite_graphite::draw::{self, DrawOptions};
use rhythmite_graphite::{Result, Series};
use std::io::Read as _;

const NOW_S: i64 = 1_717_243_200;

fn draw(series: Vec<Series>, query: &str) -> Result<Answer> {
    let pair = |part: &str| part.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    let pairs: Vec<_> = query.split('&').filter_map(pair).collect();
    let render = RenderOptions::parse(Params(&pairs), NOW_S, &TimeZone::UTC)?;
    let options = DrawOptions::parse(Params(&pairs), &render)?;
    draw::draw(series, &options, render.format, render.jsonp.as_deref(), &|| Ok(()))
}

fn series(name: &str, values: &[f64]) -> Series {
    Series::new(name, NOW_S - values.len() as i64 * 60, NOW_S, 60, values.to_vec())
}

fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZlibDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

/// A decoded PNG.
struct Png {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Png {
    /// Decodes what the writer may write: 8 bits, RGB or RGBA, filters 0 to 2.
    fn decode(bytes: &[u8]) -> Self {
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        let mut chunks = Vec::new();
        let mut rest = &bytes[8..];
        while !rest.is_empty() {
            let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let mut crc = flate2::Crc::new();
            crc.update(&rest[4..8 + len]);
            assert_eq!(rest[8 + len..12 + len], crc.sum().to_be_bytes());
            chunks.push((&rest[4..8], &rest[8..8 + len]));
            rest = &rest[12 + len..];
        }
        let kinds: Vec<&[u8]> = chunks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [b"IHDR", b"IDAT", b"IEND"]);
        let head = chunks[0].1;
        let side = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let (width, height) = (side(0), side(4));
        let channels = match head[8..] {
            [8, 2, 0, 0, 0] => 3,
            [8, 6, 0, 0, 0] => 4,
            _ => panic!("{head:?}"),
        };
        let data = inflate(chunks[1].1);
        assert_eq!(data.len(), height * (1 + width * channels));
        let mut pixels: Vec<u8> = Vec::with_capacity(data.len());
        for row in data.chunks(1 + width * channels) {
            for (i, byte) in row[1..].iter().enumerate() {
                let back = match row[0] {
                    0 => 0,
                    1 if i >= channels => pixels[pixels.len() - channels],
                    2 if pixels.len() >= width * channels => pixels[pixels.len() - width * channels],
                    1 | 2 => 0,
                    other => panic!("filter {other}"),
                };
                pixels.push(byte.wrapping_add(back));
            }
        }
        Self { width, height, channels, pixels }
    }

    fn at(&self, x: usize, y: usize) -> &[u8] {
        &self.pixels[(y * self.width + x) * self.channels..][..self.channels]
    }
}

fn png(series: Vec<Series>, query: &str) -> Png {
    let answer = draw(series, &format!("{query}&format=png")).unwrap();
    assert_eq!(answer.content_type, "image/png");
    Png::decode(&answer.body)
}

#[test]
fn png_has_the_size_and_the_colours_asked_for() {
    let one = || vec![series("a", &[1.0, 1.0])];
    let usual = png(one(), "");
    assert_eq!((usual.width, usual.height, usual.channels), (330, 250, 3));
    assert_eq!(usual.at(0, 0), [255; 3]);

    let query = "width=40&height=20&graphOnly=true&areaMode=first&yMin=0&yMax=2&bgcolor=010203&colorList=ff0000";
    let filled = png(one(), query);
    assert_eq!((filled.width, filled.height), (40, 20));
    assert_eq!((filled.at(20, 5), filled.at(20, 15)), (&[1, 2, 3][..], &[255, 0, 0][..]));

    // Half of white and red.
    let half =
        png(one(), "width=40&height=20&graphOnly=true&areaMode=first&areaAlpha=0.5&yMin=0&yMax=2&colorList=ff0000");
    assert!(half.at(20, 18)[1].abs_diff(127) <= 1, "{:?}", half.at(20, 18));

    let clear = png(one(), "width=40&height=20&graphOnly=true&bgcolor=transparent");
    assert_eq!((clear.channels, clear.at(0, 0)[3]), (4, 0));
    let faint = png(one(), "width=40&height=20&graphOnly=true&bgcolor=ff000080");
    assert_eq!(faint.at(0, 0), [255, 0, 0, 128]);
}

#[test]
fn a_later_area_does_not_show_through_an_earlier_one() {
    let two = || vec![series("low", &[1.0, 1.0]), series("high", &[2.0, 2.0])];
    for query in ["areaMode=all", "areaMode=all&areaAlpha=1"] {
        let all =
            format!("width=40&height=40&graphOnly=true&yMin=0&yMax=4&colorList=ff0000,00ff00&lineWidth=0&{query}");
        let picture = png(two(), &all);
        assert_eq!(
            (picture.at(20, 35), picture.at(20, 25), picture.at(20, 10)),
            (&[255, 0, 0][..], &[0, 255, 0][..], &[255; 3][..])
        );
    }
    let picture = png(
        two(),
        "width=40&height=40&graphOnly=true&yMin=0&yMax=4&colorList=ff0000,00ff00&lineWidth=0&areaMode=all&areaAlpha=0.5",
    );
    let low = picture.at(20, 35);
    assert!(low[0] == 255 && low[1].abs_diff(127) <= 1, "only the first area's colour: {low:?}");
}

#[test]
fn text_is_where_it_belongs() {
    let dark = |p: &Png, xs: std::ops::Range<usize>, ys: std::ops::Range<usize>| {
        ys.flat_map(|y| xs.clone().map(move |x| (x, y))).filter(|(x, y)| p.at(*x, *y)[0] < 128).count()
    };
    let blank = png(vec![series("a", &[1.0])], "hideLegend=true&hideAxes=true&lineWidth=0");
    assert_eq!(dark(&blank, 0..330, 0..250), 0);
    let titled = png(vec![series("a", &[1.0])], "hideLegend=true&hideAxes=true&lineWidth=0&title=HHHH");
    assert!(dark(&titled, 130..200, 10..24) > 60);
    assert_eq!(dark(&titled, 0..330, 30..250), 0);
    let side = png(vec![series("a", &[1.0])], "hideLegend=true&hideAxes=true&lineWidth=0&vtitle=HHHH");
    assert!(dark(&side, 10..24, 90..160) > 60);
    assert_eq!(dark(&side, 30..330, 0..250), 0);
}

#[test]
fn svg_is_well_formed_and_inert() {
    let name = r#"<script>alert("1")</script> & ]]> 'x' Größe"#;
    let all = vec![series(name, &[1.0, f64::NAN, 3.0]), series("b\u{0}\u{b}\u{ffff}c\n", &[4.0, 3.0, 2.0])];
    let query = "format=svg&width=500&height=300&areaMode=stacked&areaAlpha=0.5&title=</text><b>&vtitle=\"x\"";
    let answer = draw(all, query).unwrap();
    assert_eq!(answer.content_type, "image/svg+xml");
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("width=\"500\" height=\"300\""));
    assert!(text.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; ]]&gt; 'x' Größe"), "{text}");
    let names = elements(&text);
    let allowed = ["svg", "path", "text", "clipPath"];
    assert!(names.iter().all(|n| allowed.contains(&n.as_str())), "{names:?}");
    assert!(names.iter().filter(|n| *n == "clipPath").count() >= 2);
    // What clips refer to is there.
    for reference in text.split("url(#").skip(1) {
        let id = reference.split(')').next().unwrap();
        assert!(text.contains(&format!("<clipPath id=\"{id}\"")), "{id}");
    }
}

/// The elements of an XML document; panics where it is not well-formed: tags that do not match, attributes without
/// quotes or twice, letters and references that XML does not know.
fn elements(text: &str) -> Vec<String> {
    let text = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").unwrap();
    assert!(!text.chars().any(|c| c < ' ' && c != '\n' || matches!(c, '\u{fffe}' | '\u{ffff}')));
    let (mut open, mut names): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        entities(&rest[..at]);
        let end = rest.find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let (tag, alone) = tag.strip_suffix('/').map_or((tag, false), |t| (t, true));
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut seen = Vec::new();
        while !attributes.is_empty() {
            let (key, value) = attributes.split_once("=\"").unwrap();
            let (value, after) = value.split_once('"').unwrap();
            assert!(!seen.contains(&key), "{key} twice");
            seen.push(key);
            entities(value);
            attributes = after.trim_start();
        }
        names.push(name.to_owned());
        if !alone {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty());
    names
}

fn entities(text: &str) {
    for reference in text.split('&').skip(1) {
        assert!(["lt;", "gt;", "amp;", "quot;"].iter().any(|e| reference.starts_with(e)), "&{reference}");
    }
}

#[test]
fn jsonp_wraps_an_svg() {
    let answer = draw(vec![series("a", &[1.0])], "format=svg&jsonp=show").unwrap();
    assert_eq!(answer.content_type, "text/javascript");
    let text = String::from_utf8(answer.body).unwrap();
    let inner = text.strip_prefix("show(").unwrap().strip_suffix(')').unwrap();
    let svg: String = serde_json::from_str(inner).unwrap();
    assert!(svg.starts_with("<?xml") && svg.ends_with("</svg>\n"));
    assert!(draw(vec![series("a", &[1.0])], "format=svg&jsonp=a;b").is_err());
}

/// The objects of a PDF by number; panics when its table does not lead to them.
fn objects(bytes: &[u8]) -> Vec<Vec<u8>> {
    assert!(bytes.starts_with(b"%PDF-1.4\n") && bytes.ends_with(b"%%EOF\n"));
    let find = |needle: &[u8]| bytes.windows(needle.len()).rposition(|w| w == needle).unwrap();
    let tail = String::from_utf8(bytes[find(b"startxref")..].to_vec()).unwrap();
    let table: usize = tail.lines().nth(1).unwrap().parse().unwrap();
    let text = String::from_utf8(bytes[table..].to_vec()).unwrap();
    let mut lines = text.split_inclusive('\n');
    assert_eq!(lines.next(), Some("xref\n"));
    let size: usize = lines.next().unwrap().trim().strip_prefix("0 ").unwrap().parse().unwrap();
    assert_eq!(lines.next(), Some("0000000000 65535 f \n"));
    let mut objects = Vec::new();
    for number in 1..size {
        let line = lines.next().unwrap();
        assert!(line.len() == 20 && line.ends_with(" 00000 n \n"), "{line:?}");
        let start: usize = line[..10].parse().unwrap();
        let head = format!("{number} 0 obj\n");
        assert!(bytes[start..].starts_with(head.as_bytes()), "object {number}");
        let body = &bytes[start + head.len()..];
        let end = body.windows(7).position(|w| w == b"endobj\n").unwrap();
        objects.push(body[..end].to_vec());
    }
    assert_eq!(lines.next(), Some("trailer\n"));
    assert!(lines.next().unwrap().starts_with(&format!("<</Size {size}/Root 1 0 R>>")));
    objects
}

/// The unpacked data of a stream.
fn stream(object: &[u8]) -> Option<String> {
    let at = object.windows(8).position(|w| w == b"\nstream\n")?;
    let head = String::from_utf8(object[..at].to_vec()).unwrap();
    let len: usize = head.strip_prefix("<</Length ").unwrap().split('/').next().unwrap().parse().unwrap();
    let data = &object[at + 8..at + 8 + len];
    assert!(object[at + 8 + len..].starts_with(b"\nendstream"));
    Some(String::from_utf8(inflate(data)).unwrap())
}

#[test]
fn pdf_has_a_page_with_its_fonts() {
    let all = vec![series("Größe (1) \\", &[1.0, 2.0, 3.0]), series("b", &[3.0, 2.0, 1.0])];
    let query = "format=pdf&width=500&height=300&areaMode=stacked&areaAlpha=0.5&title=Tïtle&fontItalic=true&vtitle=up";
    let answer = draw(all, query).unwrap();
    assert_eq!(answer.content_type, "application/x-pdf");
    let objects = objects(&answer.body);
    let text = |i: usize| String::from_utf8_lossy(&objects[i]).into_owned();
    assert!(text(0).contains("/Type/Catalog/Pages 2 0 R") && text(1).contains("/Kids[3 0 R]"));
    assert!(
        text(2).contains("/MediaBox[0 0 500 300]")
            && text(2).contains("/Sans0 ")
            && text(2).contains("/ca .5") | text(2).contains("/ca 0.502")
    );
    // Every reference leads somewhere.
    for object in &objects {
        let words: Vec<String> =
            String::from_utf8_lossy(object).split([' ', '[', ']', '/', '<', '>']).map(str::to_owned).collect();
        for refers in words.windows(3).filter(|w| w[1] == "0" && w[2] == "R") {
            let number: usize = refers[0].parse().unwrap();
            assert!((1..=objects.len()).contains(&number), "{refers:?}");
        }
    }
    let page = stream(&objects[3]).unwrap();
    assert!(page.starts_with("1 0 0 -1 0 300 cm\n"));
    let count = |op: &str| page.lines().filter(|l| l.split(' ').any(|w| w == op)).count();
    assert_eq!((count("q"), count("BT")), (count("Q"), count("ET")));
    assert!(count("q") > 0 && count("BT") > 5);
    // The text comes back out of the fonts' tables.
    let table = objects.iter().filter_map(|o| stream(o)).find(|s| s.contains("beginbfchar")).unwrap();
    for letter in ["00ef", "00f6", "00df", "0054"] {
        assert!(table.contains(&format!("><{letter}>")), "{letter}");
    }
}

#[test]
fn pdf_splits_a_font_of_many_letters() {
    let letters: String = (0x100..0x400u32).filter_map(char::from_u32).collect();
    let answer = draw(vec![series("a", &[1.0])], &format!("format=pdf&width=5000&height=100&title={letters}")).unwrap();
    let objects = objects(&answer.body);
    let fonts = objects.iter().filter(|o| o.windows(14).any(|w| w == b"/Subtype/Type3")).count();
    assert!(fonts >= 3, "{fonts}");
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    for format in ["png", "svg", "pdf"] {
        let query = format!("format={format}&areaMode=stacked");
        let one = || draw(vec![series("a", &[1.0, 2.0]), series("b", &[2.0, 1.0])], &query).unwrap();
        assert_eq!(one(), one());
    }
}

/// Every letter of the plane that has no other trouble.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        5 => -1e3..1e3,
        2 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(0.0),
        1 => any::<f64>(),
    ]
}

fn any_series() -> impl Strategy<Value = Series> {
    let step = prop_oneof![Just(1i64), Just(60), Just(86_400), 1..i64::from(i32::MAX), Just(0), Just(-1)];
    let start =
        prop_oneof![NOW_S - 10_000..NOW_S, any::<i32>().prop_map(i64::from), Just(i64::MIN / 4), Just(i64::MAX / 4)];
    (start, step, prop::collection::vec(value(), 0..60), 0..64u32, -3i64..3).prop_map(
        |(start, step, values, bits, off)| {
            let end = start.saturating_add(step.saturating_mul(values.len() as i64 + off));
            let mut s = Series::new("a.b", start, end, step, values);
            s.look.second_y_axis = bits & 1 > 0;
            s.look.draw_as_infinite = bits & 2 > 0;
            s.look.stacked = bits & 4 > 0;
            s.look.invisible = bits & 8 > 0;
            s.look.alpha = (bits & 16 > 0).then_some(f64::NAN);
            s.look.dashed = (bits & 32 > 0).then_some(-1.0);
            s
        },
    )
}

fn any_query() -> impl Strategy<Value = String> {
    let options = [
        "logBase=10",
        "logBase=1.1",
        "areaMode=stacked",
        "areaMode=all",
        "areaAlpha=0.5",
        "lineMode=staircase",
        "lineMode=connected",
        "graphType=pie",
        "valueLabels=number",
        "pieLabels=rotated",
        "yMin=5",
        "yMax=-5",
        "yMax=1e300",
        "yMin=-1e300",
        "yStep=1e-9",
        "yUnitSystem=binary",
        "yUnitSystem=sec",
        "yUnitSystem=msec",
        "minXStep=0",
        "drawNullAsZero=true",
        "graphOnly=true",
        "margin=500",
        "fontSize=200",
        "fontSize=1",
        "width=1",
        "height=1",
        "width=60",
        "height=500",
        "title=x",
        "vtitle=y",
        "vtitleRight=z",
        "yAxisSide=right",
        "tz=Pacific/Apia",
        "xFormat=%Q %-",
        "minorY=100",
        "yDivisors=1",
        "lineWidth=1000",
        "format=svg",
        "format=pdf",
        "format=png",
    ];
    prop::collection::vec(prop::sample::select(options.to_vec()), 0..8).prop_map(|parts| parts.join("&"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_panics(all in prop::collection::vec(any_series(), 0..6), query in any_query()) {
        if let Ok(answer) = draw(all, &query) {
            match answer.content_type {
                "image/png" => { Png::decode(&answer.body); }
                "image/svg+xml" => { elements(&String::from_utf8(answer.body).unwrap()); }
                _ => { objects(&answer.body); }
            }
        }
    }
}
