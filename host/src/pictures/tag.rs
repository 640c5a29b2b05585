// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Words that people put on pictures. Pure.

use crate::error::{Error, Result};

/// Most letters of a tag.
pub const LONGEST: usize = 50;
/// Most tags of a picture.
pub const MOST: usize = 20;

/// A tag as it is kept: in small letters, without white space around it.
pub(super) fn folded(tag: &str) -> String {
    tag.trim().to_lowercase()
}

/// These tags as they are kept, each once and in their order, without those that are empty.
///
/// # Errors
/// Names the tag that is too long, and tells when there are too many.
pub fn clean<Text: AsRef<str>>(tags: &[Text]) -> Result<Vec<String>> {
    let mut clean: Vec<_> = tags.iter().map(|tag| folded(tag.as_ref())).collect();
    clean.retain(|tag| !tag.is_empty());
    clean.sort_unstable();
    clean.dedup();
    if clean.iter().any(|tag| tag.chars().count() > LONGEST) {
        return Err(Error::invalid("tags", format!("may have at most {LONGEST} letters each")));
    }
    match clean.len() {
        0..=MOST => Ok(clean),
        _ => Err(too_many()),
    }
}

/// There are more tags than a picture may have.
pub(super) fn too_many() -> Error {
    Error::invalid("tags", format!("may be at most {MOST} of one picture"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_small_trimmed_and_there_once() {
        assert_eq!(clean(&[" Zebra", "ÄPFEL ", "zebra", " "]).unwrap(), ["zebra", "äpfel"]);
        assert_eq!(clean::<&str>(&[]).unwrap(), [""; 0]);
    }

    #[test]
    fn a_tag_that_is_too_long_and_a_tag_too_many_are_refused() {
        clean(&["ü".repeat(LONGEST)]).unwrap();
        clean(&["x".repeat(LONGEST + 1)]).unwrap_err();
        let many: Vec<_> = (0..=MOST).map(|number| number.to_string()).collect();
        clean(&many[1..]).unwrap();
        clean(&many).unwrap_err();
    }
}
