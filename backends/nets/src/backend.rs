// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The whole contract of a backend, for everyone who implements [`Ops`].

mod adapters;
mod arguments;
mod guide;
mod loaded;
mod model;
mod run;
mod text;
mod upscaler;

use alice_checkpoint::Family;
use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, EncodeOptions,
    Error, LatentShape, LoadRequest, Memory, ModelHandle, ModelInfo, Result, TextPart, TextRequest,
    UpscaleOptions, slots::Slots,
};

use self::{
    guide::{Guidance, Picture},
    loaded::Loaded,
    model::Model,
    text::Prompt,
};
use crate::{
    ops::Ops,
    weights::{FINE_BYTES, PRECISE_BYTES, bytes_per_value},
};

/// The further input with the sizes that SDXL hears.
const TIME_IDS: &str = "time_ids";
/// The further input with channels behind the latent's.
const CONCAT: &str = "concat";

/// A backend that runs this crate's networks on the operations `O`.
///
/// Every argument is checked before an operation sees it. Pictures and latents of one call go through the
/// autoencoder one after the other, so that a call needs no more memory than one of them.
pub struct NetBackend<O: Ops> {
    describe: Box<dyn Fn() -> Description + Send>,
    open: Box<Open<O>>,
    models: Slots<Loaded<O>>,
    conditionings: Slots<Conditioning<O>>,
}

/// Makes operations for a device and a number format.
type Open<O> = dyn Fn(u32, &str) -> Result<O> + Send;

/// What was encoded for rows to hear or see.
struct Conditioning<O: Ops> {
    /// The handle of the model that made it.
    model: u64,
    content: Content<O>,
    bytes: u64,
}

enum Content<O: Ops> {
    Prompt(Prompt<O>),
    Hint(Picture<O::Tensor>),
}

impl<O: Ops> Conditioning<O> {
    fn prompt(&self) -> Result<&Prompt<O>> {
        match &self.content {
            Content::Prompt(prompt) => Ok(prompt),
            Content::Hint(_) => Err(Error::invalid("the handle is that of an encoded hint, not of a prompt")),
        }
    }

    fn hint(&self) -> Result<&Picture<O::Tensor>> {
        match &self.content {
            Content::Hint(picture) => Ok(picture),
            Content::Prompt(_) => {
                Err(Error::invalid("the handle is that of an encoded prompt, not of a hint"))
            }
        }
    }
}

impl<O: Ops> NetBackend<O> {
    /// A backend without models.
    ///
    /// `describe` says what there is on this machine now; its `families` and `inputs` are filled in here.
    /// `open` makes the operations for a model on the device of that index, computing in that number
    /// format: both are out of what `describe` says.
    pub fn new(
        describe: impl Fn() -> Description + Send + 'static,
        open: impl Fn(u32, &str) -> Result<O> + Send + 'static,
    ) -> Self {
        Self {
            describe: Box::new(describe),
            open: Box::new(open),
            models: Slots::new("model"),
            conditionings: Slots::new("conditioning"),
        }
    }

    /// The model, and the one conditioning for each row, all made by it and of one length.
    fn model_and_conditionings(
        &self,
        model: ModelHandle,
        rows: &[DenoiseRow<'_>],
    ) -> Result<(&Model<O>, Vec<&Prompt<O>>)> {
        let found = self.models.get(model.0)?.model()?;
        let conditionings = rows.iter().map(|row| self.conditionings.get(row.conditioning.0));
        let conditionings = conditionings.collect::<Result<Vec<_>>>()?;
        if conditionings.iter().any(|conditioning| conditioning.model != model.0) {
            return Err(Error::invalid("a row's conditioning was made by another model"));
        }
        let prompts = conditionings.into_iter().map(Conditioning::prompt).collect::<Result<Vec<_>>>()?;
        match prompts.windows(2).all(|pair| pair[0].length == pair[1].length) {
            true => Ok((found, prompts)),
            false => Err(Error::invalid("the rows' conditionings differ in their number of tokens")),
        }
    }

    /// What guides the rows beside their prompts: for each network that they name its pictures and scales.
    fn guides(&self, model: &Model<O>, rows: &[DenoiseRow<'_>]) -> Result<Vec<Guidance<'_, O>>> {
        arguments::check_hints(rows)?;
        let count = rows.first().map_or(0, |row| row.hints.len());
        (0..count).map(|place| self.guidance(model, rows, place)).collect()
    }

    /// The one of the number `place` among the rows' hints.
    fn guidance(&self, model: &Model<O>, rows: &[DenoiseRow<'_>], place: usize) -> Result<Guidance<'_, O>> {
        let handle = rows[0].hints[place].model.0;
        let guide = self.models.get(handle)?.guide()?;
        if (guide.device, &guide.info.dtype) != (model.device, &model.info.dtype) {
            let message = "a hint's network is on another device than the model, or in another number format";
            return Err(Error::invalid(message));
        }
        let picture = |row: &DenoiseRow<'_>| {
            let conditioning = self.conditionings.get(row.hints[place].hint.0)?;
            match conditioning.model == handle {
                true => conditioning.hint(),
                false => Err(Error::invalid("a row's hint was encoded by another network")),
            }
        };
        let pictures = rows.iter().map(picture).collect::<Result<_>>()?;
        Ok(Guidance { guide, pictures, scales: rows.iter().map(|row| row.hints[place].scale).collect() })
    }
}

impl<O: Ops> Backend for NetBackend<O> {
    fn describe(&mut self) -> Result<Description> {
        let families = Family::ALL.iter().map(|family| family.as_str()).chain(loaded::BESIDE);
        let families = families.map(str::to_owned).collect();
        let inputs = [TIME_IDS, CONCAT].map(str::to_owned).to_vec();
        Ok(Description { families, inputs, ..(self.describe)() })
    }

    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        let dtype = arguments::dtype_and_device(request, &self.describe()?)?;
        let model = Loaded::load(request, dtype, &self.open, control)?;
        let info = model.info().clone();
        Ok((ModelHandle(self.models.insert(model)), info))
    }

    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        self.models.get_mut(model.0)?.model_mut()?.adapt(adapters, control)
    }

    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let found = self.models.get(model.0)?.model()?;
        let prompt = found.encode_text(request, control)?;
        let bytes = (prompt.length * found.unet.plan.trunk.context) as u64 * PRECISE_BYTES;
        let conditioning = Conditioning { model: model.0, content: Content::Prompt(prompt), bytes };
        Ok(ConditioningHandle(self.conditionings.insert(conditioning)))
    }

    fn read_text(&mut self, conditioning: ConditioningHandle, part: TextPart) -> Result<Vec<f32>> {
        let conditioning = self.conditionings.get(conditioning.0)?;
        let prompt = conditioning.prompt()?;
        match part {
            TextPart::Tokens => self.models.get(conditioning.model)?.model()?.tokens_of(prompt),
            TextPart::Pooled => {
                let missing = || Error::unsupported("the model's denoiser hears no pooled vector");
                prompt.pooled.clone().ok_or_else(missing)
            }
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
        let (model, prompts) = self.model_and_conditionings(model, rows)?;
        let guides = self.guides(model, rows)?;
        model.denoise(shape, rows, &prompts, guides, out, control)
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
        self.models.get(model.0)?.model()?.decode(shape, latents, options, out, control)
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
        let model = self.models.get(model.0)?.model()?;
        model.encode_image(shape, pixels, options, mean, deviation, control)
    }

    fn encode_hint(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let guide = self.models.get(model.0)?.guide()?;
        let picture = guide.encode(shape, pixels, control)?;
        let bytes = picture.values as u64 * bytes_per_value(&guide.info.dtype).max(FINE_BYTES);
        let conditioning = Conditioning { model: model.0, content: Content::Hint(picture), bytes };
        Ok(ConditioningHandle(self.conditionings.insert(conditioning)))
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
        let upscaler = self.models.get(model.0)?.upscaler()?;
        upscaler.upscale([height, width], pixels, options, out, control)
    }

    fn release(&mut self, conditioning: ConditioningHandle) -> Result<()> {
        self.conditionings.remove(conditioning.0).map(drop)
    }

    fn unload(&mut self, model: ModelHandle) -> Result<()> {
        self.models.remove(model.0)?;
        self.conditionings.retain(|conditioning| conditioning.model != model.0);
        Ok(())
    }

    fn memory(&mut self) -> Result<Memory> {
        Ok(Memory {
            weights: self.models.values().map(|model| model.info().memory_bytes).sum(),
            working: self.conditionings.values().map(|conditioning| conditioning.bytes).sum(),
        })
    }
}

#[cfg(test)]
mod tests;
