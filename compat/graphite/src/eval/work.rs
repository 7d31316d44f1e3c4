use crate::target;
use rhythmite_model::{Error, Result};

/// Most calls evaluated, all rounds together.
pub const CALLS_MAX: usize = 100_000;

/// Most rounds; each level of nested time shifting takes one.
pub const ROUNDS_MAX: usize = 2 * target::DEPTH_MAX;

/// How often each of the points that a request may hold may be worked on.
const PASSES_MAX: u64 = 20;

/// Least work that a request may do, in points.
const POINTS_MIN: u64 = 10_000_000;

/// Work, in points, after which somebody is asked whether to go on: a millisecond or so.
const LOOK_POINTS: u64 = 1 << 18;

/// What a request does, all rounds together, and whether anybody still waits for the answer. Every call charges the
/// points it is given and those it makes; what takes more than one look at each point charges the rest itself.
pub(crate) struct Work<'a> {
    max: u64,
    left: u64,
    since_look: u64,
    calls: usize,
    rounds: usize,
    go_on: &'a dyn Fn() -> Result<()>,
}

impl<'a> Work<'a> {
    /// For a request that may hold `points_max` points. `go_on` is asked before each call and every [`LOOK_POINTS`].
    pub(crate) fn new(points_max: usize, go_on: &'a dyn Fn() -> Result<()>) -> Self {
        let max = PASSES_MAX.saturating_mul(points_max as u64).max(POINTS_MIN);
        Self { max, left: max, since_look: 0, calls: 0, rounds: 0, go_on }
    }

    /// So many points are about to be worked on.
    ///
    /// # Errors
    /// `Invalid` when the request has done too much; those of `go_on`.
    pub(crate) fn charge(&mut self, points: usize) -> Result<()> {
        let points = points as u64;
        let Some(left) = self.left.checked_sub(points) else {
            return Err(Error::invalid(format!("the request works on more than {} points", self.max)));
        };
        self.left = left;
        self.since_look = self.since_look.saturating_add(points);
        if self.since_look < LOOK_POINTS {
            return Ok(());
        }
        self.go_on()
    }

    /// A call begins, or an expression is evaluated once more in another range.
    ///
    /// # Errors
    /// As [`Work::charge`].
    pub(crate) fn call(&mut self) -> Result<()> {
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(Error::invalid(format!("the targets take more than {CALLS_MAX} calls")));
        }
        self.go_on()
    }

    /// A round begins.
    ///
    /// # Errors
    /// `Invalid` when there were too many.
    pub(super) fn round(&mut self) -> Result<()> {
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            return Err(Error::invalid(format!("the targets need more than {ROUNDS_MAX} rounds of data")));
        }
        Ok(())
    }

    /// Whether anybody still waits for the answer.
    ///
    /// # Errors
    /// Those of `go_on`.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        self.since_look = 0;
        (self.go_on)()
    }
}
