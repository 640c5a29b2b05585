// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whose picture is whose, and who may see it: its owner, administrators, everyone who may use the server if it
//! was made without an account, and whoever holds an address that this server has signed.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Deserialize;
use sha2::Sha256;

use crate::app::App;
use crate::auth::{Actor, Who, token};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::gallery::Kept;

/// Seconds of an hour.
const HOUR: i64 = 3600;

/// What an address says about its own right to be opened.
#[derive(Clone, Debug, Deserialize)]
pub struct Signature {
    expires: Timestamp,
    signature: String,
}

/// How a picture may be kept by those who have seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// It has an owner.
    Private,
    /// It was made without an account: its name is the only secret.
    Shared,
}

/// Decides whether `actor` may see the picture in `kept`.
///
/// # Errors
/// [`Error::NotFound`] if not, as if it were not there.
pub async fn authorize(
    app: &App,
    actor: &Actor,
    kept: &Kept,
    signature: Option<Signature>,
) -> Result<Visibility> {
    let (shared, kept, actor) = (app.clone(), kept.clone(), actor.clone());
    app.database
        .read(move |connection| {
            let sql = "SELECT account FROM pictures WHERE id = ?1";
            let owner: Option<Option<i64>> =
                connection.prepare_cached(sql)?.query_row([kept.id()], |row| row.get(0)).optional()?;
            match owner {
                Some(None) if !matches!(actor.who, Who::Nobody) => Ok(Visibility::Shared),
                // A file that nobody registered belongs to nobody else.
                _ if actor.is_admin() => Ok(Visibility::Private),
                Some(Some(owner)) if actor.account() == Some(owner) => Ok(Visibility::Private),
                Some(_)
                    if signature
                        .is_some_and(|signature| signature.holds(connection, &kept, &shared.clock)) =>
                {
                    Ok(Visibility::Private)
                }
                _ => Err(Error::NotFound),
            }
        })
        .await
}

/// Signs addresses of pictures, which then open without credentials for `server.picture_link_hours`.
pub struct Signer {
    key: Vec<u8>,
    expires: Timestamp,
}

impl Signer {
    /// One for addresses that are given away now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn new(app: &App) -> Result<Self> {
        let expires = app.clock.now().saturating_add(i64::from(app.config.server.picture_link_hours) * HOUR);
        Ok(Self { key: app.database.read(key).await?, expires })
    }

    /// The query that lets whoever has it open the picture in `kept`.
    pub fn query(&self, kept: &Kept) -> String {
        let signature = HEXLOWER.encode(&mac(&self.key, &kept.file, self.expires).finalize().into_bytes());
        format!("expires={}&signature={signature}", self.expires)
    }
}

impl Signature {
    fn holds(&self, connection: &Connection, kept: &Kept, clock: &Clock) -> bool {
        let (Ok(key), Ok(signature)) = (key(connection), HEXLOWER.decode(self.signature.as_bytes())) else {
            return false;
        };
        // Compares in constant time.
        mac(&key, &kept.file, self.expires).verify_slice(&signature).is_ok() && !clock.passed(self.expires)
    }
}

fn mac(key: &[u8], file: &str, expires: Timestamp) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{file}\n{expires}").as_bytes());
    mac
}

fn key(connection: &Connection) -> Result<Vec<u8>> {
    let sql = "SELECT value FROM settings WHERE name = 'link_key'";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Makes the key that addresses are signed with, if there is none yet.
///
/// # Errors
/// When the database fails, or the system has no random numbers.
pub fn ensure_key(transaction: &Transaction<'_>) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO settings (name, value) VALUES ('link_key', ?1)";
    transaction.execute(sql, params![token::random::<32>()?])?;
    Ok(())
}

/// Makes another key: every address that was signed so far is worthless.
///
/// # Errors
/// As [`ensure_key`].
pub fn replace_key(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute("DELETE FROM settings WHERE name = 'link_key'", [])?;
    ensure_key(transaction)
}
