//! The storage engine: write-ahead log, memtable, sorted files, compaction, index.
