//! Functions that make each series into another.

mod delta;
mod fill;
mod math;
mod shift;
mod summarize;

use super::Function;

pub(super) const FILES: [&[Function]; 5] = [delta::ALL, fill::ALL, math::ALL, shift::ALL, summarize::ALL];
