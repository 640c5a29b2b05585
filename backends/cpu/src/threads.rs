// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The backend's own threads.

use std::{num::NonZero, thread};

use alice_plugin::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};

/// Threads that share the tasks of one operation after the other.
pub struct Threads {
    pool: ThreadPool,
}

impl Threads {
    /// `count` of them.
    ///
    /// # Errors
    /// `Internal` when the system does not start them.
    pub fn new(count: usize) -> Result<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(|i| format!("cpu-{i}")).build();
        let pool = pool.map_err(|error| Error::internal(format!("cannot start {count} threads: {error}")))?;
        Ok(Self { pool })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Does every task once.
    pub(crate) fn each(&self, tasks: usize, task: impl Fn(usize) + Sync + Send) {
        match tasks {
            0 => {}
            1 => task(0),
            _ => self.pool.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(task)),
        }
    }

    /// Does `task` with every chunk of `size` values of `out` (the last may be shorter) and its number.
    pub(crate) fn chunks<T: Send>(
        &self,
        out: &mut [T],
        size: usize,
        task: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
        let chunks = out.par_chunks_mut(size.max(1)).with_max_len(1).enumerate();
        self.pool.install(|| chunks.for_each(|(number, chunk)| task(number, chunk)));
    }

    /// Does every task once, and gives the results in their order.
    pub(crate) fn map<T: Send>(&self, tasks: usize, task: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
        self.pool.install(|| (0..tasks).into_par_iter().with_max_len(1).map(task).collect())
    }
}

/// Physical cores, or fewer if this process may not use them all: two threads on one core share its multipliers.
pub(crate) fn cores() -> usize {
    let allowed = thread::available_parallelism().map_or(1, NonZero::get);
    num_cpus::get_physical().clamp(1, allowed)
}
