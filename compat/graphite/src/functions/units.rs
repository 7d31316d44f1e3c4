//! Unit prefixes for names and axes.

/// Prefixes with their sizes, largest first.
pub type System = &'static [(&'static str, f64)];

/// Powers of 1000.
pub const SI: System = &[("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)];

/// Powers of 1024.
pub const BINARY: System = &[
    ("Pi", 1_125_899_906_842_624.0),
    ("Ti", 1_099_511_627_776.0),
    ("Gi", 1_073_741_824.0),
    ("Mi", 1_048_576.0),
    ("Ki", 1_024.0),
];

/// Divides a value by the largest prefix that is not larger than it; whole numbers stay whole.
/// Returns the quotient and the prefix with the unit behind it.
#[must_use]
pub fn scale(value: f64, system: System, unit: &str) -> (f64, String) {
    let (prefix, size) = system.iter().copied().find(|(_, size)| value.abs() >= *size).unwrap_or(("", 1.0));
    let mut scaled = value / size;
    if scaled - scaled.floor() < 1e-11 && value > 1.0 {
        scaled = scaled.floor();
    }
    (scaled, format!("{prefix}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::{BINARY, SI, scale};

    #[test]
    fn prefixes() {
        for (value, system, unit, want) in [
            (1500.0, SI, "", (1.5, "k")),
            (-2e6, SI, "b", (-2.0, "Mb")),
            (2048.0, BINARY, "B", (2.0, "KiB")),
            (999.0, SI, "B", (999.0, "B")),
            (0.5, BINARY, "", (0.5, "")),
        ] {
            assert_eq!(scale(value, system, unit), (want.0, want.1.to_owned()));
        }
    }
}
