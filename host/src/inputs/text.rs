// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pictures that stand as text in JSON: data URLs, and bare base64. Pure.

use std::borrow::Cow;

use axum::body::Bytes;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::store::PARAM;
use crate::error::{Error, Result};

/// Base64 with or without its filling.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of a data URL (`data:image/png;base64,...`) or of bare base64, in either alphabet. White space anywhere,
/// and what the URL says of its type, do not count. How many bytes there may be, [`Store::take`](super::Store::take)
/// says.
///
/// # Errors
/// [`Error::Invalid`] about `image` when it is neither.
pub fn from_text(text: &str) -> Result<Bytes> {
    let text = text.trim_start();
    let is_data = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let digits = match text.split_once(',') {
        Some((head, digits)) if is_data => {
            if !head.trim_end().to_ascii_lowercase().ends_with(";base64") {
                return Err(invalid("must be a data URL in base64: data:image/png;base64,..."));
            }
            digits
        }
        _ if is_data => return Err(invalid("is a data URL without data")),
        _ => text,
    };
    if digits.trim().is_empty() {
        return Err(invalid("is empty"));
    }
    let bytes = FORGIVING.decode(&*plain(digits));
    bytes.map(Bytes::from).map_err(|_| invalid("must be a picture in base64, or a data URL of one"))
}

/// Digits of the standard alphabet and nothing else. Most texts are that already.
fn plain(digits: &str) -> Cow<'_, [u8]> {
    let is_odd = |digit: &u8| digit.is_ascii_whitespace() || matches!(digit, b'-' | b'_');
    if !digits.bytes().any(|digit| is_odd(&digit)) {
        return Cow::Borrowed(digits.as_bytes());
    }
    let standard = |digit| match digit {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    };
    let kept = digits.bytes().filter(|digit| !digit.is_ascii_whitespace());
    Cow::Owned(kept.map(standard).collect())
}

fn invalid(problem: &str) -> Error {
    Error::invalid(PARAM, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_and_bare_base64_are_read_whatever_stands_around_their_digits() {
        for text in [
            "data:image/png;base64,+/8A",
            "  DATA:image/png;charset=x;BASE64, +/ 8A\n",
            "data:;base64,+/8A",
            "+/8A",
            "-_8A",
            "+/\r\n8A ",
        ] {
            assert_eq!(from_text(text).unwrap().as_ref(), [0xfb, 0xff, 0], "{text}");
        }
        for (text, bytes) in [("QQ", "A"), ("QQ==", "A"), ("data:image/webp;base64,QUI", "AB")] {
            assert_eq!(from_text(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn everything_else_says_what_it_should_be() {
        for (text, said) in [
            ("", "is empty"),
            ("data:image/png;base64,", "is empty"),
            ("data:image/png", "without data"),
            ("data:image/svg+xml,<svg/>", "in base64"),
            ("https://example.com/a.png", "or a data URL"),
            ("a picture of a cat", "or a data URL"),
            ("Q", "or a data URL"),
            ("äöü", "or a data URL"),
        ] {
            let error = from_text(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
