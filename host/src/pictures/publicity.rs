// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who is to see pictures that are asked for.

use std::ops::RangeInclusive;

use crate::config::Storage;
use crate::draft;
use crate::error::{Error, Result};

/// Hours for which a picture may be made public.
pub const HOURS: RangeInclusive<u32> = 1..=168;

/// Who is to see the pictures of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publicity {
    /// Those who may see everything of their owner.
    #[default]
    Private,
    /// Everybody.
    Public {
        /// For how long; `None`: until they are withdrawn.
        hours: Option<u32>,
    },
}

/// The same as a client says it: nothing is checked yet.
#[derive(Clone, Debug, Default)]
pub struct PrivacyWish {
    /// `public` or `private`; when nobody says it, the latter.
    pub privacy: Option<String>,
    /// For how many hours everybody may see it.
    pub expiration_hours: Option<i64>,
}

impl PrivacyWish {
    /// What is meant.
    ///
    /// # Errors
    /// Names the parameter that cannot be used.
    pub fn settle(&self, storage: &Storage) -> Result<Publicity> {
        let hours = hours("expiration_hours", self.expiration_hours)?;
        let word = self.privacy.as_deref().map(|word| word.trim().to_ascii_lowercase());
        match word.as_deref() {
            None | Some("" | "private") => Ok(Publicity::Private),
            Some("public") => {
                Ok(Publicity::Public { hours: hours.or(Some(storage.public_image_expiration_hours)) })
            }
            Some(_) => Err(Error::invalid("privacy", "must be `public` or `private`")),
        }
    }
}

/// A number of hours in the range, if there is one.
///
/// # Errors
/// Names `param` if it is not in [`HOURS`].
pub fn hours(param: &str, hours: Option<i64>) -> Result<Option<u32>> {
    draft::whole(param, hours, HOURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_private_unless_its_client_says_public() {
        let settle = |privacy: &str, expiration_hours| {
            let wish = PrivacyWish { privacy: Some(privacy.to_owned()), expiration_hours };
            wish.settle(&Storage::default()).map_err(|error| error.to_string())
        };
        assert_eq!(PrivacyWish::default().settle(&Storage::default()).unwrap(), Publicity::Private);
        assert_eq!(settle(" Private", Some(24)), Ok(Publicity::Private));
        assert_eq!(settle("public", Some(24)), Ok(Publicity::Public { hours: Some(24) }));
        assert_eq!(settle("public", None), Ok(Publicity::Public { hours: Some(168) }));
        assert!(settle("friends", None).unwrap_err().starts_with("`privacy`"));
        for hours in [0, 169, -1] {
            assert!(settle("public", Some(hours)).unwrap_err().starts_with("`expiration_hours`"));
        }
    }
}
