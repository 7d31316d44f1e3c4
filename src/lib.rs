//! Rhythmite.

pub mod catalog;
pub mod ingest;
pub mod query;
