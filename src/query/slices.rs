//! A range of time in pieces that hold about as many values as asked for.

use rhythmite_engine::Weight;

/// Cuts a range of time by what is known of the sources. Values are taken to lie evenly between the first and the last
/// of a source, so that a piece may hold more, or less.
#[derive(Clone)]
pub(crate) struct Slices {
    /// Times, ascending, and about how many values lie before each.
    knots: Vec<(i64, f64)>,
    /// What is left, inclusive; `None` when nothing is.
    left: Option<(i64, i64)>,
    ascending: bool,
    /// Values of the pieces given out.
    done: f64,
}

impl Slices {
    pub(crate) fn new(weights: &[Weight], range: (i64, i64), ascending: bool) -> Self {
        let mut steps: Vec<(i64, f64)> = Vec::new();
        for weight in weights {
            let end = weight.max_time_ns.saturating_add(1);
            let rate = weight.values as f64 / (end as f64 - weight.min_time_ns as f64).max(1.0);
            steps.push((weight.min_time_ns, rate));
            steps.push((end, -rate));
        }
        steps.sort_by_key(|(time, _)| *time);
        let mut knots: Vec<(i64, f64)> = Vec::new();
        let (mut values, mut rate) = (0.0, 0.0_f64);
        for (time, by) in steps {
            if let Some((before, _)) = knots.last() {
                values += rate.max(0.0) * (time as f64 - *before as f64);
            }
            rate += by;
            knots.push((time, values));
        }
        Self { knots, left: (range.0 <= range.1).then_some(range), ascending, done: 0.0 }
    }

    /// The next piece, both ends included; together the pieces are the whole range.
    pub(crate) fn next(&mut self, values: u64) -> Option<(i64, i64)> {
        let (first, last) = self.left?;
        let total = self.knots.last().map_or(0.0, |(_, values)| *values);
        self.done += values.max(1) as f64;
        if self.done >= total {
            self.left = None;
            return Some((first, last));
        }
        Some(if self.ascending {
            let end = self.time_of(self.done).saturating_sub(1).clamp(first, last);
            self.left = (end < last).then(|| (end + 1, last));
            (first, end)
        } else {
            let start = self.time_of(total - self.done).clamp(first, last);
            self.left = (start > first).then(|| (first, start - 1));
            (start, last)
        })
    }

    /// The time before which about so many values lie.
    fn time_of(&self, values: f64) -> i64 {
        let at = self.knots.partition_point(|(_, before)| *before < values);
        match (at.checked_sub(1).and_then(|at| self.knots.get(at)), self.knots.get(at)) {
            (Some((from, low)), Some((to, high))) => {
                let share = (values - low) / (high - low).max(f64::MIN_POSITIVE);
                (*from as f64 + share * (*to as f64 - *from as f64)) as i64
            }
            (_, Some((time, _))) | (Some((time, _)), None) => *time,
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sources: &[(u64, i64, i64)], range: (i64, i64), ascending: bool, expected: &[(i64, i64)]) {
        let weights: Vec<_> = sources
            .iter()
            .map(|&(values, min_time_ns, max_time_ns)| Weight { values, of_series: values, min_time_ns, max_time_ns })
            .collect();
        let mut slices = Slices::new(&weights, range, ascending);
        let found: Vec<_> = std::iter::from_fn(|| slices.next(100)).take(100).collect();
        assert_eq!(found, expected, "{sources:?} {range:?}");
    }

    #[test]
    fn pieces_are_even_and_leave_nothing_out() {
        check(&[], (0, 9), true, &[(0, 9)]);
        check(&[(50, 0, 9)], (i64::MIN, i64::MAX), true, &[(i64::MIN, i64::MAX)]);
        let even = [(300, 0, 299)];
        check(&even, (-5, 1_000), true, &[(-5, 99), (100, 199), (200, 1_000)]);
        check(&even, (-5, 1_000), false, &[(200, 1_000), (100, 199), (-5, 99)]);
        check(&[(200, 0, 99), (100, 100, 199)], (0, 199), true, &[(0, 49), (50, 99), (100, 199)]);
        check(&[(200, 0, 99), (200, 50, 149)], (0, 149), true, &[(0, 49), (50, 74), (75, 99), (100, 149)]);
        check(&even, (5, 4), true, &[]);
    }

    #[test]
    fn many_values_at_one_time_end() {
        check(&[(1_000, 7, 7)], (0, 10), true, &[(0, 6), (7, 7), (8, 8), (9, 9), (10, 10)]);
        check(&[(1_000, 7, 7)], (7, 7), false, &[(7, 7)]);
    }
}
