// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The backend of these tests, and what they do with it over and over.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};

use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, Device,
    EncodeOptions, Error, ErrorKind, Hint, LatentShape, LoadRequest, Memory, ModelFiles, ModelHandle,
    ModelInfo, Result, TextEncoderInfo, TextRequest, UpscaleOptions,
};
use futures::FutureExt;

use super::super::{Chunk, Engine, Instance, LoadedModel, Row, Seat, Settings, Text};
use crate::config::MaxRows;
use crate::metrics::Metrics;

pub(super) const SHAPE: LatentShape = LatentShape { channels: 1, height: 1, width: 2 };

/// What the backend was asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    Start,
    /// The model's name, and the names of those that are there.
    Load(String, Vec<String>),
    Unload(String),
    /// The scales of the LoRAs.
    Adapt(Vec<f32>),
    Encode(u32),
    Release,
    /// The timesteps of its rows.
    Pass(Vec<f32>),
    /// The network's name, and the picture's first byte.
    Hint(String, u8),
    Decode(Option<u32>),
    /// The picture's first byte, and the tile.
    EncodeImage(u8, Option<u32>),
    Upscale(Option<u32>),
}

pub(super) type Rule = dyn Fn(&Asked) -> Result<()> + Send + Sync;

/// What all lives of the backend share.
struct Shared {
    notes: Mutex<Vec<Asked>>,
    rule: Box<Rule>,
    /// Each pass waits for one permission, if there is a gate.
    gate: Option<Mutex<mpsc::Receiver<()>>>,
    /// Hears of each pass as it begins.
    begun: Mutex<mpsc::Sender<usize>>,
    kind: &'static str,
    memory: Option<u64>,
    /// Why the present life has ended, if it has, with nobody there.
    obituary: Mutex<Option<Error>>,
}

struct Fake {
    shared: Arc<Shared>,
    models: Vec<(u64, String)>,
    /// The hints that were encoded and not released: handle, network, and first byte.
    hints: Vec<(u64, u64, u8)>,
    handles: u64,
}

impl Fake {
    /// What a row's hints add to its answer: each its scale times its picture's first byte.
    fn guidance(&self, row: &DenoiseRow<'_>) -> f32 {
        let value = |hint: &Hint| {
            let same =
                |(handle, network, _): &&(u64, u64, u8)| (*handle, *network) == (hint.hint.0, hint.model.0);
            let (.., byte) = self.hints.iter().find(same).expect("a hint of this life and this network");
            hint.scale * f32::from(*byte)
        };
        row.hints.iter().map(value).sum()
    }

    fn note(&self, asked: Asked) -> Result<()> {
        self.shared.notes.lock().unwrap().push(asked.clone());
        (self.shared.rule)(&asked)
    }
}

/// A model called `60` or `60b` has 60 bytes.
fn bytes(name: &str) -> u64 {
    name.trim_end_matches(char::is_alphabetic).parse().unwrap_or(0)
}

impl Backend for Fake {
    fn describe(&mut self) -> Result<Description> {
        let (kind, memory_free) = (self.shared.kind.to_owned(), self.shared.memory);
        Ok(Description {
            name: "fake".into(),
            version: "1".into(),
            devices: vec![Device { index: 0, name: "fake".into(), kind, memory_total: None, memory_free }],
            dtypes: vec!["f32".into()],
            families: Vec::new(),
            inputs: Vec::new(),
            score: 1,
            reason: None,
            stand_in: true,
        })
    }

    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        let path = request.files.path();
        let name = path.display().to_string();
        let there = self.models.iter().map(|(_, name)| name.clone()).collect();
        self.note(Asked::Load(name.clone(), there))?;
        control.progress(1, 2)?;
        self.handles += 1;
        let encoder = TextEncoderInfo { context_length: 1, vocab_size: 1, hidden_size: 1 };
        let info = ModelInfo {
            latent_channels: 1,
            output_channels: 1,
            latent_scale: 1,
            text_encoders: vec![encoder],
            inputs: Vec::new(),
            dtype: "f32".into(),
            memory_bytes: bytes(&name),
        };
        self.models.push((self.handles, name));
        Ok((ModelHandle(self.handles), info))
    }

    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], _: &dyn Control) -> Result<()> {
        assert!(self.models.iter().any(|(handle, _)| *handle == model.0), "a model of this life");
        self.note(Asked::Adapt(adapters.iter().map(|adapter| adapter.scale).collect()))
    }

    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        _: &dyn Control,
    ) -> Result<ConditioningHandle> {
        assert!(self.models.iter().any(|(handle, _)| *handle == model.0), "a model of this life");
        self.note(Asked::Encode(request.chunks[0].ids[0]))?;
        self.handles += 1;
        Ok(ConditioningHandle(self.handles))
    }

    /// Answers each row with its latent plus its timestep plus its guidance.
    fn denoise(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        assert!(self.models.iter().any(|(handle, _)| *handle == model.0), "a model of this life");
        assert!(rows.iter().all(|row| row.conditioning.0 <= self.handles), "prompts of this life");
        // A test that has ended does not listen any more.
        let _gone = self.shared.begun.lock().unwrap().send(rows.len());
        if let Some(gate) = &self.shared.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        self.note(Asked::Pass(rows.iter().map(|row| row.timestep).collect()))?;
        control.progress(0, 1)?;
        for (row, out) in rows.iter().zip(out.chunks_mut(shape.len())) {
            let guidance = self.guidance(row);
            for (value, out) in row.latent.iter().zip(out) {
                *out = value + row.timestep + guidance;
            }
        }
        Ok(())
    }

    fn decode(
        &mut self,
        _: ModelHandle,
        _: LatentShape,
        _: &[f32],
        options: &DecodeOptions,
        out: &mut [u8],
        _: &dyn Control,
    ) -> Result<()> {
        self.note(Asked::Decode(options.tile))?;
        out.fill(7);
        Ok(())
    }

    /// The mean is the picture's first byte, the deviation 0.5.
    fn encode_image(
        &mut self,
        model: ModelHandle,
        _: LatentShape,
        pixels: &[u8],
        options: &EncodeOptions,
        mean: &mut [f32],
        deviation: &mut [f32],
        _: &dyn Control,
    ) -> Result<()> {
        assert!(self.models.iter().any(|(handle, _)| *handle == model.0), "a model of this life");
        self.note(Asked::EncodeImage(pixels[0], options.tile))?;
        mean.fill(pixels[0].into());
        deviation.fill(0.5);
        Ok(())
    }

    fn encode_hint(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        _: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let found = self.models.iter().find(|(handle, _)| *handle == model.0);
        let (_, name) = found.expect("a model of this life").clone();
        if pixels.len() != 3 * shape.len() {
            return Err(Error::invalid("a picture of another size"));
        }
        self.note(Asked::Hint(name, pixels[0]))?;
        self.handles += 1;
        self.hints.push((self.handles, model.0, pixels[0]));
        Ok(ConditioningHandle(self.handles))
    }

    /// Every byte is one more than the first.
    fn upscale(
        &mut self,
        model: ModelHandle,
        height: u32,
        width: u32,
        pixels: &[u8],
        options: &UpscaleOptions,
        out: &mut [u8],
        _: &dyn Control,
    ) -> Result<()> {
        assert!(self.models.iter().any(|(handle, _)| *handle == model.0), "a model of this life");
        assert_eq!((pixels.len(), out.len()), (3 * (height * width) as usize, pixels.len()));
        self.note(Asked::Upscale(options.tile))?;
        out.fill(pixels[0] + 1);
        Ok(())
    }

    fn release(&mut self, conditioning: ConditioningHandle) -> Result<()> {
        self.hints.retain(|(handle, ..)| *handle != conditioning.0);
        self.note(Asked::Release)
    }

    fn unload(&mut self, model: ModelHandle) -> Result<()> {
        let index = self.models.iter().position(|(handle, _)| *handle == model.0).expect("it is there");
        let (_, name) = self.models.remove(index);
        self.hints.retain(|(_, network, _)| *network != model.0);
        self.note(Asked::Unload(name))
    }

    fn memory(&mut self) -> Result<Memory> {
        Ok(Memory::default())
    }
}

impl Instance for Fake {
    fn obituary(&mut self) -> Option<Error> {
        self.shared.obituary.lock().unwrap().take()
    }
}

/// An engine over such a backend.
pub(super) struct Bench {
    pub(super) engine: Engine,
    shared: Arc<Shared>,
    go: Option<mpsc::Sender<()>>,
    pub(super) begun: mpsc::Receiver<usize>,
}

/// How a [`Bench`] is to be.
pub(super) struct Plan {
    pub(super) max_rows: u32,
    pub(super) gated: bool,
    pub(super) kind: &'static str,
    pub(super) settings: Settings,
    pub(super) memory: Option<u64>,
    pub(super) rule: Box<Rule>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            max_rows: 64,
            gated: false,
            kind: "cpu",
            settings: Settings::default(),
            memory: None,
            rule: Box::new(|_| Ok(())),
        }
    }
}

impl Plan {
    pub(super) fn open(self) -> Bench {
        let ((go, gate), (begins, begun)) = (mpsc::channel(), mpsc::channel());
        let shared = Arc::new(Shared {
            notes: Mutex::default(),
            rule: self.rule,
            gate: self.gated.then(|| Mutex::new(gate)),
            begun: Mutex::new(begins),
            kind: self.kind,
            memory: self.memory,
            obituary: Mutex::default(),
        });
        let lives = shared.clone();
        let start = move || {
            let fake = Fake { shared: lives.clone(), models: Vec::new(), hints: Vec::new(), handles: 0 };
            fake.note(Asked::Start)?;
            Ok(Box::new(fake) as Box<dyn Instance>)
        };
        let settings = Settings { max_rows: MaxRows::Rows(self.max_rows), ..self.settings };
        let engine = Engine::start(Box::new(start), settings, Arc::new(Metrics::default())).unwrap();
        Bench { engine, shared, go: self.gated.then_some(go), begun }
    }
}

impl Bench {
    /// Lets so many passes go on.
    pub(super) fn allow(&self, passes: usize) {
        (0..passes).for_each(|_| self.go.as_ref().unwrap().send(()).unwrap());
    }

    /// The backend dies while nobody asks it for anything.
    pub(super) fn die(&self) {
        *self.shared.obituary.lock().unwrap() = Some(death());
    }

    /// What the backend was asked since anyone looked.
    pub(super) fn notes(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.notes.lock().unwrap())
    }

    /// The rows of each pass since anyone looked.
    pub(super) fn passes(&self) -> Vec<usize> {
        let rows = |asked| match asked {
            Asked::Pass(rows) => Some(rows.len()),
            _ => None,
        };
        self.notes().into_iter().filter_map(rows).collect()
    }

    /// The names of the models that are loaded.
    pub(super) fn loaded(&self) -> Vec<String> {
        let name = |request: &LoadRequest| request.files.path().display().to_string();
        self.engine.models().iter().map(|model| name(&model.request)).collect()
    }

    /// `call`, after the backend has begun with its pass of one row and waits for permission.
    pub(super) async fn running<T>(
        &self,
        call: impl Future<Output = T>,
    ) -> Pin<Box<impl Future<Output = T>>> {
        let call = waiting(call);
        assert_eq!(self.begun.recv().unwrap(), 1);
        call
    }

    /// A seat, and the use of the model of this name.
    pub(super) async fn seat(&self, caller: u64, order: u64, name: &str) -> (Seat, Arc<LoadedModel>) {
        let seat = self.engine.seat(caller, order);
        let model = seat.load(request(name)).await.unwrap();
        (seat, model)
    }
}

pub(super) fn request(name: &str) -> LoadRequest {
    let files = ModelFiles::Diffusers { path: PathBuf::from(name) };
    LoadRequest { files, family: "sd1".into(), vae: None, dtype: "auto".into(), device: 0 }
}

pub(super) fn text(token: u32) -> Text {
    let chunk = Chunk { encoder: 0, ids: vec![token], weights: vec![1.0] };
    Text { chunks: vec![chunk], clip_skip: 0, extra_rows: Arc::default(), adapters: Arc::default() }
}

/// A row whose answer is 10 and 20 plus its timestep.
pub(super) fn row(timestep: f32) -> Row {
    let text = Arc::new(text(timestep as u32));
    Row { latent: Arc::new([10.0, 20.0]), timestep, text, extras: Arc::default(), hints: Arc::default() }
}

/// The answer for [`row`]s of these timesteps.
pub(super) fn answer(timesteps: &[f32]) -> Vec<f32> {
    timesteps.iter().flat_map(|timestep| [10.0 + timestep, 20.0 + timestep]).collect()
}

/// `call`, after it has put itself into the mailbox.
pub(super) fn waiting<T>(call: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
    let mut call = Box::pin(call);
    assert!(call.as_mut().now_or_never().is_none());
    call
}

pub(super) fn no_memory() -> Error {
    Error::new(ErrorKind::OutOfMemory, "full")
}

pub(super) fn death() -> Error {
    Error::new(ErrorKind::DeviceLost, "gone")
}
