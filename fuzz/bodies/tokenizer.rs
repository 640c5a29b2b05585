// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any files as a tokenizer's and any text as a prompt: refused with a sentence, or a window of known tokens.

use std::cell::OnceCell;

use alice_diffusion::{ClipTokenizer, Padding, TokenizerFiles, Window};

thread_local! {
    static CLIP: OnceCell<ClipTokenizer> = const { OnceCell::new() };
}

/// Takes `input` apart at the bytes 0xFF, which no text has: the prompt, `vocab.json`, `merges.txt`,
/// `tokenizer_config.json`, `special_tokens_map.json`, `tokenizer.json`. A part that is empty or not there is a
/// file that is missing. The prompt is also cut by CLIP's own tokenizer.
pub(crate) fn check(input: &[u8]) {
    let mut parts = input.split(|&byte| byte == 0xff);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    CLIP.with(|clip| {
        let clip = clip.get_or_init(|| {
            ClipTokenizer::embedded(77, Padding::Zero).expect("the built-in vocabulary is sound")
        });
        check_window(clip, 77, &clip.window(&text));
    });
    let mut file = || parts.next().filter(|part| !part.is_empty());
    let files = TokenizerFiles {
        vocab: file(),
        merges: file(),
        tokenizer_config: file(),
        special_tokens_map: file(),
        tokenizer_json: file(),
    };
    let context = 2 + input.len() % 32;
    match ClipTokenizer::new(files, context) {
        Ok(tokenizer) => check_window(&tokenizer, context, &tokenizer.window(&text)),
        Err(error) => is_a_sentence(&error.to_string()),
    }
}

fn check_window(tokenizer: &ClipTokenizer, context: usize, window: &Window) {
    assert_eq!(window.ids.len(), context);
    assert!((2..=context).contains(&window.used));
    assert!(!window.truncated || window.used == context);
    assert!(window.ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
}

/// A refusal is for a log of one line each.
fn is_a_sentence(text: &str) {
    assert!(text.len() < 1024, "a refusal of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "a control character in {text:?}");
}
