use std::ops::RangeInclusive;

use crate::{FieldId, SeriesId, TableId};

/// Series as ascending runs of ids, both ends included, apart from each other.
///
/// Ids that nobody has may lie in a run: the series of a table that were made one after the other are one run although
/// numbers between them went to other tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesSet {
    runs: Vec<(u64, u64)>,
}

impl SeriesSet {
    /// Those of one run.
    pub fn range(ids: RangeInclusive<SeriesId>) -> Self {
        let (first, last) = (ids.start().0, ids.end().0);
        Self { runs: if first <= last { vec![(first, last)] } else { Vec::new() } }
    }

    /// Every series that a table has, had or will have.
    pub fn table(table: TableId) -> Self {
        Self::range(SeriesId::new(table, 0, 0)..=SeriesId::new(table, u8::MAX, u32::MAX))
    }

    /// Those whose flag is set, out of all there are, ascending: what lies between two of them and belongs to nobody
    /// does not end a run.
    pub fn select(all: impl IntoIterator<Item = (SeriesId, bool)>) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut joins = false;
        for (id, selected) in all {
            match runs.last_mut() {
                Some(run) if joins && selected => run.1 = id.0,
                _ if selected => runs.push((id.0, id.0)),
                _ => {}
            }
            joins = selected;
        }
        Self { runs }
    }

    /// These, ascending.
    pub fn list(ids: impl IntoIterator<Item = SeriesId>) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for id in ids {
            match runs.last_mut() {
                Some(run) if run.1.checked_add(1) == Some(id.0) || run.1 == id.0 => run.1 = id.0,
                _ => runs.push((id.0, id.0)),
            }
        }
        Self { runs }
    }

    /// These runs; `None` unless they ascend and are apart.
    pub fn from_runs(runs: Vec<(u64, u64)>) -> Option<Self> {
        let ordered = runs.iter().all(|r| r.0 <= r.1) && runs.windows(2).all(|w| w[0].1 < w[1].0);
        ordered.then_some(Self { runs })
    }

    /// First and last id of each run.
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.runs
    }

    /// Whether no series is meant.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether the series is meant. A binary search.
    pub fn contains(&self, id: SeriesId) -> bool {
        let behind = self.runs.partition_point(|run| run.0 <= id.0);
        behind > 0 && self.runs[behind - 1].1 >= id.0
    }

    /// Whether any id of `first..=last` is meant.
    pub fn overlaps(&self, first: SeriesId, last: SeriesId) -> bool {
        let at = self.runs.partition_point(|run| run.1 < first.0);
        self.runs.get(at).is_some_and(|run| run.0 <= last.0)
    }

    /// Both sets' series.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.runs.iter().chain(&other.runs).copied().collect();
        all.sort_unstable();
        let mut runs: Vec<(u64, u64)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match runs.last_mut() {
                Some(run) if first <= run.1.saturating_add(1) => run.1 = run.1.max(last),
                _ => runs.push((first, last)),
            }
        }
        Self { runs }
    }
}

/// A recorded deletion: the points of some series of one table within a range of times, at every level.
///
/// It says nothing of points written after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tombstone {
    /// The table that every series belongs to.
    pub table: TableId,
    /// Whose points.
    pub series: SeriesSet,
    /// Of which fields, ascending; `None` for all.
    pub fields: Option<Vec<FieldId>>,
    /// First and last nanosecond. Of a coarse level: the starts of its windows.
    pub times_ns: RangeInclusive<i64>,
}

impl Tombstone {
    /// Every time there is.
    pub const ALL_TIMES: RangeInclusive<i64> = i64::MIN..=i64::MAX;

    /// Whether nothing of the series is left: then they are dropped, too.
    pub fn is_whole(&self) -> bool {
        self.fields.is_none() && self.times_ns == Self::ALL_TIMES
    }

    /// Whether points of this field are meant.
    pub fn has_field(&self, field: FieldId) -> bool {
        self.fields.as_ref().is_none_or(|fields| fields.binary_search(&field).is_ok())
    }

    /// Whether it can delete nothing.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() || self.times_ns.is_empty() || self.fields.as_ref().is_some_and(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(set: &SeriesSet) -> Vec<u64> {
        (0..20).filter(|&id| set.contains(SeriesId(id))).collect()
    }

    #[test]
    fn a_set_has_what_it_was_made_of() {
        for (all, selected, runs) in [
            (&[2_u64, 3, 5, 9][..], &[2_u64, 3, 5, 9][..], &[(2, 9)][..]),
            (&[2, 3, 5, 9], &[2, 5, 9], &[(2, 2), (5, 9)]),
            (&[2, 3], &[], &[]),
        ] {
            let set = SeriesSet::select(all.iter().map(|&id| (SeriesId(id), selected.contains(&id))));
            assert_eq!(set.runs(), runs);
        }
        let set = SeriesSet::list([3, 4, 4, 5, 9].map(SeriesId));
        assert_eq!((ids(&set), set.runs()), (vec![3, 4, 5, 9], &[(3, 5), (9, 9)][..]));
        assert!(SeriesSet::from_runs(vec![(1, 2), (2, 3)]).is_none());
        assert!(SeriesSet::from_runs(vec![(3, 2)]).is_none());
    }

    #[test]
    fn sets_are_joined_and_compared_with_ranges() {
        let set = SeriesSet::list([3, 4, 9].map(SeriesId)).union(&SeriesSet::list([5, 8, 12].map(SeriesId)));
        assert_eq!(set.runs(), [(3, 5), (8, 9), (12, 12)]);
        for (first, last, overlaps) in [(0, 2, false), (0, 3, true), (6, 7, false), (10, 20, true), (13, 20, false)] {
            assert_eq!(set.overlaps(SeriesId(first), SeriesId(last)), overlaps, "{first}..={last}");
        }
        assert!(SeriesSet::table(TableId::MAX).contains(SeriesId(u64::MAX)));
    }
}
