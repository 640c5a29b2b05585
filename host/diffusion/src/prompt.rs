// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What people write into prompts beside words: weights, `BREAK`, the names of textual inversions, LoRA tags.
//!
//! The rules are those of AUTOMATIC1111's program, because prompts are shared with pictures that were made by it.
//! Reading takes time in proportion to the text, and nothing recurses, so a prompt of nothing but brackets costs
//! no more than another. Looking for names compares each word with those that begin alike.

mod attention;
mod chunks;
mod lora;
mod names;

pub use self::attention::parse;
pub use self::chunks::Chunk;
pub use self::lora::{LoraTag, lora_tag, tidied, without_loras};
pub use self::names::{Names, Span};

/// What a prompt is made of, in its order.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Words.
    Text {
        /// Without brackets, weights and escapes.
        text: String,
        /// How much they count; 1 is as usual.
        weight: f32,
    },
    /// The vectors of a textual inversion in the place of its name.
    Vectors {
        /// The first of its rows among those that go along with the prompt.
        first: u32,
        /// How many there are.
        count: u32,
        /// How much they count.
        weight: f32,
    },
    /// The next word begins a new chunk.
    Break,
}
