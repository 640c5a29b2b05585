// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The life of an input's file: until a job takes it over it goes with the request that brought it.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::error;

/// Keeps an input's file. When the last clone is dropped, the file is removed, unless a job has taken it over.
///
/// The default, which an input that is read back from the database has, keeps nothing and removes nothing. All leases
/// are equal: they say nothing about the picture.
#[derive(Clone, Debug, Default)]
pub struct Lease(Option<Arc<Kept>>);

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    by_a_job: AtomicBool,
}

impl Lease {
    /// The lease of the file at `path`.
    pub(super) fn of(path: PathBuf) -> Self {
        Self(Some(Arc::new(Kept { path, by_a_job: AtomicBool::new(false) })))
    }

    /// Whether the file stays, because a job's row in the database answers for it.
    pub(crate) fn keep(&self, stays: bool) {
        if let Some(kept) = &self.0 {
            kept.by_a_job.store(stays, Ordering::Relaxed);
        }
    }
}

impl PartialEq for Lease {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lease {}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.by_a_job.load(Ordering::Relaxed) {
            return;
        }
        match fs::remove_file(&self.path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                error!("An input picture that nobody needs cannot be removed: {cause}");
            }
            _ => {}
        }
    }
}
