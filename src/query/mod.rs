//! Queries: each language over the engine's scans.

pub mod influxql;
