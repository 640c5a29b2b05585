// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Real files of models, changed a little in a few thousand ways; the fuzz targets try more.

#[path = "../../../../fuzz/bodies/mutations.rs"]
mod mutations;
#[path = "../../../../fuzz/bodies/prompt.rs"]
mod prompt;
#[path = "../../../../fuzz/bodies/scheduler_config.rs"]
mod scheduler_config;
#[path = "../../../../fuzz/bodies/tokenizer.rs"]
mod tokenizer;

use mutations::Chance;

const VOCAB: &str = r#"{"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "b</w>": 3, "ab</w>": 4, "!": 5, "Ã": 6,
    "©</w>": 7, "Ã©</w>": 8, "'</w>": 9, "s</w>": 10, "'": 11}"#;
const MERGES: &str = "#version: 0.2\na b</w>\nÃ ©</w>\n";
const CONFIG: &str = r#"{"bos_token": {"content": "<|startoftext|>", "lstrip": false, "normalized": true,
    "rstrip": false, "single_word": false}, "eos_token": "<|endoftext|>", "pad_token": "!", "added_tokens_decoder":
    {"0": {"content": "<|startoftext|>", "normalized": true}, "1": {"content": "<|endoftext|>"}}}"#;
const MAP: &str =
    r#"{"bos_token": "<|startoftext|>", "unk_token": {"content": "<|endoftext|>"}, "pad_token": "!"}"#;
const WHOLE: &str = r#"{"version": "1.0", "added_tokens": [{"id": 4, "content": "<|endoftext|>", "special": true}],
    "model": {"type": "BPE", "vocab": {"<|startoftext|>": 0, "a": 1, "b</w>": 2, "ab</w>": 3},
    "merges": [["a", "b</w>"]]}}"#;
const PROMPTS: [&str; 5] = [
    "a photograph of an astronaut, (masterpiece:1.2), don't 'quote' <|endoftext|> b",
    "Ab é e\u{301} ½ 4k\t\n\u{0}\u{200b} 😀👩‍👩‍👧 \u{1f1e9}\u{1f1ea}",
    "<|startoftext|><|STARTOFTEXT|> !!! ''s 's't're",
    "İ ẞ Σς ﬁ 안녕 \u{1112}\u{1161}\u{11ab} ﷺ",
    "",
];

/// The scheduler of a model of flow matching.
const FLOW: &str =
    r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}"#;

#[test]
fn changed_tokenizer_files_and_texts_give_windows_or_refusals() {
    let mut chance = Chance::new(3);
    for _ in 0..1200 {
        let prompt = chance.pick(&PROMPTS);
        let mut parts = [prompt, VOCAB, MERGES, CONFIG, MAP, ""].map(|part| part.as_bytes().to_vec());
        if chance.below(3) == 0 {
            parts[5] = WHOLE.as_bytes().to_vec();
        }
        if chance.below(4) == 0 {
            parts[3].clear();
        }
        let which = chance.below(parts.len());
        let json = std::str::from_utf8(&parts[which]).ok().filter(|text| text.starts_with('{'));
        parts[which] = match json {
            Some(json) if chance.below(2) == 0 => mutations::json(&mut chance, json).into_bytes(),
            _ => mutations::bytes(&mut chance, &parts[which]),
        };
        tokenizer::check(&parts.join(&0xff));
    }
}

#[test]
fn changed_prompts_give_windows_or_refusals() {
    const SYNTAX: [&str; 6] = [
        "wobbly bad-hands\u{ff}a (((house:1.3)) [on] a (hill:0.5), wobbly, (((sky))). <lora:x:-0.5> \\(bad-hands\\)",
        "(a [b) c] BREAK (x:1.2.3) \\ \\\\ [d: 1 ) <LORA:y>",
        "one, two, three, four, five, six, seven, eight, nine, ten, eleven BREAK twelve",
        "日本 İ\u{ff}日本, İi (ﬁ:9)) ]]",
        "((((((((((x)))))))))) [[[[y]]]] <lora:a:1:2>",
        "<lora:,,  , ,>",
    ];
    let mut chance = Chance::new(6);
    for _ in 0..3000 {
        // The byte that parts names from the prompt is no character's.
        let text = chance.pick(&SYNTAX).repeat(1 + chance.below(4));
        let bytes: Vec<Vec<u8>> = text.split('\u{ff}').map(|part| part.as_bytes().to_vec()).collect();
        prompt::check(&mutations::bytes(&mut chance, &bytes.join(&0xff)));
    }
}

#[test]
fn changed_scheduler_configs_are_refused_or_sampled_on() {
    let models = ["sd1-eps", "sd2-v", "sdxl"];
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
    let file = |model| {
        std::fs::read_to_string(format!("{directory}/{model}/scheduler/scheduler_config.json")).unwrap()
    };
    let mut files = models.map(file).to_vec();
    files.push(FLOW.to_owned());
    let mut chance = Chance::new(4);
    for round in 0..3000 {
        let file = &files[chance.below(files.len())];
        let changed = match chance.below(4) {
            0 => mutations::bytes(&mut chance, file.as_bytes()),
            _ => mutations::json(&mut chance, file).into_bytes(),
        };
        scheduler_config::check(&[vec![round as u8], changed].concat());
    }
}
