//! What a step of a bench takes whose threads come and go.

/// Seconds of the processor that the whole process has had.
pub fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat
        .rsplit(')')
        .next()
        .map(|rest| rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()));
    ticks.map_or(0.0, |ticks| ticks.sum::<u64>() as f64 / 100.0)
}
