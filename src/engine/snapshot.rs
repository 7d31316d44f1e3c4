//! The points as of one moment, and how they are asked for.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rhythmite_model::{Error, FieldId, PolicyId, Result, SeriesId, TableId, Tier};

use crate::decoded::Decoded;
use crate::files::{LiveFile, not_at_hand};
use crate::memtable::Part;
use crate::registry::Registry;
use crate::scan::{Scan, SeriesFilter};
use crate::view::{Active, View};
use crate::weight::{Asked, Weight};

/// The points as of one moment. Holds files and memory until dropped.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) view: View,
    pub(crate) registry: Arc<Registry>,
    pub(crate) decoded: Arc<Decoded>,
    /// Nothing is read from the disk, and nothing large is decoded or sorted.
    pub(crate) at_hand: bool,
}

impl Snapshot {
    /// The same moment for who must not wait: [`scan`](Self::scan) and [`weigh`](Self::weigh) give what is in memory as it
    /// is needed, and fail with `Unavailable` where something would be read from the disk, decoded or sorted first.
    #[must_use]
    pub fn at_hand(self) -> Self {
        Self { at_hand: true, ..self }
    }

    /// Rows in memory, of all generations, the newest last.
    fn parts(&self, table: TableId, tier: Tier) -> Result<Vec<(u64, Vec<Part>)>> {
        let actives = self.view.frozen.iter().map(|f| &f.active).chain([&self.view.active]);
        let parts = |active: &Arc<Active>| match self.at_hand && !active.generation.is_at_hand(table, tier) {
            true => Err(not_at_hand()),
            false => Ok((active.base_seq, active.generation.parts(table, tier))),
        };
        actives.map(parts).collect()
    }

    /// Points of `series` of one table at one level within `times_ns`, by series. `fields` ascend; `None` for all.
    ///
    /// # Errors
    /// `NotFound` when the table is gone.
    pub fn scan(
        &self,
        table: TableId,
        tier: Tier,
        series: SeriesFilter,
        fields: Option<Arc<[FieldId]>>,
        times_ns: RangeInclusive<i64>,
    ) -> Result<Scan> {
        self.scan_where(table, tier, series, fields, times_ns, &|_| true)
    }

    /// The same, of those files only that `take` takes.
    pub(crate) fn scan_where(
        &self,
        table: TableId,
        tier: Tier,
        series: SeriesFilter,
        fields: Option<Arc<[FieldId]>>,
        times_ns: RangeInclusive<i64>,
        take: &dyn Fn(&LiveFile) -> bool,
    ) -> Result<Scan> {
        let Some((policy, first, last)) = self.span(table, &series)? else {
            return Ok(Scan::new(series, fields, times_ns));
        };
        let mut scan = Scan::new(series, fields, times_ns.clone())
            .without(self.view.deletes.clone(), u64::MAX)
            .through(self.decoded.clone())
            .at_hand(self.at_hand);
        let mut rank = 0;
        for file in self.view.files.get(&(policy, tier)).into_iter().flatten() {
            let record = &file.record;
            let in_time = record.max_time_ns >= *times_ns.start() && record.min_time_ns <= *times_ns.end();
            if in_time && record.max_series >= first && record.min_series <= last && take(file) {
                rank += 1;
                if self.view.is_live(file) {
                    // What a deletion touches is computed again from what it left.
                    scan.add_file_with_deleted(rank, file.clone());
                } else {
                    scan.add_file(rank, file.clone());
                }
            }
        }
        for (base_seq, parts) in self.parts(table, tier)? {
            rank += 1;
            for part in parts {
                scan.add_part(rank, base_seq, part);
            }
        }
        Ok(scan)
    }

    /// What each source would give to [`Snapshot::scan`] of the same, from indexes alone. If the sources hold no more than
    /// `small` values altogether, only that is told, of all of the range and without looking at series.
    ///
    /// # Errors
    /// `NotFound` when the table is gone; as of reading, for an index that cannot be loaded.
    pub fn weigh(
        &self,
        table: TableId,
        tier: Tier,
        series: &SeriesFilter,
        fields: Option<&[FieldId]>,
        times_ns: &RangeInclusive<i64>,
        small: u64,
    ) -> Result<Vec<Weight>> {
        let Some((policy, first, last)) = self.span(table, series)? else { return Ok(Vec::new()) };
        let may_have = |file: &&Arc<LiveFile>| {
            let record = &file.record;
            let in_time = record.max_time_ns >= *times_ns.start() && record.min_time_ns <= *times_ns.end();
            in_time && record.max_series >= first && record.min_series <= last
        };
        let files = || self.view.files.get(&(policy, tier)).into_iter().flatten().filter(may_have);
        let parts: Vec<_> = self.parts(table, tier)?.into_iter().flat_map(|(_, parts)| parts).collect();
        let of_parts = parts.iter().map(|part| (part.block.len() * part.block.fields().len()) as u64);
        let values = files().map(|file| file.record.rows).chain(of_parts).fold(0, u64::saturating_add);
        if values <= small {
            let (min_time_ns, max_time_ns) = (*times_ns.start(), *times_ns.end());
            return Ok(vec![Weight { values, of_series: values, min_time_ns, max_time_ns }]);
        }
        let asked = Asked { series, fields, times_ns, at_hand: self.at_hand };
        let of_files = files().map(|file| asked.file(file)).collect::<Result<Vec<_>>>()?;
        Ok(of_files.into_iter().chain(parts.iter().map(|part| asked.part(part))).flatten().collect())
    }

    /// Whose files to look into: the policy of a table, and the first and last series asked for; `None` when there is none.
    fn span(&self, table: TableId, series: &SeriesFilter) -> Result<Option<(PolicyId, SeriesId, SeriesId)>> {
        let policy = self.registry.read().table(table).map(|t| t.policy());
        let policy = policy.ok_or_else(|| Error::not_found(format!("table {} is gone", table.0)))?;
        Ok(match series {
            SeriesFilter::Range(range) => Some((policy, *range.start(), *range.end())),
            SeriesFilter::List(list) => list.first().zip(list.last()).map(|(first, last)| (policy, *first, *last)),
        })
    }

    /// Where files of other partitions begin within a range of times, ascending: what lies before such a time and what lies
    /// behind it is read apart at no cost.
    #[must_use]
    pub fn partition_starts_ns(&self, table: TableId, tier: Tier, times_ns: &RangeInclusive<i64>) -> Vec<i64> {
        let policy = self.registry.read().table(table).map(|t| t.policy());
        let files = policy.and_then(|policy| self.view.files.get(&(policy, tier))).into_iter().flatten();
        let starts = files.filter_map(|file| file.record.partition_ns);
        let mut starts: Vec<i64> = starts.filter(|start| start > times_ns.start() && start <= times_ns.end()).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// Every series id of a table.
    pub fn all_series(table: TableId) -> SeriesFilter {
        SeriesFilter::Range(SeriesId::new(table, 0, 0)..=SeriesId::new(table, u8::MAX, u32::MAX))
    }
}
