// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which set of LoRAs each model has, and how long it keeps that.
//!
//! Another set on the same model costs time: every layer that it touches is derived anew. So the present set stays
//! while somebody uses it, but no longer than ten times what the last change took; then whose turn it is decides, and
//! the next set has its time. A set whose pictures are about to ask again is waited for as long as a change would
//! take, never longer.
//!
//! No clock and no device: the time is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alice_plugin::Adapter;

use super::choice::{Demand, Line, Moment, Waiting};
use super::versioned::Versioned;

/// A set is used for at least so many times as long as the change took before it makes way.
const QUANTUM: u32 = 10;
/// More sets than a server sees in ordinary use. Somebody who goes through all scales must not fill the memory.
const MANY: usize = 512;

/// What a call needs of the device: a model with a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Need {
    pub(super) model: usize,
    /// [`Sets::number`].
    pub(super) set: usize,
}

/// The sets of all models.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    /// A set's place is its number.
    known: Vec<Arc<[Versioned<Adapter>]>>,
    present: BTreeMap<usize, Present>,
}

/// The set that a model has.
#[derive(Clone, Copy, Debug)]
struct Present {
    set: usize,
    since: Moment,
    /// What the last change took.
    price: Duration,
}

impl Sets {
    /// The number of a set.
    pub(super) fn number(&mut self, set: &Arc<[Versioned<Adapter>]>) -> usize {
        let same = |known: &Arc<[Versioned<Adapter>]>| Arc::ptr_eq(known, set) || known == set;
        self.known.iter().position(same).unwrap_or_else(|| {
            self.known.push(set.clone());
            self.known.len() - 1
        })
    }

    /// A model has got another set, which took so long.
    pub(super) fn came(&mut self, need: Need, took: Duration, now: Moment) {
        self.present.insert(need.model, Present { set: need.set, since: now, price: took });
    }

    /// The model is no longer on the device.
    pub(super) fn went(&mut self, model: usize) {
        self.present.remove(&model);
    }

    /// No model is on the device any more.
    pub(super) fn lost(&mut self) {
        self.present.clear();
    }

    /// The calls of the line that wait for others' sets to have had their time, and until when. The device has had
    /// nothing to do since `free`.
    pub(super) fn held(&self, line: &Line, now: Moment, free: Moment) -> BTreeMap<u64, Moment> {
        let until = |waiting: &Waiting| {
            let until = self.held_until(waiting.need?, now, free, |need| line.demand(need))?;
            Some((waiting.call, until))
        };
        line.calls().filter_map(until).collect()
    }

    /// Until when a call with this need waits for those that use what the model has; `None` if it need not wait.
    /// `demand` says who those are, `free` since when the device has had nothing to do.
    fn held_until(
        &self,
        need: Need,
        now: Moment,
        free: Moment,
        demand: impl Fn(Need) -> Demand,
    ) -> Option<Moment> {
        let Present { set, since, price } = *self.present.get(&need.model)?;
        if set == need.set {
            return None;
        }
        let end = since + price * QUANTUM;
        let until = match demand(Need { set, ..need }) {
            Demand::Calls => end,
            Demand::Seats => end.min(free + price),
            Demand::None => return None,
        };
        (now < until).then_some(until)
    }

    /// Forgets the numbers of sets if they have become too many, at a moment when none is in use.
    pub(super) fn tidy(&mut self) {
        if self.known.len() > MANY {
            self.known.clear();
            self.present.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn set(scale: f32) -> Arc<[Versioned<Adapter>]> {
        Arc::new([Adapter { path: "/x".into(), scale }.into()])
    }

    #[test]
    fn a_set_has_one_number_whoever_holds_it() {
        let mut sets = Sets::default();
        let rewritten: Arc<[_]> =
            set(1.0).iter().map(|lora| Versioned { version: 1, ..lora.clone() }).collect();
        let numbers = [set(1.0), set(0.5), set(1.0), Arc::new([]), rewritten].map(|set| sets.number(&set));
        assert_eq!(numbers, [0, 1, 0, 2, 3]);
    }

    #[test]
    fn a_set_that_is_used_stays_for_ten_changes_and_one_that_may_be_used_for_one() {
        let mut sets = Sets::default();
        sets.came(Need { model: 0, set: 1 }, S, 5 * S);
        let until = |model, set, now, demand| {
            sets.held_until(Need { model, set }, now, 7 * S, |need| {
                assert_eq!(need, Need { model: 0, set: 1 });
                demand
            })
        };
        assert_eq!(until(0, 2, 6 * S, Demand::Calls), Some(15 * S));
        assert_eq!(until(0, 2, 15 * S, Demand::Calls), None, "it has had its time");
        assert_eq!(until(0, 2, 7 * S, Demand::Seats), Some(8 * S));
        assert_eq!(until(0, 2, 8 * S, Demand::Seats), None, "the device has waited long enough");
        assert_eq!(until(0, 2, 6 * S, Demand::None), None, "nobody uses it");
        assert_eq!(until(0, 1, 6 * S, Demand::Calls), None, "it is the same");
        assert_eq!(until(1, 2, 6 * S, Demand::Calls), None, "another model");
    }

    #[test]
    fn a_set_that_went_with_the_backend_keeps_nobody_waiting() {
        let mut sets = Sets::default();
        sets.came(Need { model: 0, set: 1 }, S, Duration::ZERO);
        let held =
            |sets: &Sets| sets.held_until(Need { model: 0, set: 2 }, S, Duration::ZERO, |_| Demand::Calls);
        assert_eq!(held(&sets), Some(10 * S));
        sets.lost();
        assert_eq!(held(&sets), None);
    }
}
