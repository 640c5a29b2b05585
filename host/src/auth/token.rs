// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Secrets that the daemon makes up: keys, session and setup tokens, invite codes. Each is a prefix that says
//! what it is, 160 random bits and a checksum, in digits and small letters that survive being read aloud.
//! Only their hashes are kept.

use data_encoding::BASE32_NOPAD;
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::secret::Secret;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key of an account.
    Key,
    /// A login.
    Session,
    /// The right to make the first administrator.
    Setup,
    /// The right to make an account.
    Invite,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Session, Self::Setup, Self::Invite, Self::Key];

    fn prefix(self) -> &'static str {
        match self {
            Self::Key => "alice_",
            Self::Session => "alice_session_",
            Self::Setup => "alice_setup_",
            Self::Invite => "alice_invite_",
        }
    }

    /// What `text` says that it is, if its checksum is right. It may still be unknown.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            let Some((random, sum)) =
                text.strip_prefix(kind.prefix()).and_then(|rest| rest.split_at_checked(RANDOM_LETTERS))
            else {
                return false;
            };
            sum == checksum(kind.prefix(), random)
        })
    }
}

/// 160 bits in base 32.
const RANDOM_LETTERS: usize = 32;
/// Letters of an id: enough that two of a list are never alike.
const ID_BYTES: usize = 5;

/// A new secret of `kind`.
///
/// # Errors
/// When the system has no random numbers.
pub fn mint(kind: Kind) -> Result<Secret> {
    let random = BASE32_NOPAD.encode(&random::<20>()?).to_ascii_lowercase();
    let sum = checksum(kind.prefix(), &random);
    Ok(Secret::from(format!("{}{random}{sum}", kind.prefix())))
}

/// A new id of something in a list: no secret, and never used again.
///
/// # Errors
/// When the system has no random numbers.
pub fn id() -> Result<String> {
    Ok(BASE32_NOPAD.encode(&random::<ID_BYTES>()?).to_ascii_lowercase())
}

/// `N` random bytes from the system.
///
/// # Errors
/// When it has none.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Internal(anyhow::anyhow!("no random numbers: {error}")))?;
    Ok(bytes)
}

/// Tells a mistyped secret from an unknown one, before anything is looked up.
fn checksum(prefix: &str, random: &str) -> String {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix.as_bytes());
    hasher.update(random.as_bytes());
    BASE32_NOPAD.encode(&hasher.finalize().to_be_bytes()).to_ascii_lowercase()
}

/// The SHA-256 of a secret: all that the database knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of `secret`.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// A hash in hexadecimal, as the Python ALICE keeps it.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl ToSql for Hash {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_is_and_a_mistyped_one_is_known_as_such() {
        for kind in Kind::ALL {
            let token = mint(kind).unwrap();
            assert_eq!(Kind::of(token.expose()), Some(kind), "{kind:?}");
            let body = token.expose().strip_prefix(kind.prefix()).unwrap();
            assert_eq!(body.len(), 39);
            assert!(body.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
            for (place, letter) in token.expose().char_indices().skip(kind.prefix().len()) {
                let other = if letter == 'a' { 'b' } else { 'a' };
                let mistyped: String =
                    token.expose().char_indices().map(|(i, c)| if i == place { other } else { c }).collect();
                assert_eq!(Kind::of(&mistyped), None, "{kind:?} at {place}");
            }
        }
        for text in ["", "alice_", "alice_session_", "sd-abc", "alice_é", "unused"] {
            assert_eq!(Kind::of(text), None, "{text}");
        }
        assert_ne!(mint(Kind::Key).unwrap(), mint(Kind::Key).unwrap());
    }

    #[test]
    fn hashes_are_sha_256_and_read_as_the_predecessor_writes_them() {
        // `printf abc | sha256sum`
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::from_hex(known), Some(Hash::of("abc")));
        assert_eq!(Hash::from_hex(&known.to_uppercase()), Some(Hash::of("abc")));
        for bad in ["", "ba78", "zz", &format!("{known}00")] {
            assert_eq!(Hash::from_hex(bad), None, "{bad}");
        }
    }
}
