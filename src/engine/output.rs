//! One file being written: points in, a live file out, with its names beside it and the second it expires at.

use std::sync::Arc;

use rhythmite_model::{Policy, Result, Tier};

use crate::engine::Engine;
use crate::files::LiveFile;
use crate::layout;
use crate::manifest::FileRecord;
use crate::output_names::OutputNames;
use crate::registry::key;
use crate::scan::{SeriesPieces, Stretch};
use crate::sst::{SeriesRow, SstWriter, WriteOptions};

const SECOND_NS: i64 = 1_000_000_000;

pub(crate) struct Output<'a> {
    engine: &'a Engine,
    policy: Arc<Policy>,
    tier: Tier,
    partition_ns: Option<i64>,
    level: u8,
    seq: u64,
    deletes_seq: u64,
    /// Made with the first point: a file without points is no file.
    writer: Option<(String, SstWriter)>,
    names: OutputNames,
    /// Rows that will come, or more, if that is known.
    rows: usize,
    /// Latest import among the series: their points are kept from then on, not from their own time.
    imported_until_s: i64,
    /// What the inputs are kept from, if that is known.
    least_kept_from_s: i64,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        policy: Arc<Policy>,
        tier: Tier,
        partition_ns: Option<i64>,
        level: u8,
        seq: u64,
        deletes_seq: u64,
    ) -> Self {
        let names = OutputNames::default();
        let (writer, imported_until_s, least_kept_from_s) = (None, 0, 0);
        Self {
            engine,
            policy,
            tier,
            partition_ns,
            level,
            seq,
            deletes_seq,
            writer,
            names,
            rows: 0,
            imported_until_s,
            least_kept_from_s,
        }
    }

    /// So many rows will come, or fewer: room is made for them.
    pub(crate) fn expect(&mut self, rows: usize) {
        self.rows = rows;
    }

    /// The file is kept from this second on, if not from a later one.
    pub(crate) fn keep_from(&mut self, second: i64) {
        self.least_kept_from_s = second;
    }

    /// Adds a series; ids ascend. A series that the registry no longer has is left out: false. It was dropped a moment
    /// ago by a deletion that may not be durable yet, so [`Engine::make_drops_durable`] comes before the file is listed.
    pub(crate) fn push(&mut self, points: &SeriesPieces) -> Result<bool> {
        if self.writer.is_none() {
            if self.engine.inner.registry.read().slot(points.series()).is_none() {
                return Ok(false);
            }
            self.create()?;
        }
        if !self.name(points)? {
            return Ok(false);
        }
        let (_, writer) = self.writer.as_mut().expect("made above");
        for (field, stretches) in points.streams() {
            for Stretch { times_ns, values, rows } in stretches {
                writer.push_rows(points.series(), field, times_ns, values, rows)?;
            }
        }
        Ok(true)
    }

    fn create(&mut self) -> Result<()> {
        let id = self.engine.new_file_id();
        let dir = self.dir();
        let env = &self.engine.inner.env;
        env.fs.create_dir_durably(&self.engine.inner.options.data_dir, &dir)?;
        let options = WriteOptions { rows: self.rows, ..WriteOptions::new(self.level, self.seq) };
        self.writer = Some((id.clone(), SstWriter::create(env, &dir, &id, options)?));
        Ok(())
    }

    /// Writes the series' name; false when it is gone.
    fn name(&mut self, points: &SeriesPieces) -> Result<bool> {
        let series = points.series();
        let names = self.engine.inner.registry.read();
        let Some(slot) = names.slot(series) else { return Ok(false) };
        let Some(table) = self.names.table(&names, series.table()) else { return Ok(false) };
        if let Some(rollup) = names.rollup(slot).filter(|rollup| rollup.imported_until_s > self.imported_until_s) {
            let oldest = points.streams().filter_map(|(_, mut s)| s.next()).map(|s| s.times_ns[s.rows.start]).min();
            if oldest.is_some_and(|t| t.div_euclid(SECOND_NS) < rollup.imported_until_s) {
                self.imported_until_s = rollup.imported_until_s;
            }
        }
        let (_, writer) = self.writer.as_mut().expect("the caller has made it");
        let (database, policy) = (self.policy.database.as_str(), self.policy.name.as_str());
        let path = names.key(slot);
        writer.name(&SeriesRow { series, database, policy, table: &table.name, path }, key::tags(table.kind, path))?;
        Ok(true)
    }

    fn dir(&self) -> std::path::PathBuf {
        layout::dir(&self.engine.inner.options.data_dir, &self.policy, self.tier, self.partition_ns)
    }

    /// Makes the file durable; `None` when nothing was pushed.
    pub(crate) fn finish(mut self) -> Result<Option<Arc<LiveFile>>> {
        let Some((id, writer)) = self.writer.take() else { return Ok(None) };
        if self.tier.is_rolled() {
            self.names.roll_up();
        }
        let meta = writer.finish(self.names.fields())?;
        let record = FileRecord {
            kept_from_s: self.kept_from_s(meta.max_time_ns),
            id,
            policy: self.policy.id,
            tier: self.tier,
            partition_ns: self.partition_ns,
            level: self.level,
            seq: self.seq,
            deletes_seq: self.deletes_seq,
            rows: meta.rows,
            bytes: meta.bytes,
            min_time_ns: meta.min_time_ns,
            max_time_ns: meta.max_time_ns,
            min_series: meta.min_series,
            max_series: meta.max_series,
            checksum: meta.checksum,
        };
        let reach_ns = self.policy.reach_of(self.tier);
        Ok(Some(LiveFile::new(&self.engine.inner.cache, self.dir(), record, reach_ns)))
    }

    /// The end of the partition (or the newest point); for imported points, the import.
    fn kept_from_s(&self, max_time_ns: i64) -> i64 {
        // A roll-up is of the times of one raw partition at first.
        let of = if self.tier.is_rolled() { Tier::RAW } else { self.tier };
        let length = self.policy.partition_length_of(of);
        let end_ns = self.partition_ns.map_or(max_time_ns, |p| p.saturating_add(length).max(max_time_ns));
        let from_s = end_ns.div_euclid(SECOND_NS).saturating_add(1);
        from_s.max(self.imported_until_s).max(self.least_kept_from_s)
    }
}
