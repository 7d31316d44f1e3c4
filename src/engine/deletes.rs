//! Deletions that some file or generation has not seen yet, and which points they take away.
//!
//! A deletion has the number of the write that carried it, and takes away what older writes wrote. A file has seen those
//! that were applied when it was written ([`FileRecord::seen_seq`](crate::manifest::FileRecord::seen_seq)); a row in memory
//! has its own number. The list is replaced as a whole, so that a reader keeps the one it began with.
//!
//! Limits: [`DELETES_MAX`] and [`RUNS_MAX`], at which [`Engine::delete`](crate::Engine::delete) refuses more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use rhythmite_model::{Column, FieldId, SeriesId, TableId, Tombstone};

use crate::manifest::TombstoneId;

/// Deletions that may wait to be worked into the files.
pub(crate) const DELETES_MAX: usize = 10_000;
/// Runs of series ids in all of them: 16 bytes each.
pub(crate) const RUNS_MAX: usize = 8 << 20;
/// A deletion of up to so many runs of single series is found by series, a larger one is asked about each.
const NARROW_RUNS: usize = 16;

/// A deletion at work.
#[derive(Debug)]
pub(crate) struct Delete {
    pub(crate) id: TombstoneId,
    pub(crate) tombstone: Tombstone,
    /// When this process first saw it, on the monotonic clock.
    pub(crate) since: Duration,
}

impl Delete {
    /// Whether the stream's points may be among those it takes away.
    fn meets(&self, newer_than: u64, field: FieldId) -> bool {
        self.id.seq > newer_than && self.tombstone.has_field(field)
    }
}

/// All deletions at work.
#[derive(Clone, Default)]
pub(crate) struct Deletes {
    tables: HashMap<TableId, Arc<OfTable>>,
    count: usize,
    runs: usize,
}

/// Those of one table.
#[derive(Clone, Default)]
struct OfTable {
    wide: Vec<Arc<Delete>>,
    /// By each series of a deletion that names few.
    narrow: HashMap<SeriesId, Vec<Arc<Delete>>>,
}

impl OfTable {
    fn add(&mut self, delete: Arc<Delete>) {
        let runs = delete.tombstone.series.runs();
        if runs.len() > NARROW_RUNS || runs.iter().any(|run| run.0 != run.1) {
            self.wide.push(delete);
            return;
        }
        for &(id, _) in runs {
            self.narrow.entry(SeriesId(id)).or_default().push(delete.clone());
        }
    }

    /// Each once or, if it is narrow, once for each of its series.
    fn all(&self) -> impl Iterator<Item = &Arc<Delete>> {
        self.wide.iter().chain(self.narrow.values().flatten())
    }
}

impl Deletes {
    /// These and more.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = Arc<Delete>>) -> Self {
        let mut new = self.clone();
        for delete in more {
            new.count += 1;
            new.runs += delete.tombstone.series.runs().len();
            Arc::make_mut(new.tables.entry(delete.tombstone.table).or_default()).add(delete);
        }
        new
    }

    /// These but for some.
    pub(crate) fn without(&self, gone: &HashSet<TombstoneId>) -> Self {
        Self::default().with(self.all().into_iter().filter(|delete| !gone.contains(&delete.id)))
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Delete>> {
        let mut all: Vec<_> = self.tables.values().flat_map(|t| t.all()).cloned().collect();
        all.sort_by_key(|delete| delete.id);
        all.dedup_by_key(|delete| delete.id);
        all
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many runs of series they have.
    pub(crate) fn runs(&self) -> usize {
        self.runs
    }

    /// Those of a series, up to number `up_to`.
    pub(crate) fn of(&self, series: SeriesId, up_to: u64) -> Vec<&Delete> {
        let Some(table) = self.tables.get(&series.table()) else { return Vec::new() };
        let wide = table.wide.iter().filter(|delete| delete.tombstone.series.contains(series));
        let all = wide.chain(table.narrow.get(&series).into_iter().flatten());
        all.map(|delete| &**delete).filter(|delete| delete.id.seq <= up_to).collect()
    }
}

/// Times at which a stream of one source has lost its points: ranges with both ends, ascending and apart.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Gone(Vec<(i64, i64)>);

impl Gone {
    /// What deletions newer than `newer_than` take from `field`.
    pub(crate) fn new(deletes: &[&Delete], newer_than: u64, field: FieldId) -> Self {
        let meet = deletes.iter().filter(|delete| delete.meets(newer_than, field));
        let mut ranges: Vec<_> =
            meet.map(|delete| (*delete.tombstone.times_ns.start(), *delete.tombstone.times_ns.end())).collect();
        ranges.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(range) if first <= range.1.saturating_add(1) => range.1 = range.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// Whether a point at this time is gone.
    pub(crate) fn has(&self, time_ns: i64) -> bool {
        let behind = self.0.partition_point(|range| range.0 <= time_ns);
        behind > 0 && self.0[behind - 1].1 >= time_ns
    }

    /// Whether every point of this range is gone.
    pub(crate) fn covers(&self, first_ns: i64, last_ns: i64) -> bool {
        let behind = self.0.partition_point(|range| range.0 <= first_ns);
        behind > 0 && self.0[behind - 1].1 >= last_ns
    }

    /// Takes what is gone out of a stream.
    pub(crate) fn take_from(&self, times_ns: &mut Vec<i64>, values: &mut Column) {
        let stays = (0..).zip(times_ns.iter()).filter(|&(_, &time)| !self.has(time)).map(|(row, _)| row);
        let stays: Vec<u32> = stays.collect();
        if stays.len() < times_ns.len() {
            *values = values.gather(&stays);
            times_ns.retain(|&time| !self.has(time));
        }
    }

    /// Whether any point of this range may be gone.
    pub(crate) fn touches(&self, first_ns: i64, last_ns: i64) -> bool {
        let at = self.0.partition_point(|range| range.1 < first_ns);
        self.0.get(at).is_some_and(|range| range.0 <= last_ns)
    }
}

/// Whether a row in memory, which came with write `seq`, has lost its value of `field`.
pub(crate) fn is_gone(deletes: &[&Delete], seq: u64, field: FieldId, time_ns: i64) -> bool {
    deletes.iter().any(|delete| delete.meets(seq, field) && delete.tombstone.times_ns.contains(&time_ns))
}

#[cfg(test)]
mod tests {
    use rhythmite_model::SeriesSet;

    use super::*;

    const TABLE: TableId = TableId(3);

    fn id(n: u32) -> SeriesId {
        SeriesId::new(TABLE, 0, n)
    }

    fn delete(seq: u64, series: &[u32], fields: Option<&[u16]>, times: (i64, i64)) -> Arc<Delete> {
        let tombstone = Tombstone {
            table: TABLE,
            series: SeriesSet::list(series.iter().map(|&n| id(n))),
            fields: fields.map(|fields| fields.iter().map(|&f| FieldId(f)).collect()),
            times_ns: times.0..=times.1,
        };
        Arc::new(Delete { id: TombstoneId { seq, ordinal: 0 }, tombstone, since: Duration::ZERO })
    }

    #[test]
    fn a_series_finds_its_deletions_however_they_are_kept() {
        let many: Vec<u32> = (0..100).map(|n| n * 2).collect();
        let all = Deletes::default().with([
            delete(1, &[4], None, (0, 9)),
            delete(2, &many, None, (0, 9)),
            delete(3, &[3, 4, 5], None, (0, 9)),
            delete(4, &[4, 7], None, (0, 9)),
        ]);
        assert_eq!((all.len(), all.all().len(), all.runs()), (4, 4, 104));
        let seqs = |n, up_to| {
            let mut seqs: Vec<_> = all.of(id(n), up_to).iter().map(|d| d.id.seq).collect();
            seqs.sort_unstable();
            seqs
        };
        assert_eq!(seqs(4, u64::MAX), [1, 2, 3, 4]);
        assert_eq!(seqs(4, 2), [1, 2]);
        assert_eq!(seqs(7, u64::MAX), [4]);
        assert!(seqs(9, u64::MAX).is_empty());
        let fewer = all.without(&HashSet::from([TombstoneId { seq: 4, ordinal: 0 }]));
        assert_eq!((fewer.len(), fewer.of(id(7), u64::MAX).len(), fewer.of(id(4), u64::MAX).len()), (3, 0, 3));
    }

    #[test]
    fn what_is_gone_is_the_union_of_newer_deletions() {
        let all = [
            delete(5, &[1], None, (10, 19)),
            delete(7, &[1], Some(&[0]), (20, 25)),
            delete(9, &[1], None, (40, 50)),
            delete(2, &[1], None, (0, 100)),
        ];
        let all: Vec<&Delete> = all.iter().map(|d| &**d).collect();
        assert_eq!(Gone::new(&all, 4, FieldId(0)).0, [(10, 25), (40, 50)]);
        assert_eq!(Gone::new(&all, 4, FieldId(1)).0, [(10, 19), (40, 50)]);
        let gone = Gone::new(&all, 5, FieldId(0));
        for (first, last, covers, touches) in [
            (20, 25, true, true),
            (19, 25, false, true),
            (26, 39, false, false),
            (26, 40, false, true),
            (45, 45, true, true),
        ] {
            assert_eq!((gone.covers(first, last), gone.touches(first, last)), (covers, touches), "{first}..={last}");
        }
        assert!(gone.has(25) && !gone.has(26) && !gone.has(19));
        assert!(is_gone(&all, 4, FieldId(1), 10) && !is_gone(&all, 5, FieldId(1), 10));
    }
}
