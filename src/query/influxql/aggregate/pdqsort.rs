//! Sorting with the order of equals that Go gives them.
//!
//! `mode` and `percentile` show the time of one of several equal values; which one, depends on the steps of Go's
//! pattern-defeating quicksort (`sort.Sort` since 1.19), so those are followed here: same pivots, same swaps.

/// Longest run sorted by insertion.
const INSERTION_MAX: usize = 12;

/// Sorts by `less`.
pub(super) fn sort(items: &mut [u32], less: &dyn Fn(u32, u32) -> bool) {
    let limit = usize::BITS - items.len().leading_zeros();
    let len = items.len();
    Sorter { items, less }.sort(0, len, limit);
}

struct Sorter<'s> {
    items: &'s mut [u32],
    less: &'s dyn Fn(u32, u32) -> bool,
}

/// What the elements tried for a pivot look like.
#[derive(PartialEq)]
enum Hint {
    Unknown,
    Increasing,
    Decreasing,
}

impl Sorter<'_> {
    fn less(&self, i: usize, j: usize) -> bool {
        (self.less)(self.items[i], self.items[j])
    }

    fn swap(&mut self, i: usize, j: usize) {
        self.items.swap(i, j);
    }

    fn sort(&mut self, mut a: usize, mut b: usize, mut limit: u32) {
        let (mut balanced, mut partitioned) = (true, true);
        loop {
            let len = b - a;
            if len <= INSERTION_MAX {
                return self.insertion(a, b);
            }
            if limit == 0 {
                return self.heap(a, b);
            }
            if !balanced {
                self.break_patterns(a, b);
                limit -= 1;
            }
            let (mut pivot, mut hint) = self.choose_pivot(a, b);
            if hint == Hint::Decreasing {
                self.items[a..b].reverse();
                pivot = (b - 1) - (pivot - a);
                hint = Hint::Increasing;
            }
            if balanced && partitioned && hint == Hint::Increasing && self.partial_insertion(a, b) {
                return;
            }
            if a > 0 && !self.less(a - 1, pivot) {
                a = self.partition_equal(a, b, pivot);
                continue;
            }
            let (mid, already) = self.partition(a, b, pivot);
            partitioned = already;
            let (left, right) = (mid - a, b - mid);
            if left < right {
                balanced = left >= len / 8;
                self.sort(a, mid, limit);
                a = mid + 1;
            } else {
                balanced = right >= len / 8;
                self.sort(mid + 1, b, limit);
                b = mid;
            }
        }
    }

    fn insertion(&mut self, a: usize, b: usize) {
        for i in a + 1..b {
            let mut j = i;
            while j > a && self.less(j, j - 1) {
                self.swap(j, j - 1);
                j -= 1;
            }
        }
    }

    fn heap(&mut self, a: usize, b: usize) {
        let len = b - a;
        for root in (0..=(len - 1) / 2).rev() {
            self.sift_down(root, len, a);
        }
        for end in (0..len).rev() {
            self.swap(a, a + end);
            self.sift_down(0, end, a);
        }
    }

    fn sift_down(&mut self, mut root: usize, len: usize, first: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= len {
                return;
            }
            if child + 1 < len && self.less(first + child, first + child + 1) {
                child += 1;
            }
            if !self.less(first + root, first + child) {
                return;
            }
            self.swap(first + root, first + child);
            root = child;
        }
    }

    fn partition(&mut self, a: usize, b: usize, pivot: usize) -> (usize, bool) {
        self.swap(a, pivot);
        let (mut i, mut j) = (a + 1, b - 1);
        while i <= j && self.less(i, a) {
            i += 1;
        }
        while i <= j && !self.less(j, a) {
            j -= 1;
        }
        if i > j {
            self.swap(j, a);
            return (j, true);
        }
        self.swap(i, j);
        i += 1;
        j -= 1;
        loop {
            while i <= j && self.less(i, a) {
                i += 1;
            }
            while i <= j && !self.less(j, a) {
                j -= 1;
            }
            if i > j {
                break;
            }
            self.swap(i, j);
            i += 1;
            j -= 1;
        }
        self.swap(j, a);
        (j, false)
    }

    /// Puts what equals the pivot in front; the rest is greater.
    fn partition_equal(&mut self, a: usize, b: usize, pivot: usize) -> usize {
        self.swap(a, pivot);
        let (mut i, mut j) = (a + 1, b - 1);
        loop {
            while i <= j && !self.less(a, i) {
                i += 1;
            }
            while i <= j && self.less(a, j) {
                j -= 1;
            }
            if i > j {
                return i;
            }
            self.swap(i, j);
            i += 1;
            j -= 1;
        }
    }

    /// Sorts what is nearly sorted; false if it gave up.
    fn partial_insertion(&mut self, a: usize, b: usize) -> bool {
        let mut i = a + 1;
        for _ in 0..5 {
            while i < b && !self.less(i, i - 1) {
                i += 1;
            }
            if i == b {
                return true;
            }
            if b - a < 50 {
                return false;
            }
            self.swap(i, i - 1);
            if i - a >= 2 {
                for j in (1..i).rev() {
                    if !self.less(j, j - 1) {
                        break;
                    }
                    self.swap(j, j - 1);
                }
            }
            if b - i >= 2 {
                for j in i + 1..b {
                    if !self.less(j, j - 1) {
                        break;
                    }
                    self.swap(j, j - 1);
                }
            }
        }
        false
    }

    fn break_patterns(&mut self, a: usize, b: usize) {
        let len = b - a;
        if len < 8 {
            return;
        }
        let mut random = len as u64;
        let mask = (1_usize << (usize::BITS - len.leading_zeros())) - 1;
        let at = a + (len / 4) * 2 - 1;
        for i in 0..3 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let mut other = random as usize & mask;
            if other >= len {
                other -= len;
            }
            self.swap(at - 1 + i, a + other);
        }
    }

    fn choose_pivot(&self, a: usize, b: usize) -> (usize, Hint) {
        let len = b - a;
        let mut swaps = 0;
        let (mut i, mut j, mut k) = (a + len / 4, a + len / 4 * 2, a + len / 4 * 3);
        if len >= 8 {
            if len >= 50 {
                i = self.median(i - 1, i, i + 1, &mut swaps);
                j = self.median(j - 1, j, j + 1, &mut swaps);
                k = self.median(k - 1, k, k + 1, &mut swaps);
            }
            j = self.median(i, j, k, &mut swaps);
        }
        match swaps {
            0 => (j, Hint::Increasing),
            12 => (j, Hint::Decreasing),
            _ => (j, Hint::Unknown),
        }
    }

    fn median(&self, a: usize, b: usize, c: usize, swaps: &mut u32) -> usize {
        let mut order = |x: usize, y: usize| {
            if self.less(y, x) {
                *swaps += 1;
                (y, x)
            } else {
                (x, y)
            }
        };
        let (a, b) = order(a, b);
        let (b, _) = order(b, c);
        let (_, b) = order(a, b);
        b
    }
}

#[cfg(test)]
mod tests {
    use super::sort;

    #[test]
    fn whatever_the_order_before_it_is_sorted_after() {
        let mut state = 7_u64;
        for len in [0, 1, 2, 11, 13, 49, 50, 51, 200, 1000] {
            for kinds in [1, 2, 5, 1000] {
                for shape in 0..4 {
                    let keys: Vec<u64> = (0..len as u64)
                        .map(|i| match shape {
                            0 => i / kinds,
                            1 => (len as u64 - i) / kinds,
                            2 => i % kinds,
                            _ => {
                                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                                (state >> 33) % kinds
                            }
                        })
                        .collect();
                    let mut items: Vec<u32> = (0..len as u32).collect();
                    sort(&mut items, &|a, b| keys[a as usize] < keys[b as usize]);
                    assert!(items.is_sorted_by_key(|i| keys[*i as usize]), "{len} {kinds} {shape}");
                    items.sort_unstable();
                    assert!(items.iter().enumerate().all(|(at, i)| at as u32 == *i), "nothing is lost");
                }
            }
        }
    }
}
