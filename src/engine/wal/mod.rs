//! The write-ahead log: one log, group commit, recycled segments.
