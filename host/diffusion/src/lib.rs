// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The mathematics of making a picture from noise, as pure functions: latents, torch's noise, schedules,
//! samplers, guidance, and the tokens of a prompt.
//!
//! The daemon implements [`Denoise`] over its engine, and a sampler awaits it as if the network were a
//! function. Nothing here reads a file, looks at a clock, starts a thread or knows a tensor library, so that
//! every number can be held against the reference implementation (diffusers 0.42.1, transformers 5.23.0).
//!
//! ```
//! use alice_diffusion::{Denoise, Latent, LatentShape, Method, Noise, Point, Schedule, SchedulerConfig};
//!
//! struct Blank;
//!
//! impl Denoise for Blank {
//!     type Error = ();
//!     async fn denoise(&self, x: &Latent, _at: Point) -> Result<Latent, ()> {
//!         Ok(Latent::zeros(x.shape))
//!     }
//!     fn stepped(&self, _step: usize, _steps: usize, _denoised: &Latent) -> Result<(), ()> {
//!         Ok(())
//!     }
//! }
//!
//! async fn picture() -> alice_diffusion::Result<Latent> {
//!     let schedule = Schedule::new(Method::Euler.into(), &SchedulerConfig::default(), 20)?;
//!     let shape = LatentShape { channels: 4, height: 64, width: 64 };
//!     Ok(schedule.sample(&Blank, &mut Noise::new(42), shape).await.expect("`Blank` never fails"))
//! }
//! ```

#![forbid(unsafe_code)]

mod brownian;
mod config;
mod denoise;
mod error;
pub mod guidance;
mod kept;
mod lanczos;
mod latent;
mod noise;
pub mod prompt;
mod resize;
mod sampler;
mod schedule;
mod tokenizer;

pub use config::{Prediction, SchedulerConfig};
pub use denoise::{Denoise, Point};
pub use error::{Error, Result};
pub use kept::Kept;
pub use lanczos::lanczos;
pub use latent::{Latent, LatentShape, Posterior};
pub use noise::Noise;
pub use resize::Interpolation;
pub use sampler::{Method, Sampler};
pub use schedule::{Curve, NoiseSchedule, Schedule};
pub use tokenizer::{ClipTokenizer, Padding, TokenizerFiles, Window};
