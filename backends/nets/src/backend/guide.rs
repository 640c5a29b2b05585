// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! ControlNets and T2I-Adapters: loading them, encoding their pictures, and what those do to a model's rows.

use alice_checkpoint::control::{ControlFile, ControlKind};
use alice_plugin::{Control, Error, LatentShape, LoadRequest, ModelInfo, Result, checks};

use super::arguments::check_sides;
use crate::{
    config::ConfigFile,
    controlnet::{ControlNet, ControlNetConfig, ControlNetPlan},
    ops::Ops,
    progress::Progress,
    t2i_adapter::{T2iAdapter, T2iAdapterConfig, T2iAdapterPlan},
    unet::{Features, Question, Steering, TrunkPlan},
    weights::{Loading, Weights, bad_model},
};

/// Channels of the latents that adapters suit: those of all families that have any.
const LATENT: u32 = 4;

/// A network that lets a picture guide a model, with the operations that run it.
pub(super) struct Guide<O: Ops> {
    ops: O,
    network: Network<O>,
    /// The device's index.
    pub(super) device: u32,
    pub(super) info: ModelInfo,
}

enum Network<O: Ops> {
    ControlNet(Box<ControlNet<O>>),
    T2iAdapter(T2iAdapter<O>),
}

enum Plan {
    ControlNet(ControlNetPlan),
    T2iAdapter(T2iAdapterPlan),
}

/// An encoded picture.
pub(super) struct Picture<T> {
    /// The latents that it is for.
    shape: LatentShape,
    /// What a ControlNet sees, one image, or an adapter's features.
    images: Vec<T>,
    /// Number of values of all images.
    pub(super) values: usize,
}

/// A network and its pictures and factors for the rows of one call.
pub(super) struct Guidance<'a, O: Ops> {
    pub(super) guide: &'a Guide<O>,
    pub(super) pictures: Vec<&'a Picture<O::Tensor>>,
    pub(super) scales: Vec<f32>,
}

impl<O: Ops> Guide<O> {
    /// Loads the network that `request` names, on the operations that `open` makes for `dtype`.
    pub(super) fn load(
        request: &LoadRequest,
        kind: ControlKind,
        dtype: String,
        open: impl Fn(u32, &str) -> Result<O>,
        control: &dyn Control,
    ) -> Result<Self> {
        let path = request.files.path();
        let file = ControlFile::open(path).map_err(bad_model)?;
        if file.kind() != kind {
            let message = format!("`{}` is a network of family {}, not {kind}", path.display(), file.kind());
            return Err(Error::bad_model(message));
        }
        let plan = Plan::read(&file)?;
        let loading = Loading::new(Progress::begin(control, plan.blocks())?, &dtype);
        let ops = open(request.device, &dtype)?;
        let tensors = file.weights().map_err(bad_model)?;
        let weights = Weights::new(&ops, kind.as_str(), &tensors, &loading);
        let (latent_channels, scale) = plan.latents();
        let network = match plan {
            Plan::ControlNet(plan) => Network::ControlNet(Box::new(ControlNet::load(&weights, plan)?)),
            Plan::T2iAdapter(plan) => Network::T2iAdapter(T2iAdapter::load(&weights, plan)?),
        };
        let info = ModelInfo {
            latent_channels,
            output_channels: 0,
            latent_scale: scale,
            text_encoders: Vec::new(),
            inputs: Vec::new(),
            memory_bytes: loading.bytes.get(),
            dtype,
        };
        Ok(Self { ops, network, device: request.device, info })
    }

    /// Encodes a picture for latents of `shape`.
    pub(super) fn encode(
        &self,
        shape: LatentShape,
        pixels: &[u8],
        control: &dyn Control,
    ) -> Result<Picture<O::Tensor>> {
        check_sides(shape)?;
        checks::encode_hint(&self.info, shape, pixels)?;
        let sides = [shape.height, shape.width].map(|side| (side * self.info.latent_scale) as usize);
        let images = match &self.network {
            Network::ControlNet(network) => {
                let progress = Progress::begin(control, network.plan.halvings())?;
                vec![network.encode(&self.ops, pixels, sides, &progress)?]
            }
            Network::T2iAdapter(network) => {
                let fold = network.plan.fold;
                if !sides.iter().all(|side| side.is_multiple_of(fold)) {
                    let [height, width] = sides;
                    return Err(Error::invalid(format!(
                        "the T2I-Adapter takes pictures with sides of multiples of {fold} pixels, not {width}x{height}"
                    )));
                }
                let progress = Progress::begin(control, network.plan.resnets())?;
                network.encode(&self.ops, pixels, sides, &progress)?
            }
        };
        let count = |image| self.ops.image_shape(image).iter().product::<usize>();
        Ok(Picture { shape, values: images.iter().map(count).sum(), images })
    }

    /// Blocks that one evaluation of a model runs beside its own.
    fn blocks(&self) -> usize {
        match &self.network {
            Network::ControlNet(network) => network.plan.trunk.blocks(),
            Network::T2iAdapter(_) => 0,
        }
    }
}

impl Plan {
    fn read(network: &ControlFile) -> Result<Self> {
        let file = ConfigFile::new(network.config_path());
        match network.kind() {
            ControlKind::ControlNet => {
                let config: ControlNetConfig = network.config().map_err(bad_model)?;
                Ok(Self::ControlNet(config.plan(&file)?))
            }
            ControlKind::T2iAdapter => {
                let config: T2iAdapterConfig = network.config().map_err(bad_model)?;
                Ok(Self::T2iAdapter(config.plan(&file)?))
            }
        }
    }

    /// Number of blocks to load.
    fn blocks(&self) -> usize {
        match self {
            Self::ControlNet(plan) => plan.halvings() + plan.trunk.blocks(),
            Self::T2iAdapter(plan) => plan.resnets(),
        }
    }

    /// Channels of the latents that the network suits, and pixels along one side of a cell.
    fn latents(&self) -> (u32, u32) {
        match self {
            Self::ControlNet(plan) => (plan.trunk.input as u32, plan.scale() as u32),
            Self::T2iAdapter(plan) => (LATENT, plan.scale as u32),
        }
    }
}

impl<O: Ops> Guidance<'_, O> {
    /// Passes when the network suits a model whose denoiser has this trunk, and the pictures are for these latents.
    pub(super) fn check(&self, trunk: &TrunkPlan, shape: LatentShape) -> Result<()> {
        if let Some(other) = self.pictures.iter().find(|picture| picture.shape != shape) {
            let [found, wanted] =
                [other.shape, shape].map(|shape| format!("{}x{}", shape.width, shape.height));
            let message = format!("a hint was encoded for latents of {found} cells, not of {wanted}");
            return Err(Error::invalid(message));
        }
        match &self.guide.network {
            Network::ControlNet(network) => suits(&network.plan.trunk, trunk, shape),
            Network::T2iAdapter(_) => {
                let places = trunk.places([shape.height as usize, shape.width as usize]);
                self.pictures.iter().try_for_each(|picture| self.features_fit(picture, &places))
            }
        }
    }

    /// Passes when an adapter's features have the shapes of the places that they join, of which the last may stay
    /// empty.
    fn features_fit(&self, picture: &Picture<O::Tensor>, places: &[[usize; 3]]) -> Result<()> {
        let shape = |image| {
            let [_, channels, height, width] = self.guide.ops.image_shape(image);
            [channels, height, width]
        };
        let features: Vec<_> = picture.images.iter().map(shape).collect();
        match places.starts_with(&features) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "the T2I-Adapter is made for another kind of model: its features are {features:?}, those of this model \
                 would be {places:?}"
            ))),
        }
    }

    /// Whether no row wants anything of it.
    pub(super) fn is_idle(&self) -> bool {
        self.scales.iter().all(|scale| *scale == 0.0)
    }

    /// Blocks that it runs.
    pub(super) fn blocks(&self) -> usize {
        self.guide.blocks()
    }

    /// Adds what the network does about a question to the steering. Tensors of the model and of the network meet here.
    pub(super) fn steer(
        &self,
        question: &Question<'_, O::Tensor>,
        steering: &mut Steering<O::Tensor>,
    ) -> Result<()> {
        let ops = &self.guide.ops;
        let stacked = |place: usize| {
            let images: Vec<_> = self.pictures.iter().map(|picture| &picture.images[place]).collect();
            ops.stack(&images)
        };
        match &self.guide.network {
            Network::ControlNet(network) => {
                let residuals = network.forward(ops, question, &stacked(0)?, self.scales.clone())?;
                steering.controls.push(residuals);
            }
            Network::T2iAdapter(network) => {
                let places = 0..network.plan.blocks.len();
                let images = places.map(stacked).collect::<Result<_>>()?;
                steering.features.push(Features { images, scales: self.scales.clone() });
            }
        }
        Ok(())
    }
}

/// Passes when what a ControlNet of the trunk `own` adds fits the images of a denoiser's trunk.
fn suits(own: &TrunkPlan, trunk: &TrunkPlan, shape: LatentShape) -> Result<()> {
    let other = |what: &str, found: String, wanted: String| {
        Err(Error::invalid(format!(
            "the ControlNet is made for another kind of model: {what} {found}, this model has {wanted}"
        )))
    };
    let added = |plan: &TrunkPlan| plan.added.map_or(0, |added| added.input);
    if own.input != shape.channels as usize {
        return other("its latents have channels", own.input.to_string(), shape.channels.to_string());
    }
    if own.context != trunk.context {
        return other("its prompts have widths of", own.context.to_string(), trunk.context.to_string());
    }
    if own.added != trunk.added {
        return other("it hears further values", added(own).to_string(), added(trunk).to_string());
    }
    if (own.kept(), own.bottom()) != (trunk.kept(), trunk.bottom()) {
        return other("its images have channels", format!("{:?}", own.kept()), format!("{:?}", trunk.kept()));
    }
    Ok(())
}
