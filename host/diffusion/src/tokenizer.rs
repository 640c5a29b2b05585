// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From a prompt to the numbers that CLIP's text encoder reads: byte-level byte-pair encoding.
//!
//! Built as transformers 5.23.0 builds `CLIPTokenizer`: whatever files a model brings, only the vocabulary,
//! the merges and the special tokens come from them, the rest is CLIP's own.

mod embedded;
mod files;
mod special;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::Sequence as Normalizers;
use tokenizers::normalizers::{Lowercase, NFC, NormalizerWrapper, Replace, replace::ReplacePattern};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

pub use self::embedded::Padding;
pub use self::files::TokenizerFiles;
use self::files::Vocabulary;
use self::special::SpecialTokens;
use crate::error::shortened;
use crate::{Error, Result};

/// What one word of a prompt is: a special token, a contraction, letters, one digit, or other signs.
const WORD: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Marks the last piece of a word in CLIP's vocabulary.
const END_OF_WORD: &str = "</w>";
/// A comma by itself.
const COMMA: &str = ",</w>";

/// The most tokens that a context window may have. CLIP has 77, its successors a few hundred.
const LONGEST_CONTEXT: usize = 65_536;

/// The tokenizer of one text encoder.
#[derive(Debug)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    /// Whether a text may be cut before spaces and digits, because no special token contains any.
    divisible: bool,
    context_length: usize,
    vocab_size: usize,
    special: Special,
    /// The comma, where prompts are parted that are longer than a window.
    comma: Option<u32>,
}

/// The ids that stand for no text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Special {
    pub(crate) begin: u32,
    pub(crate) end: u32,
    pub(crate) pad: u32,
}

/// One context window of token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Exactly as many ids as the encoder's context has: begin, the text's tokens, end, padding.
    pub ids: Vec<u32>,
    /// How many of them are not padding.
    pub used: usize,
    /// Whether the text had more tokens than fit; the rest of them was left out.
    pub truncated: bool,
}

impl ClipTokenizer {
    /// A tokenizer from a model's files, for an encoder that reads `context_length` tokens.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when files are missing, damaged or contradict each other, and for a context too
    /// short for the begin and end tokens or absurdly long.
    pub fn new(files: TokenizerFiles<'_>, context_length: usize) -> Result<Self> {
        Self::assemble(Vocabulary::read(files)?, files, context_length)
    }

    /// A tokenizer with this vocabulary, and with the special tokens that `files` describe.
    fn assemble(
        mut vocabulary: Vocabulary,
        files: TokenizerFiles<'_>,
        context_length: usize,
    ) -> Result<Self> {
        if !(2..=LONGEST_CONTEXT).contains(&context_length) {
            let problem =
                format!("a context of {context_length} tokens is out of range (2 to {LONGEST_CONTEXT})");
            return Err(Error::Tokenizer(problem));
        }
        let special = SpecialTokens::read(files, &mut vocabulary)?;
        vocabulary.check()?;
        let id = |token: &str| vocabulary.ids.get(token).copied().ok_or_else(|| special::missing(token));
        let ids = Special { begin: id(&special.begin)?, end: id(&special.end)?, pad: id(&special.pad)? };
        let comma = vocabulary.ids.get(COMMA).copied();
        id(&special.unknown)?;
        let vocab_size = vocabulary.ids.len();
        let divisible = !special.added.iter().any(|token| token.content.contains(begins_a_word));
        let mut tokenizer = pipeline(vocabulary, special.unknown).map_err(unusable)?;
        tokenizer.add_tokens(special.added).map_err(unusable)?;
        Ok(Self { tokenizer, divisible, context_length, vocab_size, special: ids, comma })
    }

    /// Number of token ids, all of them below it: the encoder's vocabulary must not be smaller.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The window that holds `text` as it is, cut off at the end if it is too long: what diffusers' pipelines read.
    /// Weights and longer prompts are [`chunks`](Self::chunks).
    pub fn window(&self, text: &str) -> Window {
        let room = self.room();
        let tokens = self.tokens(text, room + 1);
        let mut ids = Vec::with_capacity(self.context_length);
        ids.push(self.special.begin);
        ids.extend_from_slice(&tokens[..tokens.len().min(room)]);
        ids.push(self.special.end);
        let used = ids.len();
        ids.resize(self.context_length, self.special.pad);
        Window { ids, used, truncated: tokens.len() > room }
    }

    /// The tokens of `text` and nothing else: all of them, or at least `most` of its first ones.
    pub(crate) fn tokens(&self, text: &str, most: usize) -> Vec<u32> {
        let text = if self.divisible { with_words(text, most) } else { text };
        // The unknown token is in the vocabulary, the expressions are fixed and need no backtracking: nothing
        // is left that could fail.
        let tokens = self.tokenizer.encode_fast(text, false).expect("every text can be split into bytes");
        tokens.get_ids().to_vec()
    }

    /// How many tokens of text a window holds.
    /// Tokens that a chunk has room for, beside its begin and end.
    pub fn room(&self) -> usize {
        self.context_length - 2
    }

    pub(crate) fn special(&self) -> Special {
        self.special
    }

    pub(crate) fn comma(&self) -> Option<u32> {
        self.comma
    }
}

/// The beginning of `text` with `count` words, or all of it, so that a prompt of a megabyte is not read to
/// its end for the few tokens that fit. Each word has at least one token, and no token reaches across its
/// ends.
fn with_words(text: &str, count: usize) -> &str {
    let mut words = 0;
    let mut after_space = true;
    for (index, sign) in text.char_indices() {
        if !sign.is_whitespace() && (after_space || sign.is_ascii_digit()) {
            if words == count {
                return &text[..index];
            }
            words += 1;
        }
        after_space = sign.is_whitespace();
    }
    text
}

/// Whether a new word begins at this sign or after it, whatever stands before it.
fn begins_a_word(sign: char) -> bool {
    sign.is_whitespace() || sign.is_ascii_digit()
}

/// CLIP's way from text to tokens, without begin, end and padding.
fn pipeline(vocabulary: Vocabulary, unknown: String) -> tokenizers::Result<Tokenizer> {
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary.ids.into_iter().collect::<Vocab>(), vocabulary.merges)
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix(END_OF_WORD.to_owned())
        .unk_token(unknown)
        // The cache would keep words of prompts in a thread's memory.
        .cache_capacity(0)
        .build()?;
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?;
    let normalizers: [NormalizerWrapper; 3] = [NFC.into(), spaces.into(), Lowercase.into()];
    let words = Split::new(SplitPattern::Regex(WORD.to_owned()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    let pre_tokenizers: [PreTokenizerWrapper; 2] = [words.into(), bytes.into()];
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers.into())))?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(pre_tokenizers.into())));
    Ok(tokenizer)
}

fn unusable(error: tokenizers::Error) -> Error {
    Error::Tokenizer(format!("the files do not fit together: {}", shortened(&error.to_string(), 200)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VOCAB: &str = r#"{"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "b</w>": 3, "ab</w>": 4}"#;

    fn tokenizer(vocab: &str, merges: &str) -> Result<ClipTokenizer> {
        let (vocab, merges) = (Some(vocab.as_bytes()), Some(merges.as_bytes()));
        ClipTokenizer::new(TokenizerFiles { vocab, merges, ..Default::default() }, 8)
    }

    fn problem(tokenizer: Result<ClipTokenizer>) -> String {
        match tokenizer {
            Ok(_) => panic!("the files should be unusable"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_byte_that_the_vocabulary_lacks_is_the_unknown_token() {
        let tokenizer = tokenizer(VOCAB, "#version: 0.2\na b</w>\n").unwrap();
        let window = tokenizer.window("AB é");
        assert_eq!(window.ids, [0, 4, 1, 1, 1, 1, 1, 1]);
        assert_eq!((window.used, window.truncated), (5, false));
        assert_eq!(tokenizer.vocab_size(), 5);
    }

    proptest! {
        #[test]
        fn cutting_a_text_early_changes_no_token(
            parts in prop::collection::vec(
                prop::sample::select(vec![" ", "\n", "1", "a", "b", "é", "\u{301}", "'", "s", "!", "<|endoftext|>"]),
                0..40,
            ),
        ) {
            let divisible = tokenizer(VOCAB, "a b</w>").unwrap();
            let whole = ClipTokenizer { divisible: false, ..tokenizer(VOCAB, "a b</w>").unwrap() };
            prop_assert!(divisible.divisible);
            prop_assert_eq!(divisible.window(&parts.concat()), whole.window(&parts.concat()));
        }
    }

    #[test]
    fn a_text_is_not_cut_inside_a_special_token_with_a_digit_or_a_space() {
        for token in ["<s1>", "<a b>"] {
            let config = format!(r#"{{"added_tokens_decoder": {{"5": {{"content": "{token}"}}}}}}"#);
            let files = TokenizerFiles {
                vocab: Some(VOCAB.as_bytes()),
                merges: Some(b""),
                tokenizer_config: Some(config.as_bytes()),
                ..Default::default()
            };
            let window = ClipTokenizer::new(files, 5).unwrap().window(&token.repeat(3));
            assert_eq!((window.ids, window.truncated), (vec![0, 5, 5, 5, 1], false));
        }
    }

    #[test]
    fn missing_files_are_named() {
        let nothing = TokenizerFiles::default();
        let half = TokenizerFiles { vocab: Some(VOCAB.as_bytes()), ..nothing };
        for files in [nothing, half] {
            assert!(problem(ClipTokenizer::new(files, 8)).contains("merges.txt"));
        }
    }

    #[test]
    fn damaged_files_are_errors_that_say_which() {
        let deep = "[".repeat(100_000);
        for vocab in ["", "{", "[]", "3", r#"{"a": -1}"#, r#"{"a": 1.5}"#, r#"{"a": "b"}"#, &deep] {
            assert!(problem(tokenizer(vocab, "")).contains("vocab.json"), "{vocab:.20}");
        }
        for merges in ["a", "a b c", "a b</w>\nx"] {
            assert!(problem(tokenizer(VOCAB, merges)).contains("merges.txt"), "{merges}");
        }
        let not_text =
            TokenizerFiles { vocab: Some(VOCAB.as_bytes()), merges: Some(b"\xff"), ..Default::default() };
        assert!(problem(ClipTokenizer::new(not_text, 8)).contains("UTF-8"));
    }

    #[test]
    fn ids_outside_of_the_vocabulary_and_ids_used_twice_are_errors() {
        for (from, to) in [(": 4}", ": 5}"), (": 4}", ": 4294967295}"), (": 4}", ": 2}")] {
            assert!(
                problem(tokenizer(&VOCAB.replace(from, to), "")).contains("the number of entries"),
                "{to}"
            );
        }
    }

    #[test]
    fn merges_of_unknown_pieces_are_errors() {
        let long = format!("{} b</w>", "x".repeat(10_000));
        for merges in ["a a", "c d", "b</w> a", &long] {
            let problem = problem(tokenizer(VOCAB, merges));
            assert!(problem.contains("is not in the vocabulary") && problem.len() < 200, "{problem}");
        }
    }

    #[test]
    fn special_tokens_must_be_in_the_vocabulary_and_ordinary() {
        let files = TokenizerFiles { vocab: Some(VOCAB.as_bytes()), merges: Some(b""), ..Default::default() };
        let with = |config: &str| {
            problem(ClipTokenizer::new(
                TokenizerFiles { tokenizer_config: Some(config.as_bytes()), ..files },
                8,
            ))
        };
        for key in ["bos_token", "eos_token", "pad_token", "unk_token"] {
            assert!(with(&format!(r#"{{"{key}": "<pad>"}}"#)).contains("`<pad>` is not in the vocabulary"));
        }
        assert!(with(r#"{"pad_token": {"content": "a", "lstrip": true}}"#).contains("spaces"));
        assert!(with(r#"{"pad_token": 3}"#).contains("tokenizer_config.json"));
        assert!(with(r#"{"added_tokens_decoder": {"9": {"content": "a"}}}"#).contains("has the id 2"));
        assert!(
            with(r#"{"added_tokens_decoder": {"9": {"content": "c"}}}"#).contains("the number of entries")
        );
    }

    #[test]
    fn a_context_without_room_or_without_bounds_is_an_error() {
        let files = TokenizerFiles { vocab: Some(VOCAB.as_bytes()), merges: Some(b""), ..Default::default() };
        for context in [0, 1, LONGEST_CONTEXT + 1, usize::MAX] {
            assert!(problem(ClipTokenizer::new(files, context)).contains("out of range"));
        }
    }

    #[test]
    fn another_kind_of_tokenizer_is_refused() {
        let with = |text: &str| {
            problem(ClipTokenizer::new(
                TokenizerFiles { tokenizer_json: Some(text.as_bytes()), ..Default::default() },
                8,
            ))
        };
        assert!(with(r#"{"model": {"type": "WordPiece", "vocab": {}, "merges": []}}"#).contains("CLIP"));
        assert!(with(r#"{"model": {"vocab": {"a": 0}, "merges": ["a"]}}"#).contains("no pair"));
        assert!(with("{}").contains("model"));
    }
}
