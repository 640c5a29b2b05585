// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Token ids are those of transformers' CLIPTokenizer, with the emoji model's vocabulary and with CLIP's own.

use std::time::Instant;

use alice_diffusion::{ClipTokenizer, Padding, TokenizerFiles};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{cases, golden, size};

const VOCAB: &str = include_str!("../../../../models/alice-emoji/tokenizer/vocab.json");
const MERGES: &str = include_str!("../../../../models/alice-emoji/tokenizer/merges.txt");

fn emoji() -> TokenizerFiles<'static> {
    TokenizerFiles { vocab: Some(VOCAB.as_bytes()), merges: Some(MERGES.as_bytes()), ..Default::default() }
}

/// The same vocabulary and merges in the other layout.
fn tokenizer_json(merge: impl Fn(&str) -> Value) -> String {
    let merges: Vec<Value> = MERGES.lines().skip(1).map(merge).collect();
    let vocab: Value = serde_json::from_str(VOCAB).unwrap();
    json!({"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": vocab, "merges": merges}})
        .to_string()
}

/// Holds a window against what the reference says of a text: the text, how often it is repeated, the ids
/// without padding, and whether the text was too long.
#[track_caller]
fn check_window(tokenizer: &ClipTokenizer, pad: &Value, case: &[Value]) {
    let window = tokenizer.window(&case[0].as_str().unwrap().repeat(size(&case[1])));
    let (used, padding) = window.ids.split_at(window.used);
    assert_eq!(json!(used), case[2], "{case:?}");
    assert!(padding.iter().all(|id| json!(id) == *pad), "{padding:?}");
    assert_eq!(json!(window.truncated), case[3], "{case:?}");
}

fn check(files: TokenizerFiles<'_>, entry: &Value) {
    let context = size(&entry["context"]);
    let tokenizer = ClipTokenizer::new(files, context).unwrap();
    for case in entry["cases"].as_array().unwrap() {
        check_window(&tokenizer, &entry["pad"], case.as_array().unwrap());
        assert_eq!(tokenizer.window("").ids.len(), context);
    }
}

fn special<'a>(files: TokenizerFiles<'a>, entry: &'a Value) -> TokenizerFiles<'a> {
    let bytes = |value: &'a Value| value.as_str().map(str::as_bytes);
    TokenizerFiles {
        tokenizer_config: bytes(&entry["config"]),
        special_tokens_map: bytes(&entry["map"]),
        ..files
    }
}

#[test]
fn token_ids_are_those_of_transformers() {
    let file = golden!("tokens.json");
    for entry in cases(&file) {
        check(special(emoji(), entry), entry);
    }
}

#[test]
fn token_ids_are_the_same_from_tokenizer_json_in_both_spellings_of_merges() {
    let file = golden!("tokens.json");
    let pairs = tokenizer_json(|line| json!(line.split(' ').collect::<Vec<_>>()));
    let lines = tokenizer_json(|line| json!(line));
    for entry in cases(&file) {
        for text in [&pairs, &lines] {
            let files = TokenizerFiles { tokenizer_json: Some(text.as_bytes()), ..Default::default() };
            check(special(files, entry), entry);
        }
    }
}

fn clip(padding: Padding) -> ClipTokenizer {
    ClipTokenizer::embedded(77, padding).unwrap()
}

#[test]
fn token_ids_of_clips_own_vocabulary_are_those_of_transformers() {
    let file = golden!("tokens-clip.json");
    let (end, zero) = (clip(Padding::End), clip(Padding::Zero));
    for case in cases(&file) {
        let case = case.as_array().unwrap();
        check_window(if case[0] == json!(0) { &zero } else { &end }, &case[0], &case[1..]);
    }
}

/// FNV-1a over the ids of several texts, as `golden/tokens.py` has it.
fn digest(windows: impl Iterator<Item = Vec<u32>>) -> String {
    let fold = |value: u64, byte| (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let value = windows.flatten().flat_map(u32::to_le_bytes).fold(0xcbf2_9ce4_8422_2325, fold);
    format!("{value:016x}")
}

#[test]
fn every_letter_and_sign_of_unicode_is_cut_as_transformers_cuts_it() {
    let (file, tokenizer) = (golden!("tokens-clip.json"), clip(Padding::End));
    let window = |start: u32| {
        let text: String = (start..start + 16).map(|code| char::from_u32(code).unwrap()).collect();
        let window = tokenizer.window(&text);
        window.ids[..window.used].to_vec()
    };
    for block in file["blocks"].as_array().unwrap() {
        let first = size(&block[0]) as u32;
        let windows = (first..first + 0x400).step_by(16).map(window);
        assert_eq!(json!(digest(windows)), block[1], "the block from U+{first:X}");
    }
}

#[test]
fn the_context_length_is_the_callers() {
    let tokenizer = |context| ClipTokenizer::new(emoji(), context).unwrap();
    let text = "one two three four";
    let long = tokenizer(77).window(text);
    assert_eq!((long.ids.len(), long.truncated), (77, false));
    let short = tokenizer(4).window(text);
    assert_eq!((short.ids.len(), short.used, short.truncated), (4, 4, true));
    assert_eq!(short.ids[..3], long.ids[..3]);
    assert_eq!(short.ids[3], long.ids[long.used - 1], "it ends with the end token");
    assert!(!tokenizer(2).window("").truncated);
    assert!(tokenizer(2).window("a").truncated);
}

#[test]
fn a_megabyte_of_anything_takes_no_more_than_a_moment() {
    let tokenizer = ClipTokenizer::new(emoji(), 24).unwrap();
    let random: String = (0u32..1_000_000)
        .map(|i| char::from(33 + (i.wrapping_mul(2_654_435_761) >> 25) as u8 % 94))
        .collect();
    let texts = [
        ("letters", "a".repeat(1 << 20)),
        ("words", "a red apple on a table, ".repeat(44_000)),
        ("signs", "!".repeat(1 << 20)),
        ("spaces", " ".repeat(1 << 20)),
        ("digits", "7".repeat(1 << 20)),
        ("emoji", "😀".repeat(1 << 18)),
        ("accents", format!("e{}", "\u{301}".repeat(1 << 19))),
        ("specials", "<|endoftext|>".repeat(80_000)),
        ("random", random),
    ];
    for (name, text) in texts {
        let start = Instant::now();
        assert_eq!(tokenizer.window(&text).ids.len(), 24);
        eprintln!("{name}: {} bytes in {:?}", text.len(), start.elapsed());
    }
}

proptest! {
    #[test]
    fn every_text_has_a_window(text in any::<String>(), context in 2usize..40) {
        let tokenizer = ClipTokenizer::new(emoji(), context).unwrap();
        let window = tokenizer.window(&text);
        prop_assert_eq!(window.ids.len(), context);
        prop_assert!((2..=context).contains(&window.used));
        prop_assert!(window.ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        prop_assert!(!window.truncated || window.used == context);
    }
}
