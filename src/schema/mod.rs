//! Changed storage schemas, applied to the series that are there.
//!
//! A new rule holds for a series from its next point on; what it has stays where it is, and Graphite joins the two. Here
//! this is undone: [`plan`] says what would move and what that takes, and [`Job`] moves it, in steps: points of some series are read
//! level by level, [`remake`] makes of them the levels of the policy they belong to now, and
//! [`Engine::transfer`](rhythmite_engine::Engine::transfer) stores these instead of those in one step. Who reads sees the one
//! or the other.
//!
//! What is still to be done is what the names say: a series that lies in another policy than its rule's. So a job can be
//! stopped anywhere and begun anew; one that a restart has stopped goes on by itself, as a file in the data directory says.
//! A method or xFilesFactor that has changed is written to the series' rule: it is applied when roll-ups are read.
//!
//! Limits: a step holds about [`job::STEP_POINTS`] points, or one series; between steps the job rests.

mod job;
pub mod plan;
mod remake;
mod step;
#[cfg(test)]
mod tests;

pub use job::{Begun, Job, Phase, Status};
pub use plan::{Plan, SchemaPlan};
