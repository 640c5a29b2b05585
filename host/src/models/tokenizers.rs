// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The tokenizers that come with a model.

use alice_checkpoint::diffusers::{TextEncoder, Vocabulary};
use alice_checkpoint::{Checkpoint, Family};
use alice_diffusion::{ClipTokenizer, Padding, TokenizerFiles};
use alice_plugin::TextEncoderInfo;

/// The tokenizers of `checkpoint`, one for each of its text encoders, of which `encoders` tells how
/// many tokens they read. An encoder without files of its own gets CLIP's vocabulary, which nearly all share.
///
/// # Errors
/// When files are damaged; when there are other encoders than the backend says.
pub fn read_tokenizers(
    checkpoint: &Checkpoint,
    encoders: &[TextEncoderInfo],
) -> anyhow::Result<Vec<ClipTokenizer>> {
    let parts = checkpoint.text_encoders()?;
    anyhow::ensure!(parts.len() == encoders.len(), "it has {} text encoders", parts.len());
    let pairs = parts.iter().zip(encoders);
    pairs.map(|(part, encoder)| read_tokenizer(checkpoint, part, encoder)).collect()
}

fn read_tokenizer(
    checkpoint: &Checkpoint,
    part: &TextEncoder,
    encoder: &TextEncoderInfo,
) -> anyhow::Result<ClipTokenizer> {
    let context_length = encoder.context_length as usize;
    let Some(files) = checkpoint.tokenizer(part.tokenizer)? else {
        let tokenizer = ClipTokenizer::embedded(context_length, padding(checkpoint.family(), part))?;
        let (own, known) = (encoder.vocab_size as usize, tokenizer.vocab_size());
        anyhow::ensure!(own == known, "there is none, and CLIP's {known} tokens are not the encoder's {own}");
        return Ok(tokenizer);
    };
    let (vocab, merges, tokenizer_json) = match &files.vocabulary {
        Vocabulary::Merges { vocab, merges } => (Some(vocab.as_slice()), Some(merges.as_slice()), None),
        Vocabulary::Tokenizer(json) => (None, None, Some(json.as_slice())),
    };
    let files = TokenizerFiles {
        vocab,
        merges,
        tokenizer_json,
        tokenizer_config: files.config.as_deref(),
        special_tokens_map: files.special_tokens.as_deref(),
    };
    Ok(ClipTokenizer::new(files, context_length)?)
}

/// OpenCLIP's encoders were trained on windows filled with zeros, OpenAI's on windows filled with the end token.
fn padding(family: Family, part: &TextEncoder) -> Padding {
    match family {
        Family::Sd1 => Padding::End,
        Family::Sdxl if part.component == "text_encoder" => Padding::End,
        Family::Sd2 | Family::Sdxl | Family::SdxlRefiner => Padding::Zero,
    }
}
