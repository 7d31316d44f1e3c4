//! Functions that make each series into another.

use super::Function;

pub(super) const FILES: [&[Function]; 0] = [];
