// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! One backend and what is on its device. A backend that has died is started anew, with nothing loaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use alice_plugin::{
    Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Error, ErrorKind, LatentShape,
    LoadRequest, NamedTensor, Result, TextChunk, TextRequest,
};
use tracing::{error, info, warn};

use super::{Call, Chunk, Conditioning, Evaluation, Extra, LoadedModel, Start};

pub(super) struct Device {
    start: Start,
    backend: Result<Box<dyn Backend>>,
    /// Counts the starts: a handle of an earlier life means nothing now.
    life: u64,
    loaded: Vec<(LoadRequest, Arc<LoadedModel>)>,
    /// How many models are loaded, for those who ask from outside.
    models: Arc<AtomicUsize>,
}

impl Device {
    pub(super) fn new(start: Start, models: Arc<AtomicUsize>) -> Result<Self> {
        let backend = start()?;
        Ok(Self { start, backend: Ok(backend), life: 1, loaded: Vec::new(), models })
    }

    pub(super) fn load(&mut self, request: LoadRequest, control: &dyn Control) -> Result<Arc<LoadedModel>> {
        if let Some((_, model)) = self.loaded.iter().find(|(loaded, _)| *loaded == request) {
            return Ok(model.clone());
        }
        self.unload_unused();
        let (handle, info) = self.call(|backend| backend.load(&request, control))?;
        info!(dtype = %info.dtype, bytes = info.memory_bytes, "Loaded a model");
        let model = Arc::new(LoadedModel { info, handle, life: self.life });
        self.loaded.push((request, model.clone()));
        self.count();
        Ok(model)
    }

    pub(super) fn encode(
        &mut self,
        model: &LoadedModel,
        chunks: &[Chunk],
        clip_skip: u32,
        back: mpsc::Sender<Call>,
        control: &dyn Control,
    ) -> Result<Arc<Conditioning>> {
        let life = self.alive(model.life)?;
        let tokens = chunks.iter().filter(|chunk| chunk.encoder == 0).map(|chunk| chunk.ids.len()).sum();
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| TextChunk { encoder: chunk.encoder, ids: &chunk.ids, weights: &chunk.weights })
            .collect();
        let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip };
        let handle = self.call(|backend| backend.encode_text(model.handle, &request, control))?;
        Ok(Arc::new(Conditioning { handle, life, tokens, calls: back }))
    }

    /// The raw answers of all rows of all evaluations, which fit together.
    pub(super) fn denoise(&mut self, batch: &[Evaluation], control: &dyn Control) -> Result<Vec<f32>> {
        let (model, shape) = (&batch[0].model, batch[0].shape);
        self.alive(model.life)?;
        let asked = || batch.iter().flat_map(|evaluation| &evaluation.rows);
        let extras: Vec<Vec<NamedTensor<'_>>> = asked().map(|row| tensors(&row.extras)).collect();
        let mut rows = Vec::new();
        for (row, extras) in asked().zip(&extras) {
            self.alive(row.conditioning.life)?;
            rows.push(DenoiseRow {
                latent: &row.latent,
                timestep: row.timestep,
                conditioning: row.conditioning.handle,
                extras,
            });
        }
        let mut out = vec![0.0; rows.len() * model.output_len(shape)];
        self.call(|backend| backend.denoise(model.handle, shape, &rows, &mut out, control))?;
        Ok(out)
    }

    pub(super) fn decode(
        &mut self,
        model: &LoadedModel,
        shape: LatentShape,
        latent: &[f32],
        control: &dyn Control,
    ) -> Result<Vec<u8>> {
        self.alive(model.life)?;
        let scale = model.info.latent_scale as usize;
        let mut out = vec![0; shape.height as usize * scale * shape.width as usize * scale * 3];
        let options = DecodeOptions::default();
        self.call(|backend| backend.decode(model.handle, shape, latent, &options, &mut out, control))?;
        Ok(out)
    }

    pub(super) fn release(&mut self, handle: ConditioningHandle, life: u64) {
        if life == self.life
            && let Err(error) = self.call(|backend| backend.release(handle))
        {
            warn!(%error, "The backend did not release an encoded prompt");
        }
    }

    /// Frees the models that no request holds.
    fn unload_unused(&mut self) {
        let (used, unused) = std::mem::take(&mut self.loaded)
            .into_iter()
            .partition(|(_, model): &(LoadRequest, Arc<LoadedModel>)| Arc::strong_count(model) > 1);
        self.loaded = used;
        for (_, model) in unused {
            if let Err(error) = self.call(|backend| backend.unload(model.handle)) {
                warn!(%error, "The backend did not unload a model");
            }
        }
        self.count();
    }

    /// Runs one call; when the backend dies of it, the next call finds a new one.
    fn call<T>(&mut self, call: impl FnOnce(&mut dyn Backend) -> Result<T>) -> Result<T> {
        let result = match &mut self.backend {
            Ok(backend) => call(backend.as_mut()),
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = &result
            && matches!(error.kind, ErrorKind::Panic | ErrorKind::DeviceLost)
        {
            error!(%error, "The backend has died and is started anew");
            self.loaded.clear();
            self.count();
            self.life += 1;
            self.backend = (self.start)();
        }
        result
    }

    /// Refuses what belongs to an earlier life of the backend.
    fn alive(&self, life: u64) -> Result<u64> {
        if life == self.life {
            return Ok(life);
        }
        Err(Error::new(ErrorKind::DeviceLost, "the backend was started anew while the request was running"))
    }

    fn count(&self) {
        self.models.store(self.loaded.len(), Ordering::Relaxed);
    }
}

/// A row's further inputs in the contract's form.
fn tensors(extras: &[Extra]) -> Vec<NamedTensor<'_>> {
    extras
        .iter()
        .map(|extra| NamedTensor { name: &extra.name, shape: &extra.shape, data: &extra.data })
        .collect()
}
