// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Tasks that go on where their answer is.
//!
//! A sampler that has its evaluation needs some microseconds until it asks for the next one. To wake a thread of the
//! runtime for them, which then wakes the engine's, takes ten times as long on many machines, and nobody has any use
//! of the device meanwhile. So a task that an engine's thread wakes when it has answered the only call that there
//! was goes on on that very thread. All other wake-ups lead to the runtime, as always.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::Handle;
use tracing::error;

thread_local! {
    /// While [`here`] listens: the tasks that this thread has woken.
    static WOKEN: RefCell<Option<Vec<Arc<Task>>>> = const { RefCell::new(None) };
}

/// It waits to be woken.
const ASLEEP: u8 = 0;
/// It is on its way to a thread.
const CALLED: u8 = 1;
/// A thread is at it.
const RUNNING: u8 = 2;
/// A thread is at it, and it was woken meanwhile.
const CALLED_AGAIN: u8 = 3;

/// A future and where it stands.
struct Task {
    /// Locked by whoever runs it, of whom there is only one. It is gone when it is done.
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    state: AtomicU8,
    runtime: Handle,
}

/// Runs `future` to its end as [`tokio::spawn`] does, but for where.
///
/// # Panics
/// Outside of a runtime.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    let future = Mutex::new(Some(Box::pin(future) as _));
    let task = Task { future, state: AtomicU8::new(CALLED), runtime: Handle::current() };
    Arc::new(task).go_to_the_runtime();
}

/// Carries out `answer`, and then on this thread the tasks that it has woken.
pub(super) fn here(answer: impl FnOnce()) {
    WOKEN.set(Some(Vec::new()));
    answer();
    WOKEN.take().into_iter().flatten().for_each(Task::run);
}

impl Task {
    fn run(self: Arc<Self>) {
        self.state.store(RUNNING, Ordering::SeqCst);
        let _context = self.runtime.enter();
        // Nobody else locks it; a panic leaves none behind.
        let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = future.as_mut() else { return };
        let waker = Waker::from(self.clone());
        let poll = || running.as_mut().poll(&mut Context::from_waker(&waker));
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => return *future = None,
            Err(_) => {
                error!("A task panicked");
                return *future = None;
            }
        }
        drop(future);
        let still = self.state.compare_exchange(RUNNING, ASLEEP, Ordering::SeqCst, Ordering::SeqCst);
        if still.is_err() {
            // Not here again, so that a task which wakes itself over and over is in nobody's way.
            self.state.store(CALLED, Ordering::SeqCst);
            self.go_to_the_runtime();
        }
    }

    fn go_to_the_runtime(self: Arc<Self>) {
        let runtime = self.runtime.clone();
        runtime.spawn(async move { self.run() });
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let called = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| match state {
            ASLEEP => Some(CALLED),
            RUNNING => Some(CALLED_AGAIN),
            _ => None,
        });
        if called != Ok(ASLEEP) {
            return;
        }
        let elsewhere = WOKEN.with_borrow_mut(|woken| match woken {
            Some(woken) => {
                woken.push(self);
                None
            }
            None => Some(self),
        });
        if let Some(task) = elsewhere {
            task.go_to_the_runtime();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_task_goes_on_on_the_thread_that_answers_it_and_there_alone() {
        for listens in [true, false] {
            let (ask, asked) = oneshot::channel();
            let (tell, told) = oneshot::channel();
            spawn(async move {
                let answer: u32 = asked.await.unwrap();
                tell.send((answer, thread::current().id())).unwrap();
            });
            // It waits by then, or finds its answer at once on the runtime's thread.
            tokio::task::yield_now().await;
            let answerer = thread::spawn(move || {
                let answer = || ask.send(5).unwrap();
                if listens { here(answer) } else { answer() }
            });
            let id = answerer.thread().id();
            let (answer, at) = told.await.unwrap();
            assert_eq!((answer, at == id), (5, listens));
            answerer.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_task_that_wakes_itself_or_panics_is_in_nobodys_way() {
        let (tell, told) = oneshot::channel();
        spawn(async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        });
        spawn(async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            tell.send(()).unwrap();
        });
        told.await.unwrap();
    }
}
