// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The call that encodes a prompt: the chunks of all encoders become one row of tokens, and a pooled vector
//! where the denoiser hears one.

use std::sync::Arc;

use alice_plugin::{Control, Result, TextChunk, TextRequest};

use super::{
    arguments::{check_text, stands_for_zeros, unweighted},
    model::Model,
};
use crate::{
    clip::{Clip, Words, emphasise},
    ops::Ops,
    progress::Progress,
};

/// An encoded prompt.
pub(super) struct Prompt<O: Ops> {
    /// Tokens `[1, length, width]` of the precise operations, as wide as all encoders together.
    pub(super) tokens: O::Tensor,
    /// Number of tokens.
    pub(super) length: usize,
    /// The pooled vector, where the denoiser hears one. Not on the device: it goes there with other numbers.
    pub(super) pooled: Option<Vec<f32>>,
}

/// One chunk of a prompt, wherever it stands there. Prompts are repeated to a common length, so that many of a
/// prompt's chunks may be the same one.
struct Part<'a, O: Ops> {
    clip: &'a Clip<O>,
    chunk: &'a TextChunk<'a>,
    /// What the ids behind the encoder's vocabulary stand for, one row after the other.
    extra: Arc<[f32]>,
    /// Its numbers among the chunks of its encoder; at least one.
    places: Vec<usize>,
    /// Width of the encoders before this one.
    before: usize,
}

impl<O: Ops> Model<O> {
    /// Encodes the prompt.
    pub(super) fn encode_text(&self, request: &TextRequest<'_>, control: &dyn Control) -> Result<Prompt<O>> {
        self.adapters.check()?;
        check_text(request, &self.info, self.encoders.iter().map(|clip| &clip.plan))?;
        let (parts, skip) = (self.parts(request), request.clip_skip as usize);
        let progress = Progress::begin(control, parts.iter().map(|part| part.blocks(skip)).sum())?;
        let chunk_length = self.encoders[0].plan.context_length;
        let length = request.chunks.len() / self.encoders.len() * chunk_length;
        if let [part] = &parts[..]
            && part.places.len() == 1
            && unweighted(part.chunk)
        {
            let encoded = part.clip.forward(self.ops.precise(), part.words(), skip, true, &progress)?;
            let pooled = encoded.pooled.map(|pooled| self.pooled(part.clip, &pooled)).transpose()?;
            return Ok(Prompt { tokens: encoded.tokens, length, pooled });
        }
        // Weighting and joining are rare or small, so they are done here and not by the device.
        let width = self.unet.plan.trunk.context;
        let (mut joined, mut pooled) = (vec![0.0; length * width], None);
        for part in &parts {
            let (tokens, vector) = self.encode_part(part, skip, &progress)?;
            pooled = pooled.or(vector);
            for place in &part.places {
                let rows = joined[place * chunk_length * width..].chunks_exact_mut(width);
                for (row, token) in rows.zip(tokens.chunks_exact(part.clip.plan.width)) {
                    row[part.before..][..token.len()].copy_from_slice(token);
                }
            }
        }
        Ok(Prompt { tokens: self.ops.precise().tokens([1, length, width], &joined)?, length, pooled })
    }

    /// The chunks, encoder by encoder, each of them once.
    fn parts<'a>(&'a self, request: &'a TextRequest<'_>) -> Vec<Part<'a, O>> {
        let (mut parts, mut before) = (Vec::<Part<'a, O>>::new(), 0);
        for (encoder, clip) in (0u32..).zip(&self.encoders) {
            let chunks = request.chunks.iter().filter(|chunk| chunk.encoder == encoder);
            let name = format!("rows.{encoder}");
            let rows = request.extra_rows.iter().filter(|rows| rows.name == name);
            let extra: Arc<[f32]> = rows.flat_map(|rows| rows.data).copied().collect();
            for (place, chunk) in chunks.enumerate() {
                match parts.iter_mut().find(|part| same(part.chunk, chunk)) {
                    Some(part) => part.places.push(place),
                    None => {
                        let extra = Arc::clone(&extra);
                        parts.push(Part { clip, chunk, extra, places: vec![place], before });
                    }
                }
            }
            before += clip.plan.width;
        }
        parts
    }

    /// The tokens of one chunk, `[context_length, width]`, weighted, and the pooled vector if it makes one.
    fn encode_part(
        &self,
        part: &Part<'_, O>,
        skip: usize,
        progress: &Progress<'_>,
    ) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let &Part { clip, chunk, .. } = part;
        let mut tokens = vec![0.0; clip.plan.context_length * clip.plan.width];
        if stands_for_zeros(chunk) {
            let pooled = clip.plan.projection.filter(|_| part.pools());
            return Ok((tokens, pooled.map(|length| vec![0.0; length])));
        }
        let encoded = clip.forward(self.ops.precise(), part.words(), skip, part.pools(), progress)?;
        self.ops.precise().download(&encoded.tokens, &mut tokens)?;
        if !unweighted(chunk) {
            emphasise(&mut tokens, chunk.weights);
        }
        let pooled = encoded.pooled.map(|pooled| self.pooled(clip, &pooled)).transpose()?;
        Ok((tokens, pooled))
    }

    /// The values of the prompt's tokens.
    pub(super) fn tokens_of(&self, prompt: &Prompt<O>) -> Result<Vec<f32>> {
        let mut values = vec![0.0; prompt.length * self.unet.plan.trunk.context];
        self.ops.precise().download(&prompt.tokens, &mut values)?;
        Ok(values)
    }

    /// The values of a pooled vector that `clip` has made.
    fn pooled(&self, clip: &Clip<O>, pooled: &O::Tensor) -> Result<Vec<f32>> {
        let mut values = vec![0.0; clip.plan.projection.unwrap_or(0)];
        self.ops.precise().download(pooled, &mut values)?;
        Ok(values)
    }
}

impl<O: Ops> Part<'_, O> {
    fn words(&self) -> Words<'_> {
        Words { ids: self.chunk.ids, extra: &self.extra }
    }

    /// Whether the pooled vector is this chunk's: the first stands for the prompt.
    fn pools(&self) -> bool {
        self.clip.plan.projection.is_some() && self.places.contains(&0)
    }

    /// Number of layers to run, for the progress of the call.
    fn blocks(&self, skip: usize) -> usize {
        match (stands_for_zeros(self.chunk), self.pools()) {
            (true, _) => 0,
            (false, true) => self.clip.plan.layers,
            (false, false) => self.clip.plan.layers_heard(skip),
        }
    }
}

/// Whether two chunks are encoded alike.
fn same(one: &TextChunk<'_>, other: &TextChunk<'_>) -> bool {
    (one.encoder, one.ids, one.weights) == (other.encoder, other.ids, other.weights)
}
