//! Criterion measured by the thread's CPU time: on a shared machine the wall clock says more about the neighbours.

use std::time::Duration;

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// CPU time of the measuring thread, from `/proc/thread-self/schedstat` (nanoseconds on a processor).
pub struct CpuTime;

/// Nanoseconds this thread has been on a processor.
pub fn now_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has schedstat");
    text.split(' ').next().and_then(|n| n.parse().ok()).expect("schedstat begins with a number")
}

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = Duration;

    fn start(&self) -> u64 {
        now_ns()
    }

    fn end(&self, start: u64) -> Duration {
        Duration::from_nanos(now_ns() - start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Rows of one iteration.
pub fn rows(n: usize) -> Throughput {
    Throughput::Elements(n as u64)
}
