//! Rhythmite.

pub mod api;
pub mod catalog;
pub mod config;
pub mod ingest;
pub mod query;
