// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who may open the file of a picture: who may see it in the gallery, and whoever holds an address that this server has
//! signed.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Deserialize;
use sha2::Sha256;

use super::Viewer;
use crate::app::App;
use crate::auth::{Actor, token};
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
    /// It has an owner, who may change his mind about who sees it.
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
    let (clock, kept, actor) = (app.clock.clone(), kept.clone(), actor.clone());
    app.database
        .read(move |connection| {
            let viewer = Viewer::of(&actor, &clock);
            let sql = format!(
                "SELECT account, trashed_at IS NULL, trashed_at IS NULL AND {} FROM pictures WHERE id = ?1",
                viewer.published()
            );
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let found: Option<(Option<i64>, bool, bool)> =
                connection.prepare(&sql)?.query_row([kept.id()], read).optional()?;
            let signed = || signature.is_some_and(|signature| signature.holds(connection, &kept, &clock));
            match found {
                Some((None, ..)) if viewer.owns(None) => Ok(Visibility::Shared),
                Some((account, ..)) if viewer.may_change(account) => Ok(Visibility::Private),
                // What lies in the trash is for nobody else any more.
                Some((_, present, public)) if public || (present && signed()) => Ok(Visibility::Private),
                // A file that nobody registered belongs to nobody else.
                None if viewer.is_admin() => Ok(Visibility::Private),
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
