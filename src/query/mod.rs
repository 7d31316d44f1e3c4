//! Queries: each language over the engine's scans.

pub(crate) mod gone;
pub mod graphite;
pub mod influxql;
pub mod scan;
pub(crate) mod slices;
pub mod sql;
