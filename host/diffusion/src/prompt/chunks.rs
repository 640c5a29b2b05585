// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From parts to what one text encoder reads: windows of its length, each with begin, end and padding.
//!
//! Source: AUTOMATIC1111 `modules/sd_hijack_clip.py`, `tokenize_line`, by its behaviour: windows of 75 tokens for a
//! context of 77; what follows a comma among the last 20 tokens of a full window moves into the next one; `BREAK`
//! fills the rest of a window with padding; vectors of one textual inversion are not parted.

use super::Part;
use crate::tokenizer::ClipTokenizer;
use crate::{Error, Result};

/// How far from the end of a full window a comma may be that becomes its end.
const BACKTRACK: usize = 20;

/// One context window of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// As many ids as the context is long: begin, tokens, end, padding. Row `i` that goes along with the prompt has the
    /// id `rows_from + i`.
    pub ids: Vec<u32>,
    /// One for each id; 1 for those that stand for no word.
    pub weights: Vec<f32>,
}

impl ClipTokenizer {
    /// The prompt in windows, at least one. The rows of textual inversions that go along with it have the ids from
    /// `rows_from` on.
    ///
    /// # Errors
    /// [`Error::PromptLength`] when it takes more than `most` windows, and for vectors that no window holds.
    pub fn chunks(&self, parts: &[Part], rows_from: u32, most: usize) -> Result<Vec<Chunk>> {
        let mut chunks = Chunks {
            tokenizer: self,
            most,
            full: Vec::new(),
            ids: Vec::new(),
            weights: Vec::new(),
            comma: None,
        };
        for part in parts {
            match part {
                Part::Break => chunks.end()?,
                Part::Text { text, weight } => {
                    // With one token more than this the limit is passed, whatever else the text says.
                    for id in self.tokens(text, self.room().saturating_mul(most) + 1) {
                        chunks.word(id, *weight)?;
                    }
                }
                Part::Vectors { first, count, weight } => {
                    chunks.vectors(rows_from.saturating_add(*first), *count, *weight)?
                }
            }
        }
        if !chunks.ids.is_empty() || chunks.full.is_empty() {
            chunks.end()?;
        }
        Ok(chunks.full)
    }

    /// How many tokens of the window are a prompt's.
    pub fn spoken(&self, chunk: &Chunk) -> usize {
        let end = self.special().end;
        chunk.ids.iter().skip(1).take_while(|id| **id != end).count()
    }

    /// The window of an empty prompt, with which a shorter prompt is made as long as another.
    pub fn empty_chunk(&self) -> Chunk {
        self.filled(Vec::new(), Vec::new())
    }

    /// A window that begins with these tokens, which have room in it.
    fn filled(&self, tokens: Vec<u32>, mut weights: Vec<f32>) -> Chunk {
        let (length, special) = (self.room() + 2, self.special());
        let mut ids = vec![special.begin];
        ids.extend(tokens);
        ids.push(special.end);
        ids.resize(length, special.pad);
        weights.insert(0, 1.0);
        weights.resize(length, 1.0);
        Chunk { ids, weights }
    }
}

/// The windows of a prompt while they are made.
struct Chunks<'a> {
    tokenizer: &'a ClipTokenizer,
    most: usize,
    full: Vec<Chunk>,
    /// Of the present window, without begin and end.
    ids: Vec<u32>,
    weights: Vec<f32>,
    /// Where its last comma is.
    comma: Option<usize>,
}

impl Chunks<'_> {
    fn word(&mut self, id: u32, weight: f32) -> Result<()> {
        let is_comma = self.tokenizer.comma() == Some(id);
        self.make_room(is_comma)?;
        if is_comma {
            self.comma = Some(self.ids.len());
        }
        self.ids.push(id);
        self.weights.push(weight);
        Ok(())
    }

    fn vectors(&mut self, first: u32, count: u32, weight: f32) -> Result<()> {
        let room = self.tokenizer.room();
        self.make_room(false)?;
        if self.ids.len() + count as usize > room {
            self.end()?;
        }
        if count as usize > room {
            return Err(self.too_long());
        }
        self.ids.extend((0..count).map(|row| first.saturating_add(row)));
        self.weights.resize(self.ids.len(), weight);
        Ok(())
    }

    /// Ends the window if it is full: behind a comma near its end, unless one is what comes next.
    fn make_room(&mut self, for_comma: bool) -> Result<()> {
        let room = self.tokenizer.room();
        if room == 0 {
            return Err(self.too_long());
        }
        if self.ids.len() < room {
            return Ok(());
        }
        let near = |end: &usize| !for_comma && room - end < BACKTRACK;
        let end = self.comma.map(|comma| comma + 1).filter(near).unwrap_or(room);
        let (ids, weights) = (self.ids.split_off(end), self.weights.split_off(end));
        self.end()?;
        (self.ids, self.weights) = (ids, weights);
        Ok(())
    }

    /// Ends the window.
    fn end(&mut self) -> Result<()> {
        if self.full.len() == self.most {
            return Err(self.too_long());
        }
        let (ids, weights) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.weights));
        self.full.push(self.tokenizer.filled(ids, weights));
        self.comma = None;
        Ok(())
    }

    fn too_long(&self) -> Error {
        Error::PromptLength { most: self.most, tokens: self.tokenizer.room() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::*;
    use crate::{Padding, prompt::parse};

    const COMMA: u32 = 267;
    const CAT: u32 = 2368;

    /// One that reads so many tokens at a time.
    fn reading(context: usize) -> &'static ClipTokenizer {
        static CLIPS: [OnceLock<ClipTokenizer>; 78] = [const { OnceLock::new() }; 78];
        CLIPS[context].get_or_init(|| ClipTokenizer::embedded(context, Padding::Zero).unwrap())
    }

    fn clip() -> &'static ClipTokenizer {
        reading(77)
    }

    /// The words of each window, without begin, end and padding.
    fn words(text: &str) -> Vec<Vec<u32>> {
        let clip = clip();
        let chunks = clip.chunks(&parse(text).unwrap(), 49_408, 8).unwrap();
        let inner = |chunk: &Chunk| {
            assert_eq!((chunk.ids.len(), chunk.weights.len(), chunk.ids[0]), (77, 77, 49_406));
            let end = chunk.ids.iter().position(|id| *id == 49_407).unwrap();
            assert!(chunk.ids[end + 1..].iter().all(|id| *id == 0));
            chunk.ids[1..end].to_vec()
        };
        chunks.iter().map(inner).collect()
    }

    #[test]
    fn a_plain_prompt_that_fits_is_read_as_ever() {
        let clip = clip();
        for text in ["", "a red apple", &"cat ".repeat(75)] {
            let chunks = clip.chunks(&parse(text).unwrap(), 0, 1).unwrap();
            assert_eq!(chunks.len(), 1);
            assert_eq!(chunks[0].ids, clip.window(text).ids);
            assert_eq!(chunks[0].weights, [1.0; 77]);
        }
        assert_eq!(clip.empty_chunk(), clip.chunks(&[], 0, 1).unwrap()[0]);
    }

    #[test]
    fn weights_stand_beside_their_tokens() {
        let chunks = clip().chunks(&parse("cat (cat:1.5) cat").unwrap(), 0, 1).unwrap();
        assert_eq!(chunks[0].ids[..5], [49_406, CAT, CAT, CAT, 49_407]);
        assert_eq!(chunks[0].weights[..6], [1.0, 1.0, 1.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_long_prompt_is_parted_at_75_tokens_or_at_a_comma_shortly_before() {
        let lengths = |text: &str| words(text).iter().map(Vec::len).collect::<Vec<_>>();
        let cats = |count| "cat ".repeat(count);
        assert_eq!(lengths(&cats(160)), [75, 75, 10]);
        // The comma is token 56 of 75: 19 behind it move along, and the next one.
        assert_eq!(lengths(&format!("{}, {}", cats(55), cats(30))), [56, 30]);
        assert_eq!(lengths(&format!("{}, {}", cats(54), cats(30))), [75, 10], "too far back");
        assert_eq!(lengths(&format!("{}, {}", cats(74), cats(2))), [75, 2], "it is the last");
        assert_eq!(lengths(&format!("{}, cat", cats(75))), [75, 2], "it is the next one");
        assert_eq!(words(&format!("{}, cat", cats(75)))[1], [COMMA, CAT]);
        assert_eq!(lengths("cat BREAK cat cat BREAK BREAK cat"), [1, 2, 0, 1]);
        assert_eq!(lengths("cat BREAK"), [1]);
    }

    #[test]
    fn vectors_stay_together_and_have_ids_behind_the_vocabulary() {
        let vectors = |first, count| Part::Vectors { first, count, weight: 0.5 };
        let text = Part::Text { text: "cat ".repeat(74), weight: 1.0 };
        let chunks = clip().chunks(&[text, vectors(3, 2)], 49_408, 2).unwrap();
        assert_eq!(chunks[0].ids[75], 49_407, "one token of 75 stays free");
        assert_eq!(chunks[1].ids[1..4], [49_411, 49_412, 49_407]);
        assert_eq!(chunks[1].weights[..4], [1.0, 0.5, 0.5, 1.0]);
        assert!(clip().chunks(&[vectors(0, 75)], 49_408, 1).is_ok());
        assert!(clip().chunks(&[vectors(0, 76)], 49_408, 9).is_err());
    }

    #[test]
    fn a_prompt_of_too_many_windows_is_an_error() {
        let read = |text: &str| clip().chunks(&parse(text).unwrap(), 0, 2).map(|chunks| chunks.len());
        assert_eq!(read(&"cat ".repeat(150)), Ok(2));
        let too_long = Err(Error::PromptLength { most: 2, tokens: 75 });
        for text in
            ["cat ".repeat(151), "cat BREAK ".repeat(3), "cat ".repeat(100_000), "(cat) cat ".repeat(99_999)]
        {
            assert_eq!(read(&text), too_long, "{text:.20}");
        }
        let tiny = reading(2);
        assert!(tiny.chunks(&parse("cat").unwrap(), 0, 9).is_err() && tiny.chunks(&[], 0, 9).is_ok());
    }

    proptest! {
        #[test]
        fn no_token_is_lost_or_moved(text in "[a-c,() ]{0,300}", context in 3usize..9) {
            let clip = reading(context);
            let parts = parse(&text).unwrap_or_default();
            let chunks = clip.chunks(&parts, 0, 1000).unwrap();
            let tokens = |part: &Part| match part {
                Part::Text { text, .. } => clip.tokens(text, usize::MAX),
                _ => Vec::new(),
            };
            let expected: Vec<u32> = parts.iter().flat_map(tokens).collect();
            let inner = |chunk: &Chunk| {
                let end = chunk.ids.iter().position(|id| *id == 49_407).unwrap();
                chunk.ids[1..end].to_vec()
            };
            prop_assert_eq!(chunks.iter().flat_map(inner).collect::<Vec<_>>(), expected);
            prop_assert!(chunks.iter().all(|chunk| chunk.ids.len() == context && chunk.weights.len() == context));
        }
    }
}
