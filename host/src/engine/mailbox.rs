// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The engine's thread: takes calls out of the mailbox in their order.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};

use alice_plugin::{Control, DecodeOptions, Error, LatentShape, LoadRequest, ModelInfo, Result};
use tokio::sync::oneshot;

use super::device::Device;
use super::status::{Board, ModelState, ModelStatus, Posted};
use super::{LoadedModel, Row, Settings, Start, Text, Unload};
use crate::metrics::{Metrics, Stage};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A seat asks for something.
    Call(Box<Call>),
    /// A seat has been given up until its next evaluation.
    Rise(u64),
    /// A seat is gone.
    Leave(u64),
    /// Somebody no longer uses this model.
    Returned(usize),
    /// Somebody no longer waits for an answer.
    TakenBack,
}

/// What a seat asks for.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) seat: u64,
    pub(super) caller: u64,
    pub(super) order: u64,
    pub(super) task: Task,
}

#[derive(Debug)]
pub(super) enum Task {
    /// `mailbox` goes into the lease: the thread keeps no way to its own mailbox, or it would never see it close.
    Load {
        request: LoadRequest,
        pinned: bool,
        mailbox: mpsc::Sender<Message>,
        reply: Reply<Arc<LoadedModel>>,
    },
    Unload {
        request: LoadRequest,
        reply: Reply<Unload>,
    },
    Encode {
        model: Arc<LoadedModel>,
        text: Arc<Text>,
        reply: Reply<Arc<Text>>,
    },
    Denoise(Evaluation),
    Decode {
        model: Arc<LoadedModel>,
        shape: LatentShape,
        latent: Vec<f32>,
        preview: bool,
        reply: Reply<Vec<u8>>,
    },
}

/// Rows that one sampler needs together (one, or two with guidance).
#[derive(Debug)]
pub(super) struct Evaluation {
    pub(super) model: Arc<LoadedModel>,
    pub(super) shape: LatentShape,
    pub(super) rows: Vec<Row>,
    pub(super) reply: Reply<Vec<f32>>,
}

pub(super) struct Desk {
    device: Device,
    board: Arc<Board>,
    loaded: HashMap<usize, (LoadRequest, ModelInfo)>,
}

impl Desk {
    pub(super) fn open(
        start: Start,
        settings: Settings,
        metrics: Arc<Metrics>,
        board: Arc<Board>,
    ) -> Result<Self> {
        let (device, _) = Device::open(start, metrics, settings.silence_ms)?;
        Ok(Self { device, board, loaded: HashMap::new() })
    }
}

/// Serves calls until the last sender is gone.
pub(super) fn serve(mut desk: Desk, inbox: &mpsc::Receiver<Message>) {
    while let Ok(message) = inbox.recv() {
        if let Message::Call(call) = message {
            desk.serve(call.task);
            desk.board.note_finished();
        }
    }
}

impl Desk {
    fn serve(&mut self, task: Task) {
        match task {
            Task::Load { request, mailbox, reply, .. } => {
                answer(reply, |control| {
                    let known = self.loaded.iter().find(|(_, (known, _))| *known == request);
                    let (id, info) = match known {
                        Some((id, (_, info))) if self.device.deaths() == 0 => (*id, info.clone()),
                        _ => (self.loaded.len(), self.device.load(self.loaded.len(), &request, control)?),
                    };
                    self.loaded.insert(id, (request.clone(), info.clone()));
                    Ok(Arc::new(LoadedModel::new(id, request, info, mailbox)))
                });
                let models = self.loaded.values().map(|(request, info)| Posted {
                    status: ModelStatus {
                        request: request.clone(),
                        state: ModelState::Loaded,
                        memory_bytes: info.memory_bytes,
                        users: 0,
                        pinned: false,
                        idle: std::time::Duration::ZERO,
                    },
                    idle_since: None,
                });
                self.board.post_models(models.collect());
            }
            Task::Unload { reply, .. } => answer(reply, |_| Ok(Unload::NotLoaded)),
            Task::Encode { model, text, reply } => {
                answer(reply, |control| self.device.encode(&model, &text, control));
            }
            Task::Denoise(Evaluation { model, shape, rows, reply }) => answer(reply, |control| {
                let rows: Vec<_> = rows.iter().collect();
                let (values, took) = self.device.denoise(&model, shape, &rows, control)?;
                self.board.post_pass(&model.request, shape, rows.len(), took.as_secs_f64());
                Ok(values)
            }),
            Task::Decode { model, shape, latent, preview, reply } => {
                let stage = if preview { Stage::Preview } else { Stage::Decode };
                answer(reply, |control| {
                    self.device.decode(&model, shape, &latent, DecodeOptions::default(), stage, control)
                });
            }
        }
    }
}

/// Runs one call for one caller, unless the caller is gone.
fn answer<T>(reply: Reply<T>, call: impl FnOnce(&dyn Control) -> Result<T>) {
    if reply.is_closed() {
        return;
    }
    let result = call(&Wanted(|| !reply.is_closed()));
    // A receiver that is gone has taken its call back; what it was to receive is dropped, hence freed.
    let _gone = reply.send(result);
}

/// A call goes on for as long as somebody wants its answer.
struct Wanted<F>(F);

impl<F: Fn() -> bool> Control for Wanted<F> {
    fn progress(&self, _done: u64, _total: u64) -> Result<()> {
        if (self.0)() { Ok(()) } else { Err(Error::cancelled()) }
    }
}
