// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Token ids are those of transformers' CLIPTokenizer, with the emoji model's vocabulary.

use std::time::Instant;

use alice_diffusion::{ClipTokenizer, TokenizerFiles};
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

fn check(files: TokenizerFiles<'_>, entry: &Value) {
    let context = size(&entry["context"]);
    let tokenizer = ClipTokenizer::new(files, context).unwrap();
    let pad = entry["pad"].as_u64().unwrap();
    for case in entry["cases"].as_array().unwrap() {
        let text = case[0].as_str().unwrap().repeat(size(&case[1]));
        let window = tokenizer.window(&text);
        let mut ids: Vec<u64> = case[2].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        assert_eq!(window.used, ids.len(), "{} {case}", entry["name"]);
        ids.resize(context, pad);
        assert_eq!(
            window.ids.iter().copied().map(u64::from).collect::<Vec<_>>(),
            ids,
            "{} {case}",
            entry["name"]
        );
        assert_eq!(window.truncated, case[3].as_bool().unwrap(), "{} {case}", entry["name"]);
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
