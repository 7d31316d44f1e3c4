//! `holt_winters`: what a series may be after its end, by the damped method of Holt and Winters.
//!
//! Parameters are found as 1.x finds them, step by step, so that the numbers are its numbers: from sixteen guesses the
//! downhill simplex method of Nelder and Mead looks for the least sum of squared errors. An evaluation changes the
//! vertex it is asked for (weights are brought into 0..=1, seasons are carried on), which the search then goes on
//! with: that is part of the method here.

use rhythmite_influx::influxql::{Call, Expr, Literal};
use rhythmite_model::FieldType;

use super::points::Points;
use super::value::Value;

/// Weight of the first value and of the first step in the first guess.
const GUESS_WEIGHT: f64 = 0.5;
/// Guesses for each of the four weights.
const GUESSES: [f64; 2] = [0.3, 0.3 + 0.4];
/// The search ends when the errors of the vertices deviate less than this.
const EPSILON: f64 = 1.0e-4;
/// Steps of one search.
const ITERATIONS_MAX: usize = 1_000;
/// Weights alpha, beta, gamma and phi, first level, first trend; seasons follow.
const PARAMETERS: usize = 6;
/// Points read, with those missing between them, and points foretold.
pub(super) const POINTS_MAX: i64 = 10_000_000;

/// A forecast and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HoltWinters {
    /// Points to foretell.
    ahead: usize,
    /// Points of a season; fewer than two are none.
    season: usize,
    /// What was fitted is shown before what is foretold.
    with_fit: bool,
    /// Time between two points.
    every_ns: i64,
}

impl HoltWinters {
    /// The forecast a call stands for.
    pub(super) fn of(call: &Call, every_ns: i64) -> Option<Self> {
        let with_fit = match call.name.as_str() {
            "holt_winters" => false,
            "holt_winters_with_fit" => true,
            _ => return None,
        };
        let number = |at: usize| match call.args.get(at) {
            Some(Expr::Literal(Literal::Integer(value))) => usize::try_from(*value).ok(),
            _ => None,
        };
        Some(Self { ahead: number(1)?, season: number(2)?, with_fit, every_ns: every_ns.max(1) })
    }

    /// Values that applying it to points holds; `None` if they are too many.
    pub(super) fn values(self, points: &Points) -> Option<u64> {
        let between = |(first, last): (&i64, &i64)| last.saturating_sub(*first) / self.every_ns;
        let read = points.times_ns.first().zip(points.times_ns.last()).map_or(0, between);
        let all = read.max(0).saturating_add(i64::try_from(self.ahead.max(self.season)).unwrap_or(i64::MAX));
        if all > POINTS_MAX { None } else { u64::try_from(all).ok() }
    }

    /// Foretells. Of points in descending order nothing can be told, nor of fewer than two, or than a season.
    ///
    /// `stop` is asked now and then; then the result means nothing.
    pub(super) fn apply(self, points: &Points, stop: &dyn Fn() -> bool) -> Points {
        let mut out = Points::empty(FieldType::Float, &[]);
        let known: Vec<(i64, f64)> = (0..points.len())
            .filter_map(|row| Some((points.times_ns[row], points.value.value(row).as_f64()?)))
            .collect();
        let (Some(&(first_ns, _)), Some(&(last_ns, _))) = (known.first(), known.last()) else { return out };
        if known.len() < 2 || (self.is_seasonal() && known.len() < self.season) || self.ahead == 0 {
            return out;
        }
        let values = self.even(&known);
        // Several points of one window leave fewer values than points.
        if values.len() < 2 || (self.is_seasonal() && values.len() < self.season) {
            return out;
        }
        let mut fit = Fit { values: &values, seasonal: self.is_seasonal(), told: Vec::new() };
        let mut best = fit.best(self.season, stop);
        fit.tell(self.ahead, &mut best);
        let (from_ns, from) = if self.with_fit { (first_ns, 0) } else { (last_ns, values.len()) };
        let step = i64::from(!self.with_fit);
        for (at, value) in fit.told.iter().skip(from).enumerate() {
            if !value.is_nan() {
                let time_ns = from_ns.saturating_add(self.every_ns.saturating_mul(at as i64 + step));
                out.push(time_ns, &Value::Float(*value));
            }
        }
        out
    }

    fn is_seasonal(self) -> bool {
        self.season >= 2
    }

    /// A value for each window from the first to the last; NaN where there is none.
    fn even(self, known: &[(i64, f64)]) -> Vec<f64> {
        let round = |at_ns: i64| {
            let up = i64::from(at_ns % self.every_ns > self.every_ns / 2);
            (at_ns / self.every_ns + up) * self.every_ns
        };
        let mut values = vec![known[0].1];
        let mut at_ns = round(known[0].0);
        for (time_ns, value) in &known[1..] {
            let rounded = round(*time_ns);
            if rounded <= at_ns {
                continue;
            }
            let missing = (rounded - at_ns) / self.every_ns - 1;
            values.extend(std::iter::repeat_n(f64::NAN, usize::try_from(missing).unwrap_or(0)));
            values.push(*value);
            at_ns = rounded;
        }
        values
    }
}

/// Values and what parameters tell of them.
struct Fit<'v> {
    values: &'v [f64],
    seasonal: bool,
    told: Vec<f64>,
}

impl Fit<'_> {
    /// The parameters that fit best.
    fn best(&mut self, season: usize, stop: &dyn Fn() -> bool) -> Vec<f64> {
        let mut guess = self.first_guess(season);
        let mut best: Option<(f64, Vec<f64>)> = None;
        for number in 0..16 {
            for (place, weight) in guess.iter_mut().take(4).enumerate() {
                *weight = GUESSES[number >> (3 - place) & 1];
            }
            let (error, found) = self.search(&guess, stop);
            if best.as_ref().is_none_or(|(least, _)| error < *least) {
                best = Some((error, found));
            }
        }
        best.map_or(guess, |(_, parameters)| parameters)
    }

    /// Level, trend and seasons as they look at first; missing values are passed over.
    fn first_guess(&self, season: usize) -> Vec<f64> {
        let values = self.values;
        let (mut level, mut trend) = (0.0, 0.0);
        let mut seasons = Vec::new();
        if self.seasonal {
            let length = season as f64;
            for value in values[..season].iter().filter(|value| !value.is_nan()) {
                level += (1.0 / length) * value;
            }
            for (earlier, later) in values[..season].iter().zip(&values[season..]) {
                if !earlier.is_nan() && !later.is_nan() {
                    trend += 1.0 / (length * length) * (later - earlier);
                }
            }
            seasons.extend(values[..season].iter().map(|value| if value.is_nan() { 0.0 } else { value / level }));
        } else {
            level += GUESS_WEIGHT * values[0];
            if !values[1].is_nan() {
                trend = GUESS_WEIGHT * (values[1] - values[0]);
            }
        }
        let mut guess = vec![0.0; PARAMETERS];
        (guess[4], guess[5]) = (level, trend);
        guess.extend(seasons);
        guess
    }

    /// What the parameters tell of the values and of `ahead` points behind them.
    fn tell(&mut self, ahead: usize, parameters: &mut [f64]) {
        for weight in &mut parameters[..4] {
            *weight = weight.clamp(0.0, 1.0);
        }
        let (weights, seasons) = parameters.split_at_mut(PARAMETERS);
        let [alpha, beta, gamma, phi, mut level, mut trend] = *weights else { return };
        let mut damped = phi;
        let mut value = self.values[0];
        let count = self.values.len() + ahead;
        self.told.clear();
        self.told.push(value);
        let length = seasons.len();
        for at in 1..count {
            let (mut season, mut season_ahead) = (1.0, 1.0);
            // The ring turns by one more with every step: the place of step n is 2n - 2.
            let place = |at: usize| (2 * at - 2) % length;
            if self.seasonal {
                season = seasons[place(at)];
                season_ahead = seasons[(place(at) + at % length) % length];
            }
            let before = level;
            let expected = before + phi * trend;
            level = alpha * (value / season) + (1.0 - alpha) * expected;
            let next_trend = beta * (level - before) + (1.0 - beta) * phi * trend;
            let next_season = gamma * (value / expected) + (1.0 - gamma) * season;
            trend = next_trend;
            value = (level + damped * trend) * season_ahead;
            damped += power(phi, at as u64);
            if self.seasonal {
                seasons[place(at)] = next_season;
            }
            self.told.push(value);
        }
    }

    /// The sum of squared errors; infinite where nothing is told of a value.
    fn error(&mut self, parameters: &mut [f64]) -> f64 {
        self.tell(0, parameters);
        let mut sum = 0.0;
        for (told, value) in self.told.iter().zip(self.values).filter(|(_, value)| !value.is_nan()) {
            if told.is_nan() {
                return f64::INFINITY;
            }
            let by = told - value;
            sum += by * by;
        }
        sum
    }

    /// Nelder and Mead's search from a guess: the least error and its parameters.
    fn search(&mut self, guess: &[f64], stop: &dyn Fn() -> bool) -> (f64, Vec<f64>) {
        let size = guess.len();
        let n = size as f64;
        let near = ((n + 1.0).sqrt() - 1.0) / (n * 2.0_f64.sqrt());
        let far = ((n + 1.0).sqrt() - 1.0 + n) / (n * 2.0_f64.sqrt());
        let vertex = |number: usize| -> Vec<f64> {
            let moved = |(at, value): (usize, &f64)| if number == at + 1 { far + value } else { near + value };
            if number == 0 { guess.to_vec() } else { guess.iter().enumerate().map(moved).collect() }
        };
        let mut vertices: Vec<Vec<f64>> = (0..=size).map(vertex).collect();
        let mut errors: Vec<f64> = vertices.iter_mut().map(|vertex| self.error(vertex)).collect();
        for _ in 0..ITERATIONS_MAX {
            if stop() {
                break;
            }
            let (mut worst, mut least) = (0, 0);
            for at in 0..=size {
                if errors[at] > errors[worst] {
                    worst = at;
                }
                if errors[at] < errors[least] {
                    least = at;
                }
            }
            let mut second = least;
            for at in 0..=size {
                if errors[at] > errors[second] && errors[at] < errors[worst] {
                    second = at;
                }
            }
            let centre: Vec<f64> = (0..size)
                .map(|i| {
                    let others = (0..=size).filter(|at| *at != worst);
                    others.fold(0.0, |sum, at| sum + vertices[at][i]) / n
                })
                .collect();
            let mut reflected: Vec<f64> = (0..size).map(|i| centre[i] + (centre[i] - vertices[worst][i])).collect();
            let error = self.error(&mut reflected);
            if error < errors[second] && error >= errors[least] {
                vertices[worst].clone_from(&reflected);
                errors[worst] = error;
            }
            if error < errors[least] {
                let mut expanded: Vec<f64> = (0..size).map(|i| centre[i] + 2.0 * (reflected[i] - centre[i])).collect();
                let further = self.error(&mut expanded);
                if further < error {
                    vertices[worst].clone_from(&expanded);
                    errors[worst] = further;
                } else {
                    vertices[worst].clone_from(&reflected);
                    errors[worst] = error;
                }
            }
            if error >= errors[second] {
                let mut contracted: Vec<f64> = if error < errors[worst] {
                    (0..size).map(|i| centre[i] + 0.5 * (reflected[i] - centre[i])).collect()
                } else {
                    (0..size).map(|i| centre[i] - 0.5 * (centre[i] - vertices[worst][i])).collect()
                };
                let nearer = self.error(&mut contracted);
                if nearer < errors[worst] {
                    vertices[worst].clone_from(&contracted);
                    errors[worst] = nearer;
                } else {
                    let centre = vertices[least].clone();
                    for (at, vertex) in vertices.iter_mut().enumerate().filter(|(at, _)| *at != least) {
                        debug_assert_ne!(at, least);
                        vertex.iter_mut().zip(&centre).for_each(|(x, c)| *x = c + (*x - c) / 2.0);
                    }
                    errors[worst] = self.error(&mut vertices[worst]);
                    errors[second] = self.error(&mut vertices[second]);
                }
            }
            let mean = errors.iter().fold(0.0, |sum, error| sum + error) / (n + 1.0);
            let spread = errors.iter().fold(0.0, |sum, error| sum + (error - mean).powi(2) / n);
            if spread.sqrt() < EPSILON {
                break;
            }
        }
        let mut least = 0;
        for at in 0..=size {
            if errors[at] < errors[least] {
                least = at;
            }
        }
        // What is returned is the vertex before its last evaluation.
        let found = vertices[least].clone();
        (self.error(&mut vertices[least]), found)
    }
}

/// `base` (from 0 to 1, or NaN) to a whole power, rounded as Go rounds it.
fn power(base: f64, exponent: u64) -> f64 {
    if base == 0.0 || base == 1.0 || base.is_nan() {
        return base;
    }
    // Fraction from 1/2 to 1 and exponent of two, so that squares do not underflow.
    let halve = |value: f64| {
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i64 - 1_022;
        (f64::from_bits(bits & !(0x7ff << 52) | 1_022 << 52), exponent)
    };
    if base < f64::MIN_POSITIVE {
        return base.powf(exponent as f64);
    }
    let (mut square, mut square_exponent) = halve(base);
    let (mut result, mut result_exponent) = (1.0, 0_i64);
    let mut left = exponent;
    while left != 0 {
        if square_exponent.abs() > 1 << 12 {
            // Far below the least number.
            return 0.0;
        }
        if left & 1 == 1 {
            result *= square;
            result_exponent += square_exponent;
        }
        square *= square;
        square_exponent *= 2;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        left >>= 1;
    }
    scale(result, result_exponent)
}

/// `value * 2^exponent`, rounded once.
fn scale(value: f64, exponent: i64) -> f64 {
    match exponent {
        ..=-2_200 => 0.0,
        -2_199..=-1_000 => value * 2.0_f64.powi(-900) * 2.0_f64.powi((exponent + 900) as i32),
        _ => value * 2.0_f64.powi(exponent as i32),
    }
}

#[cfg(test)]
mod tests {
    use rhythmite_influx::influxql::parse_expr;

    use super::*;

    #[test]
    fn powers_are_exact_where_they_can_be() {
        assert_eq!(power(0.5, 10), 1.0 / 1024.0);
        assert_eq!(power(0.75, 2), 0.5625);
        assert_eq!((power(1.0, 7), power(0.0, 7)), (1.0, 0.0));
        assert!((power(0.3, 50) / 0.3_f64.powi(50) - 1.0).abs() < 1e-14);
        assert_eq!(power(0.5, 1_074), f64::from_bits(1));
        assert_eq!(power(0.5, 5_000), 0.0);
    }

    /// Points at 1, 2, 3... (`-` is none) and what is told, at most `expected.len()` points, the last ones.
    fn check(call: &str, values: &str, first: i64, expected: &[f64]) {
        let Expr::Call(call) = parse_expr(call).unwrap() else { panic!("no call") };
        let mut points = Points::empty(FieldType::Float, &[]);
        for (at, value) in (1..).zip(values.split_whitespace()).filter(|(_, value)| *value != "-") {
            points.push(at, &Value::Float(value.parse().unwrap()));
        }
        let told = HoltWinters::of(&call, 1).unwrap().apply(&points, &|| false);
        let found: Vec<_> = (0..told.len()).filter_map(|row| told.value.value(row).as_f64()).collect();
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * b.abs();
        let last = &found[found.len().saturating_sub(expected.len())..];
        assert!(last.len() == expected.len() && last.iter().zip(expected).all(near), "{call}: {found:?}");
        assert_eq!(told.times_ns, (first..first + found.len() as i64).collect::<Vec<_>>());
    }

    const TOURISTS: &str = "30.052513 19.148496 25.317692 27.591437 32.076456 23.487961 28.47594 35.123753 36.838485 \
        25.007017 30.72223 28.693759 36.640986 23.824609 29.311683 31.770309 35.177877 19.775244 29.60175 34.538842 \
        41.273599 26.655862 28.279859 35.191153 41.727458 24.04185 32.328103 37.328708 46.213153 29.346326 36.48291 \
        42.977719 48.901525 31.180221 37.717881 40.420211 51.206863 31.887228 40.978263 43.772491 55.558567 33.850915 \
        42.076383 45.642292 59.76678 35.191877 44.319737 47.913736";
    const POPULATION: &str = "3.93 5.31 7.24 9.64 12.90 17.10 23.20 31.40 39.80 50.20 62.90 76.00 92.00 105.70 122.80 \
        131.70 151.30 179.30 203.20";

    /// The figures are those of InfluxDB's own tests.
    #[test]
    fn forecasts_are_those_of_influxdb() {
        let expected = [
            51.85064132137853,
            43.26055282315273,
            41.827258044814464,
            54.3990354591749,
            54.62334472770803,
            45.57155693625209,
            44.06051240252263,
            57.30029870759433,
            57.53591513519172,
            47.999008139396096,
        ];
        check("holt_winters(mean(v), 10, 4)", TOURISTS, 49, &expected);
        let expected = [
            3.93,
            4.957405463559748,
            7.012210102535647,
            10.099589257439924,
            14.229926188104242,
            19.418878968703797,
            25.68749172281409,
            33.062351305731305,
            41.575791076125206,
            51.26614395589263,
            62.178047564264595,
            74.36280483872488,
            87.87880423073163,
            102.79200429905801,
            119.17648832929542,
            137.11509549747296,
            156.70013608313175,
            178.03419933863566,
            201.23106385518594,
            226.4167216525905,
            253.73052878285205,
            283.32649700397553,
            315.37474308085984,
            350.06311454009256,
            387.59901328556873,
            428.21144141893404,
            472.1532969569147,
            519.7039509590035,
            571.1721419458248,
        ];
        check("holt_winters_with_fit(mean(v), 10, 0)", POPULATION, 1, &expected);
        let missing = POPULATION.replace("39.80", "-").replace("105.70", "-").replace("179.30", "-");
        let expected = [518.615548088049, 570.1447331101863];
        check("holt_winters_with_fit(mean(v), 10, 0)", &missing, 1, &expected);
    }

    #[test]
    fn too_little_tells_nothing() {
        check("holt_winters(mean(v), 2, 0)", "1", 0, &[]);
        check("holt_winters(mean(v), 2, 4)", "1 2 3", 0, &[]);
        check("holt_winters(mean(v), 2, 0)", "", 0, &[]);
    }

    #[test]
    fn what_is_too_long_is_seen_before() {
        let Expr::Call(call) = parse_expr("holt_winters(mean(v), 20000000, 0)").unwrap() else { panic!("no call") };
        let points = Points::empty(FieldType::Float, &[]);
        assert_eq!(HoltWinters::of(&call, 1).unwrap().values(&points), None);
    }
}
