// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! CLIP's own vocabulary, for models that bring no tokenizer: nearly all of them share it.
//!
//! Only the merges are kept; they say everything. The first ids are the 256 bytes, then the same bytes at the
//! end of a word, then what each merge makes, then the two special tokens: 49,408 in all. The merges are
//! OpenAI's, under the MIT licence in `clip/LICENSE`.

use super::files::{TokenizerFiles, Vocabulary, merge_lines};
use super::{ClipTokenizer, END_OF_WORD};
use crate::Result;

const MERGES: &str = include_str!("../../clip/merges.txt");

/// What fills a window behind its end token. Encoders see the padding, so each needs that of its training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// The end token again: OpenAI's CLIP, the encoder of SD 1.x and the first one of SDXL.
    End,
    /// The id 0: encoders of OpenCLIP, in SD 2.x and the second one of SDXL. It is also the sign `!`, and as
    /// in the tokenizers of these models a `!` in a text is this token, not the sign at a word's end.
    Zero,
}

impl Padding {
    /// The special tokens as the published models describe them.
    fn tokenizer_config(self) -> &'static str {
        match self {
            Self::End => {
                r#"{"added_tokens_decoder": {
                    "49406": {"content": "<|startoftext|>", "normalized": true},
                    "49407": {"content": "<|endoftext|>"}}}"#
            }
            Self::Zero => {
                r#"{"pad_token": "!", "added_tokens_decoder": {
                    "0": {"content": "!"},
                    "49406": {"content": "<|startoftext|>", "normalized": true},
                    "49407": {"content": "<|endoftext|>"}}}"#
            }
        }
    }
}

impl ClipTokenizer {
    /// CLIP's own tokenizer, for an encoder that reads `context_length` tokens and whose model brings no
    /// tokenizer files.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) for a context too short or absurdly long.
    pub fn embedded(context_length: usize, padding: Padding) -> Result<Self> {
        let special = TokenizerFiles {
            tokenizer_config: Some(padding.tokenizer_config().as_bytes()),
            ..TokenizerFiles::default()
        };
        Self::assemble(vocabulary()?, special, context_length)
    }
}

/// The pieces in the order of their ids, but for the special tokens.
fn vocabulary() -> Result<Vocabulary> {
    let merges = merge_lines(MERGES.as_bytes())?;
    let bytes = byte_letters().map(String::from);
    let ends = byte_letters().map(|letter| format!("{letter}{END_OF_WORD}"));
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    let ids = bytes.chain(ends).chain(merged).zip(0..).collect();
    Ok(Vocabulary { ids, merges, added: Vec::new() })
}

/// The letters that stand for bytes, in the order of CLIP's ids: printable bytes as themselves, then the others
/// as letters of which none looks like a space.
fn byte_letters() -> impl Iterator<Item = char> {
    ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain('\u{100}'..='\u{143}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_is_clips() {
        let vocabulary = vocabulary().unwrap();
        assert_eq!((vocabulary.merges.len(), vocabulary.ids.len()), (48_894, 49_406));
        for (piece, id) in [("!", 0), ("!</w>", 256), ("in", 512), ("jekyll</w>", 49_405)] {
            assert_eq!(vocabulary.ids[piece], id);
        }
        let tokenizer = ClipTokenizer::embedded(77, Padding::End).unwrap();
        assert_eq!(tokenizer.vocab_size(), 49_408);
    }

    #[test]
    fn padding_is_the_end_token_or_the_id_0() {
        let ids = |padding| ClipTokenizer::embedded(5, padding).unwrap().window("cat!").ids;
        assert_eq!(ids(Padding::End), [49_406, 2368, 256, 49_407, 49_407]);
        assert_eq!(ids(Padding::Zero), [49_406, 2368, 0, 49_407, 0]);
    }
}
