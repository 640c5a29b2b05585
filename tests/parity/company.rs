// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A backend that does what another one does and notes in which company rows travel.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alice::engine::Instance;
use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, EncodeOptions,
    LatentShape, LoadRequest, Memory, ModelHandle, ModelInfo, Result, TextRequest, UpscaleOptions,
};

/// The most different timesteps that one denoising call has had.
pub(crate) type MostTimesteps = Arc<AtomicUsize>;

/// The backend `inner`, observed.
pub(crate) struct Observed<B> {
    pub(crate) inner: B,
    pub(crate) most_timesteps: MostTimesteps,
}

impl<B: Backend> Instance for Observed<B> {}

impl<B: Backend> Backend for Observed<B> {
    fn describe(&mut self) -> Result<Description> {
        self.inner.describe()
    }

    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        self.inner.load(request, control)
    }

    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        self.inner.adapt(model, adapters, control)
    }

    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        self.inner.encode_text(model, request, control)
    }

    fn denoise(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        let timesteps: BTreeSet<_> = rows.iter().map(|row| row.timestep.to_bits()).collect();
        self.most_timesteps.fetch_max(timesteps.len(), Ordering::Relaxed);
        self.inner.denoise(model, shape, rows, out, control)
    }

    fn decode(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        latents: &[f32],
        options: &DecodeOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        self.inner.decode(model, shape, latents, options, out, control)
    }

    fn encode_image(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        options: &EncodeOptions,
        mean: &mut [f32],
        deviation: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        self.inner.encode_image(model, shape, pixels, options, mean, deviation, control)
    }

    fn encode_hint(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        self.inner.encode_hint(model, shape, pixels, control)
    }

    fn upscale(
        &mut self,
        model: ModelHandle,
        height: u32,
        width: u32,
        pixels: &[u8],
        options: &UpscaleOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        self.inner.upscale(model, height, width, pixels, options, out, control)
    }

    fn release(&mut self, conditioning: ConditioningHandle) -> Result<()> {
        self.inner.release(conditioning)
    }

    fn unload(&mut self, model: ModelHandle) -> Result<()> {
        self.inner.unload(model)
    }

    fn memory(&mut self) -> Result<Memory> {
        self.inner.memory()
    }
}
