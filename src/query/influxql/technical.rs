//! Technical indicators: running averages and what is made of them.
//!
//! Each takes a value and gives one; the first `hold` results are not shown. With the warm-up `exponential` an average
//! weighs its first values by their number, with `simple` it begins as a plain mean.

use rhythmite_influx::influxql::{Call, Expr, Literal};

/// An indicator and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Technical {
    kind: Kind,
    /// Points that count.
    period: usize,
    /// Results not shown; `None` for as many as the indicator needs to settle.
    hold: Option<u64>,
    warmup: Warmup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Exponential averages of averages, so many deep.
    Average(u8),
    /// Change of the threefold average, in percent.
    Derivative,
    RelativeStrength,
    EfficiencyRatio,
    Adaptive,
    Momentum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warmup {
    None,
    Exponential,
    Simple,
}

impl Technical {
    /// The indicator a call stands for.
    pub(super) fn of(call: &Call) -> Option<Self> {
        let kind = match call.name.as_str() {
            "exponential_moving_average" => Kind::Average(1),
            "double_exponential_moving_average" => Kind::Average(2),
            "triple_exponential_moving_average" => Kind::Average(3),
            "triple_exponential_derivative" => Kind::Derivative,
            "relative_strength_index" => Kind::RelativeStrength,
            "kaufmans_efficiency_ratio" => Kind::EfficiencyRatio,
            "kaufmans_adaptive_moving_average" => Kind::Adaptive,
            "chande_momentum_oscillator" => Kind::Momentum,
            _ => return None,
        };
        let integer = |at: usize| match call.args.get(at) {
            Some(Expr::Literal(Literal::Integer(value))) => Some(*value),
            _ => None,
        };
        let warmup = match call.args.get(3) {
            Some(Expr::Literal(Literal::String(text))) if text == "simple" => Warmup::Simple,
            Some(Expr::Literal(Literal::String(text))) if text == "exponential" => Warmup::Exponential,
            _ if kind == Kind::Momentum => Warmup::None,
            _ => Warmup::Exponential,
        };
        let period = usize::try_from(integer(1)?).ok()?;
        Some(Self { kind, period, hold: integer(2).and_then(|hold| u64::try_from(hold).ok()), warmup })
    }

    /// The indicator after each value; `None` where it is not shown.
    pub(super) fn over(self, values: impl Iterator<Item = f64>) -> Vec<Option<f64>> {
        let hold = self.hold.unwrap_or_else(|| self.settles_after());
        let mut state = State::new(self);
        let show = |(at, value): (usize, f64)| (at as u64 >= hold && value.is_finite()).then_some(value);
        values.map(|value| state.add(value)).enumerate().map(show).collect()
    }

    fn settles_after(self) -> u64 {
        let period = self.period as u64;
        let deep = if self.warmup == Warmup::Simple { 3 } else { 1 };
        match (self.kind, self.warmup) {
            (Kind::Average(depth), Warmup::Simple) => (period - 1) * u64::from(depth),
            (Kind::Average(_), _) => period - 1,
            (Kind::Derivative, _) => (period - 1) * deep + 1,
            (Kind::Momentum, Warmup::None) => period - 1,
            (Kind::RelativeStrength | Kind::Momentum | Kind::EfficiencyRatio | Kind::Adaptive, _) => period,
        }
    }
}

/// An exponential average.
#[derive(Clone, Debug)]
struct Average {
    period: usize,
    weight: f64,
    simple: bool,
    count: usize,
    last: f64,
}

impl Average {
    fn new(period: usize, warmup: Warmup) -> Self {
        let weight = 2.0 / (period as f64 + 1.0);
        Self { period, weight, simple: warmup == Warmup::Simple, count: 0, last: 0.0 }
    }

    /// Wilder's: the newest of n values weighs 1/n.
    fn wilder(period: usize, warmup: Warmup) -> Self {
        Self { weight: 1.0 / period as f64, ..Self::new(period + 1, warmup) }
    }

    fn is_warm(&self) -> bool {
        self.count == self.period
    }

    /// Whether an average of this one may begin.
    fn is_ready(&self) -> bool {
        !self.simple || self.is_warm()
    }

    fn add(&mut self, value: f64) -> f64 {
        let count = self.count as f64;
        self.last = match (self.count, self.is_warm()) {
            (0, _) => value,
            (_, true) => self.last + (value - self.last) * self.weight,
            (_, false) if self.simple => (self.last * count + value) / (count + 1.0),
            (_, false) => self.last + (value - self.last) * 2.0 / (count + 2.0),
        };
        self.count = (self.count + 1).min(self.period);
        self.last
    }
}

enum State {
    Averages { chain: Vec<Average>, change: bool, last: f64 },
    Strength { up: Average, down: Average, last: f64, momentum: bool },
    Efficiency { ring: Ring, noise: f64, count: usize, adaptive: Option<f64> },
    Momentum { ring: Ring, up: f64, down: f64, begun: bool },
}

/// The latest values, each with its distance from the one before.
struct Ring {
    points: Vec<(f64, f64)>,
    at: usize,
}

impl Ring {
    fn new(len: usize) -> Self {
        Self { points: vec![(0.0, 0.0); len.max(1)], at: 0 }
    }

    fn newest(&self) -> f64 {
        self.points[self.at].0
    }

    fn oldest(&self) -> (f64, f64) {
        self.points[(self.at + 1) % self.points.len()]
    }

    fn push(&mut self, value: f64, distance: f64) {
        self.at = (self.at + 1) % self.points.len();
        self.points[self.at] = (value, distance);
    }
}

impl State {
    fn new(of: Technical) -> Self {
        let (period, warmup) = (of.period, of.warmup);
        let wilder = || Average::wilder(period, warmup);
        match of.kind {
            Kind::Average(depth) => {
                let chain = vec![Average::new(period, warmup); usize::from(depth)];
                State::Averages { chain, change: false, last: 0.0 }
            }
            Kind::Derivative => {
                State::Averages { chain: vec![Average::new(period, warmup); 3], change: true, last: 0.0 }
            }
            Kind::RelativeStrength => State::Strength { up: wilder(), down: wilder(), last: 0.0, momentum: false },
            Kind::Momentum if warmup != Warmup::None => {
                State::Strength { up: wilder(), down: wilder(), last: 0.0, momentum: true }
            }
            Kind::Momentum => State::Momentum { ring: Ring::new(period - 1), up: 0.0, down: 0.0, begun: false },
            Kind::EfficiencyRatio => {
                State::Efficiency { ring: Ring::new(period), noise: 0.0, count: 0, adaptive: None }
            }
            Kind::Adaptive => State::Efficiency { ring: Ring::new(period), noise: 0.0, count: 0, adaptive: Some(0.0) },
        }
    }

    fn add(&mut self, value: f64) -> f64 {
        match self {
            State::Averages { chain, change, last } => {
                let mut averages = [value; 4];
                let mut ready = true;
                for (at, average) in chain.iter_mut().enumerate() {
                    averages[at + 1] = if ready { average.add(averages[at]) } else { averages[at] };
                    ready = ready && average.is_ready();
                }
                let [_, one, two, three] = averages;
                match (*change, chain.len()) {
                    (true, _) => {
                        let percent = (three / *last - 1.0) * 100.0;
                        *last = three;
                        percent
                    }
                    (false, 1) => one,
                    (false, 2) => 2.0 * one - two,
                    (false, _) => 3.0 * one - 3.0 * two + three,
                }
            }
            State::Strength { up, down, last, momentum } => {
                let (rise, fall) = ((value - *last).max(0.0), (*last - value).max(0.0));
                *last = value;
                let (up, down) = (up.add(rise), down.add(fall));
                if *momentum { 100.0 * ((up - down) / (up + down)) } else { 100.0 - 100.0 / (1.0 + up / down) }
            }
            State::Efficiency { ring, noise, count, adaptive } => {
                // Until it is warm the adaptive average begins anew from the value before.
                if let Some(last) = adaptive
                    && *count <= ring.points.len()
                {
                    *last = ring.newest();
                }
                let (oldest, gone) = ring.oldest();
                let signal = (value - oldest).abs();
                let distance = (value - ring.newest()).abs();
                *noise += distance - gone;
                ring.push(value, distance);
                *count = (*count + 1).min(ring.points.len() + 1);
                let ratio = if signal == 0.0 || *noise == 0.0 { 0.0 } else { signal / *noise };
                let Some(last) = adaptive else { return ratio };
                let (fast, slow) = (2.0 / 3.0, 2.0 / 31.0);
                let weight: f64 = ratio * (fast - slow) + slow;
                *last += weight * weight * (value - *last);
                *last
            }
            State::Momentum { ring, up, down, begun } => {
                let change = if *begun { value - ring.newest() } else { 0.0 };
                *begun = true;
                *up += change.max(0.0);
                *down += (-change).max(0.0);
                let all = *up + *down;
                let out = if all == 0.0 { 0.0 } else { 100.0 * ((*up - *down) / all) };
                let (_, gone) = ring.oldest();
                *up -= gone.max(0.0);
                *down -= (-gone).max(0.0);
                ring.push(value, change);
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rhythmite_influx::influxql::parse_expr;

    use super::*;

    fn check(call: &str, values: &[f64], expected: &[Option<f64>]) {
        let Expr::Call(call) = parse_expr(call).unwrap() else { panic!("no call") };
        let found = Technical::of(&call).unwrap().over(values.iter().copied());
        let near = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-9,
            (a, b) => a == b,
        };
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(near), "{call}: {found:?}");
    }

    /// The expected values are computed by hand from the definitions.
    #[test]
    fn indicators_over_a_few_values() {
        let values = [1.0, 2.0, 4.0, 3.0];
        check(
            "exponential_moving_average(v, 2)",
            &values,
            &[None, Some(1.0 + 2.0 / 3.0), Some(3.2222222222222223), Some(3.074074074074074)],
        );
        check(
            "exponential_moving_average(v, 2, 0, 'simple')",
            &values,
            &[Some(1.0), Some(1.5), Some(19.0 / 6.0), Some(55.0 / 18.0)],
        );
        check("kaufmans_efficiency_ratio(v, 2)", &values, &[None, None, Some(1.0), Some(1.0 / 3.0)]);
        check("chande_momentum_oscillator(v, 3)", &values, &[None, None, Some(100.0), Some(50.0)]);
        check("double_exponential_moving_average(v, 1)", &values, &[Some(1.0), Some(2.0), Some(4.0), Some(3.0)]);
        check("triple_exponential_derivative(v, 1)", &values, &[None, Some(100.0), Some(100.0), Some(-25.0)]);
        check("relative_strength_index(v, 1, 0)", &[1.0, 2.0, 1.0], &[Some(100.0), Some(100.0), Some(0.0)]);
    }
}
