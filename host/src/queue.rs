// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whose turn it is: one request makes pictures, a bounded number waits, everyone else is told when to
//! come back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Error, Result};

/// The one place at the device and the line before it, first come first served.
#[derive(Debug)]
pub struct Queue {
    turns: Semaphore,
    /// Requests that wait or make pictures.
    present: AtomicUsize,
    /// How many may wait.
    limit: usize,
    /// How long the last request took.
    last: Mutex<Duration>,
}

/// The right to make pictures, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    began: Instant,
    place: Place<'a>,
}

/// A place in line; dropping it (also when the client goes away while waiting) frees it.
#[derive(Debug)]
struct Place<'a>(&'a Queue);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The lock guards a plain value: it is whole even if another holder panicked.
        *self.place.0.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = self.began.elapsed();
    }
}

impl Queue {
    /// A line in which up to `limit` requests wait.
    pub fn new(limit: usize) -> Self {
        let last = Mutex::new(Duration::from_secs(1));
        Self { turns: Semaphore::new(1), present: AtomicUsize::new(0), limit, last }
    }

    /// Waits for the caller's turn.
    ///
    /// # Errors
    /// [`Error::Busy`] at once when the line is full, with the time after which a place should be free.
    pub async fn turn(&self) -> Result<Turn<'_>> {
        let place = self.place()?;
        let turn = self.turns.acquire().await.map_err(|_| Error::ShuttingDown)?;
        Ok(Turn { _turn: turn, began: Instant::now(), place })
    }

    /// Requests that wait or make pictures now.
    pub fn present(&self) -> usize {
        self.present.load(Ordering::Relaxed)
    }

    fn place(&self) -> Result<Place<'_>> {
        let places = self.limit.saturating_add(1);
        let take = |present| (present < places).then_some(present + 1);
        match self.present.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(Place(self)),
            Err(_) => {
                let last = *self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let waiting = u64::try_from(self.present()).unwrap_or(u64::MAX);
                Err(Error::Busy { retry_after_s: last.as_secs().max(1).saturating_mul(waiting) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_line_is_refused_at_once_and_a_left_place_is_free_again() {
        let queue = Queue::new(1);
        let running = queue.turn().await.unwrap();
        let mut waiting = Box::pin(queue.turn());
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(matches!(queue.turn().await, Err(Error::Busy { .. })));
        drop(waiting);
        let mut next = Box::pin(queue.turn());
        assert!(futures::poll!(&mut next).is_pending(), "the place that was left is taken again");
        drop(running);
        assert!(next.await.is_ok());
        assert_eq!(queue.present(), 0);
    }
}
