// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Handles that cannot be used after release: a slot number with the slot's generation.

use crate::{Error, ErrorKind, Result};

/// Values behind 64-bit handles. The lower half of a handle is the slot, the upper half counts how often
/// the slot has been filled, so that a released handle stays unknown when its slot is used again.
#[derive(Debug)]
pub struct Slots<T> {
    /// What the values are, for error messages ("model", "conditioning").
    noun: &'static str,
    slots: Vec<Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    /// No values yet; `noun` names one in error messages.
    pub fn new(noun: &'static str) -> Self {
        Self { noun, slots: Vec::new() }
    }

    /// Keeps `value` and gives out a handle that was never given out before.
    pub fn insert(&mut self, value: T) -> u64 {
        // A slot whose generation is used up stays empty for ever; anything else would revive old handles.
        let free = self.slots.iter().position(|slot| slot.value.is_none() && slot.generation < u32::MAX);
        let index = free.unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.generation += 1;
        slot.value = Some(value);
        (u64::from(slot.generation) << 32) | index as u64
    }

    /// The value behind `handle`.
    ///
    /// # Errors
    /// [`ErrorKind::StaleHandle`] for a handle that was never given out or has been removed.
    pub fn get(&self, handle: u64) -> Result<&T> {
        let slot = self.slots.get(index(handle)).filter(|slot| slot.generation == generation(handle));
        slot.and_then(|slot| slot.value.as_ref()).ok_or_else(|| self.stale(handle))
    }

    /// As [`get`](Self::get), to change it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_mut(&mut self, handle: u64) -> Result<&mut T> {
        self.get(handle)?;
        let value = self.slots[index(handle)].value.as_mut();
        Ok(value.expect("`get` has found the value"))
    }

    /// Takes the value out; the handle is stale from here on.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn remove(&mut self, handle: u64) -> Result<T> {
        self.get(handle)?;
        let value = self.slots[index(handle)].value.take();
        Ok(value.expect("`get` has found the value"))
    }

    /// Drops every value that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for slot in &mut self.slots {
            slot.value.take_if(|value| !keep(value));
        }
    }

    /// The values now held.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    fn stale(&self, handle: u64) -> Error {
        let message = format!("{} handle {handle:#x} is not known or has been released", self.noun);
        Error::new(ErrorKind::StaleHandle, message)
    }
}

fn index(handle: u64) -> usize {
    (handle & u64::from(u32::MAX)) as usize
}

fn generation(handle: u64) -> u32 {
    (handle >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_handle_stays_unknown_when_its_slot_is_used_again() {
        let mut slots = Slots::new("thing");
        let first = slots.insert("a");
        assert_eq!(slots.remove(first), Ok("a"));
        let second = slots.insert("b");
        assert_eq!(index(first), index(second), "the slot is used again");
        assert_eq!(slots.get(first).unwrap_err().kind, ErrorKind::StaleHandle);
        assert_eq!(slots.get(second), Ok(&"b"));
        assert_eq!(slots.remove(first).unwrap_err().kind, ErrorKind::StaleHandle);
        assert_eq!(slots.get(second), Ok(&"b"), "a double release takes nothing else away");
    }

    #[test]
    fn a_handle_that_was_never_given_out_is_unknown() {
        let slots = Slots::<u8>::new("thing");
        for handle in [0, 1, u64::MAX, 1 << 32] {
            assert_eq!(slots.get(handle).unwrap_err().kind, ErrorKind::StaleHandle);
        }
    }

    #[test]
    fn retain_makes_the_refused_values_stale() {
        let mut slots = Slots::new("thing");
        let (odd, even) = (slots.insert(1), slots.insert(2));
        slots.retain(|value| value % 2 == 0);
        assert!(slots.get(odd).is_err());
        assert_eq!(slots.values().collect::<Vec<_>>(), [&2]);
        assert_eq!(slots.get(even), Ok(&2));
    }
}
