// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The whole contract of a backend, for everyone who implements [`Ops`].

mod adapters;
mod arguments;
mod model;
mod run;
mod text;

use alice_checkpoint::Family;
use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, EncodeOptions,
    Error, LatentShape, LoadRequest, Memory, ModelHandle, ModelInfo, Result, TextPart, TextRequest,
    slots::Slots,
};

use self::{model::Model, text::Prompt};
use crate::ops::Ops;

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
    models: Slots<Model<O>>,
    conditionings: Slots<Conditioning<O>>,
}

/// Makes operations for a device and a number format.
type Open<O> = dyn Fn(u32, &str) -> Result<O> + Send;

/// An encoded prompt.
struct Conditioning<O: Ops> {
    /// The handle of the model that made it.
    model: u64,
    prompt: Prompt<O>,
    bytes: u64,
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
        let found = self.models.get(model.0)?;
        let conditionings = rows.iter().map(|row| self.conditionings.get(row.conditioning.0));
        let conditionings = conditionings.collect::<Result<Vec<_>>>()?;
        if conditionings.iter().any(|conditioning| conditioning.model != model.0) {
            return Err(Error::invalid("a row's conditioning was made by another model"));
        }
        let prompts: Vec<_> = conditionings.into_iter().map(|conditioning| &conditioning.prompt).collect();
        match prompts.windows(2).all(|pair| pair[0].length == pair[1].length) {
            true => Ok((found, prompts)),
            false => Err(Error::invalid("the rows' conditionings differ in their number of tokens")),
        }
    }
}

impl<O: Ops> Backend for NetBackend<O> {
    fn describe(&mut self) -> Result<Description> {
        let families = Family::ALL.map(|family| family.as_str().to_owned()).to_vec();
        let inputs = [TIME_IDS, CONCAT].map(str::to_owned).to_vec();
        Ok(Description { families, inputs, ..(self.describe)() })
    }

    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        let dtype = arguments::dtype_and_device(request, &self.describe()?)?;
        let model = Model::load(request, dtype, &self.open, control)?;
        let info = model.info.clone();
        Ok((ModelHandle(self.models.insert(model)), info))
    }

    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        self.models.get_mut(model.0)?.adapt(adapters, control)
    }

    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        let found = self.models.get(model.0)?;
        let prompt = found.encode_text(request, control)?;
        let bytes = found.bytes_of(prompt.length * found.unet.plan.context);
        let conditioning = Conditioning { model: model.0, prompt, bytes };
        Ok(ConditioningHandle(self.conditionings.insert(conditioning)))
    }

    fn read_text(&mut self, conditioning: ConditioningHandle, part: TextPart) -> Result<Vec<f32>> {
        let Conditioning { model, prompt, .. } = self.conditionings.get(conditioning.0)?;
        match part {
            TextPart::Tokens => self.models.get(*model)?.tokens_of(prompt),
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
        if rows.iter().any(|row| !row.hints.is_empty()) {
            return Err(Error::unsupported("this backend takes no pictures as hints"));
        }
        let (model, prompts) = self.model_and_conditionings(model, rows)?;
        model.denoise(shape, rows, &prompts, out, control)
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
        self.models.get(model.0)?.decode(shape, latents, options, out, control)
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
        match options.tile {
            None => self.models.get(model.0)?.encode_image(shape, pixels, mean, deviation, control),
            Some(_) => Err(Error::unsupported("pictures are encoded in one piece")),
        }
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
            weights: self.models.values().map(|model| model.info.memory_bytes).sum(),
            working: self.conditionings.values().map(|conditioning| conditioning.bytes).sum(),
        })
    }
}

#[cfg(test)]
mod tests;
