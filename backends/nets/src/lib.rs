// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The networks of Stable Diffusion, written once over [`Ops`].
//!
//! A backend implements the operations of [`ops`] and gets a whole
//! [`Backend`](alice_plugin::Backend) for it: [`NetBackend`] loads a model directory, checks every argument
//! and runs the text encoder, the denoiser and the autoencoder on them. What each network looks like comes
//! from the model's own configuration; a configuration that asks for something this crate does not do is
//! refused by key and value. No device, no thread and no number format appears here.
//!
//! The networks follow the diffusers and transformers libraries, which are the reference for what the
//! weights mean.
#![forbid(unsafe_code)]

pub mod activation;
pub mod backend;
mod changeable;
mod clip;
mod config;
mod controlnet;
pub mod ops;
mod pixels;
mod progress;
mod resnet;
mod rrdb;
mod slot;
mod t2i_adapter;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tiles;
mod unet;
mod vae;
mod weights;

pub use backend::NetBackend;
pub use ops::{Activation, ConvAdd, ConvSpec, Ops, Padding};
