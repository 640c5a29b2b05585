// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a model file is.
//!
//! Model files come from strangers, so everything here treats them as hostile: a file is checked completely
//! when it is opened, and whatever is handed out afterwards are plain slices of the stated length. The daemon
//! lists models and finds out their family through [`Checkpoint`], which reads headers and small files; only
//! backends map weights, as a [`TensorSet`]. Nothing here computes, and nothing here executes what a file says:
//! formats that can carry a program (pickles) are refused.
#![deny(unsafe_code)]

mod autoencoder;
mod catalog;
mod checkpoint;
pub mod control;
pub mod diffusers;
pub mod embedding;
mod error;
mod family;
mod header;
mod listing;
pub mod lora;
mod set;
mod single;
mod tensors;
pub mod upscaler;

pub use checkpoint::{Checkpoint, Layer, Layout};
pub use error::Error;
pub use family::Family;
pub use listing::Listing;
/// The number format of a tensor's values, in the words of the safetensors format.
pub use safetensors::Dtype;
pub use set::{Scope, TensorSet};
pub use single::vae::is_training;
pub use tensors::{Tensor, TensorFile};
