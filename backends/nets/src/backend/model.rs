// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From a model directory to networks on a device.

use alice_checkpoint::{Checkpoint, Family, diffusers::TextEncoder};
use alice_plugin::{Adapter, Control, Error, InputInfo, LoadRequest, ModelInfo, Result, TextEncoderInfo};

use super::{
    CONCAT, TIME_IDS,
    adapters::{Adapters, Files, versions},
};
use crate::{
    clip::{Clip, ClipConfig, ClipPlan, Heard},
    config::ConfigFile,
    ops::Ops,
    progress::Progress,
    unet::{AddedPlan, Unet, UnetConfig, UnetPlan},
    vae::{Vae, VaePlan},
    weights::{Loading, Weights, bad_model},
};

/// How many sizes SDXL hears: with the target's height and width, or with a score in their place.
const SIZES: [usize; 2] = [6, 5];

/// The networks of one model, with the operations that run them.
pub(super) struct Model<O: Ops> {
    pub(super) ops: O,
    /// In the order in which their encodings are joined; at least one.
    pub(super) encoders: Vec<Clip<O>>,
    pub(super) unet: Unet<O>,
    pub(super) vae: Vae<O>,
    pub(super) adapters: Adapters<O>,
    /// The device's index.
    pub(super) device: u32,
    pub(super) info: ModelInfo,
}

/// What the configurations say, checked each for itself and against each other.
struct Plans {
    /// Each with the directory of its network.
    encoders: Vec<(&'static str, ClipPlan)>,
    unet: UnetPlan,
    vae: VaePlan,
    inputs: Vec<InputInfo>,
}

impl<O: Ops> Model<O> {
    /// Loads the model that `request` names, on the operations that `open` makes for `dtype`.
    pub(super) fn load(
        request: &LoadRequest,
        dtype: String,
        open: impl Fn(u32, &str) -> Result<O>,
        control: &dyn Control,
    ) -> Result<Self> {
        let path = request.files.path();
        let family: Family = request.family.parse().map_err(Error::unsupported)?;
        let checkpoint = Checkpoint::open(path).map_err(bad_model)?;
        let checkpoint = match &request.vae {
            Some(vae) => checkpoint.with_vae(vae).map_err(bad_model)?,
            None => checkpoint,
        };
        let found = checkpoint.family();
        if found != family {
            let message = format!("`{}` is a model of family {found}, not {family}", path.display());
            return Err(Error::bad_model(message));
        }
        let plans = Plans::read(&checkpoint)?;
        let loading = Loading::new(Progress::begin(control, plans.blocks())?, &dtype);
        let ops = open(request.device, &dtype)?;
        let mut files = Files::new();
        let mut file = |component| {
            let tensors = checkpoint.weights(component).map_err(bad_model)?;
            files.insert(component, versions(&tensors));
            Ok(tensors)
        };
        let Plans { encoders, unet, vae, inputs } = plans;
        let encoder = |(component, plan)| {
            Clip::load(&Weights::new(&ops, component, &file(component)?, &loading).precise(), plan)
        };
        let encoders = encoders.into_iter().map(encoder).collect::<Result<Vec<_>>>()?;
        let unet = Unet::load(&Weights::new(&ops, "unet", &file("unet")?, &loading), unet)?;
        let vae = Vae::load(&Weights::new(&ops, "vae", &file("vae")?, &loading).fine(), vae)?;
        let info = ModelInfo {
            latent_channels: vae.plan.latent() as u32,
            output_channels: unet.plan.output as u32,
            latent_scale: vae.plan.scale(),
            text_encoders: encoders.iter().map(|clip| encoder_info(&clip.plan)).collect(),
            inputs,
            memory_bytes: loading.bytes.get(),
            dtype,
        };
        let adapters = Adapters::none(checkpoint, files, loading.layers.into_inner());
        Ok(Self { ops, encoders, unet, vae, adapters, device: request.device, info })
    }

    /// Makes the model behave as with exactly these adapters.
    pub(super) fn adapt(&mut self, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        self.adapters.adapt(&self.ops, adapters, control)
    }
}

impl Plans {
    fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let unet: UnetConfig = checkpoint.config("unet").map_err(bad_model)?;
        let unet = unet.plan(&ConfigFile::of(checkpoint, "unet"))?;
        let pools = unet.trunk.added.is_some();
        let encoders = checkpoint.text_encoders().map_err(bad_model)?;
        let encoder =
            |encoder: TextEncoder| Ok((encoder.component, encoder_plan(checkpoint, &encoder, pools)?));
        let encoders = encoders.into_iter().map(encoder).collect::<Result<Vec<_>>>()?;
        let vae = VaePlan::read(checkpoint)?;
        let inputs = Vec::new();
        let plans = Self { encoders, unet, vae, inputs };
        plans.check_prompts(checkpoint)?;
        Ok(Self { inputs: plans.inputs(checkpoint)?, ..plans })
    }

    /// Passes when the encoders' tokens can be joined and are those that the denoiser takes.
    fn check_prompts(&self, checkpoint: &Checkpoint) -> Result<()> {
        let file = |component| ConfigFile::of(checkpoint, component);
        let width = self.encoders.iter().map(|(_, clip)| clip.width).sum::<usize>();
        let context = self.unet.trunk.context;
        if context != width {
            let why = format_args!("the text encoders' `hidden_size` is {width} together");
            return Err(file("unet").bad("cross_attention_dim", context, why));
        }
        for (component, clip) in &self.encoders {
            let (length, first) = (clip.context_length, self.encoders[0].1.context_length);
            if length != first {
                let known = format_args!("the {first} of the first text encoder");
                return Err(file(component).unsupported("max_position_embeddings", length, known));
            }
        }
        Ok(())
    }

    /// What the denoiser takes beside latent, timestep and prompt.
    fn inputs(&self, checkpoint: &Checkpoint) -> Result<Vec<InputInfo>> {
        let file = ConfigFile::of(checkpoint, "unet");
        let mut inputs = Vec::new();
        if let Some(added) = self.unet.trunk.added {
            let shape = vec![self.sizes(&file, added)? as u32];
            inputs.push(InputInfo { name: TIME_IDS.to_owned(), shape });
        }
        let (input, latent) = (self.unet.trunk.input, self.vae.latent());
        match input.checked_sub(latent) {
            Some(0) => {}
            Some(further) => {
                inputs.push(InputInfo { name: CONCAT.to_owned(), shape: vec![further as u32, 0, 0] })
            }
            None => {
                let known = format_args!("at least the {latent} channels of the autoencoder's latents");
                return Err(file.unsupported("in_channels", input, known));
            }
        }
        if self.unet.output != latent {
            let known = format_args!("the {latent} channels of the autoencoder's latents");
            return Err(file.unsupported("out_channels", self.unet.output, known));
        }
        Ok(inputs)
    }

    /// The number of sizes that fill the added vector behind the pooled one.
    fn sizes(&self, file: &ConfigFile, added: AddedPlan) -> Result<usize> {
        let pooled = self.encoders.iter().find_map(|(_, clip)| clip.projection).unwrap_or(0);
        let width = added.sinusoid.width;
        let fits = |sizes: &usize| pooled > 0 && added.input == pooled + sizes * width;
        let known = format_args!("a pooled vector of {pooled} and 6 or 5 sizes of {width} values each");
        let unknown = || file.unsupported("projection_class_embeddings_input_dim", added.input, known);
        SIZES.into_iter().find(fits).ok_or_else(unknown)
    }

    /// Number of blocks to load.
    fn blocks(&self) -> usize {
        let text = self.encoders.iter().map(|(_, clip)| clip.layers).sum::<usize>();
        text + self.unet.blocks() + self.vae.encoder_blocks() + self.vae.decoder_blocks()
    }
}

/// The plan of one text encoder of a model whose denoiser hears a pooled vector or not.
fn encoder_plan(checkpoint: &Checkpoint, encoder: &TextEncoder, pools: bool) -> Result<ClipPlan> {
    let heard = match checkpoint.family() {
        Family::Sd1 | Family::Sd2 => Heard::Last,
        Family::Sdxl | Family::SdxlRefiner => Heard::BeforeLast,
    };
    let config: ClipConfig = checkpoint.config(encoder.component).map_err(bad_model)?;
    let file = ConfigFile::of(checkpoint, encoder.component);
    config.plan(&file, heard, pools && encoder.projection)
}

fn encoder_info(plan: &ClipPlan) -> TextEncoderInfo {
    TextEncoderInfo {
        context_length: plan.context_length as u32,
        vocab_size: plan.vocabulary as u32,
        hidden_size: plan.width as u32,
    }
}
