// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pictures that come with a request, and what is to be done with them. Part of a request's parameters, and of its
//! job's row.
//!
//! The daemon never decodes such a picture itself. A child process that can do nothing else (`inputs/child.rs`) reads
//! it and writes it down anew ([`Store::take`]); another one makes of that what a job needs ([`Store::pixels`]).
//!
//! ```text
//! inputs/store.rs        the directory of inputs: names, files, and how long they stay
//!   inputs/lease.rs      the life of one file
//!   inputs/disk.rs       how many bytes all files may have
//!   inputs/budget.rs     how many bytes may be in memory until they are read
//!   inputs/fetch.rs      pictures by their address, where the operator allows it; inputs/fetch/address.rs: whose is public
//!   inputs/text.rs       pure  data URLs and base64
//!   inputs/reader.rs     the daemon's end of a child: its start, its limits, what is believed of its answer
//!   inputs/child.rs      the child: walls, then one job
//!   inputs/outline.rs    pure  format, size and end of a file by its own markers, before anything is decoded
//!   inputs/scans.rs      pure  whether a JPEG's coded data goes on to its end
//!   inputs/decode.rs     pure  bytes -> upright pixels -> a plain PNG
//!   inputs/shape.rs      pure  sizes, masks, blur
//!   inputs/canny.rs      pure  edges
//! ```

use serde::{Deserialize, Serialize};

mod budget;
mod canny;
mod child;
mod decode;
mod disk;
mod fetch;
mod lease;
mod outline;
mod reader;
mod scans;
pub mod shape;
mod store;
mod text;

pub(crate) use budget::Share;
pub use child::serve;
pub use lease::Lease;
pub use reader::{Limits, Part, Want};
pub use store::Store;
pub use text::from_text;

/// How strongly a model that edits as it is told follows the picture when nobody says it: that of the model that Brooks
/// et al. 2022 (arXiv:2211.09800) describe.
pub(crate) const DEFAULT_IMAGE_GUIDANCE_SCALE: f64 = 1.5;

/// A picture that came with a request, as it is kept until its job is over: upright, 8-bit RGB or RGBA, nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The name of its file.
    pub name: String,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Whether some pixel is not wholly opaque.
    pub has_alpha: bool,
    /// What it covers when it is read as a mask.
    #[serde(default)]
    pub tones: Tones,
    /// How long its file stays.
    #[serde(skip)]
    pub lease: Lease,
}

/// What there is in a picture of what a mask is read by: a pixel is the one or the other from the middle on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tones {
    /// Some pixel is transparent.
    pub transparent: bool,
    /// Some pixel is white, on black where it is transparent.
    pub white: bool,
    /// Some pixel is black.
    pub black: bool,
}

/// How a picture comes to have another shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// Scaled until it covers the new shape; what stands out is cut off evenly.
    #[default]
    Crop,
    /// Scaled until it fits into the new shape; its edges fill the rest.
    Fit,
    /// Scaled to the new shape, whatever that does to it.
    Stretch,
}

/// Which pixels of a mask say that something is painted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskPolarity {
    /// The transparent ones, as in OpenAI's API.
    Transparent,
    /// The white ones, as in A1111's.
    White,
    /// The black ones: A1111's, inverted.
    Black,
}

/// What of a picture is painted anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mask {
    /// The mask.
    pub input: Input,
    /// How it is read.
    pub polarity: MaskPolarity,
    /// Standard deviation of the blur of its edges, in pixels of the picture.
    pub blur: f32,
    /// Only the masked region is rendered, at full size, with so many pixels around it.
    pub only_masked: Option<u32>,
}

/// The picture that sampling begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The picture.
    pub input: Input,
    /// The part of the way to noise that it goes back: 0 (none) to 1 (all).
    pub strength: f64,
    /// How it comes to the size wanted.
    pub resize_mode: ResizeMode,
    /// What is painted anew; all of it where there is no mask.
    pub mask: Option<Mask>,
    /// How strongly a model that edits as it is told follows the picture; of no other model. Its strength is 1.
    pub image_guidance_scale: Option<f32>,
}

impl Start {
    /// The mask around whose region alone the picture is rendered, and how many pixels around it.
    pub fn region(&self) -> Option<(&Mask, u32)> {
        self.mask.as_ref().and_then(|mask| Some((mask, mask.only_masked?)))
    }
}

/// What a picture for a ControlNet or T2I-Adapter is turned into first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preprocessor {
    /// Its edges, white on black. Source: Canny 1986.
    Canny,
}

/// A picture that steers the network by way of another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The id of the ControlNet or T2I-Adapter.
    pub model: String,
    /// The picture.
    pub input: Input,
    /// What is done to it first.
    pub preprocessor: Option<Preprocessor>,
    /// How it comes to the size wanted.
    pub resize_mode: ResizeMode,
    /// How strongly it steers.
    pub strength: f32,
    /// The part of the run in which it does, from 0 (its beginning) to 1 (its end).
    pub interval: [f64; 2],
}

/// What makes a picture larger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enlarger {
    /// Its latent, to the nearest neighbour.
    Latent,
    /// Its latent, by cubic splines.
    LatentBicubic,
    /// Lanczos' filter on its pixels.
    Lanczos,
    /// The upscaler of this id.
    Model(String),
}

/// A second run on the enlarged picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hires {
    /// Pixels from left to right at the end.
    pub width: u32,
    /// Pixels from top to bottom at the end.
    pub height: u32,
    /// How it becomes that large.
    pub enlarger: Enlarger,
    /// [`Start::strength`] of the second run.
    pub strength: f64,
    /// Steps of the second run, before its strength is heard.
    pub steps: u32,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// The picture to begin with.
    pub start: Option<Start>,
    /// Pictures that steer.
    #[serde(default)]
    pub controls: Vec<Control>,
    /// A second run, larger.
    pub hires: Option<Hires>,
    /// What enlarges the finished picture.
    pub upscaler: Option<String>,
}

impl Inputs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The ids of the upscalers among them.
    pub fn upscalers(&self) -> impl Iterator<Item = &String> {
        let of_hires = self.hires.iter().filter_map(|hires| match &hires.enlarger {
            Enlarger::Model(id) => Some(id),
            _ => None,
        });
        of_hires.chain(&self.upscaler)
    }

    /// The pictures among them.
    pub fn pictures(&self) -> impl Iterator<Item = &Input> {
        let start = self.start.iter();
        let start = start
            .flat_map(|start| [&start.input].into_iter().chain(start.mask.iter().map(|mask| &mask.input)));
        start.chain(self.controls.iter().map(|control| &control.input))
    }
}
