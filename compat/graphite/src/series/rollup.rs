//! Coarser archives out of finer ones, as whisper fills them.

/// How a whisper file rolls values up; the last one is carbon's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollupMethod {
    /// Mean of the known.
    Average,
    /// Sum of the known.
    Sum,
    /// Last known.
    Last,
    /// Largest.
    Max,
    /// Smallest.
    Min,
    /// Sum of the known over all slots.
    AvgZero,
    /// The value farthest from zero.
    AbsMax,
    /// The value nearest to zero.
    AbsMin,
    /// The middle of the sorted known values, or the mean of the middle two.
    Median,
}

impl RollupMethod {
    /// Every method, in the order of its code from 1: the numbers of whisper's file header, then the median.
    pub const ALL: [Self; 9] = [
        Self::Average,
        Self::Sum,
        Self::Last,
        Self::Max,
        Self::Min,
        Self::AvgZero,
        Self::AbsMax,
        Self::AbsMin,
        Self::Median,
    ];

    /// The method of this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// Its code.
    #[must_use]
    pub fn code(self) -> u8 {
        // In the order of `ALL`, which is that of the declaration.
        self as u8 + 1
    }

    /// The method of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The name that configuration files use: `average sum last max min avg_zero absmax absmin median`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Sum => "sum",
            Self::Last => "last",
            Self::Max => "max",
            Self::Min => "min",
            Self::AvgZero => "avg_zero",
            Self::AbsMax => "absmax",
            Self::AbsMin => "absmin",
            Self::Median => "median",
        }
    }
}

/// Rolls a regular series up into windows of `coarse_step_s`.
///
/// `values[i]` lies at `start_s + i * fine_step_s`; NaN is a gap. Windows begin at multiples of
/// the coarse step; returns the start of the first and one value per window, NaN when known/slots
/// < `x_files_factor` or nothing is known. `coarse_step_s` must be a multiple of `fine_step_s`,
/// both positive. One pass.
///
/// Source: whisper's propagation; the factor is stored, and so compared, as 32 bits.
#[must_use]
pub fn roll_up(
    start_s: i64,
    fine_step_s: i64,
    values: &[f64],
    coarse_step_s: i64,
    method: RollupMethod,
    x_files_factor: f32,
) -> (i64, Vec<f64>) {
    assert!(fine_step_s > 0 && coarse_step_s % fine_step_s == 0, "steps nest");
    let slots = usize::try_from(coarse_step_s / fine_step_s).unwrap_or(usize::MAX);
    let first = start_s - start_s.rem_euclid(coarse_step_s);
    let missing = usize::try_from((start_s - first) / fine_step_s).unwrap_or(0);
    let (head, tail) = values.split_at(values.len().min(slots - missing));
    let windows = std::iter::once(head).chain(tail.chunks(slots)).filter(|w| !w.is_empty());
    (first, windows.map(|window| one(window, slots, method, x_files_factor)).collect())
}

fn one(window: &[f64], slots: usize, method: RollupMethod, x_files_factor: f32) -> f64 {
    let known = || window.iter().copied().filter(|v| !v.is_nan());
    let count = known().count();
    if count == 0 || (count as f64 / slots as f64) < f64::from(x_files_factor) {
        return f64::NAN;
    }
    let farther = |a: f64, v: f64| if v.abs() > a.abs() { v } else { a };
    let nearer = |a: f64, v: f64| if v.abs() < a.abs() { v } else { a };
    match method {
        RollupMethod::Average => known().sum::<f64>() / count as f64,
        RollupMethod::Sum => known().sum(),
        RollupMethod::Last => known().next_back().unwrap_or(f64::NAN),
        RollupMethod::Max => known().fold(f64::NEG_INFINITY, f64::max),
        RollupMethod::Min => known().fold(f64::INFINITY, f64::min),
        RollupMethod::AvgZero => known().sum::<f64>() / slots as f64,
        RollupMethod::AbsMax => known().reduce(farther).unwrap_or(f64::NAN),
        RollupMethod::AbsMin => known().reduce(nearer).unwrap_or(f64::NAN),
        RollupMethod::Median => {
            let mut sorted: Vec<f64> = known().collect();
            sorted.sort_unstable_by(f64::total_cmp);
            (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0
        }
    }
}
