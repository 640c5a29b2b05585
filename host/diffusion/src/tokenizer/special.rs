// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The special tokens: which ones begin, end and pad a window, and which are recognised inside a text.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::files::{AddedToken, TokenizerFiles, Vocabulary, json};
use crate::error::shortened;
use crate::{Error, Result};

/// The special tokens of one tokenizer.
pub(super) struct SpecialTokens {
    pub(super) begin: String,
    pub(super) end: String,
    pub(super) pad: String,
    /// Stands for a byte that the vocabulary lacks.
    pub(super) unknown: String,
    /// What is recognised inside a text, as it is handed to the tokenizer.
    pub(super) added: Vec<tokenizers::AddedToken>,
}

/// The part of `tokenizer_config.json` and of `special_tokens_map.json` that counts here.
#[derive(Default, Deserialize)]
struct Named {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    pad_token: Option<Token>,
    /// Every token outside of the model's own, by id. Where it is present it is the only source.
    added_tokens_decoder: Option<BTreeMap<u32, AddedToken>>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Token {
    Word(String),
    Described(AddedToken),
}

impl SpecialTokens {
    /// Collects the special tokens, and gives those with an id of their own a place in the vocabulary.
    ///
    /// Where files disagree, the newer layout goes first, as in transformers: `added_tokens_decoder` in
    /// `tokenizer_config.json`, else `special_tokens_map.json`, else the names in `tokenizer_config.json`.
    pub(super) fn read(files: TokenizerFiles<'_>, vocabulary: &mut Vocabulary) -> Result<Self> {
        let read = |file, bytes: Option<&[u8]>| bytes.map_or(Ok(Named::default()), |bytes| json(file, bytes));
        let config: Named = read("tokenizer_config.json", files.tokenizer_config)?;
        let map: Named = match config.added_tokens_decoder {
            Some(_) => Named::default(),
            None => read("special_tokens_map.json", files.special_tokens_map)?,
        };
        let with_ids: Vec<(u32, AddedToken)> = match config.added_tokens_decoder {
            Some(decoder) => decoder.into_iter().collect(),
            None => std::mem::take(&mut vocabulary.added),
        };
        for (id, token) in &with_ids {
            vocabulary.insert(&token.content, *id)?;
        }
        let named = |preferred: Option<Token>, other: Option<Token>, usual: &str| match preferred
            .or(other)
            .unwrap_or_else(|| Token::Word(usual.to_owned()))
        {
            Token::Word(content) => AddedToken::special(content),
            Token::Described(token) => token,
        };
        let begin = named(map.bos_token, config.bos_token, "<|startoftext|>");
        let end = named(map.eos_token, config.eos_token, "<|endoftext|>");
        let unknown = named(map.unk_token, config.unk_token, "<|endoftext|>");
        let pad = named(map.pad_token, config.pad_token, "<|endoftext|>");
        let mut added: Vec<AddedToken> = with_ids.into_iter().map(|(_, token)| token).collect();
        let described = added.len();
        for token in [&begin, &end, &unknown, &pad] {
            // A token that is named twice is treated as it is described last, unless it was described with
            // its id.
            if !added[..described].iter().any(|known| known.content == token.content) {
                added.push(token.clone());
            }
        }
        let added = added.into_iter().map(recognised).collect::<Result<_>>()?;
        let [begin, end, pad, unknown] = [begin, end, pad, unknown].map(|token| token.content);
        Ok(Self { begin, end, pad, unknown, added })
    }
}

/// The token as the tokenizer library wants it.
fn recognised(token: AddedToken) -> Result<tokenizers::AddedToken> {
    if token.is_unusual() {
        let content = shortened(&token.content, 40);
        let problem = "asks for spaces around it to be removed or for whole words, which CLIP has not";
        return Err(Error::Tokenizer(format!("`{content}` {problem}")));
    }
    Ok(tokenizers::AddedToken::from(token.content, true).normalized(token.normalized))
}

/// A special token that has no id.
pub(super) fn missing(token: &str) -> Error {
    Error::Tokenizer(format!("the special token `{}` is not in the vocabulary", shortened(token, 40)))
}
