// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! LoRAs that are named in a prompt: `<lora:name>`, `<lora:name:0.8>`, and `<lyco:...>`, which A1111 takes for the
//! same. Its third kind, `<hypernet:...>`, is refused: as words it would only spoil the picture.

use crate::{Error, Result};

/// How a tag begins, in any case. They are equally long.
const OPENINGS: [&str; 2] = ["<lora:", "<lyco:"];
/// How a tag begins that names a network of a kind that is not supported.
const HYPERNETWORK: &str = "<hypernet:";

/// A LoRA that a prompt names.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraTag {
    /// As it is written, without white space around it.
    pub name: String,
    /// How strongly it acts; 1 when the tag does not say.
    pub scale: f64,
}

/// The tags of a prompt in their order, and the prompt without them.
///
/// # Errors
/// [`Error::LoraTag`] for a tag that does not end, that names nothing, or whose weight is no number; and for one with
/// several weights, as some programs have them for text encoder and network. [`Error::Hypernetwork`] for the tag of one.
pub fn without_loras(prompt: &str) -> Result<(String, Vec<LoraTag>)> {
    if find(prompt, &[HYPERNETWORK]).is_some() {
        return Err(Error::Hypernetwork);
    }
    let (mut text, mut tags, mut rest) = (String::new(), Vec::new(), prompt);
    while let Some(at) = lora_tag(rest) {
        text += &rest[..at];
        let inside = &rest[at + OPENINGS[0].len()..];
        let end = inside.find(['<', '>']).filter(|&end| inside[end..].starts_with('>'));
        let end = end.ok_or(Error::LoraTag("is not closed with `>`"))?;
        tags.push(tag(&inside[..end])?);
        rest = &inside[end + 1..];
    }
    text += rest;
    Ok((text, tags))
}

/// Where the first tag of a text begins.
pub fn lora_tag(text: &str) -> Option<usize> {
    find(text, &OPENINGS)
}

/// Where the first of `openings` stands, in any case.
fn find(text: &str, openings: &[&str]) -> Option<usize> {
    let begins = |at: &usize| {
        let rest = &text.as_bytes()[*at..];
        openings.iter().any(|opening| {
            rest.get(..opening.len()).is_some_and(|start| start.eq_ignore_ascii_case(opening.as_bytes()))
        })
    };
    text.match_indices('<').map(|(at, _)| at).find(begins)
}

fn tag(inside: &str) -> Result<LoraTag> {
    let mut parts = inside.split(':').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty());
    let name = name.ok_or(Error::LoraTag("names no LoRA"))?.to_owned();
    let scale = match parts.next() {
        None => 1.0,
        Some(weight) => number(weight).ok_or(Error::LoraTag("has a weight that is no number"))?,
    };
    match parts.next() {
        None => Ok(LoraTag { name, scale }),
        Some(_) => Err(Error::LoraTag("has more than one weight; one for everything is supported")),
    }
}

/// A decimal number; `inf`, `nan` and exponents are none.
fn number(text: &str) -> Option<f64> {
    let plain = |sign: char| sign.is_ascii_digit() || "+-.".contains(sign);
    text.chars().all(plain).then(|| text.parse().ok()).flatten()
}

/// A prompt without what taking tags out of it leaves behind: white space becomes single spaces, commas in a row
/// become one, and there is neither around it.
pub fn tidied(prompt: &str) -> String {
    let mut tidy = String::with_capacity(prompt.len());
    for word in prompt.split_whitespace() {
        let follows_comma = tidy.is_empty() || tidy.ends_with(',');
        let word = if follows_comma { word.trim_start_matches(',') } else { word };
        if word.is_empty() {
            continue;
        }
        if !tidy.is_empty() && !word.starts_with(',') {
            tidy.push(' ');
        }
        for sign in word.chars() {
            if sign != ',' || !tidy.ends_with(',') {
                tidy.push(sign);
            }
        }
    }
    tidy.truncate(tidy.trim_end_matches([',', ' ']).len());
    tidy
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(prompt: &str) -> Vec<(String, f64)> {
        without_loras(prompt).unwrap().1.into_iter().map(|tag| (tag.name, tag.scale)).collect()
    }

    #[test]
    fn tags_are_read_in_any_case_with_any_decimal_weight() {
        assert_eq!(tags("a <lora:x> b <LoRA: y z :-0.75>"), [("x".into(), 1.0), ("y z".into(), -0.75)]);
        assert_eq!(tags("<lora:x:.5><lora:x:2>"), [("x".into(), 0.5), ("x".into(), 2.0)]);
        assert_eq!(
            tags("<lyco:x:.5> <Lyco:y>"),
            [("x".into(), 0.5), ("y".into(), 1.0)],
            "A1111's other word"
        );
        assert!(tags("a <b> <lor:x> 1 < 2 lora:").is_empty());
        let (text, _) = without_loras("a fox, <lora:x:1>, red").unwrap();
        assert_eq!((text.as_str(), tidied(&text).as_str()), ("a fox, , red", "a fox, red"));
    }

    #[test]
    fn a_tag_that_cannot_be_read_is_an_error() {
        for prompt in [
            "<lora:",
            "<lora:x",
            "<lora:x <lora:y>",
            "<lora:>",
            "<lora: :1>",
            "<lora:x:>",
            "<lora:x:a>",
            "<lora:x:1e3>",
            "<lora:x:nan>",
            "<lora:x:1.2.3>",
            "<lora:x:1:0.5>",
            "<lora:x:te=1>",
        ] {
            assert!(matches!(without_loras(prompt), Err(Error::LoraTag(_))), "{prompt}");
        }
    }

    #[test]
    fn a_hypernetwork_is_refused_and_not_read_as_words() {
        for prompt in ["a fox <hypernet:x:1>", "<lora:x> <HyperNet:", "<lora:<hypernet:x>>"] {
            assert!(matches!(without_loras(prompt), Err(Error::Hypernetwork)), "{prompt}");
        }
        assert!(without_loras("a hypernet: <hypernets>").is_ok());
    }

    #[test]
    fn what_tags_leave_behind_is_tidied() {
        for (prompt, tidy) in [
            ("a fox", "a fox"),
            (" , a fox ,\n red ,, blue,  , ", "a fox, red, blue"),
            ("a,b", "a,b"),
            (",", ""),
            ("", ""),
        ] {
            assert_eq!(tidied(prompt), tidy, "{prompt:?}");
        }
    }

    proptest! {
        #[test]
        fn tidying_twice_changes_nothing_more(prompt in "[ab,\\s]{0,30}") {
            let once = tidied(&prompt);
            prop_assert_eq!(tidied(&once), once);
        }

        #[test]
        fn nothing_panics(prompt in any::<String>()) {
            let _read = without_loras(&prompt);
            tidied(&prompt);
        }
    }
}
