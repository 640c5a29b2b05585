// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Numbers and pictures of the gallery, said to people.

use crate::pages::bytes::Bytes;

/// Most letters of a prompt that stand for a picture where it is not shown as text.
const SHORT: usize = 120;

/// A number with commas: `12,345`.
pub(in crate::pages) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many pictures: `1 picture`, `12,345 pictures`.
pub(in crate::pages) fn pictures(count: u64) -> String {
    format!("{} picture{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// How much is used, of how much if there is a limit.
pub(super) fn used(bytes: u64, quota: Option<u64>) -> String {
    match quota {
        None => Bytes(bytes).to_string(),
        Some(quota) => format!("{} of {} used", Bytes(bytes), Bytes(quota)),
    }
}

/// What a picture with this prompt shows, in few words.
pub(in crate::pages) fn shows(prompt: &str) -> String {
    let words: Vec<_> = prompt.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(SHORT) {
        _ if text.is_empty() => "A picture without words".to_owned(),
        None => text,
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

/// The shapes that the style sheet knows, in tenths: width over height.
const SHAPES: &[(u32, &str)] = &[
    (4, "s4"),
    (5, "s5"),
    (6, "s6"),
    (7, "s7"),
    (8, "s8"),
    (9, "s9"),
    (10, ""),
    (11, "s11"),
    (12, "s12"),
    (13, "s13"),
    (14, "s14"),
    (15, "s15"),
    (16, "s16"),
    (17, "s17"),
    (18, "s18"),
    (20, "s20"),
    (25, "s25"),
];

/// The class of the shape that is nearest.
pub(super) fn shape(width: u32, height: u32) -> &'static str {
    let tenths = f64::from(width) * 10.0 / f64::from(height.max(1));
    let far = |(shape, _): &&(u32, &str)| (f64::from(*shape) / tenths.max(0.01)).ln().abs();
    SHAPES.iter().min_by(|one, other| far(one).total_cmp(&far(other))).map_or("", |(_, class)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_write_them() {
        assert_eq!([0, 7, 1234, 1_234_567].map(thousands), ["0", "7", "1,234", "1,234,567"]);
        assert_eq!([1, 1000].map(pictures), ["1 picture", "1,000 pictures"]);
        assert_eq!(used(5_250_000_000, None), "5.2 GB");
        assert_eq!(used(1000, Some(20_000_000_000)), "1.0 KB of 20 GB used");
    }

    #[test]
    fn a_picture_is_called_by_the_beginning_of_its_prompt() {
        assert_eq!(shows(" a red\n apple "), "a red apple");
        assert_eq!(shows("  "), "A picture without words");
        let long = shows(&"ä".repeat(500));
        assert_eq!(long.chars().count(), SHORT + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn every_shape_has_a_class_that_the_style_sheet_knows() {
        let style = crate::pages::assets::STYLE;
        for (_, class) in SHAPES.iter().filter(|(_, class)| !class.is_empty()) {
            assert!(style.contains(&format!(".{class} {{ --shape: ")), "{class}");
        }
        let shapes = [(512, 512), (832, 1216), (1216, 832), (1, 4000), (4000, 1), (1536, 640), (0, 0)];
        assert_eq!(
            shapes.map(|(width, height)| shape(width, height)),
            ["", "s7", "s15", "s4", "s25", "s25", "s4"]
        );
    }
}
