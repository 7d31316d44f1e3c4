/// What a rule makes of the values of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    /// The share of values below, 0 to 1.
    Percentile(f64),
}

impl Method {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "p50" => Self::Percentile(0.50),
            "p75" => Self::Percentile(0.75),
            "p80" => Self::Percentile(0.80),
            "p90" => Self::Percentile(0.90),
            "p95" => Self::Percentile(0.95),
            "p99" => Self::Percentile(0.99),
            "p999" => Self::Percentile(0.999),
            _ => return None,
        })
    }

    /// Whether every value has to be kept.
    pub(super) fn keeps_values(self) -> bool {
        matches!(self, Self::Percentile(_))
    }
}

/// The values of one interval, reduced as far as the method allows; never empty.
#[derive(Debug)]
pub(super) struct Fold {
    count: u64,
    /// Sum, least or largest value.
    reduced: f64,
    /// Only for percentiles.
    values: Vec<f64>,
}

impl Fold {
    pub(super) fn new(method: Method, value: f64) -> Self {
        let values = if method.keeps_values() { vec![value] } else { Vec::new() };
        Self { count: 1, reduced: value, values }
    }

    pub(super) fn add(&mut self, method: Method, value: f64) {
        self.count += 1;
        match method {
            Method::Sum | Method::Avg => self.reduced += value,
            Method::Min => self.reduced = self.reduced.min(value),
            Method::Max => self.reduced = self.reduced.max(value),
            Method::Count => {}
            Method::Percentile(_) => self.values.push(value),
        }
    }

    /// Values that are kept.
    pub(super) fn held(&self) -> usize {
        self.values.len()
    }

    pub(super) fn result(&mut self, method: Method) -> f64 {
        match method {
            Method::Sum | Method::Min | Method::Max => self.reduced,
            Method::Avg => self.reduced / self.count as f64,
            Method::Count => self.count as f64,
            Method::Percentile(share) => percentile(&mut self.values, share),
        }
    }
}

/// Interpolates between the two values around the rank; `values` is not empty and is sorted here.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = share * (values.len() - 1) as f64;
    let (left, right) = (rank.floor(), rank.ceil());
    if left == right {
        return values[left as usize];
    }
    values[left as usize] * (right - rank) + values[right as usize] * (rank - left)
}
