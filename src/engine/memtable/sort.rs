//! The order of a block: by (series, time), the latest arrival of each pair.

/// Bits sorted in one pass: a histogram of 2,048 counters stays in the first-level cache.
const DIGIT_BITS: u32 = 11;

/// Row numbers by (series, time); of rows with equal series and time only the one with the largest arrival (of equal
/// arrivals the last row) is kept. The three slices are equally long, below 2^32 rows.
///
/// PERF: a stable radix sort by series alone, then a look at each series: its rows mostly arrived in time order.
/// Proof: `cargo bench --bench memtable -- seal`.
pub(super) fn order(series: &[u32], times_ns: &[i64], arrivals: &[u32]) -> Vec<u32> {
    let mut rows = by_series(series);
    let mut kept = 0;
    let mut start = 0;
    while start < rows.len() {
        let key = series[rows[start] as usize];
        let mut end = start + 1;
        let mut ascending = true;
        let mut last = times_ns[rows[start] as usize];
        while end < rows.len() && series[rows[end] as usize] == key {
            let time = times_ns[rows[end] as usize];
            ascending &= last < time;
            last = time;
            end += 1;
        }
        if ascending {
            rows.copy_within(start..end, kept);
            kept += end - start;
        } else {
            rows[start..end].sort_by_key(|&r| (times_ns[r as usize], arrivals[r as usize]));
            for i in start..end {
                let row = rows[i];
                let next_is_newer = i + 1 < end && times_ns[rows[i + 1] as usize] == times_ns[row as usize];
                if !next_is_newer {
                    rows[kept] = row;
                    kept += 1;
                }
            }
        }
        start = end;
    }
    rows.truncate(kept);
    rows
}

/// Row numbers by series, stable.
fn by_series(series: &[u32]) -> Vec<u32> {
    let rows = u32::try_from(series.len()).expect("a chunk has fewer than 2^32 rows");
    let mut order: Vec<u32> = (0..rows).collect();
    let (Some(&min), Some(&max)) = (series.iter().min(), series.iter().max()) else { return order };
    let bits = u32::BITS - (max - min).leading_zeros();
    if bits == 0 || series.is_sorted() {
        return order;
    }
    let mut other = vec![0_u32; order.len()];
    for pass in 0..bits.div_ceil(DIGIT_BITS) {
        let shift = pass * DIGIT_BITS;
        let digit = |row: u32| ((series[row as usize] - min) >> shift) as usize & ((1 << DIGIT_BITS) - 1);
        let mut ends = [0_u32; 1 << DIGIT_BITS];
        order.iter().for_each(|&row| ends[digit(row)] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        for &row in &order {
            let place = &mut ends[digit(row)];
            other[*place as usize] = row;
            *place += 1;
        }
        std::mem::swap(&mut order, &mut other);
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the words of the contract say, done slowly.
    fn slow(series: &[u32], times: &[i64], arrivals: &[u32]) -> Vec<u32> {
        let mut best = std::collections::BTreeMap::new();
        for row in 0..series.len() {
            let entry = best.entry((series[row], times[row])).or_insert(row);
            if arrivals[row] >= arrivals[*entry] {
                *entry = row;
            }
        }
        best.into_values().map(|r| r as u32).collect()
    }

    proptest! {
        #[test]
        fn rows_are_sorted_and_the_latest_arrival_wins(
            rows in prop::collection::vec((prop_oneof![0_u32..4, 0_u32..3_000, any::<u32>()], -3_i64..3, 0_u32..4), 0..300)
        ) {
            let series: Vec<u32> = rows.iter().map(|r| r.0).collect();
            let times: Vec<i64> = rows.iter().map(|r| r.1).collect();
            let arrivals: Vec<u32> = rows.iter().map(|r| r.2).collect();
            prop_assert_eq!(order(&series, &times, &arrivals), slow(&series, &times, &arrivals));
        }
    }
}
