//! How much a scan would read, before it does: so that whoever reads much can cut the time first.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::ops::RangeInclusive;

use rhythmite_model::{FieldId, Result, SeriesId};

use crate::files::LiveFile;
use crate::memtable::Part;
use crate::scan::SeriesFilter;
use crate::sst::StreamEntry;

/// What one source of a scan holds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Values, at most about so many: those that another source overwrites are among them.
    pub values: u64,
    /// The most of one series, about.
    pub of_series: u64,
    /// Earliest time of one.
    pub min_time_ns: i64,
    /// Latest time of one.
    pub max_time_ns: i64,
}

impl Weight {
    /// The rows of a file's stream that lie in a range, which it overlaps: of one that goes beyond the range the same
    /// share as of its time.
    fn of_stream(entry: &StreamEntry, range_ns: &RangeInclusive<i64>) -> Self {
        let min_time_ns = entry.min_time_ns.max(*range_ns.start());
        let max_time_ns = entry.max_time_ns.min(*range_ns.end());
        let length = |from: i64, to: i64| i128::from(to) - i128::from(from) + 1;
        let all = length(entry.min_time_ns, entry.max_time_ns);
        let rows = i128::from(entry.rows) * length(min_time_ns, max_time_ns) / all + 1;
        let values = u64::try_from(rows).unwrap_or(u64::MAX).min(u64::from(entry.rows));
        Self { values, of_series: 0, min_time_ns, max_time_ns }
    }

    fn add_to(self, sum: &mut Option<Weight>) {
        let known = sum.get_or_insert(Weight { values: 0, ..self });
        known.values = known.values.saturating_add(self.values);
        known.of_series = known.of_series.max(self.of_series);
        known.min_time_ns = known.min_time_ns.min(self.min_time_ns);
        known.max_time_ns = known.max_time_ns.max(self.max_time_ns);
    }
}

/// What is asked of each source.
pub(crate) struct Asked<'a> {
    pub(crate) series: &'a SeriesFilter,
    /// Ascending; `None` for all.
    pub(crate) fields: Option<&'a [FieldId]>,
    pub(crate) times_ns: &'a RangeInclusive<i64>,
    /// Only of indexes that are in memory.
    pub(crate) at_hand: bool,
}

impl Asked<'_> {
    fn has_field(&self, field: FieldId) -> bool {
        self.fields.is_none_or(|fields| fields.binary_search(&field).is_ok())
    }

    /// Calls `f` with each series that is asked for and that `seek` finds: `seek(s)` is the first of a source that is
    /// not below `s`.
    fn each<E>(
        &self,
        mut seek: impl FnMut(SeriesId) -> Result<Option<SeriesId>, E>,
        mut f: impl FnMut(SeriesId) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.series {
            SeriesFilter::Range(range) => {
                let mut next = Some(*range.start());
                while let Some(wanted) = next {
                    let Some(found) = seek(wanted)?.filter(|found| found <= range.end()) else { break };
                    f(found)?;
                    next = found.0.checked_add(1).map(SeriesId);
                }
            }
            SeriesFilter::List(list) => {
                let mut at = 0;
                while let Some(&wanted) = list.get(at) {
                    let Some(found) = seek(wanted)? else { break };
                    if found == wanted {
                        f(found)?;
                        at += 1;
                    } else {
                        at += list[at..].partition_point(|series| *series < found);
                    }
                }
            }
        }
        Ok(())
    }

    /// What a file would give, from its index.
    ///
    /// # Errors
    /// As [`LiveFile::reader`].
    pub(crate) fn file(&self, file: &LiveFile) -> Result<Option<Weight>> {
        let reader = if self.at_hand { file.reader_at_hand()? } else { file.reader()? };
        let mut sum = None;
        let walk = RefCell::new(if self.at_hand { reader.walk_at_hand() } else { reader.walk() });
        let seek = |series| walk.borrow_mut().seek(series);
        self.each(seek, |_| {
            let mut walk = walk.borrow_mut();
            let read = walk.streams()?.filter(|entry| entry.overlaps(self.times_ns) && self.has_field(entry.field));
            let mut of_series = 0_u64;
            for entry in read {
                let weight = Weight::of_stream(&entry, self.times_ns);
                of_series = of_series.saturating_add(weight.values);
                Weight { of_series, ..weight }.add_to(&mut sum);
            }
            Ok(())
        })?;
        Ok(sum)
    }

    /// What rows in memory would give.
    pub(crate) fn part(&self, part: &Part) -> Option<Weight> {
        let (head, block) = (part.series_head, &part.block);
        let columns = block.fields().iter().filter(|(field, _)| self.has_field(*field)).count();
        let mut sum = None;
        let row = Cell::new(0);
        let seek = |series: SeriesId| {
            let wanted = series.0 >> 32 << 32;
            if wanted > head {
                return Ok(None);
            }
            row.set(block.seek(row.get(), if wanted < head { 0 } else { series.0 as u32 }));
            Ok(block.series().get(row.get()).map(|&sequence| SeriesId(head | u64::from(sequence))))
        };
        let Ok(()) = self.each::<Infallible>(seek, |_| {
            let times = &block.times_ns()[block.series_rows(row.get())];
            let start = times.partition_point(|t| t < self.times_ns.start());
            let end = times.partition_point(|t| t <= self.times_ns.end());
            if start < end && columns > 0 {
                let (min_time_ns, max_time_ns) = (times[start], times[end - 1]);
                let values = ((end - start) * columns) as u64;
                Weight { values, of_series: values, min_time_ns, max_time_ns }.add_to(&mut sum);
            }
            Ok(())
        });
        sum
    }
}
