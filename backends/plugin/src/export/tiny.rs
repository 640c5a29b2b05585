// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The smallest backend that shows in its answers what has arrived, for the tests of both halves.

use serde_json::Value;

use crate::slots::Slots;
use crate::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, EncodeOptions,
    Error, LatentShape, LoadRequest, Memory, ModelHandle, ModelInfo, Result, TextEncoderInfo, TextPart,
    TextRequest, UpscaleOptions, checks,
};

/// Its answers are sums of what it got. `{"panic": "<call>"}` makes that call panic, `drop` its end.
pub(crate) struct Tiny {
    panic: Option<String>,
    models: Slots<ModelInfo>,
    conditionings: Slots<f32>,
}

pub(crate) fn tiny(options: &Value) -> Result<Tiny> {
    let panic = options["panic"].as_str().map(str::to_owned);
    let tiny = Tiny { panic, models: Slots::new("model"), conditionings: Slots::new("conditioning") };
    tiny.perhaps_panic("create");
    match options["refuse"].as_str() {
        Some(reason) => Err(Error::invalid(reason)),
        None => Ok(tiny),
    }
}

impl Tiny {
    fn perhaps_panic(&self, call: &str) {
        assert!(self.panic.as_deref() != Some(call), "a panic in {call} was asked for");
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        self.perhaps_panic("drop");
    }
}

impl Backend for Tiny {
    fn describe(&mut self) -> Result<Description> {
        self.perhaps_panic("describe");
        Ok(Description {
            name: "tiny".into(),
            version: "1".into(),
            devices: Vec::new(),
            dtypes: vec!["f32".into()],
            families: vec!["sd1".into()],
            inputs: vec!["mask".into()],
            score: 0,
            reason: Some("it only adds".into()),
            stand_in: true,
        })
    }

    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        control.progress(1, 2)?;
        let encoder = TextEncoderInfo { context_length: 2, vocab_size: 10, hidden_size: 3 };
        let info = ModelInfo {
            latent_channels: 1,
            output_channels: 1,
            latent_scale: 2,
            text_encoders: vec![encoder],
            inputs: Vec::new(),
            dtype: format!("{} {} {:?}", request.dtype, request.device, request.files),
            memory_bytes: 1,
        };
        Ok((ModelHandle(self.models.insert(info.clone())), info))
    }

    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        control.progress(0, 0)?;
        self.models.get_mut(model.0)?.memory_bytes = adapters.len() as u64;
        Ok(())
    }

    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        control.progress(0, 0)?;
        checks::text(self.models.get(model.0)?, request)?;
        let ids = request.chunks.iter().flat_map(|chunk| chunk.ids).sum::<u32>() as f32;
        let weights = request.chunks.iter().flat_map(|chunk| chunk.weights).sum::<f32>();
        let rows = request.extra_rows.iter().flat_map(|rows| rows.data).sum::<f32>();
        let sum = ids + weights + rows + request.clip_skip as f32;
        Ok(ConditioningHandle(self.conditionings.insert(sum)))
    }

    fn read_text(&mut self, conditioning: ConditioningHandle, part: TextPart) -> Result<Vec<f32>> {
        let sum = *self.conditionings.get(conditioning.0)?;
        match part {
            TextPart::Tokens => Ok(vec![sum, -sum]),
            TextPart::Pooled => Err(Error::unsupported("there is nothing to pool")),
        }
    }

    fn denoise(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        self.perhaps_panic("denoise");
        control.progress(3, 4)?;
        checks::denoise(self.models.get(model.0)?, shape, rows, out)?;
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(shape.len())) {
            let extras = row.extras.iter().flat_map(|extra| extra.data).sum::<f32>();
            let mut sum = row.timestep + self.conditionings.get(row.conditioning.0)? + extras;
            for hint in row.hints {
                self.models.get(hint.model.0)?;
                sum += hint.scale * self.conditionings.get(hint.hint.0)?;
            }
            out.iter_mut().zip(row.latent).for_each(|(out, value)| *out = value + sum);
        }
        Ok(())
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
        control.progress(0, 0)?;
        checks::decode(self.models.get(model.0)?, shape, latents, out)?;
        out.fill(latents.iter().sum::<f32>() as u8 + options.tile.unwrap_or(0) as u8);
        Ok(())
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
        control.progress(0, 0)?;
        checks::encode_image(self.models.get(model.0)?, shape, pixels, options, mean, deviation)?;
        let seen = if options.alpha { f32::from(pixels[3]) / 255.0 } else { 1.0 };
        mean.fill(f32::from(pixels[0]) * seen + options.tile.unwrap_or(0) as f32);
        deviation.fill(0.5);
        Ok(())
    }

    fn encode_hint(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        self.perhaps_panic("encode_hint");
        control.progress(0, 0)?;
        checks::encode_hint(self.models.get(model.0)?, shape, pixels)?;
        Ok(ConditioningHandle(self.conditionings.insert(f32::from(pixels[0]))))
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
        control.progress(0, 0)?;
        checks::upscale(self.models.get(model.0)?, height, width, pixels, options, out)?;
        out.fill(pixels[0] + options.tile.unwrap_or(0) as u8);
        Ok(())
    }

    fn release(&mut self, conditioning: ConditioningHandle) -> Result<()> {
        self.conditionings.remove(conditioning.0).map(drop)
    }

    fn unload(&mut self, model: ModelHandle) -> Result<()> {
        self.models.remove(model.0).map(drop)
    }

    fn memory(&mut self) -> Result<Memory> {
        let weights = self.models.values().map(|model| model.memory_bytes).sum();
        Ok(Memory { weights, working: self.conditionings.values().count() as u64 })
    }
}
