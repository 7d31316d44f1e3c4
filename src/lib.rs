//! Rhythmite.

pub mod catalog;
