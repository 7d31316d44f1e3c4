//! Rhythmite.

pub mod api;
pub mod catalog;
pub mod config;
pub mod import;
pub mod ingest;
pub mod query;
