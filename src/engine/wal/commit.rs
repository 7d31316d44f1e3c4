//! Waiting for a write, with or without a runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};
use rhythmite_model::{Error, Result};

/// Resolves when a batch is on disk and applied. Dropping it does not take the write back.
#[must_use = "the write is acknowledged only when this resolves"]
pub struct Commit {
    /// `None`: there is nothing to wait for.
    slot: Option<Arc<Slot>>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<Result<()>>,
    waker: Option<Waker>,
}

/// The committer's end. Dropped without an answer it says that the log has failed.
pub(super) struct Promise {
    slot: Option<Arc<Slot>>,
}

/// A promise and what waits for it.
pub(super) fn pair() -> (Promise, Commit) {
    let slot = Arc::new(Slot::default());
    (Promise { slot: Some(slot.clone()) }, Commit { slot: Some(slot) })
}

impl Promise {
    pub(super) fn keep(mut self, result: Result<()>) {
        self.answer(result);
    }

    fn answer(&mut self, result: Result<()>) {
        if let Some(slot) = self.slot.take() {
            let mut state = slot.state.lock();
            state.result = Some(result);
            let waker = state.waker.take();
            drop(state);
            slot.changed.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.answer(Err(Error::unavailable(
            "the write-ahead log stopped before this write was done; whether it is kept is unknown",
        )));
    }
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commit").field("waits", &self.slot.is_some()).finish()
    }
}

impl Commit {
    /// One that has happened.
    pub(crate) fn done() -> Self {
        Self { slot: None }
    }

    /// Blocks until the write is on disk and applied.
    ///
    /// # Errors
    /// `Unavailable` if the log failed first: the write is not applied, and whether a restart finds it is unknown.
    pub fn wait(self) -> Result<()> {
        let Some(slot) = self.slot else { return Ok(()) };
        let mut state = slot.state.lock();
        loop {
            match &state.result {
                Some(result) => return result.clone(),
                None => slot.changed.wait(&mut state),
            }
        }
    }
}

impl Future for Commit {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(slot) = &self.slot else { return Poll::Ready(Ok(())) };
        let mut state = slot.state.lock();
        match &state.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_last_waker_is_woken_once() {
        let (promise, mut commit) = pair();
        let wakers = [Arc::new(Count(AtomicU32::new(0))), Arc::new(Count(AtomicU32::new(0)))];
        for waker in &wakers {
            let waker = Waker::from(waker.clone());
            assert!(Pin::new(&mut commit).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        promise.keep(Ok(()));
        assert_eq!(wakers.each_ref().map(|w| w.0.load(Ordering::SeqCst)), [0, 1]);
        assert_eq!(Pin::new(&mut commit).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
        assert_eq!(commit.wait(), Ok(()));
    }

    #[test]
    fn a_broken_promise_is_an_error() {
        let (promise, commit) = pair();
        drop(promise);
        assert_eq!(commit.wait().unwrap_err().kind(), rhythmite_model::ErrorKind::Unavailable);
        assert_eq!(Commit::done().wait(), Ok(()));
    }
}
