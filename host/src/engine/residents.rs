// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which models are in the device's memory, and which have to go or to wait.
//!
//! A model that is in use stays. One that does not fit beside those waits until enough of them are no longer in
//! use; meanwhile a model that has had its time, ten times what loading it took, gets no new users, or the one that
//! waits would wait for ever. Of the models that nobody uses the one that was used longest ago goes first.
//!
//! No clock and no device: the time is an argument.

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

/// What becomes of a request for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is there and may be used.
    Here,
    /// It may be loaded, after these have gone.
    Room(Vec<usize>),
    /// Not yet.
    Wait,
    /// It never fits: it needs more than there is beside the pinned models.
    Never { needs: u64, free: u64 },
}

/// The first request that wants a model loaded: the model, and those that go for it; `None` while it has to wait.
struct Claim {
    model: usize,
    victims: Option<Vec<usize>>,
}

impl Residents {
    pub(super) fn new(budget: u64, unload_after: Option<Duration>) -> Self {
        Self { budget, unload_after, models: Vec::new(), offered: None }
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

    /// What becomes of the requests for models (call, model), the first come first.
    pub(super) fn admit(
        &self,
        requests: impl IntoIterator<Item = (u64, usize)>,
        now: Moment,
    ) -> Vec<(u64, Place)> {
        let mut claim = None;
        let mut place = |model: usize| {
            if self.models[model].since.is_some() {
                return self.share(model, claim.as_ref(), now);
            }
            // Memory is given out in order: a small model that slips through could keep a large one out for ever.
            let place = match &claim {
                Some(Claim { model: first, .. }) if *first != model => match self.room(model) {
                    never @ Place::Never { .. } => never,
                    _ => Place::Wait,
                },
                _ => self.room(model),
            };
            let victims = match &place {
                Place::Room(victims) => Some(victims.clone()),
                _ => None,
            };
            if claim.is_none() && !matches!(place, Place::Never { .. }) {
                claim = Some(Claim { model, victims });
            }
            place
        };
        requests.into_iter().map(|(call, model)| (call, place(model))).collect()
    }

    /// Whether one more may use a model that is there, while somebody may wait for another one.
    fn share(&self, model: usize, claim: Option<&Claim>, now: Moment) -> Place {
        let Some(claim) = claim else { return Place::Here };
        let makes_way = match &claim.victims {
            Some(victims) => victims.contains(&model),
            None => !self.models[model].pinned && self.has_had_its_time(model, now),
        };
        if makes_way { Place::Wait } else { Place::Here }
    }

    fn has_had_its_time(&self, model: usize, now: Moment) -> bool {
        let Resident { since, price, .. } = &self.models[model];
        since.is_none_or(|since| now >= since + *price * QUANTUM)
    }

    /// Whether a model that is not there may be loaded.
    pub(super) fn room(&self, model: usize) -> Place {
        let wanted = &self.models[model];
        let bytes = |models: &mut dyn Iterator<Item = (usize, &Resident)>| -> u64 {
            models.map(|(_, model)| model.bytes).fold(0, u64::saturating_add)
        };
        let most = self.budget.saturating_sub(bytes(&mut self.present().filter(|(_, model)| model.pinned)));
        if wanted.bytes > most {
            return Place::Never { needs: wanted.bytes, free: most };
        }
        let mut unused: Vec<_> =
            self.present().filter(|(_, model)| model.users == 0 && !model.pinned).collect();
        unused.sort_by_key(|(_, model)| model.used);
        let mut unused = unused.into_iter();
        let mut free = self.budget.saturating_sub(bytes(&mut self.present()));
        let mut victims = Vec::new();
        if wanted.crowded {
            let stays = |(_, model): &(usize, &Resident)| model.users > 0 && !model.pinned;
            return match self.present().any(|present| stays(&present)) {
                true => Place::Wait,
                false => Place::Room(unused.map(|(number, _)| number).collect()),
            };
        }
        while wanted.bytes > free {
            let Some((number, victim)) = unused.next() else { return Place::Wait };
            victims.push(number);
            free = free.saturating_add(victim.bytes);
        }
        Place::Room(victims)
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
        self.present().map(|(_, model)| model.bytes).fold(0, u64::saturating_add) > self.budget
    }

    /// The model has left the device.
    pub(super) fn went(&mut self, model: usize) {
        self.models[model].since = None;
    }

    /// The model ran out of memory while it was loaded. `false` when nothing could go that has not gone.
    pub(super) fn crowd(&mut self, model: usize) -> bool {
        self.models[model].crowded = true;
        self.present().any(|(number, other)| number != model && !other.pinned)
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
