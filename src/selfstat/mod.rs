//! The server's own series: what it does and how the machine is, so that an empty installation has something to show.
//!
//! [`Figures`] gathers every figure there is, for `/metrics` and for the series. [`run`] writes them every
//! `[self] interval`: `rhythmite.<host>.*` (counts as rates a second, levels as they are), `carbon.agents.<host>.*` (the
//! classic names, counts of an interval) and `rhythmite.<host>.machine.*`; with a relay `carbon.relays.<host>.*`, which go
//! to its destinations too. Figures that cannot be read are left out. A batch that the engine refuses is dropped and
//! counted: the next one is due soon.

mod machine;
mod relays;
mod report;

use std::sync::Arc;

use rhythmite_engine::Engine;

use crate::counters::{Counters, Sample};
use crate::ingest::PathIngest;

pub use machine::{kernel_drops, process};
pub use report::{UdpSockets, run};

/// Where the figures are.
#[derive(Clone)]
pub struct Figures {
    /// Adapters and APIs.
    pub counters: Arc<Counters>,
    /// Storage.
    pub engine: Engine,
    /// Points with paths.
    pub paths: Arc<PathIngest>,
    /// Rooms above this one, which `server` knows.
    pub more: Vec<Source>,
}

/// Adds a room's figures.
pub type Source = Arc<dyn Fn(&mut Vec<Sample>) + Send + Sync>;

impl Figures {
    /// All of them, in a fixed order; those of one metric stand together.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = self.counters.samples();
        let mut add = |metric, path, help, value| samples.push(Sample { metric, path, help, value });

        let paths = self.paths.counters();
        add("path_points_total", "paths.points", "Points with paths that were stored.", paths.accepted);
        add(
            "path_points_too_old_total",
            "paths.too_old",
            "Points older than any level of their schema.",
            paths.too_old,
        );
        add(
            "path_points_refused_total",
            "paths.refused",
            "Points whose series a limit of [limits] refused.",
            paths.refused_series,
        );
        add("path_series_created_total", "paths.created", "Series with paths that were made.", paths.created);

        let engine = self.engine.stats();
        add("rows_total", "engine.rows", "Rows stored.", engine.rows_written);
        add("values_total", "engine.values", "Values stored.", engine.values_written);
        add("overloaded_total", "engine.overloaded", "Writes refused because storage was behind.", engine.overloaded);
        add(
            "no_space_total",
            "engine.no_space",
            "Writes refused because the disk was nearly full, see [limits] disk_free.",
            engine.no_space,
        );
        add("disk_free_bytes", "engine.disk_free_bytes", "Bytes that may still be written.", engine.disk_free_bytes);
        add("disk_low", "engine.disk_low", "1 while writes are refused for want of space.", engine.disk_low.into());
        add("memtable_bytes", "engine.memtable_bytes", "Bytes in memtables.", engine.memtable_bytes);
        add(
            "memtable_limit_bytes",
            "engine.memtable_limit_bytes",
            "Size at which the memtable is flushed at present: it grows with the number of series.",
            engine.memtable_limit_bytes,
        );
        add("flushes_total", "engine.flushes", "Memtables written to files.", engine.flushes);
        add("compactions_total", "engine.compactions", "Merges of files.", engine.compactions);
        add(
            "background_errors_total",
            "engine.background_errors",
            "Flushes and merges that failed and are tried again.",
            engine.background_errors,
        );
        add("expired_files_total", "engine.expired_files", "Files removed by retention.", engine.expired_files);
        add(
            "series_expired_total",
            "engine.series_expired",
            "Series removed because their last points expired.",
            engine.expired_series,
        );
        add(
            "rolled_partitions_total",
            "engine.rolled_partitions",
            "Partitions rolled up into coarser levels.",
            engine.rolled_partitions,
        );
        add(
            "capped_sketches_total",
            "engine.capped_sketches",
            "Sketches of windows whose lowest buckets were made one.",
            engine.capped_sketches,
        );
        add("deletes_total", "engine.deletes", "Deletions carried out.", engine.deletes);
        add(
            "deletes_refused_total",
            "engine.deletes_refused",
            "Deletions refused because too many waited to be worked into the files.",
            engine.deletes_refused,
        );
        add(
            "deletes_waiting",
            "engine.deletes_waiting",
            "Deletions that some file or memtable has not seen yet.",
            engine.deletes_waiting,
        );
        add(
            "series_emptied_total",
            "engine.series_emptied",
            "Series removed because a deletion left them without a point.",
            engine.emptied_series,
        );
        add("series_idle_total", "engine.series_idle", "Series removed by max_idle.", engine.idle_series);
        add(
            "memtable_idle_wait_milliseconds",
            "engine.memtable_idle_wait_ms",
            "Time without a write after which the memtable is flushed.",
            engine.idle_wait_ms,
        );
        add("files", "engine.files", "Live files.", engine.files);
        add("file_bytes", "engine.file_bytes", "Bytes of live files.", engine.file_bytes);
        add("files_open", "engine.files_open", "Points files open.", engine.open_files);
        add("file_opens_total", "engine.file_opens", "Points files opened, first or again.", engine.opened_files);
        add("indexes", "engine.indexes", "Indexes of files in memory.", engine.indexes);
        add("index_bytes", "engine.index_bytes", "Memory of the indexes of files.", engine.index_bytes);
        add("index_loads_total", "engine.index_loads", "Indexes of files loaded.", engine.index_loads);
        add(
            "index_evictions_total",
            "engine.index_evictions",
            "Indexes of files given up for others, at [memory] index_cache.",
            engine.index_evictions,
        );
        add("decoded_bytes", "engine.decoded_bytes", "Memory of points that are kept decoded.", engine.decoded_bytes);
        add("decoded_hits_total", "engine.decoded_hits", "Runs of points found decoded.", engine.decoded_hits);
        add("decoded_misses_total", "engine.decoded_misses", "Runs of points decoded.", engine.decoded_misses);
        add(
            "decoded_evictions_total",
            "engine.decoded_evictions",
            "Decoded runs given up for others, at [memory] decoded_cache.",
            engine.decoded_evictions,
        );
        add(
            "page_cache_bytes",
            "engine.page_cache_bytes",
            "Memory of unpacked pages of files.",
            engine.page_cache_bytes,
        );
        add(
            "page_cache_hits_total",
            "engine.page_cache_hits",
            "Pages of files found unpacked.",
            engine.page_cache_hits,
        );
        add(
            "page_cache_misses_total",
            "engine.page_cache_misses",
            "Pages of files unpacked.",
            engine.page_cache_misses,
        );
        add(
            "page_cache_evictions_total",
            "engine.page_cache_evictions",
            "Unpacked pages given up for others, at [memory] page_cache.",
            engine.page_cache_evictions,
        );
        add(
            "sorted_names_bytes",
            "engine.sorted_names_bytes",
            "Memory of values of tags that are kept sorted; a part of decoded_cache.",
            engine.sorted_names_bytes,
        );
        add(
            "sorted_names_evictions_total",
            "engine.sorted_names_evictions",
            "Sorted lists of values of tags given up for others, at half of [memory] decoded_cache.",
            engine.sorted_names_evictions,
        );

        let log = self.engine.wal_stats();
        add("wal_appends_total", "wal.appends", "Batches accepted by the log.", log.appends);
        add("wal_groups_total", "wal.groups", "Records the log wrote.", log.groups);
        add("wal_syncs_total", "wal.syncs", "Syncs of the log.", log.syncs);
        add("wal_written_bytes_total", "wal.written_bytes", "Bytes the log wrote.", log.written_bytes);
        add(
            "wal_refused_total{reason=\"queue\"}",
            "wal.refused.queue",
            "Batches the log refused.",
            log.refused_queue_full,
        );
        add("wal_refused_total{reason=\"size\"}", "wal.refused.size", "Batches the log refused.", log.refused_wal_full);
        add("wal_queue_bytes", "wal.queue_bytes", "Memory of batches that wait for the disk.", log.queue_bytes);
        add("wal_live_bytes", "wal.live_bytes", "Bytes of the log that are not flushed.", log.live_bytes);
        add(
            "read_only",
            "engine.read_only",
            "1 when the log has failed and nothing can be written.",
            self.engine.is_read_only().into(),
        );

        let names = self.engine.registry().read().stats();
        add("series", "names.series", "Series.", names.series as u64);
        add("measurements", "names.measurements", "Measurements.", names.tables as u64);
        let refused = names.refused;
        for (metric, path, value) in [
            ("names_refused_total{limit=\"series\"}", "names.refused.series", refused.series),
            ("names_refused_total{limit=\"new_series_per_hour\"}", "names.refused.rate", refused.series_rate),
            ("names_refused_total{limit=\"measurements\"}", "names.refused.measurements", refused.tables),
            ("names_refused_total{limit=\"fields\"}", "names.refused.fields", refused.fields),
            ("names_refused_total{limit=\"field_type\"}", "names.refused.field_types", refused.field_types),
            ("names_refused_total{limit=\"tag_keys\"}", "names.refused.tag_keys", refused.tag_keys),
            ("names_refused_total{limit=\"key_length\"}", "names.refused.keys", refused.keys),
        ] {
            add(metric, path, "Names that a limit of [limits] refused.", value);
        }
        add("finds_refused_total", "names.finds_refused", "Finds of paths that a limit ended.", refused.finds);

        for source in &self.more {
            source(&mut samples);
        }
        let mut add = |metric, path, help, value| samples.push(Sample { metric, path, help, value });
        if let Some(process) = process() {
            add("resident_bytes", "process.resident_bytes", "Memory of the process.", process.resident_bytes);
            add("cpu_milliseconds_total", "process.cpu_ms", "Processor time of the process.", process.cpu_ms);
            add("threads", "process.threads", "Threads of the process.", process.threads);
        }
        samples
    }
}
