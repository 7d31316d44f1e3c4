//! Functions of the points of a window.
//!
//! [`fold`] has those that can be had series by series, in one pass over slices and without keeping points; [`whole`]
//! those that need all points of the group in order of time.

pub(super) mod fold;
pub(super) mod integral;
mod pdqsort;
pub(super) mod top;
pub(super) mod whole;
