//! How much memory queries may take.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};

/// Operators named in the error when memory runs out.
const NAMED: NonZeroUsize = NonZeroUsize::new(5).expect("5 is not 0");

/// Bytes reserved by all queries together.
#[derive(Debug)]
pub(super) struct ProcessMemory {
    reserved: AtomicUsize,
    max: usize,
}

impl ProcessMemory {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { reserved: AtomicUsize::new(0), max })
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }
}

/// The memory of one query: shared fairly by its operators, capped for itself and together with all others.
#[derive(Debug)]
pub(super) struct QueryMemory {
    own: TrackConsumersPool<FairSpillPool>,
    process: Arc<ProcessMemory>,
    max: usize,
}

impl QueryMemory {
    pub fn new(max: usize, process: Arc<ProcessMemory>) -> Self {
        Self { own: TrackConsumersPool::new(FairSpillPool::new(max), NAMED), process, max }
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query({} of {} bytes)", self.own.reserved(), self.max)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.process.reserved.fetch_add(additional, Ordering::Relaxed);
        self.own.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.process.reserved.fetch_sub(shrink, Ordering::Relaxed);
        self.own.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let before = self.process.reserved.fetch_add(additional, Ordering::Relaxed);
        let granted = if before.saturating_add(additional) > self.process.max {
            Err(resources_datafusion_err!(
                "all queries together hold {before} of {} bytes and {additional} more were asked for",
                self.process.max
            ))
        } else {
            self.own.try_grow(reservation, additional)
        };
        granted.inspect_err(|_| {
            self.process.reserved.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.max)
    }
}
