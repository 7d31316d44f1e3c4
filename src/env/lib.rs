//! The doors to the outside: clock, randomness, file system, CPU pool.
//!
//! Everything that a test must be able to drive or to break is reached through these traits, so that a crash can be
//! replayed from a seed.

pub mod clock;
pub mod fs;
pub mod pool;
pub mod random;
pub mod sim;

use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use fs::{File, Fs, RealFs};
pub use pool::{CpuPool, Task};
pub use random::{Random, SeededRandom, SystemRandom};

/// The doors, as handed to every room.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Disk.
    pub fs: Arc<dyn Fs>,
    /// Chance.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The real machine.
    pub fn real() -> Self {
        Self { clock: Arc::new(SystemClock::new()), fs: Arc::new(RealFs), random: Arc::new(SystemRandom) }
    }
}
