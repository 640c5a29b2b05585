// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Every course of events of a few small worlds, tried out: nobody waits for ever, whatever comes in which order.
//!
//! The engine's thread owns all of its state and shares none of it: what it can meet is the order of its messages,
//! the end of a pass and the time. So the worlds here are made of the very line and residents of the engine, and at
//! each point every event that could come next is followed. There is no lock or atomic whose interleavings a checker
//! of memory models could add.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use proptest::prelude::*;

use super::super::choice::{Choice, Joining, Line, Moment, Waiting, Work};
use super::super::residents::{Place, Residents};
use super::super::sets::{Need, Sets};
use super::fake::request;

/// A pass takes so long, and a moment's patience a part of it.
const PASS: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_micros(200);
/// Another set of LoRAs takes so long.
const CHANGE: Duration = Duration::from_millis(2);
/// Groups from here on are of LoRAs: each has a set of its own, on one model.
const WITH_LORAS: usize = 10;
/// Rows of one pass.
const MOST_ROWS: usize = 4;

/// What a job does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Load(usize),
    /// Several models at once.
    LoadAll(&'static [usize]),
    Evaluate {
        group: usize,
        rows: usize,
    },
    Preview,
    Decode,
    Rise,
    /// Gives the model and the seat back.
    End,
}
use Act::{Decode, End, Evaluate, Load, LoadAll, Preview, Rise};

/// A picture on its way.
#[derive(Clone, Debug)]
struct Job {
    caller: u64,
    script: &'static [Act],
    /// How many of its acts are done.
    done: usize,
    /// The call whose answer it awaits.
    waits: Option<u64>,
    models: Vec<usize>,
    /// Its client may hang up.
    may_leave: bool,
}

impl Job {
    /// The models that it asks for, if it does.
    fn wanted(&self) -> Option<BTreeSet<usize>> {
        match self.script.get(self.done)? {
            Load(model) => Some(BTreeSet::from([*model])),
            LoadAll(models) => Some(models.iter().copied().collect()),
            _ => None,
        }
    }
}

/// What the thread does.
#[derive(Clone, Debug, PartialEq)]
enum Thread {
    Runs(Vec<u64>),
    WaitsUntil(Moment),
    Sleeps,
}

#[derive(Clone, Debug)]
struct World {
    line: Line,
    residents: Residents,
    sets: Sets,
    /// The set that the model has.
    set: Option<usize>,
    /// How often it got another one.
    changes: usize,
    jobs: Vec<Job>,
    thread: Thread,
    now: Moment,
    free: Moment,
    calls: u64,
}

/// What can come next.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A job goes on.
    Acts(usize),
    /// A job's client hangs up.
    Leaves(usize),
    /// The device has done what it was given.
    Done,
    /// The moment has come for which the thread waits.
    Time,
}

impl World {
    /// Jobs of these callers and scripts, over models of these sizes and 100 bytes for all.
    fn new(sizes: &[u64], jobs: &[(u64, &'static [Act])], may_leave: bool) -> Self {
        let mut residents = Residents::new(100, None);
        for (number, size) in sizes.iter().enumerate() {
            assert_eq!(residents.number(&request(&number.to_string()).into(), || *size), number);
        }
        let job =
            |&(caller, script)| Job { caller, script, done: 0, waits: None, models: Vec::new(), may_leave };
        let jobs = jobs.iter().map(job).collect();
        let (line, thread, zero) = (Line::default(), Thread::Sleeps, Moment::ZERO);
        let (sets, set, changes) = (Sets::default(), None, 0);
        Self { line, residents, sets, set, changes, jobs, thread, now: zero, free: zero, calls: 0 }
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, job) in self.jobs.iter().enumerate() {
            if job.waits.is_none() && job.done < job.script.len() {
                events.push(Event::Acts(index));
            }
            if job.may_leave && job.done < job.script.len() {
                events.push(Event::Leaves(index));
            }
        }
        match self.thread {
            Thread::Runs(_) => events.push(Event::Done),
            Thread::WaitsUntil(_) => events.push(Event::Time),
            Thread::Sleeps => {}
        }
        events
    }

    fn meet(&mut self, event: Event) {
        match event {
            Event::Acts(index) => self.act(index),
            Event::Leaves(index) => self.leave(index),
            Event::Done => {
                let Thread::Runs(calls) = std::mem::replace(&mut self.thread, Thread::Sleeps) else {
                    panic!("nothing runs");
                };
                let need = self
                    .line
                    .calls()
                    .find(|waiting| calls.contains(&waiting.call))
                    .and_then(|call| call.need);
                if let Some(need) = need.filter(|need| self.set != Some(need.set)) {
                    (self.set, self.changes) = (Some(need.set), self.changes + 1);
                    self.now += CHANGE;
                    self.sets.came(need, CHANGE, self.now);
                }
                self.now += PASS;
                self.free = self.now;
                calls.into_iter().for_each(|call| self.answer(call));
            }
            Event::Time => {
                let Thread::WaitsUntil(moment) = self.thread else { panic!("nobody waits") };
                self.now = moment;
            }
        }
        if !matches!(self.thread, Thread::Runs(_)) {
            self.decide();
        }
    }

    /// The job's next act: a call, or something that needs no answer.
    fn act(&mut self, index: usize) {
        let (seat, job) = (index as u64, &mut self.jobs[index]);
        let work = match job.script[job.done] {
            Rise => {
                job.done += 1;
                return self.line.rise(seat);
            }
            End => {
                job.done += 1;
                return self.give_back(index);
            }
            Evaluate { group, rows } => Work::Evaluation { group, rows },
            Preview => Work::Alone { keeps_seat: true },
            Load(_) | LoadAll(_) | Decode => Work::Alone { keeps_seat: false },
        };
        let (call, caller, arrived) = (self.calls, job.caller, self.now);
        let need = match work {
            Work::Evaluation { group, .. } if group >= WITH_LORAS => Some(Need { model: 0, set: group }),
            _ => None,
        };
        self.calls += 1;
        job.waits = Some(call);
        self.line.join(Waiting { call, seat, caller, order: seat, arrived, work, need });
    }

    fn leave(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        job.done = job.script.len();
        if let Some(call) = job.waits.take() {
            self.line.leave(call);
        }
        self.give_back(index);
        self.jobs.iter_mut().for_each(|job| job.may_leave = false);
    }

    fn give_back(&mut self, index: usize) {
        self.line.vacate(index as u64);
        for model in std::mem::take(&mut self.jobs[index].models) {
            self.residents.returned(model, self.now);
        }
    }

    /// The call has been served.
    fn answer(&mut self, call: u64) {
        self.line.leave(call);
        let Some(index) = self.jobs.iter().position(|job| job.waits == Some(call)) else { return };
        if let Some(models) = self.jobs[index].wanted() {
            while let Some(model) = self.residents.missing(models.iter().copied()) {
                let bytes = self.residents.get(model).bytes;
                // Loading is over at once in this world, hence so is the model's time, after a pass or two.
                self.residents.came(model, bytes, PASS / 10, self.now);
            }
            self.lend(index, models);
        }
        self.jobs[index].waits = None;
        self.jobs[index].done += 1;
    }

    fn lend(&mut self, index: usize, models: BTreeSet<usize>) {
        assert!(self.jobs[index].models.is_empty(), "whoever waits for models has none");
        for model in models {
            assert!(self.residents.get(model).since.is_some(), "a model was lent that is not there");
            self.residents.lent(model, false, self.now);
            self.jobs[index].models.push(model);
        }
    }

    /// The loads that wait, as (call, models).
    fn loads(&self) -> Vec<(u64, BTreeSet<usize>)> {
        let wanted = |waiting: &Waiting| Some((waiting.call, self.jobs[waiting.seat as usize].wanted()?));
        self.line.calls().filter_map(wanted).collect()
    }

    /// What the engine's thread does between two passes.
    fn decide(&mut self) {
        let places = loop {
            let places = self.residents.admit(self.loads(), self.now);
            match places.iter().find(|(_, place)| *place == Place::Here) {
                None => break places,
                Some(&(call, _)) => {
                    let index = self.jobs.iter().position(|job| job.waits == Some(call)).unwrap();
                    let models = self.jobs[index].wanted().expect("it loads");
                    self.line.leave(call);
                    self.lend(index, models);
                    self.jobs[index].waits = None;
                    self.jobs[index].done += 1;
                }
            }
        };
        let place = |call| places.iter().find(|(of, _)| *of == call).map(|(_, place)| place);
        let held = self.sets.held(&self.line, self.now, self.free);
        let ready = |call| {
            !held.contains_key(&call) && place(call).is_none_or(|place| matches!(place, Place::Room(_)))
        };
        let joining = |_| Joining { most_rows: MOST_ROWS, patience: PATIENCE, courtesy: PATIENCE };
        let choice = self.line.choose(self.now, self.free, ready, joining);
        self.thread = match choice {
            Choice::Start(calls) => {
                self.check(&calls);
                self.line.started(&calls);
                if let Some(Place::Room(victims)) = place(calls[0]) {
                    for &victim in victims {
                        assert_eq!(self.residents.get(victim).users, 0, "a model in use was evicted");
                        self.residents.went(victim);
                    }
                }
                Thread::Runs(calls)
            }
            Choice::WaitUntil(moment) => {
                assert!(self.now < moment && moment <= self.now + PATIENCE, "a wait without end");
                Thread::WaitsUntil(moment)
            }
            Choice::Sleep => match held.values().min() {
                Some(&moment) => {
                    assert!(self.now < moment && moment <= self.now + CHANGE, "the device waits too long");
                    Thread::WaitsUntil(moment)
                }
                None => Thread::Sleeps,
            },
        };
        let bytes: u64 = self.residents.present().map(|(_, model)| model.bytes).sum();
        assert!(bytes <= 100, "more on the device than it holds");
    }

    /// What is started together belongs together.
    fn check(&self, calls: &[u64]) {
        let works: Vec<_> = calls
            .iter()
            .map(|call| self.line.calls().find(|waiting| waiting.call == *call).unwrap().work)
            .collect();
        let rows = |work: &Work| match work {
            Work::Evaluation { rows, .. } => *rows,
            Work::Alone { .. } => usize::MAX,
        };
        if works.len() > 1 {
            assert!(works.iter().map(rows).fold(0, usize::saturating_add) <= MOST_ROWS, "{works:?}");
            let group = |work: &Work| matches!((work, works[0]), (Work::Evaluation { group, .. }, Work::Evaluation { group: first, .. }) if *group == first);
            assert!(works.iter().all(group), "{works:?}");
        }
    }

    fn is_over(&self) -> bool {
        self.jobs.iter().all(|job| job.done == job.script.len())
    }

    /// Stands for this world among those that were seen.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{self:?}").hash(&mut hasher);
        hasher.finish()
    }
}

/// Follows every course of events; gives how many different worlds there were.
fn explore(start: World) -> usize {
    let (mut seen, mut open) = (HashSet::from([start.digest()]), vec![start]);
    while let Some(world) = open.pop() {
        let events = world.events();
        if events.is_empty() {
            assert!(world.is_over(), "everybody waits and nothing will come: {world:#?}");
        }
        for event in events {
            let mut next = world.clone();
            next.meet(event);
            if seen.insert(next.digest()) {
                open.push(next);
            }
        }
        assert!(seen.len() < 2_000_000, "too large a world to be gone through");
    }
    seen.len()
}

const EVALUATE: Act = Evaluate { group: 0, rows: 2 };

#[test]
fn seats_that_come_and_go_never_leave_each_other_waiting() {
    const PLAIN: &[Act] = &[EVALUATE, EVALUATE, Decode, End];
    const PREVIEWED: &[Act] = &[EVALUATE, Preview, EVALUATE, End];
    const RISING: &[Act] = &[EVALUATE, Rise, Evaluate { group: 1, rows: 1 }, End];
    let worlds = explore(World::new(&[], &[(0, PLAIN), (1, PREVIEWED), (1, RISING)], false));
    assert!(worlds > 1_000, "only {worlds}");
    let worlds = explore(World::new(&[], &[(0, PLAIN), (1, PREVIEWED)], true));
    assert!(worlds > 100, "only {worlds}");
}

#[test]
fn models_that_do_not_fit_together_never_keep_each_other_out_for_ever() {
    const FIRST: &[Act] = &[Load(0), EVALUATE, End, Load(0), End];
    const SECOND: &[Act] = &[Load(1), Evaluate { group: 1, rows: 2 }, End];
    const SMALL: &[Act] = &[Load(2), End];
    for jobs in [
        [(0, FIRST), (1, SECOND), (2, SECOND)],
        [(0, FIRST), (1, FIRST), (2, SECOND)],
        [(0, FIRST), (1, SECOND), (2, SMALL)],
    ] {
        for may_leave in [false, true] {
            let worlds = explore(World::new(&[60, 60, 30], &jobs, may_leave));
            assert!(worlds > 100, "only {worlds}");
        }
    }
}

#[test]
fn jobs_that_want_two_models_of_which_two_fit_never_keep_each_other_out_for_ever() {
    const ONE: &[Act] = &[LoadAll(&[0, 1]), EVALUATE, End];
    const TWO: &[Act] = &[LoadAll(&[1, 2]), Evaluate { group: 1, rows: 2 }, End];
    const THREE: &[Act] = &[LoadAll(&[2, 0]), Evaluate { group: 2, rows: 2 }, End];
    const SHARED: &[Act] = &[Load(1), EVALUATE, End, Load(1), End];
    const AGAIN: &[Act] = &[LoadAll(&[0, 1]), End, LoadAll(&[1, 2]), EVALUATE, End];
    for jobs in [
        // Two that overlap in one model, and one who only wants that or the third.
        [(0, ONE), (1, TWO), (2, SHARED)],
        [(0, ONE), (0, TWO), (1, SHARED)],
        // In a ring.
        [(0, ONE), (1, TWO), (2, THREE)],
        [(0, AGAIN), (1, THREE), (1, ONE)],
    ] {
        for may_leave in [false, true] {
            let worlds = explore(World::new(&[40, 40, 40], &jobs, may_leave));
            assert!(worlds > 100, "only {worlds}");
        }
    }
    // The pair takes everything, and each of the others fits beside either of its models.
    const SMALL: &[Act] = &[Load(2), EVALUATE, End, Load(2), End];
    for jobs in [[(0, ONE), (1, SMALL), (2, SMALL)], [(0, AGAIN), (1, SMALL), (2, THREE)]] {
        for may_leave in [false, true] {
            let worlds = explore(World::new(&[50, 50, 30], &jobs, may_leave));
            assert!(worlds > 100, "only {worlds}");
        }
    }
}

#[test]
fn a_pair_is_served_although_others_never_stop_using_what_is_in_its_way() {
    // The first two callers hand the third model to each other without a pause.
    let uses = &*[Load(2), EVALUATE, End].repeat(30).leak();
    const PAIR: &[Act] = &[LoadAll(&[0, 1]), End];
    let mut world = World::new(&[40, 40, 40], &[(0, uses), (1, uses), (2, PAIR)], false);
    while world.jobs[2].done == 0 {
        let events = world.events();
        let acts = events.iter().find(|event| matches!(event, Event::Acts(_)));
        let event = *acts.or(events.first()).expect("the pair waits for nothing that comes");
        world.meet(event);
    }
    let before = (world.jobs[0].done + world.jobs[1].done) / 3;
    assert!((2..=8).contains(&before), "others had the model {before} times before");
}

/// What becomes of these requests for models, at `now`.
fn places(residents: &Residents, requests: &[&[usize]], now: Moment) -> Vec<Place> {
    let requests = (0..).zip(requests.iter().map(|models| models.iter().copied().collect()));
    residents.admit(requests, now).into_iter().map(|(_, place)| place).collect()
}

#[test]
fn who_wants_several_models_gets_all_of_them_or_waits_without_any() {
    let mut residents = Residents::new(100, None);
    for (number, size) in [40, 40, 40, 70].into_iter().enumerate() {
        residents.number(&request(&number.to_string()).into(), || size);
    }
    let never = Place::Never { needs: 110, free: 100 };
    let late = PASS * 1000;
    assert_eq!(places(&residents, &[&[0, 1], &[0, 3]], late), [Place::Room(vec![]), never.clone()]);
    residents.came(0, 40, PASS, Moment::ZERO);
    residents.came(1, 40, PASS, PASS);
    assert_eq!(places(&residents, &[&[1, 0], &[0]], late), [Place::Here, Place::Here]);
    // What of a pair is there stays for it, however long ago it was used.
    assert_eq!(places(&residents, &[&[0, 2]], late), [Place::Room(vec![1])]);
    assert_eq!(places(&residents, &[&[1, 2]], late), [Place::Room(vec![0])]);
    // Whoever would use what goes for the first one waits; who shares its model does not, nor is a part of it loaded
    // for others meanwhile.
    let wait = Place::Wait;
    let expected = [Place::Room(vec![1]), Place::Here, wait.clone(), wait.clone(), Place::Room(vec![1])];
    assert_eq!(places(&residents, &[&[0, 2], &[0], &[0, 1], &[2], &[2, 0]], late), expected);
    // While both are in use the first pair waits. Its own model is lent on; the other one had its time.
    residents.lent(0, false, PASS);
    residents.lent(1, false, PASS);
    let requests: [&[usize]; 4] = [&[0, 2], &[0], &[1], &[0, 1]];
    assert_eq!(
        places(&residents, &requests, PASS),
        [&wait, &Place::Here, &Place::Here, &Place::Here].map(Clone::clone)
    );
    assert_eq!(places(&residents, &requests, late), [&wait, &Place::Here, &wait, &wait].map(Clone::clone));
    residents.returned(1, late);
    assert_eq!(places(&residents, &[&[0, 2]], late), [Place::Room(vec![1])]);
    // A pinned model counts for those who want it, and against those who do not.
    residents.lent(0, true, late);
    let free = Place::Never { needs: 80, free: 60 };
    assert_eq!(places(&residents, &[&[1, 2], &[0, 2]], late), [free, Place::Room(vec![1])]);
}

#[test]
fn a_model_that_ran_out_of_memory_beside_others_is_loaded_beside_its_own_company_alone() {
    let mut residents = Residents::new(100, None);
    for number in 0..3 {
        residents.number(&request(&number.to_string()).into(), || 20);
    }
    residents.came(0, 20, PASS, Moment::ZERO);
    residents.came(1, 20, PASS, Moment::ZERO);
    residents.lent(0, false, Moment::ZERO);
    residents.lent(1, false, Moment::ZERO);
    let pair = BTreeSet::from([0, 2]);
    assert!(residents.crowd(2, &pair), "the other one may go");
    assert_eq!(residents.room(&pair), Place::Wait);
    residents.returned(1, PASS);
    assert_eq!(
        residents.room(&pair),
        Place::Room(vec![1]),
        "that its company is in use is no reason to wait"
    );
    residents.went(1);
    assert!(!residents.crowd(2, &pair), "nothing is left that could go");
}

#[test]
fn loras_that_take_turns_on_one_model_keep_nobody_out_for_ever() {
    const FIRST: &[Act] =
        &[Evaluate { group: WITH_LORAS, rows: 2 }, Preview, Evaluate { group: WITH_LORAS, rows: 2 }, End];
    const SECOND: &[Act] =
        &[Evaluate { group: WITH_LORAS + 1, rows: 2 }, Evaluate { group: WITH_LORAS + 1, rows: 2 }, End];
    const THIRD: &[Act] = &[Evaluate { group: WITH_LORAS + 2, rows: 1 }, Decode, End];
    for jobs in [[(0, FIRST), (1, SECOND), (2, THIRD)], [(0, FIRST), (0, SECOND), (1, FIRST)]] {
        let worlds = explore(World::new(&[], &jobs, false));
        assert!(worlds > 100, "only {worlds}");
        let worlds = explore(World::new(&[], &jobs[..2], true));
        assert!(worlds > 100, "only {worlds}");
    }
}

/// Passes and changes until all jobs of these groups and lengths, each of a caller of its own, are done, when a job
/// asks again as soon as it has been answered.
fn run(jobs: &[(usize, usize)]) -> (usize, Vec<usize>) {
    let script = |&(group, length): &(usize, usize)| {
        let acts: Vec<_> =
            vec![Evaluate { group, rows: MOST_ROWS }; length].into_iter().chain([End]).collect();
        // A test's scripts are few and small.
        &*acts.leak()
    };
    let jobs: Vec<_> = (0u64..).zip(jobs).map(|(caller, job)| (caller, script(job))).collect();
    let mut world = World::new(&[], &jobs, false);
    let mut served = Vec::new();
    loop {
        let events = world.events();
        let acts = events.iter().find(|event| matches!(event, Event::Acts(_)));
        let Some(event) = acts.or(events.first()).copied() else { break };
        if let (Event::Done, Thread::Runs(calls)) = (event, &world.thread) {
            let seat = world.line.calls().find(|waiting| waiting.call == calls[0]).unwrap().seat;
            served.push(seat as usize);
        }
        world.meet(event);
    }
    assert!(world.is_over());
    (world.changes, served)
}

#[test]
fn a_change_of_loras_is_paid_for_by_ten_times_its_time() {
    // The first change is not measured before it has been made. Two passes are as long as ten changes.
    let (changes, served) = run(&[(WITH_LORAS, 20), (WITH_LORAS + 1, 20)]);
    assert!((18..=22).contains(&changes), "{changes} changes in {} passes", served.len());
    let (changes, served) =
        run(&[(WITH_LORAS, 3), (WITH_LORAS + 1, 3), (WITH_LORAS, 3), (WITH_LORAS + 2, 3)]);
    assert!(changes <= 7, "{changes} changes in {} passes", served.len());
    let (changes, _) = run(&[(WITH_LORAS, 9), (WITH_LORAS, 9)]);
    assert_eq!(changes, 1);
}

#[test]
fn callers_with_other_loras_are_served_as_often_as_those_who_were_there_before() {
    let (_, served) = run(&[(WITH_LORAS, 40), (WITH_LORAS + 1, 40), (WITH_LORAS + 2, 40)]);
    let after = &served[..60];
    for caller in 0..3 {
        let count = after.iter().filter(|served| **served == caller).count();
        assert!((16..=24).contains(&count), "caller {caller} has had {count} of {} passes", after.len());
    }
}

/// A job of a random world.
fn scripts() -> impl Strategy<Value = Vec<(u64, &'static [Act])>> {
    let act = prop_oneof![
        4 => (0..2usize, 1..4usize).prop_map(|(group, rows)| Evaluate { group, rows }),
        4 => (WITH_LORAS..WITH_LORAS + 3, 1..4usize).prop_map(|(group, rows)| Evaluate { group, rows }),
        1 => Just(Preview),
        1 => Just(Decode),
        1 => Just(Rise),
    ];
    // Models 0 to 2 fit by twos but for the first two, the last one fits with nothing.
    let pairs: [&[usize]; 3] = [&[0, 2], &[2, 1], &[1, 2, 2]];
    let load =
        prop_oneof![(0..4usize).prop_map(Load), (0..3usize).prop_map(move |pair| LoadAll(pairs[pair]))];
    let script = (load, prop::collection::vec(act, 0..6)).prop_map(|(load, acts)| {
        let script: Vec<Act> = [load].into_iter().chain(acts).chain([End]).collect();
        // A test's scripts are few and small.
        &*script.leak()
    });
    prop::collection::vec((0..4u64, script), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn in_larger_worlds_at_random_everybody_is_served(
        jobs in scripts(), may_leave: bool, dice in prop::collection::vec(any::<u16>(), 1..400),
    ) {
        let mut world = World::new(&[60, 50, 30, 100], &jobs, may_leave);
        let mut dice = dice.into_iter().cycle();
        loop {
            let events = world.events();
            if events.is_empty() {
                break;
            }
            let event = events[usize::from(dice.next().unwrap()) % events.len()];
            world.meet(event);
        }
        prop_assert!(world.is_over(), "{world:#?}");
    }

    #[test]
    fn nobody_is_served_twice_while_another_waits(callers in prop::collection::vec(0..5u64, 2..40)) {
        // All wait with evaluations that share no pass: between two turns of a caller everyone else has one.
        let mut line = Line::default();
        for (call, &caller) in (0u64..).zip(&callers) {
            let work = Work::Evaluation { group: call as usize, rows: 1 };
            line.join(Waiting { call, seat: call, caller, order: call, arrived: Moment::ZERO, work, need: None });
        }
        let joining = |_| Joining { most_rows: 1, patience: Duration::ZERO, courtesy: Duration::ZERO };
        let mut served = Vec::new();
        while let Choice::Start(calls) = line.choose(Moment::ZERO, Moment::ZERO, |_| true, joining) {
            line.started(&calls);
            let caller = callers[calls[0] as usize];
            let since = served.iter().rposition(|other| *other == caller).map_or(0, |at| at + 1);
            let waiting: HashSet<u64> = line.calls().map(|waiting| waiting.caller).collect();
            if since > 0 {
                prop_assert!(waiting.iter().all(|other| *other == caller || served[since..].contains(other)));
            }
            served.push(caller);
            line.leave(calls[0]);
        }
        prop_assert_eq!(served.len(), callers.len());
    }
}

/// A line in which seat 1 waits with two rows and seats 2 and 3 have just been served.
fn two_missing() -> Line {
    let mut line = Line::default();
    for seat in 1..=3 {
        let work = Work::Evaluation { group: 0, rows: 2 };
        line.join(Waiting {
            call: seat,
            seat,
            caller: seat,
            order: 0,
            arrived: Moment::ZERO,
            work,
            need: None,
        });
    }
    line.leave(2);
    line.leave(3);
    line
}

#[test]
fn a_batch_waits_a_moment_for_the_seats_that_are_missing() {
    let joining = |most_rows| move |_| Joining { most_rows, patience: PATIENCE, courtesy: Duration::ZERO };
    let free = Duration::from_millis(7);
    let choose = |line: &Line, now, most_rows| line.choose(now, free, |_| true, joining(most_rows));
    let mut line = two_missing();
    assert_eq!(choose(&line, free, 8), Choice::WaitUntil(free + PATIENCE));
    assert_eq!(choose(&line, free + PATIENCE, 8), Choice::Start(vec![1]), "but not for ever");
    assert_eq!(choose(&line, free, 3), Choice::Start(vec![1]), "another two rows would not pay");
    line.rise(2);
    line.vacate(3);
    assert_eq!(choose(&line, free, 8), Choice::Start(vec![1]), "nobody is missing any more");
}

#[test]
fn a_seat_that_does_something_else_is_not_waited_for() {
    let joining = |_| Joining { most_rows: 8, patience: PATIENCE, courtesy: Duration::ZERO };
    let choose = |line: &Line| line.choose(PASS, PASS, |call| call == 1, joining);
    for (keeps_seat, expected) in [(false, 1), (true, 1)] {
        let mut line = two_missing();
        line.rise(3);
        let work = Work::Alone { keeps_seat };
        line.join(Waiting { call: 9, seat: 2, caller: 2, order: 0, arrived: PASS, work, need: None });
        assert_eq!(choose(&line), Choice::Start(vec![expected]));
        line.leave(9);
        let waits = matches!(choose(&line), Choice::WaitUntil(_));
        assert_eq!(waits, keeps_seat, "after a preview it comes back, after anything else it may not");
    }
}

#[test]
fn of_one_callers_pictures_the_first_is_waited_for_and_of_others_not() {
    let joining = |_| Joining { most_rows: 1, patience: Duration::ZERO, courtesy: PATIENCE };
    for (other, expected) in [(7, Choice::WaitUntil(PASS + PATIENCE)), (8, Choice::Start(vec![2]))] {
        let mut line = Line::default();
        for (seat, caller) in [(1, 7), (2, other)] {
            let work = Work::Evaluation { group: 0, rows: 1 };
            line.join(Waiting {
                call: seat,
                seat,
                caller,
                order: seat,
                arrived: Moment::ZERO,
                work,
                need: None,
            });
        }
        line.started(&[1]);
        line.leave(1);
        assert_eq!(line.choose(PASS, PASS, |_| true, joining), expected, "caller {other}");
        assert_eq!(line.choose(PASS + PATIENCE, PASS, |_| true, joining), Choice::Start(vec![2]));
    }
}
