// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A tokenizer's files: the vocabulary and the order in which pieces are merged, in either of two layouts.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::shortened;
use crate::{Error, Result};

/// The contents of a model's tokenizer directory; which of them exist differs from model to model.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenizerFiles<'a> {
    /// `vocab.json`; needed with `merges` unless there is a `tokenizer.json`.
    pub vocab: Option<&'a [u8]>,
    /// `merges.txt`.
    pub merges: Option<&'a [u8]>,
    /// `tokenizer.json`; goes before `vocab.json` and `merges.txt`.
    pub tokenizer_json: Option<&'a [u8]>,
    /// `tokenizer_config.json`, for the special tokens.
    pub tokenizer_config: Option<&'a [u8]>,
    /// `special_tokens_map.json`, likewise.
    pub special_tokens_map: Option<&'a [u8]>,
}

/// The pieces of words that have ids, and how to reach them.
pub(super) struct Vocabulary {
    /// Piece to id.
    pub(super) ids: HashMap<String, u32>,
    /// Pairs of pieces, the ones to merge first at the front.
    pub(super) merges: Vec<(String, String)>,
    /// Tokens that `tokenizer.json` has outside of its model, with their ids.
    pub(super) added: Vec<(u32, AddedToken)>,
}

/// A token that is found in the text before the text is split into words.
#[derive(Clone, Deserialize)]
pub(super) struct AddedToken {
    pub(super) content: String,
    /// Whether it is sought in the lower-cased text. Special tokens are not, unless the files say so.
    #[serde(default)]
    pub(super) normalized: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

impl AddedToken {
    pub(super) fn special(content: String) -> Self {
        Self { content, normalized: false, lstrip: false, rstrip: false, single_word: false }
    }

    /// Whether it asks for a treatment of the text around it, which no CLIP tokenizer does.
    pub(super) fn is_unusual(&self) -> bool {
        self.lstrip || self.rstrip || self.single_word
    }
}

impl Vocabulary {
    pub(super) fn read(files: TokenizerFiles<'_>) -> Result<Self> {
        if let Some(bytes) = files.tokenizer_json {
            return Self::from_tokenizer_json(bytes);
        }
        let (Some(vocab), Some(merges)) = (files.vocab, files.merges) else {
            return Err(Error::Tokenizer("needs vocab.json and merges.txt, or tokenizer.json".to_owned()));
        };
        Ok(Self { ids: json("vocab.json", vocab)?, merges: merge_lines(merges)?, added: Vec::new() })
    }

    fn from_tokenizer_json(bytes: &[u8]) -> Result<Self> {
        let TokenizerJson { model, added_tokens } = json("tokenizer.json", bytes)?;
        if model.kind.as_deref().is_some_and(|kind| kind != "BPE") {
            return Err(Error::Tokenizer(
                "tokenizer.json has no byte-pair encoding, so it is not CLIP's".to_owned(),
            ));
        }
        let pair = |merge| match merge {
            Merge::Pair(left, right) => Some((left, right)),
            Merge::Line(line) => merge_line(&line),
        };
        let merges = model.merges.into_iter().map(pair).collect::<Option<_>>();
        let merges =
            merges.ok_or_else(|| Error::Tokenizer("a merge in tokenizer.json is no pair".to_owned()))?;
        let added = added_tokens.into_iter().map(|token| (token.id, token.token)).collect();
        Ok(Self { ids: model.vocab, merges, added })
    }

    /// Gives a token the id that the files state for it.
    ///
    /// # Errors
    /// When the vocabulary has it under another id.
    pub(super) fn insert(&mut self, content: &str, id: u32) -> Result<()> {
        let known = *self.ids.entry(content.to_owned()).or_insert(id);
        if known == id {
            return Ok(());
        }
        let token = shortened(content, 40);
        Err(Error::Tokenizer(format!("`{token}` has the id {known} in one file and {id} in another")))
    }

    /// Checks that the ids are 0 to the number of entries, each once, and that every merge joins two entries
    /// to a third.
    pub(super) fn check(&self) -> Result<()> {
        let mut seen = vec![false; self.ids.len()];
        for (piece, &id) in &self.ids {
            match seen.get_mut(id as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(out_of_place(piece, id, self.ids.len())),
            }
        }
        let known = |piece: &str| self.ids.contains_key(piece);
        let broken = self
            .merges
            .iter()
            .find(|(left, right)| !known(left) || !known(right) || !known(&format!("{left}{right}")));
        let Some((left, right)) = broken else { return Ok(()) };
        let (left, right) = (shortened(left, 40), shortened(right, 40));
        Err(Error::Tokenizer(format!("the merge of `{left}` and `{right}` is not in the vocabulary")))
    }
}

fn out_of_place(piece: &str, id: u32, count: usize) -> Error {
    let piece = shortened(piece, 40);
    Error::Tokenizer(format!(
        "the id {id} of `{piece}` is used twice or not below {count}, the number of entries"
    ))
}

#[derive(Deserialize)]
struct TokenizerJson {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<AddedTokenWithId>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
}

/// A merge in the newer or the older way to write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

#[derive(Deserialize)]
struct AddedTokenWithId {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// Parses one of the JSON files.
pub(super) fn json<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T> {
    let unreadable = |error| Error::Tokenizer(format!("{file}: {}", shortened(&format!("{error}"), 200)));
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// Reads `merges.txt`: a pair of pieces a line, after a line with the format's version.
pub(super) fn merge_lines(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Error::Tokenizer("merges.txt is not UTF-8".to_owned()))?;
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    let pair = |(index, line): (usize, &str)| {
        merge_line(line)
            .ok_or_else(|| Error::Tokenizer(format!("line {} of merges.txt is no pair", index + 1)))
    };
    lines.map(pair).collect()
}

fn merge_line(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(' ')?;
    (!right.contains(' ')).then(|| (left.to_owned(), right.to_owned()))
}
