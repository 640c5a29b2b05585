// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who is next: given everybody who waits, the seats and the time, what the device does now.
//!
//! Callers take turns, whatever they ask for; of one caller's calls that of the lowest order goes first. The call
//! whose turn it is leads a batch of evaluations that fit beside it, taken from the callers by turns as well. A
//! batch that is not full waits a moment for the seats that are about to ask for the same.
//!
//! No clock, no thread and no device: the time is an argument, so every course of events can be tried out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::sets::Need;

/// Time since the engine began.
pub(super) type Moment = Duration;

/// A call that waits, as far as the choice needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Waiting {
    /// Its number; later calls have higher ones.
    pub(super) call: u64,
    pub(super) seat: u64,
    pub(super) caller: u64,
    /// Its place among the calls of its caller.
    pub(super) order: u64,
    pub(super) arrived: Moment,
    pub(super) work: Work,
    /// What the device must be like for it; `None` for what runs anyhow.
    pub(super) need: Option<Need>,
}

/// What a call asks of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Work {
    /// Something that has the device to itself. With `keeps_seat` the seat stays in its group meanwhile.
    Alone { keeps_seat: bool },
    /// An evaluation of so many rows, which may share a pass with others of its group.
    Evaluation { group: usize, rows: usize },
}

/// How the evaluations of a group are to be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joining {
    /// Rows that pay in one pass. The first evaluation is let in whole, however many it has.
    pub(super) most_rows: usize,
    /// How long a batch may wait to become full.
    pub(super) patience: Duration,
    /// How long a seat may wait for one of its own caller that goes before it and is about to ask again.
    pub(super) courtesy: Duration,
}

/// A seat that is about to ask for another evaluation, as far as is known from its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Sitting {
    group: usize,
    rows: usize,
    need: Option<Need>,
    caller: u64,
    order: u64,
}

/// Who there is that needs the device to be as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Calls that wait.
    Calls,
    /// Seats that are about to ask again, and no call.
    Seats,
    /// Nobody.
    None,
}

/// What the device does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Serve these calls: one, or evaluations of one group.
    Start(Vec<u64>),
    /// Nothing before this moment, unless somebody calls.
    WaitUntil(Moment),
    /// Nothing, until somebody calls.
    Sleep,
}

/// Everybody who waits, and who sits where.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Line {
    /// By their numbers.
    waiting: BTreeMap<u64, Waiting>,
    /// The seats that are about to ask for another evaluation.
    sitting: BTreeMap<u64, Sitting>,
    /// Seats that share no pass until they have finished one.
    apart: BTreeSet<u64>,
    /// The turn in which each caller was served last.
    served: BTreeMap<u64, u64>,
    turn: u64,
}

impl Line {
    /// A call joins the line.
    pub(super) fn join(&mut self, call: Waiting) {
        match call.work {
            Work::Evaluation { group, rows } => {
                let Waiting { seat, caller, order, need, .. } = call;
                self.sitting.insert(seat, Sitting { group, rows, need, caller, order });
            }
            Work::Alone { keeps_seat: true } => {}
            Work::Alone { keeps_seat: false } => self.rise(call.seat),
        }
        self.waiting.insert(call.call, call);
    }

    /// A call has been answered or taken back.
    pub(super) fn leave(&mut self, call: u64) {
        self.waiting.remove(&call);
    }

    /// Nobody waits any more for this seat's next evaluation.
    pub(super) fn rise(&mut self, seat: u64) {
        self.sitting.remove(&seat);
    }

    /// The seat is gone.
    pub(super) fn vacate(&mut self, seat: u64) {
        self.rise(seat);
        self.apart.remove(&seat);
        if self.is_empty() {
            // Whom nobody competes with owes nobody a turn.
            self.served.clear();
        }
    }

    /// From now on this seat shares no pass.
    pub(super) fn set_apart(&mut self, seat: u64) {
        self.apart.insert(seat);
    }

    /// This seat has finished a pass.
    pub(super) fn rejoin(&mut self, seat: u64) {
        self.apart.remove(&seat);
    }

    /// Whether nobody waits and nobody sits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sitting.is_empty()
    }

    /// The calls that wait, in the order of their arrival.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// Who there is with this need.
    pub(super) fn demand(&self, need: Need) -> Demand {
        if self.waiting.values().any(|waiting| waiting.need == Some(need)) {
            Demand::Calls
        } else if self.sitting.values().any(|sitting| sitting.need == Some(need)) {
            Demand::Seats
        } else {
            Demand::None
        }
    }

    /// What the device, which has been free since `free`, does at `now`. Calls that are not `ready` cannot run yet.
    pub(super) fn choose(
        &self,
        now: Moment,
        free: Moment,
        ready: impl Fn(u64) -> bool,
        joining: impl Fn(usize) -> Joining,
    ) -> Choice {
        let runnable = self.waiting.values().filter(|waiting| ready(waiting.call));
        let Some(first) = runnable.min_by_key(|waiting| self.rank(waiting)) else {
            return Choice::Sleep;
        };
        let Work::Evaluation { group, .. } = first.work else {
            return Choice::Start(vec![first.call]);
        };
        if self.apart.contains(&first.seat) {
            return Choice::Start(vec![first.call]);
        }
        let joining = joining(group);
        // Of one caller's pictures the first is finished first, instead of all of them at the end.
        let until = free.max(first.arrived) + joining.courtesy;
        if now < until && self.is_earlier_one_missing(first) {
            return Choice::WaitUntil(until);
        }
        let (batch, rows) = self.fill(first, group, joining.most_rows);
        let oldest = batch.iter().map(|waiting| waiting.arrived).min().unwrap_or(now);
        let until = free.max(oldest) + joining.patience;
        if now < until && self.is_one_missing(group, joining.most_rows.saturating_sub(rows)) {
            return Choice::WaitUntil(until);
        }
        Choice::Start(batch.into_iter().map(|waiting| waiting.call).collect())
    }

    /// Notes whose turn it was.
    pub(super) fn started(&mut self, calls: &[u64]) {
        for call in calls {
            let Some(waiting) = self.waiting.get(call) else { continue };
            self.turn += 1;
            self.served.insert(waiting.caller, self.turn);
        }
    }

    /// Whose turn it is before others': the caller's that was served longest ago.
    fn rank(&self, waiting: &Waiting) -> (u64, u64, u64) {
        let served = self.served.get(&waiting.caller).copied().unwrap_or(0);
        (served, waiting.order, waiting.call)
    }

    /// `first` and what fits beside it: by turns one of each caller, as long as there is room. And their rows.
    fn fill<'a>(&'a self, first: &'a Waiting, group: usize, most_rows: usize) -> (Vec<&'a Waiting>, usize) {
        let rows_of = |waiting: &Waiting| match waiting.work {
            Work::Evaluation { group: other, rows } if other == group => Some(rows),
            _ => None,
        };
        let mut others: Vec<(&Waiting, usize)> = self
            .waiting
            .values()
            .filter(|waiting| waiting.call != first.call && !self.apart.contains(&waiting.seat))
            .filter_map(|waiting| Some((waiting, rows_of(waiting)?)))
            .collect();
        // The last one is the next one.
        others.sort_by_key(|(waiting, _)| Reverse(self.rank(waiting)));
        let (mut batch, mut rows) = (vec![first], rows_of(first).unwrap_or(0));
        let mut taken = BTreeMap::from([(first.caller, 1)]);
        loop {
            others.retain(|(_, more)| rows + more <= most_rows);
            let times = |waiting: &Waiting| taken.get(&waiting.caller).copied().unwrap_or(0);
            let next = (0..others.len()).rev().min_by_key(|&i| times(others[i].0));
            let Some(next) = next else { return (batch, rows) };
            let (waiting, more) = others.remove(next);
            *taken.entry(waiting.caller).or_insert(0) += 1;
            batch.push(waiting);
            rows += more;
        }
    }

    /// Whether somebody sits in the group, has no call in the line, and would have room in `rows`.
    fn is_one_missing(&self, group: usize, rows: usize) -> bool {
        let calling: BTreeSet<u64> = self.waiting.values().map(|waiting| waiting.seat).collect();
        self.sitting.iter().any(|(seat, sitting)| {
            let fits = sitting.group == group && sitting.rows <= rows;
            fits && !calling.contains(seat) && !self.apart.contains(seat)
        })
    }

    /// Whether a seat of the same caller, which goes before this one, has no call in the line.
    fn is_earlier_one_missing(&self, waiting: &Waiting) -> bool {
        let calling: BTreeSet<u64> = self.waiting.values().map(|waiting| waiting.seat).collect();
        let earlier = |sitting: &Sitting| sitting.caller == waiting.caller && sitting.order < waiting.order;
        self.sitting.iter().any(|(seat, sitting)| earlier(sitting) && !calling.contains(seat))
    }
}
