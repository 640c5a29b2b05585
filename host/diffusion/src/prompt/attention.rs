// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Weights: `(fox)` counts 1.1 times as much, `[fox]` 1.1 times less, `(fox:1.3)` as much as it says.
//!
//! Source: AUTOMATIC1111 `modules/prompt_parser.py`, `parse_prompt_attention`, by its behaviour. Two things differ:
//! `BREAK` works inside brackets too, where that program takes it for a word, and what stands behind the colon
//! without being a number (`(fox:1.2.3)`) is text, where that program fails.

use super::Part;
use crate::{Error, Result};

/// What a pair of round brackets multiplies by, and a pair of square ones divides by.
const STEP: f64 = 1.1;
/// The largest weight, either way: with anything near it nothing can be seen any more.
const MOST: f64 = 100.0;
/// The word that begins a new chunk.
const BREAK: &str = "BREAK";

/// The parts of a prompt, as many as it takes: neighbours of the same weight are one.
///
/// A backslash takes the meaning from the bracket or backslash behind it, and is left out. A bracket without its
/// partner is text when it closes, and reaches to the end when it opens.
///
/// # Errors
/// [`Error::PromptWeight`] for a weight beyond -100 to 100, all brackets around it together.
pub fn parse(text: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    // The text that goes on, and its weight.
    let (mut run, mut run_weight) = (String::new(), 1.0);
    // The products of the factors that are in force, by kind of bracket.
    let mut factors = [vec![1.0], vec![1.0]];
    let innermost = |stack: &[f64]| stack.last().copied().unwrap_or(1.0);
    for token in tokens(text) {
        match token {
            Token::Open(kind, factor) => {
                let stack = &mut factors[kind as usize];
                stack.push(innermost(stack) * factor);
            }
            Token::Close(kind) => drop(factors[kind as usize].pop()),
            Token::Break => {
                put(&mut parts, &mut run, run_weight);
                parts.push(Part::Break);
            }
            Token::Text(piece) => {
                let weight = factors.iter().map(|stack| innermost(stack)).product();
                if !(-MOST..=MOST).contains(&weight) {
                    return Err(Error::PromptWeight { most: MOST as u32 });
                }
                if weight != run_weight {
                    put(&mut parts, &mut run, run_weight);
                    run_weight = weight;
                }
                run += piece;
            }
        }
    }
    put(&mut parts, &mut run, run_weight);
    Ok(parts)
}

/// Ends a run of text.
fn put(parts: &mut Vec<Part>, run: &mut String, weight: f64) {
    if !run.is_empty() {
        parts.push(Part::Text { text: std::mem::take(run), weight: weight as f32 });
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Round,
    Square,
}

/// A prompt as it is read.
#[derive(Debug)]
enum Token<'a> {
    Text(&'a str),
    Break,
    /// Everything up to its end is multiplied by this.
    Open(Kind, f64),
    Close(Kind),
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    // The brackets that are open, as places among the tokens.
    let mut open = [Vec::new(), Vec::new()];
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let mut read = 1;
        match sign {
            '\\' => {
                if rest[1..].starts_with(['(', ')', '[', ']', '\\']) {
                    tokens.push(Token::Text(&rest[1..2]));
                    read = 2;
                }
            }
            '(' | '[' => {
                let (kind, factor) =
                    if sign == '(' { (Kind::Round, STEP) } else { (Kind::Square, 1.0 / STEP) };
                open[kind as usize].push(tokens.len());
                tokens.push(Token::Open(kind, factor));
            }
            ')' | ']' => {
                let kind = if sign == ')' { Kind::Round } else { Kind::Square };
                let known = open[kind as usize].pop().is_some();
                tokens.push(if known { Token::Close(kind) } else { Token::Text(&rest[..1]) });
            }
            ':' => match weight(rest) {
                Some((factor, length)) if !open[Kind::Round as usize].is_empty() => {
                    if let Some(at) = open[Kind::Round as usize].pop() {
                        tokens[at] = Token::Open(Kind::Round, factor);
                    }
                    tokens.push(Token::Close(Kind::Round));
                    read = length;
                }
                _ => tokens.push(Token::Text(&rest[..1])),
            },
            _ => {
                read = rest.find(['\\', '(', ')', '[', ']', ':']).unwrap_or(rest.len());
                split_at_breaks(&rest[..read], &mut tokens);
            }
        }
        rest = &rest[read..];
    }
    tokens
}

/// The number of `:1.3)`, and how long that is with its bracket.
fn weight(text: &str) -> Option<(f64, usize)> {
    let number = text[1..].trim_start();
    let end = number.find(|sign: char| !sign.is_ascii_digit() && !['.', '+', '-'].contains(&sign))?;
    let (number, behind) = number.split_at(end);
    let behind = behind.trim_start().strip_prefix(')')?;
    Some((number.parse().ok()?, text.len() - behind.len()))
}

/// Text without brackets, parted where `BREAK` stands as a word; the white space around it goes with it.
fn split_at_breaks<'a>(text: &'a str, tokens: &mut Vec<Token<'a>>) {
    let in_word = |sign: char| sign.is_alphanumeric() || sign == '_';
    let (mut start, mut broken) = (0, false);
    for (at, word) in text.match_indices(BREAK) {
        let end = at + word.len();
        if text[..at].ends_with(in_word) || text[end..].starts_with(in_word) {
            continue;
        }
        let before = text[start..at].trim_end();
        tokens.push(Token::Text(if broken { before.trim_start() } else { before }));
        tokens.push(Token::Break);
        (start, broken) = (end, true);
    }
    let last = &text[start..];
    tokens.push(Token::Text(if broken { last.trim_start() } else { last }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weighted(text: &str) -> Vec<(String, f32)> {
        let pair = |part| match part {
            Part::Text { text, weight } => (text, (weight * 10_000.0).round() / 10_000.0),
            other => (format!("{other:?}"), 0.0),
        };
        parse(text).unwrap().into_iter().map(pair).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, f32)]) {
        let expected: Vec<_> = expected.iter().map(|(text, weight)| ((*text).to_owned(), *weight)).collect();
        assert_eq!(weighted(text), expected, "{text}");
    }

    #[test]
    fn weights_are_those_of_the_program_whose_syntax_this_is() {
        check("normal text", &[("normal text", 1.0)]);
        check("an (important) word", &[("an ", 1.0), ("important", 1.1), (" word", 1.0)]);
        check("(unbalanced", &[("unbalanced", 1.1)]);
        check(r"\(literal\]", &[("(literal]", 1.0)]);
        check("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]);
        check(
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            &[
                ("a ", 1.0),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        );
        check("[x]", &[("x", 0.9091)]);
        check("(x: -0.5 )", &[("x", -0.5)]);
        check("", &[]);
    }

    #[test]
    fn what_is_no_syntax_is_text() {
        check("a) b]", &[("a) b]", 1.0)]);
        check("10:30", &[("10:30", 1.0)]);
        check("x:1.3)", &[("x:1.3)", 1.0)]);
        check("(x:1.2.3)", &[("x:1.2.3", 1.1)]);
        check("[x:1.3]", &[("x:1.3", 0.9091)]);
        check(r"a\b \\ c\", &[(r"ab \ c", 1.0)]);
        check("(a [b) c]", &[("a ", 1.1), ("b", 1.0), (" c", 0.9091)]);
    }

    #[test]
    fn break_is_a_word_in_capitals() {
        let breaks = |text| parse(text).unwrap().iter().filter(|part| **part == Part::Break).count();
        for (text, count) in
            [("a BREAK b", 1), ("a BREAKFAST, break, _BREAK", 0), ("BREAK BREAK", 2), ("(a BREAK b)", 1)]
        {
            assert_eq!(breaks(text), count, "{text}");
        }
        let part = |text: &str| Part::Text { text: text.to_owned(), weight: 1.0 };
        assert_eq!(parse("a , BREAK\n b").unwrap(), [part("a ,"), Part::Break, part("b")]);
    }

    #[test]
    fn a_weight_beyond_sense_is_an_error() {
        for text in [format!("{}x", "(".repeat(60)), "(x:101)".into(), format!("(x:{})", "9".repeat(999))] {
            assert_eq!(parse(&text), Err(Error::PromptWeight { most: 100 }), "{text:.20}");
        }
        check("(x:100)", &[("x", 100.0)]);
    }

    #[test]
    fn a_megabyte_of_anything_takes_no_more_than_a_moment() {
        for piece in ["(", "[", ")", "\\", ":", ":1.", "(a:1)", "[a]", "((x) [y", "BREAK ", ": ", "(:"] {
            let _read = parse(&piece.repeat((1 << 20) / piece.len()));
        }
    }

    proptest! {
        #[test]
        fn every_text_is_read_and_none_of_its_words_is_lost(text in "[a-c(): \\[\\]\\\\.0-9BREAK]{0,60}") {
            if let Ok(parts) = parse(&text) {
                let letters = |text: &str| text.chars().filter(|sign| sign.is_ascii_lowercase()).collect::<String>();
                let kept: String = parts
                    .iter()
                    .map(|part| match part {
                        Part::Text { text, .. } => letters(text),
                        _ => String::new(),
                    })
                    .collect();
                prop_assert_eq!(kept, letters(&text));
            }
        }

        #[test]
        fn nested_weights_multiply(weights in prop::collection::vec(0.5f64..1.5, 1..6)) {
            let mut text = "x".to_owned();
            weights.iter().for_each(|weight| text = format!("({text}:{weight})"));
            let product = weights.iter().product::<f64>() as f32;
            let [Part::Text { weight, .. }] = &parse(&text).unwrap()[..] else { panic!("one part") };
            prop_assert!((weight - product).abs() < 1e-5 * product);
        }

        #[test]
        fn escaped_text_comes_back_as_it_was(text in "[ -~]{0,40}") {
            let escaped: String = text
                .chars()
                .flat_map(|sign| "()[]\\".contains(sign).then_some('\\').into_iter().chain([sign]))
                .collect();
            let expected: &[(&str, f32)] = if text.is_empty() { &[] } else { &[(&text, 1.0)] };
            if !text.contains(BREAK) {
                check(&escaped, expected);
            }
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _read = parse(&text);
        }
    }
}
