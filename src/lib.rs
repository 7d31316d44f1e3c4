//! Rhythmite.
