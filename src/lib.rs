//! Rhythmite.

pub mod catalog;
pub mod query;
