//! Functions of carbonapi that graphite-web does not have, for dashboards that call them.
//!
//! Each does what carbonapi's does, so that a dashboard may move; where carbonapi's answer hangs on chance (the order of
//! a Go map) or hides a gap, ours is the stable one and the function says so. `/functions` lists them under a group
//! and a module of their own.
//!
//! Source: carbonapi at c493632f, its functions' tests.

mod fit;
mod outliers;
mod select;
mod shape;
mod slo;

use super::Function;

pub(super) const FILES: [&[Function]; 5] = [fit::ALL, outliers::ALL, select::ALL, shape::ALL, slo::ALL];
