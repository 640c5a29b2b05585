// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How many bytes of pictures the daemon has in hand over all requests: those that are arriving, and those that have
//! arrived and wait to be read. Each request's own limits say nothing about how many requests there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;

use crate::error::{Error, Result};

/// Seconds after which a client that found no room should try again: a picture is read in less.
const RETRY_AFTER_S: u64 = 5;

/// Bytes that all may have in hand together. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    most: u64,
    held: AtomicU64,
}

/// What one request has of it, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: u64,
}

/// Bytes with their share.
struct Held {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Budget {
    /// One of `most` bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self(Arc::new(Counted { most, held: AtomicU64::new(0) }))
    }

    /// A share of nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    /// Whether a share of that many bytes could be had now. Nothing is taken: whoever only says that something will come
    /// must not keep others away.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn check(&self, bytes: u64) -> Result<()> {
        let held = self.0.held.load(Ordering::Relaxed);
        if held.checked_add(bytes).is_some_and(|sum| sum <= self.0.most) { Ok(()) } else { Err(no_room()) }
    }
}

impl Share {
    /// Makes it one of `bytes`, if it is smaller.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; the share is as it was.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<()> {
        let more = bytes.saturating_sub(self.bytes);
        let Counted { most, held } = &*self.budget.0;
        let add = |held: u64| held.checked_add(more).filter(|sum| more == 0 || sum <= most);
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_err(|_| no_room())?;
        self.bytes += more;
        Ok(())
    }

    /// The bytes, which keep this share as long as they live.
    ///
    /// # Errors
    /// As [`grow_to`](Self::grow_to), when they are more than the share.
    pub(crate) fn with(mut self, bytes: Vec<u8>) -> Result<Bytes> {
        self.grow_to(bytes.len() as u64)?;
        Ok(Bytes::from_owner(Held { bytes, _share: self }))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn no_room() -> Error {
    Error::NoRoom { retry_after_s: RETRY_AFTER_S }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_taken_up_to_the_limit_and_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.grow_to(60).unwrap();
        one.grow_to(40).unwrap();
        other.grow_to(40).unwrap();
        assert!(matches!(other.grow_to(41), Err(Error::NoRoom { .. })));
        other.grow_to(40).unwrap();
        budget.check(0).unwrap();
        budget.check(1).unwrap_err();
        drop(one);
        budget.check(60).unwrap();
        budget.check(u64::MAX).unwrap_err();
        other.grow_to(100).unwrap();
    }

    #[test]
    fn bytes_keep_their_share_as_long_as_a_part_of_them_lives() {
        let budget = Budget::new(10);
        let bytes = budget.share().with(vec![7; 10]).unwrap();
        let part = bytes.slice(2..3);
        drop(bytes);
        budget.check(1).unwrap_err();
        drop(part);
        budget.check(10).unwrap();
        budget.share().with(vec![7; 11]).unwrap_err();
        budget.check(10).unwrap();
    }
}
