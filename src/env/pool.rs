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
use parking_lot::{Condvar, Mutex};
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

    /// Works on `parts`, on this thread and on those of the pool that are free; the answers are in their order.
    ///
    /// For work that is on the pool already: parts that no other thread takes are done here, so a full pool makes it
    /// slower and never stuck. Blocks until all parts are done.
    pub fn share<P: Send + 'static, T: Send + 'static>(
        &self,
        parts: Vec<P>,
        work: impl Fn(P) -> T + Send + Sync + 'static,
    ) -> Vec<Result<T>> {
        let helpers = self.threads.len().min(parts.len()).saturating_sub(1);
        let shared = Arc::new(Shared::new(parts, work));
        let queue = self.queue.as_ref().expect("the queue goes with the pool");
        for _ in 0..helpers {
            let shared = shared.clone();
            // Without room in the queue nobody helps.
            if queue.try_send(Box::new(move || shared.work())).is_err() {
                break;
            }
        }
        shared.work();
        shared.answers()
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

/// Parts of one piece of work, for whoever has time.
struct Shared<P, T, F> {
    work: F,
    state: Mutex<Parts<P, T>>,
    all_done: Condvar,
}

struct Parts<P, T> {
    /// The ones nobody has taken, the first one last.
    left: Vec<(usize, P)>,
    /// By part.
    answers: Vec<Option<Result<T>>>,
    /// How many answers are missing.
    missing: usize,
}

impl<P, T, F: Fn(P) -> T> Shared<P, T, F> {
    fn new(parts: Vec<P>, work: F) -> Self {
        let missing = parts.len();
        let answers = parts.iter().map(|_| None).collect();
        let left = parts.into_iter().enumerate().rev().collect();
        Self { work, state: Mutex::new(Parts { left, answers, missing }), all_done: Condvar::new() }
    }

    /// Does part after part until none is left.
    fn work(&self) {
        while let Some((at, part)) = self.next() {
            let answer = catch_unwind(AssertUnwindSafe(|| (self.work)(part)));
            let mut state = self.state.lock();
            state.answers[at] = Some(answer.map_err(|_| Error::internal("a panic; the log says where")));
            state.missing -= 1;
            if state.missing == 0 {
                self.all_done.notify_all();
            }
        }
    }

    fn next(&self) -> Option<(usize, P)> {
        self.state.lock().left.pop()
    }

    /// Waits for the parts that others have taken.
    fn answers(&self) -> Vec<Result<T>> {
        let mut state = self.state.lock();
        while state.missing > 0 {
            self.all_done.wait(&mut state);
        }
        std::mem::take(&mut state.answers).into_iter().flatten().collect()
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
    fn parts_are_shared_and_their_answers_in_order() {
        let pool = Arc::new(CpuPool::start(3, 4).unwrap());
        let on_pool = pool.clone();
        let sum = wait(pool.run(move || {
            let answers = on_pool.share((0..100_u64).collect(), |i| {
                assert_ne!(i, 50, "expected in this test");
                i * i
            });
            answers.into_iter().map(|a| a.map_err(|e| e.kind())).collect::<Vec<_>>()
        }));
        let want = |i: u64| if i == 50 { Err(ErrorKind::Internal) } else { Ok(i * i) };
        assert_eq!(sum.unwrap(), (0..100).map(want).collect::<Vec<_>>());
        assert_eq!(pool.share(Vec::<u8>::new(), |b| b), []);
    }

    #[test]
    fn parts_are_done_though_nobody_helps() {
        // The only thread shares, the queue is full.
        let pool = Arc::new(CpuPool::start(1, 1).unwrap());
        let on_pool = pool.clone();
        let done = wait(pool.run(move || {
            let _waits = on_pool.run(|| ());
            on_pool.share(vec![1, 2, 3], |i| i).into_iter().collect::<Result<Vec<i32>>>()
        }));
        assert_eq!(done.unwrap(), Ok(vec![1, 2, 3]));
        // All threads hold each other's parts.
        let pool = Arc::new(CpuPool::start(2, 8).unwrap());
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let on_pool = pool.clone();
                pool.run(move || on_pool.share((0..20).collect(), |i: usize| i).len())
            })
            .collect();
        for task in tasks {
            assert_eq!(wait(task), Ok(20));
        }
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
