// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! One backend and what is on its device. A backend that dies is started anew with the next call, with nothing
//! loaded; models and prompts come back from their recipes when they are needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, EncodeOptions,
    Error, ErrorKind, Hint, LatentShape, LoadRequest, ModelHandle, ModelInfo, NamedTensor, Result, TextChunk,
    TextRequest, UpscaleOptions,
};
use tracing::{error, info, warn};

use super::encodings::Encodings;
use super::seat::{Extra, HintPicture, LoadedModel, Row, RowHint, Text};
use super::versioned::Versioned;
use super::{Instance, Start};
use crate::metrics::{Metrics, Stage};

/// Pauses before each attempt to start a backend that has died: a driver may need a moment to come back.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];
/// Encoded prompts that stay although nobody holds them: the next request often has the same negative prompt.
const RECENT_TEXTS: usize = 8;
/// The same of pictures that guide, which take more room: somebody may try out what becomes of one.
const RECENT_HINTS: usize = 4;
/// A call may be silent this many times as long as the longest pass so far.
const SILENT_PASSES: u32 = 10;

pub(super) struct Device {
    start: Start,
    backend: Option<Box<dyn Instance>>,
    /// Counts the deaths: what was loaded before the last one is gone.
    deaths: u64,
    models: HashMap<usize, Placed>,
    texts: Encodings<Text>,
    hints: Encodings<HintPicture>,
    metrics: Arc<Metrics>,
    silence_ms: Arc<AtomicU64>,
}

/// A model on the device.
struct Placed {
    handle: ModelHandle,
    /// The LoRAs that it has; `None` when a change was broken off and nobody knows.
    adapters: Option<Arc<[Versioned<Adapter>]>>,
}

/// Whether the backend has died of a call.
pub(super) fn is_death(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Panic | ErrorKind::DeviceLost)
}

impl Device {
    /// Starts the backend and asks what it is.
    pub(super) fn open(
        start: Start,
        metrics: Arc<Metrics>,
        silence_ms: Arc<AtomicU64>,
    ) -> Result<(Self, Description)> {
        let mut backend = start()?;
        let description = backend.describe()?;
        let device = Self {
            start,
            backend: Some(backend),
            deaths: 0,
            models: HashMap::new(),
            texts: Encodings::new(RECENT_TEXTS),
            hints: Encodings::new(RECENT_HINTS),
            metrics,
            silence_ms,
        };
        Ok((device, description))
    }

    /// How often the backend has died.
    pub(super) fn deaths(&self) -> u64 {
        self.deaths
    }

    /// Whether a model is on the device.
    pub(super) fn has(&self, model: usize) -> bool {
        self.models.contains_key(&model)
    }

    /// Brings a model onto the device.
    pub(super) fn load(
        &mut self,
        id: usize,
        request: &LoadRequest,
        control: &dyn Control,
    ) -> Result<ModelInfo> {
        let began = Instant::now();
        let (handle, info) = self.call(|backend| backend.load(request, control))?;
        let took = began.elapsed();
        self.metrics.stage(Stage::Load, took);
        info!(dtype = %info.dtype, bytes = info.memory_bytes, took_s = took.as_secs_f64(), "Loaded a model");
        self.models.insert(id, Placed { handle, adapters: Some(Arc::default()) });
        Ok(info)
    }

    /// Gives a model these LoRAs and no others. How long that took, if it was to be done.
    pub(super) fn adapt(
        &mut self,
        model: &LoadedModel,
        adapters: &Arc<[Versioned<Adapter>]>,
        control: &dyn Control,
    ) -> Result<Option<Duration>> {
        let handle = self.model(model, control)?;
        let placed = self.models.get_mut(&model.id).and_then(|placed| placed.adapters.as_ref());
        if placed.is_some_and(|placed| Arc::ptr_eq(placed, adapters) || placed == adapters) {
            return Ok(None);
        }
        let named: Vec<_> = adapters.iter().map(|adapter| adapter.what.clone()).collect();
        let began = Instant::now();
        let result = self.call(|backend| backend.adapt(handle, &named, control));
        let took = began.elapsed();
        if let Some(placed) = self.models.get_mut(&model.id) {
            match &result {
                Ok(()) => placed.adapters = Some(adapters.clone()),
                // The contract says that the model is as before.
                Err(error) if matches!(error.kind, ErrorKind::BadModel | ErrorKind::Unsupported) => {}
                Err(_) => placed.adapters = None,
            }
        }
        result?;
        self.metrics.stage(Stage::Adapt, took);
        info!(
            count = adapters.len(),
            took_s = took.as_secs_f64(),
            "Gave a model other LoRAs: {}",
            adapters.len()
        );
        Ok(Some(took))
    }

    /// Takes a model off the device, and everything that was encoded with it.
    pub(super) fn unload(&mut self, id: usize) {
        self.texts.went(id);
        self.hints.went(id);
        if let Some(Placed { handle, .. }) = self.models.remove(&id)
            && let Err(error) = self.call(|backend| backend.unload(handle))
        {
            warn!(%error, "The backend did not unload a model");
        }
    }

    /// The same prompt, if it is on the device already.
    pub(super) fn encoded(&self, model: usize, text: &Arc<Text>) -> Option<Arc<Text>> {
        self.texts.recipe(model, text)
    }

    /// Encodes a prompt, unless it is there already. The model has its LoRAs.
    pub(super) fn encode(
        &mut self,
        model: &LoadedModel,
        text: &Arc<Text>,
        control: &dyn Control,
    ) -> Result<Arc<Text>> {
        let handle = self.model(model, control)?;
        self.conditioning(model.id, handle, text, control)?;
        let unused = self.texts.take_unused();
        self.release(unused);
        Ok(self.encoded(model.id, text).unwrap_or_else(|| text.clone()))
    }

    /// The raw answers for all rows, and how long the pass itself took. The model has the LoRAs of their texts.
    /// Networks that guide rows, and what they have encoded, are brought onto the device if they are not there.
    pub(super) fn denoise(
        &mut self,
        model: &LoadedModel,
        shape: LatentShape,
        rows: &[&Row],
        control: &dyn Control,
    ) -> Result<(Vec<f32>, Duration)> {
        let handle = self.model(model, control)?;
        let extras: Vec<Vec<NamedTensor<'_>>> = rows.iter().map(|row| tensors(&row.extras)).collect();
        let mut hints: Vec<Vec<Hint>> = Vec::with_capacity(rows.len());
        for row in rows {
            hints.push(row.hints.iter().map(|hint| self.hint(shape, hint, control)).collect::<Result<_>>()?);
        }
        let mut asked = Vec::with_capacity(rows.len());
        for ((row, extras), hints) in rows.iter().zip(&extras).zip(&hints) {
            let conditioning = self.conditioning(model.id, handle, &row.text, control)?;
            let timestep = row.timestep;
            asked.push(DenoiseRow { latent: &row.latent, timestep, conditioning, extras, hints });
        }
        let mut out = vec![0.0; rows.len() * model.output_len(shape)];
        let began = Instant::now();
        self.call(|backend| backend.denoise(handle, shape, &asked, &mut out, control))?;
        let took = began.elapsed();
        self.metrics.stage(Stage::Denoise, took);
        self.metrics.batch(rows.len());
        // Not before the pass: of equal pictures one is encoded, and the rows may hold another.
        let unused = self.hints.take_unused();
        self.release(unused);
        let silence = u64::try_from((took * SILENT_PASSES).as_millis()).unwrap_or(u64::MAX);
        self.silence_ms.fetch_max(silence, Ordering::Relaxed);
        Ok((out, took))
    }

    /// One latent as RGB.
    pub(super) fn decode(
        &mut self,
        model: &LoadedModel,
        shape: LatentShape,
        latent: &[f32],
        options: DecodeOptions,
        stage: Stage,
        control: &dyn Control,
    ) -> Result<Vec<u8>> {
        let handle = self.model(model, control)?;
        let scale = model.info.latent_scale as usize;
        let mut out = vec![0; shape.height as usize * scale * shape.width as usize * scale * 3];
        let began = Instant::now();
        self.call(|backend| backend.decode(handle, shape, latent, &options, &mut out, control))?;
        self.metrics.stage(stage, began.elapsed());
        Ok(out)
    }

    /// The mean and the standard deviation of one picture's latent.
    pub(super) fn encode_image(
        &mut self,
        model: &LoadedModel,
        shape: LatentShape,
        pixels: &[u8],
        options: EncodeOptions,
        control: &dyn Control,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let handle = self.model(model, control)?;
        let (mut mean, mut deviation) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
        let began = Instant::now();
        self.call(|backend| {
            backend.encode_image(handle, shape, pixels, &options, &mut mean, &mut deviation, control)
        })?;
        self.metrics.stage(Stage::EncodeImage, began.elapsed());
        Ok((mean, deviation))
    }

    /// A picture made larger.
    pub(super) fn upscale(
        &mut self,
        model: &LoadedModel,
        [height, width]: [u32; 2],
        rgb: &[u8],
        options: UpscaleOptions,
        control: &dyn Control,
    ) -> Result<Vec<u8>> {
        let handle = self.model(model, control)?;
        let factor = model.info.latent_scale as usize;
        let mut out = vec![0; height as usize * factor * width as usize * factor * 3];
        let began = Instant::now();
        self.call(|backend| backend.upscale(handle, height, width, rgb, &options, &mut out, control))?;
        self.metrics.stage(Stage::Upscale, began.elapsed());
        Ok(out)
    }

    /// The model's handle; loads what the backend's death has taken.
    fn model(&mut self, model: &LoadedModel, control: &dyn Control) -> Result<ModelHandle> {
        if !self.models.contains_key(&model.id) {
            self.load(model.id, &model.request, control)?;
        }
        Ok(self.models[&model.id].handle)
    }

    /// The prompt's handle; encodes what is not there.
    fn conditioning(
        &mut self,
        id: usize,
        model: ModelHandle,
        text: &Arc<Text>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        if let Some(handle) = self.texts.handle(id, text) {
            return Ok(handle);
        }
        let chunks: Vec<_> = text
            .chunks
            .iter()
            .map(|chunk| TextChunk { encoder: chunk.encoder, ids: &chunk.ids, weights: &chunk.weights })
            .collect();
        let named = text.named_rows();
        let extra_rows: Vec<_> = named
            .iter()
            .zip(text.extra_rows.iter())
            .map(|((name, shape), rows)| NamedTensor { name, shape, data: &rows.values })
            .collect();
        let request = TextRequest { chunks: &chunks, extra_rows: &extra_rows, clip_skip: text.clip_skip };
        let began = Instant::now();
        let handle = self.call(|backend| backend.encode_text(model, &request, control))?;
        self.metrics.stage(Stage::EncodeText, began.elapsed());
        self.texts.add(id, text.clone(), handle);
        Ok(handle)
    }

    /// What guides a row, in the contract's form; loads the network that is not there, and encodes the picture.
    fn hint(&mut self, shape: LatentShape, hint: &RowHint, control: &dyn Control) -> Result<Hint> {
        let RowHint { model, picture, scale } = hint;
        let network = self.model(model, control)?;
        let encoded = match self.hints.handle(model.id, picture) {
            Some(known) => known,
            None => self.encode_hint(model.id, network, shape, picture, control)?,
        };
        Ok(Hint { model: network, hint: encoded, scale: *scale })
    }

    fn encode_hint(
        &mut self,
        id: usize,
        network: ModelHandle,
        shape: LatentShape,
        picture: &Arc<HintPicture>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let began = Instant::now();
        let handle = self.call(|backend| backend.encode_hint(network, shape, picture.rgb(), control))?;
        self.metrics.stage(Stage::EncodeHint, began.elapsed());
        self.hints.add(id, picture.clone(), handle);
        Ok(handle)
    }

    fn release(&mut self, unused: Vec<ConditioningHandle>) {
        for handle in unused {
            if let Err(error) = self.call(|backend| backend.release(handle)) {
                warn!(%error, "The backend did not release what it had encoded");
            }
        }
    }

    /// Runs one call; when the backend dies of it, the next call finds a new one.
    fn call<T>(&mut self, call: impl FnOnce(&mut dyn Backend) -> Result<T>) -> Result<T> {
        let result = call(self.alive()?);
        if let Err(error) = &result
            && is_death(error)
        {
            error!(%error, "The backend has died and is started anew");
            self.bury();
        }
        result
    }

    /// Sees whether the backend has died while nobody asked it for anything, so that no call is blamed for it.
    pub(super) fn look(&mut self) {
        if let Some(error) = self.backend.as_mut().and_then(|backend| backend.obituary()) {
            error!(%error, "The backend has died and is started anew when it is needed");
            self.bury();
        }
    }

    fn bury(&mut self) {
        self.backend = None;
        self.deaths += 1;
        self.models.clear();
        self.texts.lost();
        self.hints.lost();
    }

    /// The backend, started anew if it has died.
    fn alive(&mut self) -> Result<&mut dyn Backend> {
        if self.backend.is_none() {
            self.backend = Some(self.revive()?);
            self.metrics.restarted();
        }
        Ok(self.backend.as_mut().expect("it has just been started").as_mut())
    }

    fn revive(&self) -> Result<Box<dyn Instance>> {
        let mut last = None;
        for pause in PAUSES {
            std::thread::sleep(pause);
            match (self.start)() {
                Ok(backend) => return Ok(backend),
                Err(error) => {
                    warn!(%error, "The backend does not start");
                    last = Some(error);
                }
            }
        }
        let reason = last.map(|error| error.message).unwrap_or_default();
        Err(Error::internal(format!("the backend has died and does not start again: {reason}")))
    }
}

/// A row's further inputs in the contract's form.
fn tensors(extras: &[Extra]) -> Vec<NamedTensor<'_>> {
    extras
        .iter()
        .map(|extra| NamedTensor { name: &extra.name, shape: &extra.shape, data: &extra.data })
        .collect()
}
