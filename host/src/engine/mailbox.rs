// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the engine's thread is told, and the thread's loop: read the mail, decide, act.

use std::sync::Arc;
use std::time::Duration;

use alice_plugin::{Adapter, LatentShape, LoadRequest, Result};
use tokio::sync::oneshot;

use super::choice::Choice;
use super::desk::Desk;
use super::errands;
use super::sync::{Receiver, RecvTimeoutError, Sender};
use super::versioned::Versioned;
use super::{LoadedModel, NotLoaded, Pixels, Row, Text, Unload};

/// How often it is looked whether the backend is still there when nobody asks it for anything.
pub(super) const GLANCE: Duration = Duration::from_secs(1);

/// Where an answer goes. It is closed when nobody waits for it any more.
pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A seat asks for something.
    Call(Box<Call>),
    /// A seat is gone.
    Leave(u64),
    /// One fewer uses this model.
    Returned(usize),
    /// A model that nobody uses is to go.
    Unload { request: LoadRequest, reply: oneshot::Sender<Unload> },
    /// There are these models and no others.
    Offer(Vec<Versioned<LoadRequest>>),
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

/// The calls that there are.
#[derive(Debug)]
pub(super) enum Task {
    Load(Loading),
    Encode(Encoding),
    Denoise(Evaluation),
    Decode(Decoding),
    EncodeImage(Picturing),
    Upscale(Upscaling),
}

/// The use of models is wanted, of all at once.
#[derive(Debug)]
pub(super) struct Loading {
    pub(super) wanted: Vec<Versioned<LoadRequest>>,
    pub(super) pinned: bool,
    /// Goes into the leases: the thread itself keeps no way to its mailbox, or it would never see it close.
    pub(super) mailbox: Sender<Message>,
    /// A lease for each that is wanted, in their order.
    pub(super) reply: Reply<std::result::Result<Vec<Arc<LoadedModel>>, NotLoaded>>,
}

/// A prompt is to be encoded.
#[derive(Debug)]
pub(super) struct Encoding {
    pub(super) model: Arc<LoadedModel>,
    pub(super) text: Arc<Text>,
    pub(super) reply: Reply<Arc<Text>>,
}

/// Rows that one sampler needs together (one, or two with guidance).
#[derive(Debug)]
pub(super) struct Evaluation {
    pub(super) model: Arc<LoadedModel>,
    pub(super) shape: LatentShape,
    pub(super) rows: Vec<Row>,
    pub(super) reply: Reply<Vec<f32>>,
}

/// A latent is to become a picture.
#[derive(Debug)]
pub(super) struct Decoding {
    pub(super) model: Arc<LoadedModel>,
    pub(super) shape: LatentShape,
    pub(super) latent: Vec<f32>,
    /// It is not finished, and its seat stays taken.
    pub(super) preview: bool,
    pub(super) reply: Reply<Vec<u8>>,
}

/// A picture is to become a latent.
#[derive(Debug)]
pub(super) struct Picturing {
    pub(super) model: Arc<LoadedModel>,
    pub(super) shape: LatentShape,
    pub(super) pixels: Pixels,
    /// The mean and the standard deviation.
    pub(super) reply: Reply<(Vec<f32>, Vec<f32>)>,
}

/// A picture is to become a larger one.
#[derive(Debug)]
pub(super) struct Upscaling {
    pub(super) model: Arc<LoadedModel>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rgb: Vec<u8>,
    pub(super) reply: Reply<Vec<u8>>,
}

impl Evaluation {
    /// The LoRAs with which it is to run.
    pub(super) fn adapters(&self) -> Arc<[Versioned<Adapter>]> {
        self.rows.first().map(|row| row.text.adapters.clone()).unwrap_or_default()
    }
}

impl Task {
    /// The model, and the LoRAs with which it does this. What has nothing to do with LoRAs is done with any.
    pub(super) fn needs(&self) -> Option<(usize, Arc<[Versioned<Adapter>]>)> {
        match self {
            Self::Encode(encoding) => Some((encoding.model.id, encoding.text.adapters.clone())),
            Self::Denoise(evaluation) => Some((evaluation.model.id, evaluation.adapters())),
            Self::Load(_) | Self::Decode(_) | Self::EncodeImage(_) | Self::Upscale(_) => None,
        }
    }

    /// Whether somebody waits for the answer.
    pub(super) fn is_wanted(&self) -> bool {
        !match self {
            Self::Load(loading) => loading.reply.is_closed(),
            Self::Encode(encoding) => encoding.reply.is_closed(),
            Self::Denoise(evaluation) => evaluation.reply.is_closed(),
            Self::Decode(decoding) => decoding.reply.is_closed(),
            Self::EncodeImage(picturing) => picturing.reply.is_closed(),
            Self::Upscale(upscaling) => upscaling.reply.is_closed(),
        }
    }
}

/// Serves calls until nobody is left who could make one.
pub(super) fn serve(mut desk: Desk, inbox: &Receiver<Message>) {
    loop {
        // What arrives during the decision stays in the mailbox, so that neither of the waits below misses it.
        while let Ok(message) = inbox.try_recv() {
            desk.take(message);
        }
        let patience = match desk.next() {
            Choice::Start(calls) => {
                let alone = desk.line.calls().count() == 1;
                let mut serve = || {
                    desk.run(&calls);
                    desk.board.note_finished();
                };
                // Nobody has any use of the device before the one who is answered asks again.
                if alone {
                    errands::here(serve)
                } else {
                    serve()
                }
                continue;
            }
            Choice::WaitUntil(moment) => moment.saturating_sub(desk.now()).min(GLANCE),
            Choice::Sleep => GLANCE,
        };
        match inbox.recv_timeout(patience) {
            Ok(message) => desk.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
