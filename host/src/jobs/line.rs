// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who is next: callers take turns, and each caller's own jobs begin in the order in which they came. No
//! clock, no thread, no database.

use std::collections::{HashMap, HashSet, VecDeque};

use super::Caller;

/// How many jobs may wait and run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Jobs that may run at the same time.
    pub(super) running: usize,
    /// Jobs of one caller that may run at the same time.
    pub(super) running_per_caller: usize,
    /// Jobs that may wait.
    pub(super) waiting: usize,
    /// Jobs of one caller that may wait.
    pub(super) waiting_per_caller: usize,
}

/// Why a job cannot enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The caller has as many jobs in line as one may have.
    Caller,
    /// The whole line is full.
    Line,
}

/// The jobs that wait and those that run, by their numbers.
#[derive(Debug)]
pub(super) struct Line {
    bounds: Bounds,
    /// The callers that have jobs waiting; the one whose turn it is comes first.
    turns: VecDeque<Caller>,
    waiting: HashMap<Caller, VecDeque<i64>>,
    running: HashMap<i64, Caller>,
    /// Those that run with no other beside them.
    apart: HashSet<i64>,
    /// Places that are promised to jobs which are being written down.
    promised: HashMap<Caller, usize>,
}

impl Line {
    /// An empty line.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            running: HashMap::new(),
            apart: HashSet::new(),
            promised: HashMap::new(),
        }
    }

    /// Promises a place to a job of `caller`, whose number is not known yet.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn promise(&mut self, caller: &Caller) -> Result<(), Full> {
        let own = self.present_of(caller);
        let may_run = self.bounds.running_per_caller.min(self.bounds.running);
        if !caller.is_this_machine() && own >= self.bounds.waiting_per_caller.saturating_add(may_run) {
            return Err(Full::Caller);
        }
        if self.present() >= self.bounds.waiting.saturating_add(self.bounds.running) {
            return Err(Full::Line);
        }
        *self.promised.entry(caller.clone()).or_default() += 1;
        Ok(())
    }

    /// Takes a promise back.
    pub(super) fn release(&mut self, caller: &Caller) {
        if let Some(promised) = self.promised.get_mut(caller) {
            *promised -= 1;
            if *promised == 0 {
                self.promised.remove(caller);
            }
        }
    }

    /// Puts the job `number` at the end of its caller's jobs. Its place has been promised, or it was in line
    /// before the daemon went down: then it enters also a full line.
    pub(super) fn enter(&mut self, caller: &Caller, number: i64) {
        let own = self.waiting.entry(caller.clone()).or_default();
        if own.is_empty() {
            self.turns.push_back(caller.clone());
        }
        // Two jobs may be written down in one order and enter in the other.
        let place = own.partition_point(|other| *other < number);
        own.insert(place, number);
    }

    /// A job that is in line runs with no other beside it.
    pub(super) fn set_apart(&mut self, number: i64) {
        self.apart.insert(number);
    }

    /// The job that begins now, if one may.
    pub(super) fn begin(&mut self) -> Option<i64> {
        let company = self.running.keys().all(|running| !self.apart.contains(running));
        if self.running.len() >= self.bounds.running || !company {
            return None;
        }
        let may = |caller: &Caller| self.running_of(caller) < self.bounds.running_per_caller;
        let turn = self.turns.iter().position(may)?;
        let next = self.turns.get(turn).and_then(|caller| self.waiting.get(caller)?.front());
        if next.is_some_and(|next| self.apart.contains(next)) && !self.running.is_empty() {
            return None;
        }
        let caller = self.turns.remove(turn)?;
        let own = self.waiting.get_mut(&caller)?;
        let number = own.pop_front()?;
        if own.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.turns.push_back(caller.clone());
        }
        self.running.insert(number, caller);
        Some(number)
    }

    /// Whether a job waits.
    pub(super) fn waits(&self, caller: &Caller, number: i64) -> bool {
        self.waiting.get(caller).is_some_and(|own| own.contains(&number))
    }

    /// Takes a job out, wherever it is.
    pub(super) fn leave(&mut self, caller: &Caller, number: i64) {
        self.apart.remove(&number);
        if self.running.remove(&number).is_some() {
            return;
        }
        if let Some(own) = self.waiting.get_mut(caller) {
            own.retain(|waiting| *waiting != number);
            if own.is_empty() {
                self.waiting.remove(caller);
                self.turns.retain(|turn| turn != caller);
            }
        }
    }

    /// The waiting jobs that begin before `number`, as things stand; `None` if it does not wait.
    pub(super) fn ahead(&self, caller: &Caller, number: i64) -> Option<Vec<i64>> {
        let round = self.waiting.get(caller)?.iter().position(|waiting| *waiting == number)?;
        let turn = self.turns.iter().position(|turn| turn == caller)?;
        let mut ahead = Vec::new();
        for (at, other) in self.turns.iter().enumerate() {
            // Whoever comes earlier in a round begins one job more before ours.
            let rounds = round + usize::from(at < turn);
            ahead.extend(self.waiting.get(other).into_iter().flatten().take(rounds));
        }
        Some(ahead)
    }

    /// Jobs that wait or run, and promises.
    pub(super) fn present(&self) -> usize {
        self.waiting() + self.running.len() + self.promised.values().sum::<usize>()
    }

    /// Jobs that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Jobs that run.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// As [`present`](Self::present), of one caller.
    pub(super) fn present_of(&self, caller: &Caller) -> usize {
        self.waiting.get(caller).map_or(0, VecDeque::len)
            + self.running_of(caller)
            + self.promised.get(caller).copied().unwrap_or(0)
    }

    fn running_of(&self, caller: &Caller) -> usize {
        self.running.values().filter(|running| *running == caller).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { running: 2, running_per_caller: 2, waiting: 4, waiting_per_caller: 2 };

    fn account(number: i64) -> Caller {
        Caller::Account(number)
    }

    /// A line in which these jobs of these callers wait.
    fn line(jobs: &[(i64, i64)]) -> Line {
        let mut line = Line::new(BOUNDS);
        jobs.iter().for_each(|(caller, number)| line.enter(&account(*caller), *number));
        line
    }

    fn begin_all(line: &mut Line) -> Vec<i64> {
        line.bounds.running = usize::MAX;
        line.bounds.running_per_caller = usize::MAX;
        std::iter::from_fn(|| line.begin()).collect()
    }

    #[test]
    fn callers_take_turns_and_one_callers_jobs_keep_their_order() {
        let mut line = line(&[(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (3, 31)]);
        assert_eq!(begin_all(&mut line), [10, 20, 30, 11, 31, 12]);
    }

    #[test]
    fn what_is_said_to_be_ahead_is_what_begins_before() {
        let all = [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (3, 31)];
        let order = begin_all(&mut line(&all));
        for (caller, number) in all {
            let mut ahead = line(&all).ahead(&account(caller), number).unwrap();
            let place = order.iter().position(|other| *other == number).unwrap();
            ahead.sort_unstable();
            let mut before = order[..place].to_vec();
            before.sort_unstable();
            assert_eq!(ahead, before, "{number}");
        }
        assert_eq!(line(&all).ahead(&account(1), 99), None);
    }

    #[test]
    fn a_caller_with_many_jobs_leaves_room_for_others() {
        let mut line = Line::new(Bounds { running: 3, running_per_caller: 2, ..BOUNDS });
        (10..14).for_each(|number| line.enter(&account(1), number));
        assert_eq!([line.begin(), line.begin(), line.begin()], [Some(10), Some(11), None]);
        line.enter(&account(2), 20);
        assert_eq!([line.begin(), line.begin()], [Some(20), None]);
        line.leave(&account(1), 10);
        assert_eq!([line.begin(), line.begin()], [Some(12), None]);
    }

    #[test]
    fn one_caller_is_told_of_the_own_limit_and_the_last_one_of_the_lines() {
        let mut line = Line::new(BOUNDS);
        let promise = |line: &mut Line, caller| line.promise(&account(caller));
        for _ in 0..4 {
            assert_eq!(promise(&mut line, 1), Ok(()));
        }
        assert_eq!(promise(&mut line, 1), Err(Full::Caller));
        assert_eq!([promise(&mut line, 2), promise(&mut line, 2)], [Ok(()), Ok(())]);
        assert_eq!(promise(&mut line, 2), Err(Full::Line));
        line.release(&account(1));
        assert_eq!(promise(&mut line, 2), Ok(()));
        assert_eq!(line.present(), 6);
    }

    #[test]
    fn whoever_leaves_is_in_nobodys_way() {
        let mut line = line(&[(1, 10), (2, 20), (2, 21)]);
        line.leave(&account(1), 10);
        assert_eq!(line.ahead(&account(2), 21), Some(vec![20]));
        line.leave(&account(2), 20);
        line.leave(&account(2), 20);
        assert_eq!(begin_all(&mut line), [21]);
        assert_eq!((line.waiting(), line.running(), line.present()), (0, 1, 1));
        line.leave(&account(2), 21);
        assert_eq!(line.present(), 0);
    }

    #[test]
    fn a_job_that_is_set_apart_begins_when_nothing_runs_and_nothing_begins_beside_it() {
        let mut line = line(&[(1, 10), (2, 20), (3, 30)]);
        line.set_apart(20);
        assert_eq!([line.begin(), line.begin()], [Some(10), None], "it waits for the end of what runs");
        line.leave(&account(1), 10);
        assert_eq!([line.begin(), line.begin()], [Some(20), None], "and the next one for its end");
        line.leave(&account(2), 20);
        assert_eq!(line.begin(), Some(30));
    }

    #[test]
    fn jobs_that_were_written_down_in_another_order_begin_in_that_of_their_numbers() {
        assert_eq!(begin_all(&mut line(&[(1, 11), (1, 10)])), [10, 11]);
    }
}
