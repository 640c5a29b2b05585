// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Prompts are taken apart as A1111's rules have it, written down a second time in `tests/fixtures/a1111.py`.

use alice_diffusion::prompt::{Part, parse};
use alice_diffusion::{ClipTokenizer, Padding};
use serde_json::{Value, json};

const CASES: &str = include_str!("../../../../tests/fixtures/prompts.json");
const END: u32 = 49_407;

fn close(found: f32, expected: &Value) -> bool {
    (f64::from(found) - expected.as_f64().unwrap()).abs() < 1e-6 * f64::from(found).abs().max(1.0)
}

fn check_parts(case: &Value, parts: &[Part]) {
    let expected = case["parts"].as_array().unwrap().iter().filter(|part| part[0] != json!(""));
    let expected: Vec<_> = expected.collect();
    assert_eq!(parts.len(), expected.len(), "{case}");
    for (part, expected) in parts.iter().zip(expected) {
        match part {
            Part::Text { text, weight } => {
                assert_eq!(json!(text), expected[0], "{case}");
                assert!(close(*weight, &expected[1]), "{weight}: {case}");
            }
            other => assert_eq!((other, &expected[0]), (&Part::Break, &Value::Null), "{case}"),
        }
    }
}

#[test]
fn parts_and_windows_are_those_of_a1111s_rules() {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let clip = ClipTokenizer::embedded(77, Padding::End).unwrap();
    let cases = cases["prompts"].as_array().unwrap();
    assert!(cases.len() > 60, "only {}", cases.len());
    for case in cases {
        let parts = parse(case["prompt"].as_str().unwrap()).unwrap();
        check_parts(case, &parts);
        let chunks = clip.chunks(&parts, 0, 32).unwrap();
        let expected = case["chunks"].as_array().unwrap();
        assert_eq!(chunks.len(), expected.len(), "{case}");
        for (chunk, expected) in chunks.iter().zip(expected) {
            let used = chunk.ids.iter().position(|id| *id == END).unwrap();
            assert_eq!(json!(chunk.ids[1..used]), expected["ids"], "{case}");
            assert!(chunk.ids[used..].iter().all(|id| *id == END));
            let weights = expected["weights"].as_array().unwrap();
            assert!(
                chunk.weights[1..used].iter().zip(weights).all(|(found, expected)| close(*found, expected))
            );
            assert!(chunk.weights[used..].iter().all(|weight| *weight == 1.0));
        }
    }
}
