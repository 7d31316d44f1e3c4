//! Points of one step become points of another.

use rhythmite_graphite::series::{RollupMethod, roll_up};

/// Times in nanoseconds, ascending, and values.
pub(super) type Points = (Vec<i64>, Vec<f64>);

/// How values of a coarser step come from those of a finer one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) method: RollupMethod,
    pub(super) x_files_factor: f32,
}

/// Points of step `from_ns` as points of step `to_ns`.
///
/// A multiple of the step is rolled up; for any other step points are put at the start of their window, of several the last
/// stays: a finer step keeps gaps between them.
pub(super) fn to_step(points: &Points, from_ns: i64, to_ns: i64, method: Method) -> Points {
    let (from_ns, to_ns) = (from_ns.max(1), to_ns.max(1));
    let rolls = to_ns > from_ns && to_ns % from_ns == 0;
    let (mut times_ns, mut values) = (Vec::new(), Vec::new());
    let mut window = Vec::new();
    let mut at = 0;
    while let Some(&first_ns) = points.0.get(at) {
        let start_ns = first_ns - first_ns.rem_euclid(to_ns);
        let count = points.0[at..].iter().take_while(|time| **time - start_ns < to_ns).count();
        let value = if rolls {
            window.clear();
            window.resize(usize::try_from(to_ns / from_ns).unwrap_or(1), f64::NAN);
            for (time, value) in points.0[at..at + count].iter().zip(&points.1[at..at + count]) {
                if let Some(slot) = usize::try_from((time - start_ns) / from_ns).ok().and_then(|at| window.get_mut(at))
                {
                    *slot = *value;
                }
            }
            // The window begins at a multiple of the coarse step: it is the only one.
            let (_, rolled) = roll_up(start_ns, from_ns, &window, to_ns, method.method, method.x_files_factor);
            rolled.first().copied().unwrap_or(f64::NAN)
        } else {
            points.1[at + count - 1]
        };
        if !value.is_nan() {
            times_ns.push(start_ns);
            values.push(value);
        }
        at += count;
    }
    (times_ns, values)
}

/// The points of `first`, and those of `second` at times that `first` does not have.
pub(super) fn fill_gaps(first: Points, second: &Points) -> Points {
    if first.0.is_empty() {
        return second.clone();
    }
    let (mut times_ns, mut values) = (Vec::with_capacity(first.0.len()), Vec::with_capacity(first.0.len()));
    let mut more = second.0.iter().copied().zip(second.1.iter().copied()).peekable();
    for (time, value) in first.0.into_iter().zip(first.1) {
        while let Some((earlier, of)) = more.next_if(|(t, _)| *t < time) {
            times_ns.push(earlier);
            values.push(of);
        }
        more.next_if(|(t, _)| *t == time);
        times_ns.push(time);
        values.push(value);
    }
    for (time, value) in more {
        times_ns.push(time);
        values.push(value);
    }
    (times_ns, values)
}

/// The points that begin at `from_ns` or later and end at `to_ns` or earlier.
pub(super) fn within(mut points: Points, from_ns: i64, to_ns: i64, step_ns: i64) -> Points {
    let keep = |time: i64| time >= from_ns && time.saturating_add(step_ns) <= to_ns;
    let kept: Vec<bool> = points.0.iter().map(|time| keep(*time)).collect();
    let (mut times, mut values) = (kept.iter(), kept.iter());
    points.0.retain(|_| times.next() == Some(&true));
    points.1.retain(|_| values.next() == Some(&true));
    points
}

/// The points at times that `others` (ascending) do not have.
pub(super) fn without(points: Points, others: &[i64]) -> Points {
    let new = points.0.into_iter().zip(points.1).filter(|(time, _)| others.binary_search(time).is_err());
    new.unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Points {
        let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(time, value)| (time.parse::<i64>().unwrap(), value.parse::<f64>().unwrap())).unzip()
    }

    fn check(text: &str, steps: (i64, i64), factor: f32, method: RollupMethod, expected: &str) {
        let found = to_step(&points(text), steps.0, steps.1, Method { method, x_files_factor: factor });
        assert_eq!(found, points(expected), "{text} {steps:?} {method:?}");
    }

    #[test]
    fn points_take_another_step() {
        use RollupMethod::{Average, Last, Sum};
        check("0=1 10=3 20=5", (10, 20), 0.0, Average, "0=2 20=5");
        check("0=1 10=3 20=5", (10, 20), 1.0, Average, "0=2");
        check("0=1 10=3 70=5", (10, 60), 0.0, Sum, "0=4 60=5");
        check("0=1 60=3", (60, 10), 0.5, Average, "0=1 60=3");
        check("0=1 10=3 20=5", (10, 15), 0.5, Sum, "0=3 15=5");
        check("-10=1 0=3", (10, 20), 0.0, Last, "-20=1 0=3");
        check("5=1", (10, 10), 1.0, Sum, "0=1");
        check("", (10, 60), 0.0, Sum, "");
    }

    #[test]
    fn points_fill_the_gaps_of_others() {
        for (first, second, expected) in
            [("", "1=1 2=2", "1=1 2=2"), ("5=5", "", "5=5"), ("2=9 4=9", "1=1 2=2 3=3 5=5", "1=1 2=9 3=3 4=9 5=5")]
        {
            assert_eq!(fill_gaps(points(first), &points(second)), points(expected));
        }
        assert_eq!(within(points("0=1 10=2 20=3 30=4"), 10, 35, 10), points("10=2 20=3"));
        assert_eq!(without(points("0=1 10=2 20=3"), &[10, 40]), points("0=1 20=3"));
    }
}
