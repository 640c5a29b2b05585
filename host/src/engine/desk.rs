// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Everything that the engine's thread knows: the device, who waits, which models are there. It takes messages,
//! answers what needs no device, and says what comes next; the work itself is in `work.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alice_plugin::{Adapter, Control, Description, Error, ErrorKind, LoadRequest, ModelInfo, Result};
use tracing::info;

use super::choice::{Choice, Joining, Line, Moment, Waiting, Work};
use super::device::Device;
use super::kinds::Kinds;
use super::ladder::Large;
use super::mailbox::{Call, Encoding, Loading, Message, Task};
use super::residents::{Place, Residents};
use super::sets::{Need, Sets};
use super::status::{Board, ModelState, ModelStatus, Posted};
use super::versioned::Versioned;
use super::{LoadedModel, Settings, Start, Unload, ladder, weights};
use crate::config::MaxRows;
use crate::metrics::Metrics;

/// The state of one engine.
pub(super) struct Desk {
    pub(super) device: Device,
    pub(super) line: Line,
    pub(super) residents: Residents,
    pub(super) kinds: Kinds,
    pub(super) sets: Sets,
    /// The calls in the line, by their numbers: the seat that asks, and what for.
    pub(super) calls: HashMap<u64, (u64, Task)>,
    /// How often the backend has died of a seat alone.
    pub(super) strikes: HashMap<u64, u32>,
    /// The sides of the tiles in which each model does what did not fit whole.
    pub(super) tiles: HashMap<(usize, Large), u32>,
    /// What the backend said of each model when it was loaded last.
    pub(super) infos: HashMap<usize, ModelInfo>,
    pub(super) board: Arc<Board>,
    pub(super) metrics: Arc<Metrics>,
    /// Bytes for weights, where they are limited.
    pub(super) budget: Option<u64>,
    backend: Description,
    max_rows: MaxRows,
    /// On a CPU a row costs as much in company as alone: to wait for company would only lose time.
    on_cpu: bool,
    began: Instant,
    /// Since when the device has had nothing to do.
    free: Moment,
    /// The number of the next call.
    next_call: u64,
    /// How many deaths of the backend the residents know of.
    deaths: u64,
}

impl Desk {
    /// Starts the backend.
    pub(super) fn open(
        start: Start,
        settings: Settings,
        metrics: Arc<Metrics>,
        board: Arc<Board>,
    ) -> Result<Self> {
        let (device, backend) = Device::open(start, metrics.clone(), settings.silence_ms)?;
        let number = settings.device;
        let hardware = backend.devices.iter().find(|device| device.index == number);
        let hardware = hardware.ok_or_else(|| {
            Error::invalid(format!("the backend `{}` has no device {number}", backend.name))
        })?;
        // A tenth is left for what is computed with the weights. Should it be too little, the ladder decides.
        let free = hardware.memory_free.or(hardware.memory_total).map(|bytes| bytes / 10 * 9);
        let budget = settings.memory_bytes.or(free);
        Ok(Self {
            device,
            line: Line::default(),
            residents: Residents::new(budget.unwrap_or(u64::MAX), settings.unload_after),
            kinds: Kinds::default(),
            sets: Sets::default(),
            calls: HashMap::new(),
            strikes: HashMap::new(),
            tiles: HashMap::new(),
            infos: HashMap::new(),
            board,
            metrics,
            budget,
            on_cpu: hardware.kind == "cpu",
            backend,
            max_rows: settings.max_rows,
            began: Instant::now(),
            free: Moment::ZERO,
            next_call: 0,
            deaths: 0,
        })
    }

    /// Time since the engine began.
    pub(super) fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// Takes a message. What needs neither the device nor a turn is answered at once.
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Call(call) => self.admit(*call),
            Message::Leave(seat) => {
                self.strikes.remove(&seat);
                self.line.vacate(seat);
                if self.line.is_empty() {
                    self.kinds.tidy();
                    self.sets.tidy();
                }
            }
            Message::Returned(model) => {
                let now = self.now();
                self.residents.returned(model, now);
                self.publish();
            }
            Message::Unload { request, reply } => {
                // Who no longer wants to know need not be told.
                let _gone = reply.send(self.unload(&request));
            }
            // `next` unloads what is no longer there.
            Message::Offer(models) => {
                self.residents.offer(models);
                self.publish();
            }
            // `next` looks for calls that nobody wants.
            Message::TakenBack => {}
        }
    }

    fn admit(&mut self, Call { seat, caller, order, task }: Call) {
        let known = match &task {
            Task::Encode(Encoding { model, text, .. }) => self.device.encoded(model.id, text),
            _ => None,
        };
        let task = match (task, known) {
            (Task::Encode(Encoding { reply, .. }), Some(known)) => {
                self.line.rise(seat);
                // Who no longer wants to know need not be told.
                let _gone = reply.send(Ok(known));
                return;
            }
            (task, _) => task,
        };
        let need = task.needs().map(|(model, adapters)| Need { model, set: self.sets.number(&adapters) });
        let work = match (&task, need) {
            (Task::Denoise(evaluation), Some(need)) => {
                Work::Evaluation { group: self.kinds.group(evaluation, need), rows: evaluation.rows.len() }
            }
            (Task::Decode(decoding), _) => Work::Alone { keeps_seat: decoding.preview },
            _ => Work::Alone { keeps_seat: false },
        };
        if let Task::Load(Loading { wanted, .. }) = &task {
            for model in wanted {
                self.residents.number(model, || weights::expected(&model.what, &self.backend));
            }
        }
        let (call, arrived) = (self.next_call, self.now());
        self.next_call += 1;
        self.calls.insert(call, (seat, task));
        self.line.join(Waiting { call, seat, caller, order, arrived, work, need });
    }

    fn unload(&mut self, request: &LoadRequest) -> Unload {
        let versions: Vec<_> = self.residents.versions(request).collect();
        if versions.is_empty() {
            return Unload::NotLoaded;
        }
        if versions.iter().any(|&model| self.residents.get(model).users > 0) {
            return Unload::InUse;
        }
        versions.into_iter().for_each(|model| self.remove(model));
        Unload::Done
    }

    /// What comes next, after everything has been done that needs no turn.
    pub(super) fn next(&mut self) -> Choice {
        self.device.look();
        self.notice_death();
        self.forget_unwanted();
        self.unload_overdue();
        let places = self.lend();
        let held = self.sets.held(&self.line, self.now(), self.free);
        let ready = |call| {
            !held.contains_key(&call) && places.get(&call).is_none_or(|place| matches!(place, Place::Room(_)))
        };
        let choice = self.line.choose(self.now(), self.free, ready, |group| self.joining(group));
        match (choice, held.into_values().chain(self.residents.next_end()).min()) {
            (Choice::Sleep, Some(end)) => Choice::WaitUntil(end),
            (choice, _) => choice,
        }
    }

    /// Gives a model these LoRAs, for the calls that are served next.
    pub(super) fn adapt(
        &mut self,
        model: &LoadedModel,
        adapters: &Arc<[Versioned<Adapter>]>,
        control: &dyn Control,
    ) -> Result<()> {
        loop {
            match self.device.adapt(model, adapters, control) {
                Ok(None) => return Ok(()),
                Ok(Some(took)) => {
                    let need = Need { model: model.id, set: self.sets.number(adapters) };
                    let now = self.now();
                    self.sets.came(need, took, now);
                    return Ok(());
                }
                Err(error) if error.kind == ErrorKind::OutOfMemory => {
                    self.metrics.out_of_memory();
                    if !self.make_room() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Does what was chosen.
    pub(super) fn run(&mut self, calls: &[u64]) {
        self.line.started(calls);
        self.work(calls);
        self.free = self.now();
    }

    /// If the backend has died, the models went with it.
    pub(super) fn notice_death(&mut self) {
        if self.deaths != self.device.deaths() {
            self.deaths = self.device.deaths();
            self.residents.lost();
            self.sets.lost();
            self.publish();
            // Whoever hears of it finds the models gone.
            self.board.note_deaths(self.deaths);
        }
    }

    fn joining(&self, group: usize) -> Joining {
        let curve = self.kinds.curve(group);
        let courtesy = curve.patience();
        let patience = if self.on_cpu { Duration::ZERO } else { courtesy };
        Joining { most_rows: curve.most_rows(self.max_rows), patience, courtesy }
    }

    fn forget_unwanted(&mut self) {
        let line = &mut self.line;
        self.calls.retain(|call, (_, task)| {
            let wanted = task.is_wanted();
            if !wanted {
                line.leave(*call);
            }
            wanted
        });
    }

    /// Lets models be used that are there and refuses those that never fit. Gives what becomes of the others.
    fn lend(&mut self) -> HashMap<u64, Place> {
        loop {
            let now = self.now();
            let wanted = self.line.calls().filter_map(|waiting| match &self.calls.get(&waiting.call)?.1 {
                Task::Load(loading) => Some((waiting.call, self.models(loading).collect())),
                _ => None,
            });
            let places = self.residents.admit(wanted, now);
            let decided = |(_, place): &&(u64, Place)| matches!(place, Place::Here | Place::Never { .. });
            let Some((call, place)) = places.iter().find(decided) else {
                return places.into_iter().collect();
            };
            self.line.leave(*call);
            let Some((_, Task::Load(loading))) = self.calls.remove(call) else { continue };
            match *place {
                Place::Never { needs, free } => {
                    let refusal = ladder::models_too_large(&loading.wanted, needs, free);
                    let _gone = loading.reply.send(Err(refusal));
                }
                _ => self.give(loading),
            }
        }
    }

    /// The numbers of the models that are wanted, in their order.
    pub(super) fn models(&self, loading: &Loading) -> impl Iterator<Item = usize> {
        let number = |model| self.residents.find(model).expect("a model that is asked for has its number");
        loading.wanted.iter().map(number)
    }

    /// Gives the use of models that are there.
    pub(super) fn give(&mut self, loading: Loading) {
        let models: Vec<_> = self.models(&loading).collect();
        let Loading { wanted, pinned, mailbox, reply } = loading;
        let now = self.now();
        let leases = models.into_iter().zip(wanted).map(|(model, wanted)| {
            self.residents.lent(model, pinned, now);
            let info = self.infos[&model].clone();
            Arc::new(LoadedModel::new(model, wanted.what, info, mailbox.clone()))
        });
        let leases = leases.collect();
        self.publish();
        // Leases that nobody takes come back at once.
        let _gone = reply.send(Ok(Ok(leases)));
    }

    fn unload_overdue(&mut self) {
        for model in self.residents.overdue(self.now()) {
            info!("Unloading a model that nobody has used for a while, or whose files are others now");
            self.evict(model);
        }
    }

    /// Makes one model go that nobody uses; `false` when there is none.
    pub(super) fn make_room(&mut self) -> bool {
        let victim = self.residents.least_recent();
        victim.inspect(|&victim| self.evict(victim)).is_some()
    }

    pub(super) fn evict(&mut self, model: usize) {
        self.metrics.evicted();
        self.remove(model);
    }

    fn remove(&mut self, model: usize) {
        self.device.unload(model);
        self.sets.went(model);
        self.residents.went(model);
        self.kinds.lift_ceilings();
        self.tiles.clear();
        self.publish();
    }

    /// Shows everybody which models there are.
    pub(super) fn publish(&self) {
        self.board.post_models(self.residents.present().map(|(number, _)| self.posted(number)).collect());
    }

    /// The same, with a model that is on its way.
    pub(super) fn publish_coming(&self, model: usize) {
        let present = self.residents.present().map(|(number, _)| number);
        self.board.post_models(present.chain([model]).map(|number| self.posted(number)).collect());
    }

    fn posted(&self, number: usize) -> Posted {
        let model = self.residents.get(number);
        let state = match self.device.has(number) {
            true => ModelState::Loaded,
            false => ModelState::Loading { done: 0, total: 0 },
        };
        let status = ModelStatus {
            request: model.model.what.clone(),
            version: model.model.version,
            state,
            memory_bytes: model.bytes,
            users: model.users,
            pinned: model.pinned,
            idle: Duration::ZERO,
        };
        let idle = model.since.is_some() && model.users == 0;
        Posted { status, idle_since: idle.then(|| self.began + model.used) }
    }
}
