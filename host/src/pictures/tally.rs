// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What there is in the gallery, counted.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::Viewer;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::error::{Error, Result};

/// How many pictures there are of each kind. What lies in the trash is only in `trashed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// All.
    pub total: u64,
    /// Those that everybody may see.
    pub public: u64,
    /// Those that not everybody may see.
    pub private: u64,
    /// Of the private ones, those that were public until some time.
    pub expired: u64,
    /// Their owners' favourites.
    pub favourite: u64,
    /// Those in the trash.
    pub trashed: u64,
    /// Bytes of all files, with those in the trash.
    pub bytes: u64,
}

/// What an account has on the disk, with what lies in its trash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Pictures.
    pub pictures: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

/// The same with its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnersUsage {
    /// The account; `None`: everyone without one.
    pub account: Option<i64>,
    /// Its name, unless it is gone.
    pub owner: Option<String>,
    /// What it has on the disk.
    pub usage: Usage,
}

/// The tags of the viewer's own pictures and of those that others have made public, with how many pictures have each.
/// Administrators hear of all. The most frequent first.
///
/// # Errors
/// When the database fails.
pub fn tags(connection: &Connection, viewer: &Viewer) -> Result<Vec<(String, u64)>> {
    let sql = format!(
        "SELECT tag, count(*) FROM picture_tags JOIN pictures ON pictures.id = picture \
         WHERE {} AND pictures.trashed_at IS NULL GROUP BY tag ORDER BY count(*) DESC, tag",
        viewer.visible()
    );
    let mut statement = connection.prepare(&sql)?;
    let tags = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    Ok(tags.collect::<rusqlite::Result<_>>()?)
}

/// The ids of the models of the pictures that the viewer may see, in their order.
///
/// # Errors
/// When the database fails.
pub fn models(connection: &Connection, viewer: &Viewer) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT DISTINCT coalesce(model, model_name) AS name FROM pictures \
         WHERE {} AND pictures.trashed_at IS NULL AND name IS NOT NULL ORDER BY name",
        viewer.visible()
    );
    super::ids(connection, &sql)
}

/// How many pictures of the whole server there are.
///
/// # Errors
/// When the database fails.
pub fn statistics(connection: &Connection, viewer: &Viewer) -> Result<Statistics> {
    statistics_where(connection, viewer, "1")
}

/// How many pictures the viewer has.
///
/// # Errors
/// When the database fails.
pub fn statistics_of_mine(connection: &Connection, viewer: &Viewer) -> Result<Statistics> {
    statistics_where(connection, viewer, &viewer.mine())
}

fn statistics_where(connection: &Connection, viewer: &Viewer, whose: &str) -> Result<Statistics> {
    let published = viewer.published();
    let sql = format!(
        "SELECT count(*) FILTER (WHERE trashed_at IS NULL), \
                count(*) FILTER (WHERE trashed_at IS NULL AND {published}), \
                count(*) FILTER (WHERE trashed_at IS NULL AND public = 1 AND NOT {published}), \
                count(*) FILTER (WHERE trashed_at IS NULL AND favourite = 1), \
                count(*) FILTER (WHERE trashed_at IS NOT NULL), \
                coalesce(sum(bytes), 0) \
         FROM pictures WHERE {whose}"
    );
    let read = |row: &rusqlite::Row<'_>| {
        let number = |place| row.get::<_, i64>(place).map(i64::unsigned_abs);
        let (total, public) = (number(0)?, number(1)?);
        Ok(Statistics {
            total,
            public,
            private: total.saturating_sub(public),
            expired: number(2)?,
            favourite: number(3)?,
            trashed: number(4)?,
            bytes: number(5)?,
        })
    };
    Ok(connection.prepare(&sql)?.query_row([], read)?)
}

/// What `account` has on the disk; without one, everyone who has none.
///
/// # Errors
/// When the database fails.
pub fn usage(connection: &Connection, account: Option<i64>) -> Result<Usage> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM pictures WHERE account IS ?1";
    let read = |row: &rusqlite::Row<'_>| {
        let number = |place| row.get::<_, i64>(place).map(i64::unsigned_abs);
        Ok(Usage { pictures: number(0)?, bytes: number(1)? })
    };
    Ok(connection.prepare_cached(sql)?.query_row([account], read)?)
}

/// What everyone has on the disk, the most first.
///
/// # Errors
/// When the database fails.
pub fn usage_by_owner(connection: &Connection) -> Result<Vec<OwnersUsage>> {
    let sql = "SELECT account, (SELECT name FROM accounts WHERE accounts.id = account), \
               count(*), coalesce(sum(bytes), 0) AS bytes FROM pictures GROUP BY account ORDER BY bytes DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let owners = statement.query_map([], |row| {
        let number = |place| row.get::<_, i64>(place).map(i64::unsigned_abs);
        let usage = Usage { pictures: number(2)?, bytes: number(3)? };
        Ok(OwnersUsage { account: row.get(0)?, owner: row.get(1)?, usage })
    })?;
    Ok(owners.collect::<rusqlite::Result<_>>()?)
}

/// Bytes that the pictures of `account` may have: its own limit, else the configured one; `None`: any number.
///
/// # Errors
/// When the database fails.
pub fn quota(connection: &Connection, config: &Config, account: Option<i64>) -> Result<Option<u64>> {
    let own = match account {
        Some(account) => own_quota(connection, account)?,
        None => None,
    };
    Ok(own.or_else(|| config.storage.quota_gb.map(crate::config::gigabytes)))
}

/// The limit that is the account's own.
///
/// # Errors
/// When the database fails.
pub fn own_quota(connection: &Connection, account: i64) -> Result<Option<u64>> {
    let sql = "SELECT quota_bytes FROM accounts WHERE id = ?1";
    let own: Option<Option<i64>> =
        connection.prepare_cached(sql)?.query_row([account], |row| row.get(0)).optional()?;
    Ok(own.flatten().map(i64::unsigned_abs))
}

/// Lets `account` have more pictures only if it does not have as many as it may.
///
/// # Errors
/// [`Error::OverQuota`]; when the database fails.
pub fn refuse_over_quota(connection: &Connection, config: &Config, account: i64) -> Result<()> {
    let Some(quota) = quota(connection, config, Some(account))? else { return Ok(()) };
    let used = usage(connection, Some(account))?.bytes;
    if used < quota { Ok(()) } else { Err(Error::OverQuota { used, quota }) }
}

/// Lets `account` have so many bytes of pictures; `None`: as many as the configuration says.
///
/// # Errors
/// When the database fails.
pub fn set_quota(transaction: &rusqlite::Transaction<'_>, account: i64, bytes: Option<u64>) -> Result<()> {
    let bytes = bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let sql = "UPDATE accounts SET quota_bytes = ?2 WHERE id = ?1";
    transaction.execute(sql, params![account, bytes])?;
    Ok(())
}

/// The time until which a picture is public that is made so at `now` for some hours.
pub fn until(now: Timestamp, hours: u32) -> Timestamp {
    now.saturating_add(i64::from(hours) * 3600)
}
