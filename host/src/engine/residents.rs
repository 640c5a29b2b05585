// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which models are in the device's memory, and which have to go or to wait.
//!
//! A model that is in use stays. One that does not fit beside those waits until enough of them are no longer in
//! use; meanwhile a model that has had its time, ten times what loading it took, gets no new users, or the one that
//! waits would wait for ever. Of the models that nobody uses the one that was used longest ago goes first.
//!
//! A request may want several models, and gets all of them at once or none: whoever waits for one holds no other, so
//! nobody waits in a ring. Those of its models that are there already stay for it. Models that never fit are refused
//! before anything goes for them. Some turn out larger than their files let expect: what has begun to come goes on then,
//! and whether it fits, the device says; what has come together may come again.
//!
//! No clock and no device: the time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alice_plugin::LoadRequest;

use super::choice::Moment;
use super::versioned::Versioned;

/// A model may be used for at least so many times as long as its loading took before it makes way.
const QUANTUM: u32 = 10;

/// All models that were ever asked for, each version of its files apart; a model's index is its number.
#[derive(Clone, Debug)]
pub(super) struct Residents {
    /// Bytes that all weights together may take.
    budget: u64,
    unload_after: Option<Duration>,
    models: Vec<Resident>,
    /// Models that began to come together and were too large then: how much they count for together.
    let_in: BTreeMap<BTreeSet<usize>, u64>,
    /// The models that there are, if anybody has said so.
    offered: Option<Vec<Versioned<LoadRequest>>>,
}

/// One model.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub(super) model: Versioned<LoadRequest>,
    /// Bytes of its weights: measured when it was loaded, else what its files let expect.
    pub(super) bytes: u64,
    /// Since when it has been on the device.
    pub(super) since: Option<Moment>,
    pub(super) users: usize,
    pub(super) pinned: bool,
    /// When somebody last used it.
    pub(super) used: Moment,
    /// How long it took to load.
    price: Duration,
    /// It ran out of memory beside others: it is loaded only when nothing else can be made to go.
    crowded: bool,
    /// Its files are no longer these: it goes when nobody uses it.
    outdated: bool,
}

/// What becomes of a request for models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All of them are there and may be used.
    Here,
    /// Those that are missing may be loaded, after these have gone.
    Room(Vec<usize>),
    /// Not yet.
    Wait,
    /// They never fit: together they need more than there is beside the pinned models.
    Never { needs: u64, free: u64 },
}

/// The first request that wants models loaded: all of its models, and those that go for it; `None` while it has to
/// wait.
struct Claim {
    models: BTreeSet<usize>,
    victims: Option<Vec<usize>>,
}

impl Residents {
    pub(super) fn new(budget: u64, unload_after: Option<Duration>) -> Self {
        Self { budget, unload_after, models: Vec::new(), let_in: BTreeMap::new(), offered: None }
    }

    /// The model's number. One that was never asked for is expected to take `estimate` bytes.
    pub(super) fn number(&mut self, model: &Versioned<LoadRequest>, estimate: impl FnOnce() -> u64) -> usize {
        if let Some(known) = self.find(model) {
            return known;
        }
        self.models.push(Resident {
            model: model.clone(),
            bytes: estimate(),
            since: None,
            users: 0,
            pinned: false,
            used: Moment::ZERO,
            price: Duration::ZERO,
            crowded: false,
            outdated: self.offered.as_ref().is_some_and(|offered| !offered.contains(model)),
        });
        self.models.len() - 1
    }

    pub(super) fn find(&self, model: &Versioned<LoadRequest>) -> Option<usize> {
        self.models.iter().position(|known| known.model == *model)
    }

    /// The numbers of all versions of a model that are on the device.
    pub(super) fn versions(&self, request: &LoadRequest) -> impl Iterator<Item = usize> {
        self.present().filter(move |(_, known)| known.model.what == *request).map(|(number, _)| number)
    }

    /// There are these models and no others.
    pub(super) fn offer(&mut self, offered: Vec<Versioned<LoadRequest>>) {
        for known in &mut self.models {
            known.outdated = !offered.contains(&known.model);
            known.pinned &= !known.outdated;
        }
        self.offered = Some(offered);
    }

    pub(super) fn get(&self, model: usize) -> &Resident {
        &self.models[model]
    }

    /// The models on the device, with their numbers.
    pub(super) fn present(&self) -> impl Iterator<Item = (usize, &Resident)> {
        self.models.iter().enumerate().filter(|(_, model)| model.since.is_some())
    }

    /// The first of these models that is not there.
    pub(super) fn missing(&self, models: impl IntoIterator<Item = usize>) -> Option<usize> {
        models.into_iter().find(|&model| self.models[model].since.is_none())
    }

    /// What becomes of the requests for models (call, models), the first come first.
    pub(super) fn admit(
        &self,
        requests: impl IntoIterator<Item = (u64, BTreeSet<usize>)>,
        now: Moment,
    ) -> Vec<(u64, Place)> {
        let mut claim = None;
        let mut place = |models: BTreeSet<usize>| {
            if self.missing(models.iter().copied()).is_none() {
                return self.share(&models, claim.as_ref(), now);
            }
            // Memory is given out in order: a small model that slips through could keep a large one out for ever.
            let place = match &claim {
                Some(Claim { models: first, .. }) if *first != models => match self.room(&models) {
                    never @ Place::Never { .. } => never,
                    _ => Place::Wait,
                },
                _ => self.room(&models),
            };
            let victims = match &place {
                Place::Room(victims) => Some(victims.clone()),
                _ => None,
            };
            if claim.is_none() && !matches!(place, Place::Never { .. }) {
                claim = Some(Claim { models, victims });
            }
            place
        };
        requests.into_iter().map(|(call, models)| (call, place(models))).collect()
    }

    /// Whether one more may use models that are there, while somebody may wait for others.
    fn share(&self, models: &BTreeSet<usize>, claim: Option<&Claim>, now: Moment) -> Place {
        let Some(claim) = claim else { return Place::Here };
        let makes_way = |&model: &usize| match &claim.victims {
            Some(victims) => victims.contains(&model),
            // What the claim itself needs is not in its way.
            None if claim.models.contains(&model) => false,
            None => !self.models[model].pinned && self.has_had_its_time(model, now),
        };
        if models.iter().any(makes_way) { Place::Wait } else { Place::Here }
    }

    fn has_had_its_time(&self, model: usize, now: Moment) -> bool {
        let Resident { since, price, .. } = &self.models[model];
        since.is_none_or(|since| now >= since + *price * QUANTUM)
    }

    /// Whether those of these models that are not there may be loaded, to be there all together.
    pub(super) fn room(&self, models: &BTreeSet<usize>) -> Place {
        let wanted = models.iter().map(|&model| &self.models[model]);
        let others: Vec<_> = self.present().filter(|(number, _)| !models.contains(number)).collect();
        let needs = self.needs(models);
        let free = self.free_beside(models);
        if needs > free {
            return Place::Never { needs, free };
        }
        let mut unused: Vec<_> =
            others.iter().filter(|(_, model)| model.users == 0 && !model.pinned).collect();
        unused.sort_by_key(|(_, model)| model.used);
        if wanted.clone().any(|model| model.since.is_none() && model.crowded) {
            let stays = |(_, model): &(usize, &Resident)| model.users > 0 && !model.pinned;
            return match others.iter().any(stays) {
                true => Place::Wait,
                false => Place::Room(unused.iter().map(|(number, _)| *number).collect()),
            };
        }
        let mut taken = needs.saturating_add(bytes(others.iter().map(|(_, model)| *model)));
        let mut unused = unused.into_iter();
        let mut victims = Vec::new();
        while taken > self.budget {
            let Some((number, victim)) = unused.next() else { return Place::Wait };
            victims.push(*number);
            taken -= victim.bytes;
        }
        Place::Room(victims)
    }

    /// Bytes that these models take together, as far as is known.
    fn needs(&self, models: &BTreeSet<usize>) -> u64 {
        let needs = bytes(models.iter().map(|&model| &self.models[model]));
        self.let_in.get(models).map_or(needs, |&most| needs.min(most))
    }

    /// Bytes that can be had for these models: all but those of pinned others.
    fn free_beside(&self, models: &BTreeSet<usize>) -> u64 {
        let others = self.present().filter(|(number, model)| model.pinned && !models.contains(number));
        self.budget.saturating_sub(bytes(others.map(|(_, model)| model)))
    }

    /// These models were found to fit, and one of them has come: now that its size is known they still count as if
    /// they did, or what went for them would have gone for nothing.
    pub(super) fn let_in(&mut self, models: &BTreeSet<usize>) {
        let (needs, free) = (self.needs(models), self.free_beside(models));
        if models.len() > 1 && needs > free {
            self.let_in.insert(models.clone(), free);
        }
    }

    /// These models do not fit, whatever was thought.
    pub(super) fn keep_out(&mut self, models: &BTreeSet<usize>) {
        self.let_in.remove(models);
    }

    /// The model has come onto the device, and it took so long.
    pub(super) fn came(&mut self, model: usize, bytes: u64, took: Duration, now: Moment) {
        let known = &mut self.models[model];
        // What has come fits, whatever the budget says: or it would be refused the next time.
        (known.bytes, known.since, known.used) = (bytes.min(self.budget), Some(now), now);
        (known.price, known.crowded) = (took, false);
    }

    /// Whether the models on the device take more than they may.
    pub(super) fn are_too_many(&self) -> bool {
        bytes(self.present().map(|(_, model)| model)) > self.budget
    }

    /// The model has left the device.
    pub(super) fn went(&mut self, model: usize) {
        self.models[model].since = None;
    }

    /// The model ran out of memory while it was loaded, for somebody who wants it together with these. `false` when
    /// nothing could go that has not gone.
    pub(super) fn crowd(&mut self, model: usize, together: &BTreeSet<usize>) -> bool {
        self.models[model].crowded = true;
        self.present().any(|(number, other)| number != model && !together.contains(&number) && !other.pinned)
    }

    /// The backend has died, and everything on the device with it. What is in use keeps its place, and comes back
    /// with the next call that needs it.
    pub(super) fn lost(&mut self) {
        for model in self.models.iter_mut().filter(|model| model.users == 0) {
            model.since = None;
        }
    }

    /// One more uses the model.
    pub(super) fn lent(&mut self, model: usize, pinned: bool, now: Moment) {
        let known = &mut self.models[model];
        known.users += 1;
        known.pinned |= pinned && !known.outdated;
        known.used = now;
    }

    /// One fewer uses the model.
    pub(super) fn returned(&mut self, model: usize, now: Moment) {
        let known = &mut self.models[model];
        known.users -= 1;
        known.used = now;
    }

    /// The models that have been unused for too long, and those that are out of date.
    pub(super) fn overdue(&self, now: Moment) -> Vec<usize> {
        let due = |(model, at): (usize, Moment)| (at <= now).then_some(model);
        self.ends().filter_map(due).collect()
    }

    /// When the next model will have been unused for too long.
    pub(super) fn next_end(&self) -> Option<Moment> {
        self.ends().map(|(_, at)| at).min()
    }

    fn ends(&self) -> impl Iterator<Item = (usize, Moment)> {
        let idle = self.present().filter(|(_, model)| model.users == 0 && !model.pinned);
        let end = |model: &Resident| match model.outdated {
            true => Some(model.used),
            false => Some(model.used + self.unload_after?),
        };
        idle.filter_map(move |(number, model)| Some((number, end(model)?)))
    }

    /// The model that was used longest ago of those that nobody uses.
    pub(super) fn least_recent(&self) -> Option<usize> {
        let unused = self.present().filter(|(_, model)| model.users == 0 && !model.pinned);
        unused.min_by_key(|(_, model)| model.used).map(|(number, _)| number)
    }
}

/// Bytes of all these models.
fn bytes<'a>(models: impl Iterator<Item = &'a Resident>) -> u64 {
    models.map(|model| model.bytes).fold(0, u64::saturating_add)
}
