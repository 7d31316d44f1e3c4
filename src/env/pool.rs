//! Threads for work that holds a core: parsing of big bodies, queries, drawing.
//!
//! The queue is bounded; when it is full, work is refused with `Overloaded`. Work whose caller has gone before it was
//! begun is not done. A panic in the work is an `Internal` error for the caller and costs no thread.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use rhythmite_model::{Error, Result};

type Work = Box<dyn FnOnce() + Send>;

/// The threads. Dropping it finishes what is queued.
pub struct CpuPool {
    queue: Option<Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
    refused: AtomicU64,
}

impl CpuPool {
    /// Starts `threads` threads; at most `queue` pieces of work wait for them.
    ///
    /// # Errors
    /// `Unavailable` when a thread cannot be started.
    pub fn start(threads: usize, queue: usize) -> Result<Self> {
        let (sender, receiver) = bounded::<Work>(queue);
        let threads = (0..threads.max(1))
            .map(|n| {
                let receiver: Receiver<Work> = receiver.clone();
                let run = move || receiver.iter().for_each(|work| work());
                std::thread::Builder::new().name(format!("cpu-{n}")).spawn(run)
            })
            .collect::<std::io::Result<_>>()
            .map_err(|e| Error::unavailable(format!("cannot start a thread: {e}")))?;
        Ok(Self { queue: Some(sender), threads, refused: AtomicU64::new(0) })
    }

    /// Runs `work` on one of the threads; the answer is awaited. Dropping the answer takes back what was not begun.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        let slot = Arc::new(Slot::default());
        let answer = Arc::downgrade(&slot);
        let job = Box::new(move || {
            if answer.strong_count() == 0 {
                return;
            }
            // What the work owns goes with it, so nothing half changed is seen afterwards.
            let result = catch_unwind(AssertUnwindSafe(work));
            settle(&answer, result.map_err(|_| Error::internal("a panic; the log says where")));
        });
        let queue = self.queue.as_ref().expect("the queue goes with the pool");
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(job) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let error = Error::overloaded("too many requests wait for a processor");
            slot.state.lock().result = Some(Err(error));
        }
        Task { slot }
    }

    /// Pieces of work that wait.
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, Sender::len)
    }

    /// Pieces of work that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for CpuPool {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // The last handle may be dropped by work itself; a thread cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// Work that is being done.
#[must_use = "work whose answer is dropped may not be done"]
pub struct Task<T> {
    slot: Arc<Slot<T>>,
}

struct Slot<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    result: Option<Result<T>>,
    waker: Option<Waker>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { result: None, waker: None }) }
    }
}

fn settle<T>(slot: &Weak<Slot<T>>, result: Result<T>) {
    let Some(slot) = slot.upgrade() else { return };
    let waker = {
        let mut state = slot.state.lock();
        state.result = Some(result);
        state.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let mut state = self.slot.state.lock();
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;
    use std::thread::Thread;

    use rhythmite_model::ErrorKind;

    use super::*;

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(mut task: Task<T>) -> Result<T> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            match Pin::new(&mut task).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    #[test]
    fn work_is_done_and_a_panic_costs_only_itself() {
        let pool = CpuPool::start(1, 4).unwrap();
        assert_eq!(wait(pool.run(|| 1 + 1)), Ok(2));
        let panicked = wait(pool.run(|| -> u32 { panic!("expected in this test") }));
        assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(wait(pool.run(|| 3)), Ok(3));
    }

    #[test]
    fn a_full_queue_refuses_and_work_nobody_waits_for_is_not_begun() {
        let pool = CpuPool::start(1, 2).unwrap();
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let inner = gate.clone();
        let begun = Arc::new(AtomicU64::new(0));
        let first = pool.run(move || drop(inner.lock()));
        while pool.waiting() > 0 {
            std::thread::yield_now();
        }
        let count = || {
            let begun = begun.clone();
            pool.run(move || begun.fetch_add(1, Ordering::SeqCst))
        };
        let (second, third) = (count(), count());
        assert_eq!(wait(count()).unwrap_err().kind(), ErrorKind::Overloaded);
        assert_eq!(pool.refused(), 1);
        drop(second);
        drop(held);
        assert_eq!((wait(first), wait(third)), (Ok(()), Ok(0)));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }
}
