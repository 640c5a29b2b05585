// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any text as a prompt: refused with a sentence, or windows of known tokens with finite weights.

use std::cell::OnceCell;

use alice_diffusion::prompt::{Names, Part, Span, lora_tag, parse, tidied, without_loras};
use alice_diffusion::{ClipTokenizer, Padding};

/// Windows of a prompt, at most.
const MOST: usize = 8;
/// Where the vocabulary ends, so that the vectors of textual inversions begin.
const ROWS_FROM: u32 = 49_408;

thread_local! {
    static CLIP: OnceCell<ClipTokenizer> = const { OnceCell::new() };
}

/// Reads `input` as a prompt with LoRAs, weights and the names of textual inversions, which are its own first words:
/// the bytes before the first 0xFF, which no text has.
pub(crate) fn check(input: &[u8]) {
    let mut halves = input.splitn(2, |&byte| byte == 0xff);
    let [names, text] =
        [(); 2].map(|()| String::from_utf8_lossy(halves.next().unwrap_or_default()).into_owned());
    let text = match without_loras(&text) {
        Err(error) => return is_a_sentence(&error.to_string()),
        Ok((text, tags)) => {
            assert!(tags.iter().all(|tag| !tag.name.is_empty() && tag.scale.is_finite()));
            assert!(!tags.is_empty() || lora_tag(&text).is_none());
            if tags.is_empty() { text } else { tidied(&text) }
        }
    };
    assert_eq!(tidied(&tidied(&text)), tidied(&text));
    let parts = match parse(&text) {
        Ok(parts) => parts,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    let names = Names::new(names.split_whitespace());
    let parts: Vec<Part> = parts.into_iter().flat_map(|part| with_vectors(&names, part)).collect();
    CLIP.with(|clip| {
        let clip = clip.get_or_init(|| {
            ClipTokenizer::embedded(77, Padding::Zero).expect("the built-in vocabulary is sound")
        });
        match clip.chunks(&parts, ROWS_FROM, MOST) {
            Err(error) => is_a_sentence(&error.to_string()),
            Ok(chunks) => {
                assert!((1..=MOST).contains(&chunks.len()));
                for chunk in chunks {
                    assert_eq!((chunk.ids.len(), chunk.weights.len()), (77, 77));
                    assert!(chunk.ids.iter().all(|id| *id < ROWS_FROM + 100));
                    assert!(chunk.weights.iter().all(|weight| weight.abs() <= 100.0));
                }
            }
        }
    });
}

/// The part with ten vectors in the place of each name.
fn with_vectors(names: &Names, part: Part) -> Vec<Part> {
    let Part::Text { text, weight } = part else { return vec![part] };
    let spans = names.split(&text).into_iter();
    spans
        .map(|span| match span {
            Span::Text(text) => Part::Text { text: text.to_owned(), weight },
            Span::Name(number) => Part::Vectors { first: 10 * (number as u32 % 9), count: 10, weight },
        })
        .collect()
}

/// A refusal is for a client, and tells nothing of its prompt.
fn is_a_sentence(text: &str) {
    assert!(text.len() < 200, "a refusal of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "a control character in {text:?}");
}
