//! The values of all timers since the last flush, in the order in which they came.
//!
//! One list for all: a value is put behind the last one, whatever its timer. In a list for each timer it would go where
//! nothing has been for thousands of lines, and wait for memory. A flush puts the values of each timer together, which
//! takes one pass.

use crate::keys::KeyId;

/// The values, and the timer of each.
#[derive(Default)]
pub(crate) struct Samples {
    keys: Vec<KeyId>,
    values: Vec<f64>,
}

impl Samples {
    #[inline]
    pub fn push(&mut self, key: KeyId, value: f64) {
        self.keys.push(key);
        self.values.push(value);
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (KeyId, f64)> {
        self.keys.iter().copied().zip(self.values.iter().copied())
    }

    /// Keeps the values of these timers.
    pub fn retain(&mut self, keeps: impl Fn(KeyId) -> bool) {
        let Samples { keys, values } = std::mem::take(self);
        keys.into_iter().zip(values).filter(|(key, _)| keeps(*key)).for_each(|(key, value)| self.push(key, value));
    }

    /// The values of each of `timers` (key and number of values) together, in the order in which they came; one timer
    /// behind the other. Keys are below `keys`.
    pub fn grouped(&self, timers: impl Iterator<Item = (KeyId, usize)>, keys: usize) -> Vec<f64> {
        let (mut next, mut end) = (vec![0; keys], 0);
        for (key, count) in timers {
            next[key as usize] = end;
            end += count;
        }
        let mut grouped = vec![0.0; end];
        for (key, value) in self.iter() {
            let next = &mut next[key as usize];
            grouped[*next] = value;
            *next += 1;
        }
        grouped
    }

    /// Forgets all values. A burst must not hold its memory for ever.
    pub fn clear(&mut self) {
        let used = self.len();
        self.keys.clear();
        self.values.clear();
        self.keys.shrink_to(used.saturating_mul(2));
        self.values.shrink_to(used.saturating_mul(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_timer_come_together_in_their_order() {
        let mut samples = Samples::default();
        for (key, value) in [(7, 1.0), (2, 2.0), (7, 3.0), (5, 4.0), (7, 5.0), (2, 6.0)] {
            samples.push(key, value);
        }
        let timers = [(5, 1), (3, 0), (7, 3), (2, 2)];
        assert_eq!(samples.grouped(timers.into_iter(), 8), [4.0, 1.0, 3.0, 5.0, 2.0, 6.0]);
        samples.retain(|key| key != 7);
        assert_eq!(samples.iter().collect::<Vec<_>>(), [(2, 2.0), (5, 4.0), (2, 6.0)]);
        samples.clear();
        assert_eq!(samples.len(), 0);
        assert_eq!(samples.grouped([(1, 0)].into_iter(), 2), []);
    }
}
