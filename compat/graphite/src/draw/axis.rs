//! The axis of values: its ends, its labels, and where a value lies on it.
//!
//! Ends that the request leaves open are multiples of the distance between labels, chosen so that little room is wasted.
//! On a logarithmic axis they are powers of the base; what is not positive has no place there.
//!
//! Limits: labels never stand closer than a line of text, however small `yStep` is; at most [`LINES_MAX`] grid lines.

use super::options::{Bound, LineOptions, SideOptions};
use super::unit::UnitSystem;

/// Labels and minor lines of an axis.
pub const LINES_MAX: usize = 2_000;

/// Values beyond are held here, so that differences are numbers.
const VALUE_MAX: f64 = 1e300;

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Lower end.
    pub bottom: f64,
    /// Upper end, above the lower one.
    pub top: f64,
    /// Values with labels, ascending.
    pub labels: Vec<(f64, String)>,
    /// Values with minor grid lines.
    pub minors: Vec<f64>,
    log_base: Option<f64>,
}

/// What an axis is made for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The least and the largest known value, if there is one.
    pub data: Option<(f64, f64)>,
    /// Ends and distances that are fixed.
    pub side: &'a SideOptions,
    /// The rest.
    pub line: &'a LineOptions,
    /// How many labels there is room for.
    pub labels_max: usize,
}

impl Axis {
    /// Lays an axis out.
    #[must_use]
    pub fn new(ask: &Ask<'_>) -> Self {
        match ask.line.log_base {
            Some(base) => Self::logarithmic(ask, base),
            None => Self::linear(ask),
        }
    }

    /// Where a value lies: 0 at the lower end, 1 at the upper one, also beyond. `None` for what has no place.
    #[must_use]
    pub fn place(&self, value: f64) -> Option<f64> {
        if value.is_nan() {
            return None;
        }
        match self.log_base {
            None => Some((value.clamp(-VALUE_MAX, VALUE_MAX) - self.bottom) / (self.top - self.bottom)),
            Some(_) if value <= 0.0 => None,
            Some(_) => {
                let (bottom, top) = (self.bottom.ln(), self.top.ln());
                Some((value.min(VALUE_MAX).ln() - bottom) / (top - bottom))
            }
        }
    }

    /// Where areas stand: zero, or the end that is nearest to it.
    #[must_use]
    pub fn ground(&self) -> f64 {
        if self.log_base.is_some() { 0.0 } else { self.place(0.0).unwrap_or(0.0).clamp(0.0, 1.0) }
    }

    fn linear(ask: &Ask<'_>) -> Self {
        let (min, max) = ends(ask, (0.0, 1.0));
        let (units, labels_max) = (ask.line.units, ask.labels_max.max(2));
        let open = (ask.side.min.is_none(), ask.side.max.is_none());
        let mut step = match ask.side.step {
            Some(step) => step.max((max - min) / LINES_MAX as f64),
            None => choose_step(min, max, open, &ask.line.divisors, units),
        };
        let range = |step: f64| {
            let down = if open.0 { (min / step + 1e-9).floor() * step } else { min };
            let up = if open.1 { (max / step - 1e-9).ceil() * step } else { max };
            if up > down { (down, up) } else { (down, down + step) }
        };
        let crowded = |step: f64| {
            let (bottom, top) = range(step);
            (top - bottom) / step + 1.0 > labels_max as f64 + 0.5
        };
        // Labels on top of each other say nothing.
        while crowded(step) {
            let longer = units.step_from(step * 1.5);
            if longer <= step {
                break;
            }
            step = longer;
        }
        let (bottom, top) = range(step);
        let first = (bottom / step - 1e-9).ceil();
        let count = ((top / step + 1e-9).floor() - first + 1.0).clamp(0.0, LINES_MAX as f64) as usize;
        let labels = (0..count).map(|i| (first + i as f64) * step).map(|v| (v, units.label(v, step))).collect();
        let pieces = ask.line.minor_y as usize + 1;
        let between = |i: usize| (first + i as f64 / pieces as f64) * step;
        let room = LINES_MAX.min((count + 1) * pieces);
        let minors = (0..room)
            .filter(|i| i % pieces != 0)
            // From before the first label to behind the last.
            .map(|i| between(i) - step)
            .filter(|v| *v > bottom && *v < top)
            .collect();
        Self { bottom, top, labels, minors, log_base: None }
    }

    fn logarithmic(ask: &Ask<'_>, base: f64) -> Self {
        let positive = |b: Option<Bound>| match b {
            Some(Bound::At(v)) if v <= 0.0 => None,
            b => b,
        };
        let side = SideOptions { min: positive(ask.side.min), max: positive(ask.side.max), ..*ask.side };
        let data = ask.data.filter(|(min, _)| *min > 0.0);
        let (min, max) = ends(&Ask { data, side: &side, ..*ask }, (1.0, base));
        let min = min.max(f64::MIN_POSITIVE);
        let exponent = |v: f64| v.ln() / base.ln();
        let down = if side.min.is_some() { exponent(min) } else { (exponent(min) + 1e-9).floor() };
        let up = if side.max.is_some() { exponent(max) } else { (exponent(max) - 1e-9).ceil() };
        let up = if up > down { up } else { down + 1.0 };
        let bottom = if side.min.is_some() { min } else { base.powf(down) };
        let top = if side.max.is_some() && max > bottom { max } else { base.powf(up) };
        let (first, last) = ((down - 1e-9).ceil(), (up + 1e-9).floor());
        let every = ((last - first + 1.0) / ask.labels_max.max(2) as f64).ceil().max(1.0);
        let powers = ((last - first + 1.0).clamp(0.0, LINES_MAX as f64)) as usize;
        let power = |i: f64| base.powf(first + i);
        let labels = (0..powers)
            .filter(|i| *i as f64 % every == 0.0)
            .map(|i| power(i as f64))
            .map(|v| (v, ask.line.units.label(v, v)))
            .collect();
        // Multiples of each power, as on paper made for it; where there is no room for them, the powers themselves.
        let multiples = if base.fract() == 0.0 && base <= 20.0 && every == 1.0 { base as usize } else { 2 };
        let wanted = ask.line.minor_y > 0;
        let minors = (0..=powers + 1)
            .take_while(|_| wanted)
            .map(|i| power(i as f64 - 1.0))
            .flat_map(|v| (1..multiples).map(move |m| (m, v * m as f64)))
            .filter(|(m, v)| (*m > 1 || every > 1.0) && *v > bottom && *v < top)
            .map(|(_, v)| v)
            .take(LINES_MAX)
            .collect();
        let held = |v: f64| v.clamp(1e-300, VALUE_MAX);
        Self { bottom: held(bottom), top: held(top), labels, minors, log_base: Some(base) }
    }
}

/// The least and the largest value to show; the second is larger.
fn ends(ask: &Ask<'_>, none: (f64, f64)) -> (f64, f64) {
    let hold = |v: f64| v.clamp(-VALUE_MAX, VALUE_MAX);
    let (mut min, mut max) = ask.data.unwrap_or(none);
    if let Some(Bound::At(at)) = ask.side.max {
        max = at;
    }
    if let Some(limit) = ask.side.limit {
        max = max.min(limit);
    }
    if let Some(Bound::At(at)) = ask.side.min {
        min = at;
    }
    let (min, mut max) = (hold(min), hold(max));
    // Less than rounding shows is nothing.
    let least = min.abs().max(max.abs()) * 1e-9;
    if max - min <= least {
        max = min + 1f64.max(min.abs() * 1e-3);
    }
    (min, max)
}

/// The distance between labels that divides the axis into one of the numbers of pieces and wastes least room.
fn choose_step(min: f64, max: f64, open: (bool, bool), divisors: &[u32], units: UnitSystem) -> f64 {
    let most = divisors.iter().copied().max().unwrap_or(6).max(1);
    let least = divisors.iter().copied().min().unwrap_or(4).max(1);
    let mut step = units.step_from((max - min) / f64::from(most));
    let mut best: Option<(f64, f64)> = None;
    const TRIES: usize = 40;
    for _ in 0..TRIES {
        let down = if open.0 { (min / step + 1e-9).floor() * step } else { min };
        let up = if open.1 { (max / step - 1e-9).ceil() * step } else { max };
        let pieces = ((up - down) / step - 1e-6).ceil();
        let waste = (up - down) - (max - min);
        let fits = divisors.iter().any(|d| f64::from(*d) == pieces);
        if fits && best.is_none_or(|(_, w)| waste < w) {
            best = Some((step, waste));
        }
        if pieces < f64::from(least) {
            break;
        }
        let longer = units.step_from(step * 1.01);
        if longer <= step {
            break;
        }
        step = longer;
    }
    best.map_or_else(|| units.step_from((max - min) / f64::from(most)), |(step, _)| step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Params, RenderOptions};
    use crate::draw::DrawOptions;
    use jiff::tz::TimeZone;

    type Case = (&'static str, Option<(f64, f64)>, usize, &'static str);

    /// Lays axes out for a query, the least and largest value, and room for so many labels; expects ends and labels.
    fn check(cases: &[Case]) {
        let got: Vec<String> =
            cases.iter().map(|(query, data, labels_max, _)| axis(query, *data, *labels_max)).collect();
        let want: Vec<&str> = cases.iter().map(|(.., want)| *want).collect();
        assert_eq!(got.join("\n"), want.join("\n"));
    }

    fn axis(query: &str, data: Option<(f64, f64)>, labels_max: usize) -> String {
        let pairs: Vec<_> = query.split('&').filter_map(|p| p.split_once('=')).collect();
        let pairs: Vec<_> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let render = RenderOptions::parse(Params(&pairs), 1_717_243_200, &TimeZone::UTC).unwrap();
        let options = DrawOptions::parse(Params(&pairs), &render).unwrap();
        let axis = Axis::new(&Ask { data, side: &options.line.single, line: &options.line, labels_max });
        let labels: Vec<&str> = axis.labels.iter().map(|(_, text)| text.as_str()).collect();
        assert!(axis.top > axis.bottom, "{query}");
        assert!(axis.minors.iter().all(|v| *v > axis.bottom && *v < axis.top), "{query}: {:?}", axis.minors);
        // Debug chooses exponents where they are shorter.
        let end = |v: f64| format!("{v:?}").trim_end_matches(".0").to_owned();
        format!("{query}: {}..{} {}", end(axis.bottom), end(axis.top), labels.join(" "))
    }

    #[test]
    fn ends_and_labels() {
        check(&[
            ("", Some((36.2, 57.1)), 20, ": 35..60 35 40 45 50 55 60"),
            ("", Some((0.0, 540.0)), 20, ": 0..600 0 100 200 300 400 500 600"),
            ("", Some((0.00375, 0.00508)), 20, ": 0.0035..0.0055 0.0035 0.0040 0.0045 0.0050 0.0055"),
            ("", Some((-3.0, 4.0)), 20, ": -4..4 -4 -2 0 2 4"),
            // Flat, empty, and no data at all.
            ("", Some((5.0, 5.0)), 20, ": 5..6 5.0 5.2 5.4 5.6 5.8 6.0"),
            ("", Some((0.0, 0.0)), 20, ": 0..1 0 0.2 0.4 0.6 0.8 1.0"),
            ("", None, 20, ": 0..1 0 0.2 0.4 0.6 0.8 1.0"),
            // As few labels as there is room for.
            ("", Some((0.0, 540.0)), 4, ": 0..600 0 200 400 600"),
            ("", Some((0.0, 540.0)), 2, ": 0..1000 0 1 k"),
            ("yStep=1", Some((0.0, 540.0)), 7, "yStep=1: 0..600 0 100 200 300 400 500 600"),
            // Fixed ends hold to the letter.
            ("yMin=40", Some((36.2, 57.1)), 20, "yMin=40: 40..60 40 45 50 55 60"),
            ("yMin=40&yStep=3", Some((36.2, 51.0)), 20, "yMin=40&yStep=3: 40..51 42 45 48 51"),
            ("yMin=0&yMax=100", Some((36.2, 57.1)), 20, "yMin=0&yMax=100: 0..100 0 20 40 60 80 100"),
            ("yMax=max", Some((0.0, 57.1)), 20, "yMax=max: 0..57.1 0 10 20 30 40 50"),
            ("yLimit=50", Some((0.0, 57.1)), 20, "yLimit=50: 0..50 0 10 20 30 40 50"),
            ("yMax=10", Some((36.2, 57.1)), 20, "yMax=10: 36.2..37.2 36.2 36.4 36.6 36.8 37.0 37.2"),
            ("yDivisors=2", Some((0.0, 540.0)), 20, "yDivisors=2: 0..1000 0 500 1000"),
            ("yDivisors=7", Some((0.0, 690.0)), 20, "yDivisors=7: 0..700 0 100 200 300 400 500 600 700"),
            (
                "yUnitSystem=sec",
                Some((6_000.0, 9_600.0)),
                20,
                "yUnitSystem=sec: 6000..9600 100 m 110 m 120 m 130 m 140 m 150 m 160 m",
            ),
            (
                "yUnitSystem=binary",
                Some((0.0, 700_000.0)),
                20,
                "yUnitSystem=binary: 0..786432 0 128 Ki 256 Ki 384 Ki 512 Ki 640 Ki 768 Ki",
            ),
            ("yUnitSystem=none", Some((0.0, 40_000.0)), 20, "yUnitSystem=none: 0..40000 0 10000 20000 30000 40000"),
            // Hostile numbers.
            ("", Some((-1e308, 1e308)), 20, ": -1e300..1e300 -1e300 -5e299 0 5e299 1e300"),
            ("", Some((1e15, 1e15 + 1.0)), 4, ": 1000000000000000..1001000000000000 1000000 G 1000500 G 1001000 G"),
            ("", Some((1e-300, 2e-300)), 20, ": 1e-300..2e-300 1e-300 1.2e-300 1.4e-300 1.6e-300 1.8e-300 2e-300"),
        ]);
    }

    #[test]
    fn logarithmic_ends_and_labels() {
        check(&[
            ("logBase=10", Some((36_000.0, 57_000.0)), 20, "logBase=10: 10000..100000 10 k 100 k"),
            ("logBase=10", Some((0.02, 57.0)), 20, "logBase=10: 0.01..100 0.01 0.1 1 10 100"),
            ("logBase=2", Some((1.0, 5.0)), 20, "logBase=2: 1..8 1 2 4 8"),
            ("logBase=10", Some((-1.0, 57.0)), 20, "logBase=10: 1..10 1 10"),
            ("logBase=10", None, 20, "logBase=10: 1..10 1 10"),
            ("logBase=10&yMin=0", Some((2.0, 30.0)), 20, "logBase=10&yMin=0: 1..100 1 10 100"),
            ("logBase=10&yMin=5&yMax=500", Some((2.0, 30.0)), 20, "logBase=10&yMin=5&yMax=500: 5..500 10 100"),
            ("logBase=10", Some((1.0, 1e12)), 4, "logBase=10: 1..1000000000000 1 10 k 100 M 1 T"),
        ]);
    }

    #[test]
    fn places() {
        let line = |query: &[(&str, &str)]| {
            let pairs: Vec<_> = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let render = RenderOptions::parse(Params(&pairs), 1_717_243_200, &TimeZone::UTC).unwrap();
            DrawOptions::parse(Params(&pairs), &render).unwrap().line
        };
        let axis =
            |line: &LineOptions, data| Axis::new(&Ask { data: Some(data), side: &line.single, line, labels_max: 20 });
        let linear = axis(&line(&[]), (0.0, 100.0));
        assert_eq!((linear.place(25.0), linear.place(-100.0), linear.place(f64::NAN)), (Some(0.25), Some(-1.0), None));
        assert_eq!(linear.ground(), 0.0);
        assert_eq!(axis(&line(&[]), (-100.0, 100.0)).ground(), 0.5);
        assert_eq!(axis(&line(&[]), (-100.0, -50.0)).ground(), 1.0);
        let log = axis(&line(&[("logBase", "10")]), (1.0, 100.0));
        assert!((log.place(10.0).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!((log.place(0.0), log.place(-1.0), log.ground()), (None, None, 0.0));
        // Multiples of powers, as on logarithmic paper.
        assert_eq!(log.minors.len(), 16);
        assert!(axis(&line(&[("minorY", "0")]), (0.0, 1.0)).minors.is_empty());
        assert_eq!(axis(&line(&[("minorY", "3")]), (0.0, 1.0)).minors.len(), 15);
    }
}
