// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The names of textual inversions in a text.

use std::cmp::Reverse;
use std::collections::HashMap;

/// Names that may stand in a prompt, to be found as whole words in any case.
///
/// AUTOMATIC1111 compares tokens, which for CLIP are lower-case too; a name that begins or ends inside of a word is
/// none here.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// By their first sign in small letters, the longest first.
    names: HashMap<char, Vec<Name>>,
}

#[derive(Clone, Debug)]
struct Name {
    number: usize,
    /// In small letters.
    signs: Vec<char>,
    as_written: String,
}

/// A text, parted at the names in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    /// Anything else.
    Text(&'a str),
    /// The name of this number.
    Name(usize),
}

impl Names {
    /// These names; their numbers are their places.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut sorted: HashMap<char, Vec<_>> = HashMap::new();
        for (number, name) in names.into_iter().enumerate() {
            let signs: Vec<char> = name.trim().chars().map(small).collect();
            if let Some(&first) = signs.first() {
                let as_written = name.trim().to_owned();
                sorted.entry(first).or_default().push(Name { number, signs, as_written });
            }
        }
        sorted.values_mut().for_each(|names| names.sort_by_key(|name| Reverse(name.signs.len())));
        Self { names: sorted }
    }

    /// The text in its order: what is between the names, and the names, of several at one place the longest.
    pub fn split<'a>(&self, text: &'a str) -> Vec<Span<'a>> {
        let (mut spans, mut start, mut at) = (Vec::new(), 0, 0);
        while let Some(sign) = text[at..].chars().next() {
            match self.at(text, at) {
                Some((number, length)) => {
                    if start < at {
                        spans.push(Span::Text(&text[start..at]));
                    }
                    spans.push(Span::Name(number));
                    at += length;
                    start = at;
                }
                None => at += sign.len_utf8(),
            }
        }
        if start < text.len() {
            spans.push(Span::Text(&text[start..]));
        }
        spans
    }

    /// The name that stands at this place, and how many bytes it takes there. Of several that differ in capitals alone
    /// it is the one that is written so.
    fn at(&self, text: &str, at: usize) -> Option<(usize, usize)> {
        let rest = &text[at..];
        let first = rest.chars().next().map(small)?;
        if is_in_word(first) && text[..at].ends_with(is_in_word) {
            return None;
        }
        let names = self.names.get(&first)?;
        let fits = |name: &Name| Some((name.number, length_of(&name.signs, rest)?));
        let (number, length) = names.iter().find_map(fits)?;
        let exact = names.iter().find(|name| name.as_written == rest[..length]);
        Some((exact.map_or(number, |name| name.number), length))
    }
}

/// How many bytes of `text` are the name, if it begins with it as a whole word.
fn length_of(name: &[char], text: &str) -> Option<usize> {
    let mut signs = text.chars();
    if !name.iter().all(|&sign| signs.next().map(small) == Some(sign)) {
        return None;
    }
    let goes_on = name.last().is_some_and(|&last| is_in_word(last)) && signs.as_str().starts_with(is_in_word);
    (!goes_on).then_some(text.len() - signs.as_str().len())
}

/// The small letter of one that has one, and only one.
fn small(sign: char) -> char {
    let mut small = sign.to_lowercase();
    if small.len() == 1 { small.next().unwrap_or(sign) } else { sign }
}

fn is_in_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(names: &[&str], text: &str) -> Vec<usize> {
        let number = |span: &Span<'_>| match span {
            Span::Name(number) => Some(*number),
            Span::Text(_) => None,
        };
        Names::new(names.iter().copied()).split(text).iter().filter_map(number).collect()
    }

    #[test]
    fn of_names_that_differ_in_capitals_the_one_counts_that_is_written() {
        let names = ["ZIGZAG", "zigzag"];
        assert_eq!(found(&names, "zigzag, ZIGZAG and ZigZag"), [1, 0, 0]);
    }

    #[test]
    fn names_are_whole_words_in_any_case_and_the_longest_wins() {
        let names = ["bad", "bad-hands-5", "Easy Negative", "v1.3", "日本", "(x)"];
        for (text, numbers) in [
            ("bad, BAD-Hands-5, a bad hand", vec![0, 1, 0]),
            ("badly, notbad, bad_thing, 7bad", vec![]),
            ("easy negative, easynegative", vec![2]),
            ("(bad)", vec![0]),
            ("v1.3 v1.30 v1.3.", vec![3, 3]),
            ("日本, 日本人", vec![4]),
            ("a(x)b", vec![5]),
            ("", vec![]),
        ] {
            assert_eq!(found(&names, text), numbers, "{text}");
        }
    }

    #[test]
    fn what_stands_between_names_stays_as_it_is() {
        let names = Names::new(["bad"]);
        assert_eq!(names.split("a Bad b"), [Span::Text("a "), Span::Name(0), Span::Text(" b")]);
        assert_eq!(names.split("İbad"), [Span::Text("İbad")], "a letter that grows in small print");
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[abAB ,İ-]{0,30}", names in prop::collection::vec("[abi̇]{1,3}", 0..4)) {
            let found = Names::new(names.iter().map(String::as_str));
            let small = |text: &str| text.chars().map(small).collect::<String>();
            let whole: String = found
                .split(&text)
                .iter()
                .map(|span| match span {
                    Span::Text(text) => small(text),
                    Span::Name(number) => small(&names[*number]),
                })
                .collect();
            prop_assert_eq!(whole, small(&text));
        }
    }
}
