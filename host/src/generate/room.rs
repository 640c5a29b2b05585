// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Room for large pictures. What an upscaler makes lies in memory from its first tile until it is in its file, so only
//! so many of them are there at once; the next one waits. Pictures as they are painted need no room, so that none of
//! them waits for a large one. Pictures that are to be made larger have room of their own: they are read before their
//! upscaler is on the device, and whoever waits for a device must not keep back what its holders wait for.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::draft::{MOST_UPSCALED, SIDES};

/// Pixels of a picture that needs no room: as many as the largest has that is painted.
const SMALL: u64 = (*SIDES.end() as u64).pow(2);
/// Pixels of all that have room: one of the largest and two of half its sides, 300 MB. With room for one alone, it would
/// keep all others waiting for as long as a slow device takes.
const ALL: u64 = (MOST_UPSCALED as u64).pow(2) * 3 / 2;
/// Pixels that are counted as one.
const UNIT: u64 = 1 << 16;

/// The room that there is.
#[derive(Debug)]
pub struct Rooms {
    larger: Arc<Semaphore>,
    given: Arc<Semaphore>,
}

/// The room of one picture, until this is dropped.
#[derive(Debug, Default)]
pub struct Room {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Rooms {
    fn default() -> Self {
        let room = || Arc::new(Semaphore::new(units(ALL) as usize));
        Self { larger: room(), given: room() }
    }
}

impl Rooms {
    /// Room for what an upscaler makes, a picture of this width and height, when those before it have had theirs.
    pub async fn take(&self, size: (u32, u32)) -> Room {
        of(&self.larger, size).await
    }

    /// The same for a picture that is to be made larger.
    pub async fn take_given(&self, size: (u32, u32)) -> Room {
        of(&self.given, size).await
    }
}

async fn of(room: &Arc<Semaphore>, (width, height): (u32, u32)) -> Room {
    if !is_large((width, height)) {
        return Room::default();
    }
    let pixels = u64::from(width) * u64::from(height);
    let permit = Arc::clone(room).acquire_many_owned(units(pixels.min(ALL))).await;
    Room { _permit: Some(permit.expect("nobody closes it")) }
}

/// Whether a picture of this width and height is larger than any that is painted.
pub(super) fn is_large((width, height): (u32, u32)) -> bool {
    u64::from(width) * u64::from(height) > SMALL
}

fn units(pixels: u64) -> u32 {
    u32::try_from(pixels.div_ceil(UNIT)).expect("there is not that much room")
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn large_pictures_wait_for_each_other_and_painted_ones_for_nobody() {
        let rooms = Rooms::default();
        let (first, _second) = (rooms.take((8192, 8192)).await, rooms.take((4096, 4096)).await);
        let _third = rooms.take((4096, 4096)).await;
        let mut fourth = pin!(rooms.take((4096, 2048)));
        assert!(fourth.as_mut().now_or_never().is_none(), "there is no room for more");
        assert!(
            rooms.take((2048, 2048)).now_or_never().is_some(),
            "it is as large as those that are painted"
        );
        drop(first);
        assert!(fourth.now_or_never().is_some());
    }

    #[tokio::test]
    async fn pictures_that_are_to_be_made_larger_wait_for_each_other_alone() {
        let rooms = Rooms::default();
        let larger = rooms.take((u32::MAX, u32::MAX)).await;
        let mut given = Vec::new();
        while let Some(room) = rooms.take_given((4096, 4096)).now_or_never() {
            given.push(room);
        }
        assert_eq!(given.len(), 6);
        drop(larger);
        assert!(rooms.take((8192, 8192)).now_or_never().is_some());
        given.pop();
        assert!(rooms.take_given((4096, 4096)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_larger_than_all_room_takes_all_of_it() {
        let rooms = Rooms::default();
        let huge = rooms.take((u32::MAX, u32::MAX)).await;
        assert!(rooms.take((4096, 4096)).now_or_never().is_none());
        drop(huge);
        assert!(rooms.take((4096, 4096)).now_or_never().is_some());
    }
}
