//! Queries: each language over the engine's scans.

pub mod graphite;
pub mod influxql;
