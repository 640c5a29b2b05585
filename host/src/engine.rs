// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The engine: one plain thread that owns a device and serves everybody's calls, one forward pass at a time.
//!
//! Samplers run elsewhere, as tasks; each holds a [`Seat`] and awaits one evaluation at a time. Between two passes
//! the thread looks at all calls that wait, picks by turns between the callers, and joins evaluations that fit
//! together. Dropping a future takes its call back; a backend that dies costs one step.
//!
//! The way of a call: [`Seat`] (`seat.rs`) -> the thread's mailbox (`mailbox.rs`) -> who is next (`choice.rs`), with
//! how many (`curve.rs`), has the model room (`residents.rs`), has it the right LoRAs (`sets.rs`) -> the backend
//! (`device.rs`), and when that runs out of memory, `ladder.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alice_plugin::{Backend, Error, ErrorKind, LatentShape, LoadRequest, ModelInfo, Result};
use tokio::sync::{oneshot, watch};

pub use self::engines::Engines;
use self::mailbox::Message;
pub use self::seat::{
    Chunk, Extra, ExtraRows, HintPicture, LoadedModel, NotLoaded, Pixels, Row, RowHint, Seat, Text,
};
use self::status::Board;
pub use self::status::{Measurement, ModelState, ModelStatus};
pub use self::versioned::{Versioned, canonical};
use crate::config::MaxRows;
use crate::metrics::Metrics;

mod choice;
mod curve;
mod desk;
mod device;
mod encodings;
mod engines;
pub(crate) mod errands;
mod kinds;
mod ladder;
mod mailbox;
mod residents;
mod seat;
mod sets;
mod status;
mod sync;
#[cfg(test)]
mod tests;
mod versioned;
mod weights;
mod work;

/// A backend in one of its lives.
pub trait Instance: Backend {
    /// Why it is no more, if it has died since its last call. One that lives in this process cannot.
    fn obituary(&mut self) -> Option<Error> {
        None
    }
}

/// Makes a new instance of the backend: once at the start, and again whenever one has died.
pub type Start = Box<dyn Fn() -> Result<Box<dyn Instance>> + Send>;

/// Under which name the operator's own calls take part in the turns.
const OPERATOR: u64 = u64::MAX;

/// What the operator decides about one device.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which of the backend's devices: an [`alice_plugin::Device::index`].
    pub device: u32,
    /// Rows that one forward pass may hold; one evaluation is always let in whole.
    pub max_rows: MaxRows,
    /// Bytes that the weights of all models together may take. Unset: most of what the device has free when the
    /// engine starts, or anything where the device does not say.
    pub memory_bytes: Option<u64>,
    /// How long a model may lie unused before it is unloaded. Unset: for ever.
    pub unload_after: Option<Duration>,
    /// Where the engine writes, in milliseconds, how long a call of this device may be silent: ten times the
    /// longest pass so far. Whoever watches the backend's process reads it.
    pub silence_ms: Arc<AtomicU64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device: 0,
            max_rows: MaxRows::Auto,
            memory_bytes: None,
            unload_after: None,
            silence_ms: Arc::default(),
        }
    }
}

/// The way to one device. Clones lead to the same one, whose thread ends with the last of them.
#[derive(Clone, Debug)]
pub struct Engine {
    mailbox: sync::Sender<Message>,
    board: Arc<Board>,
    seats: Arc<AtomicU64>,
    device: u32,
}

/// What came of a request to unload a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unload {
    /// It is gone.
    Done,
    /// It was not there.
    NotLoaded,
    /// Pictures are being made with it, so it stays.
    InUse,
}

/// What everybody hears from an engine that is no more.
fn gone() -> Error {
    Error::new(ErrorKind::DeviceLost, "the engine has ended")
}

impl Engine {
    /// Starts a backend and the thread that owns it.
    ///
    /// # Errors
    /// What the backend says; [`alice_plugin::ErrorKind::Invalid`] for a device that it does not have; the system's
    /// refusal of a thread.
    pub fn start(start: Start, settings: Settings, metrics: Arc<Metrics>) -> Result<Self> {
        let (mailbox, inbox) = sync::channel();
        let board = Arc::new(Board::default());
        let device = settings.device;
        let desk = desk::Desk::open(start, settings, metrics, board.clone())?;
        sync::spawn("engine", move || mailbox::serve(desk, &inbox))
            .map_err(|error| Error::internal(format!("no thread for the engine: {error}")))?;
        Ok(Self { mailbox, board, seats: Arc::default(), device })
    }

    /// A seat for one picture. Callers (numbers of accounts, say) take turns; of one caller's seats that with the
    /// lowest `order` goes first.
    pub fn seat(&self, caller: u64, order: u64) -> Seat {
        let number = self.seats.fetch_add(1, Ordering::Relaxed);
        Seat::new(self.mailbox.clone(), self.board.clone(), number, caller, order, self.device)
    }

    /// Changes whenever the backend has died, and with it everything that was on the device.
    pub fn deaths(&self) -> watch::Receiver<u64> {
        self.board.deaths()
    }

    /// The models that are on the device or on their way, as they were a moment ago.
    pub fn models(&self) -> Vec<ModelStatus> {
        self.board.models()
    }

    /// How many seats are taken now.
    pub fn seats_taken(&self) -> usize {
        self.board.seats_taken()
    }

    /// What forward passes have taken so far, by model, size of the latent and number of rows.
    pub fn measurements(&self) -> Vec<Measurement> {
        self.board.measurements()
    }

    /// Seconds of the device that one row costs, at the best number of rows measured so far; `None` before the
    /// first pass with this model and size.
    pub fn seconds_per_row(&self, request: &LoadRequest, shape: LatentShape) -> Option<f64> {
        self.board.seconds_per_row(request, shape)
    }

    /// Loads a model without using it. One that is `pinned` stays until it is unloaded by request.
    ///
    /// # Errors
    /// As [`Seat::load`].
    pub async fn load(&self, model: impl Into<Versioned<LoadRequest>>, pinned: bool) -> Result<ModelInfo> {
        let lease = self.seat(OPERATOR, 0).lease(model.into(), pinned).await?;
        Ok(lease.info.clone())
    }

    /// Unloads all versions of a model that nobody uses, pinned or not; a pinned one is pinned again when it is
    /// loaded.
    ///
    /// # Errors
    /// When the engine has ended.
    pub async fn unload(&self, request: LoadRequest) -> Result<Unload> {
        let request = LoadRequest { device: self.device, ..request };
        let (reply, answer) = oneshot::channel();
        // An engine that is gone drops the reply, which is heard below.
        let _gone = self.mailbox.send(Message::Unload { request, reply });
        answer.await.map_err(|_| gone())
    }

    /// From now on there are these models, in these versions, and no others. What else is on the device goes as soon
    /// as nobody uses it, pinned or not.
    pub fn offer(&self, models: impl IntoIterator<Item = Versioned<LoadRequest>>) {
        let here = |Versioned { what, version }| Versioned {
            what: LoadRequest { device: self.device, ..what },
            version,
        };
        // An engine that is gone has no models.
        let _gone = self.mailbox.send(Message::Offer(models.into_iter().map(here).collect()));
    }
}
