// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What has been there too long, or is too much, goes: from the public, to the trash, and from the trash for good. Only
//! the operator's own settings send a picture to the trash, from where it can be taken back; favourites and what is
//! public never go there by themselves. Days count from when the gallery began to count them: the Python ALICE had the same
//! settings and never kept to them, so what comes from there has all its days before it.

use rusqlite::{Connection, Transaction, params};
use tracing::{info, warn};

use super::changes::delete_where;
use super::{as_json, ids, sweep};
use crate::app::App;
use crate::clock::Timestamp;
use crate::config::{Expired, Storage, gigabytes};
use crate::error::Result;
use crate::gallery::{Gallery, Kept};

/// Seconds of a day. What has come to the trash within one is never deleted for its size alone.
const DAY: i64 = 24 * 3600;
/// Pictures whose files are looked for before anything is deleted.
const SAMPLE: u32 = 200;
/// Of a hundred files that many may be missing: with more, their disk is not there.
const MISSING_PERCENT: usize = 5;
/// What never goes by itself.
fn stays(now: Timestamp) -> String {
    format!("(favourite = 1 OR (public = 1 AND (public_until IS NULL OR public_until > {now})))")
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    /// Ceased to be public, and went to the trash for that.
    expired: usize,
    /// Went to the trash.
    trashed: usize,
    /// Went for good.
    deleted: usize,
}

/// Does what the settings say, and gives how many pictures it has touched. Where many files are missing, or the clock
/// went back, nothing is deleted.
///
/// # Errors
/// When database or disk fail.
pub async fn tidy(app: &App) -> Result<u64> {
    if app.clock.went_back() {
        return Ok(0);
    }
    let (now, storage, gallery) = (app.clock.now(), app.config.storage.clone(), app.gallery.clone());
    let sample = app.database.read(sample).await?;
    let look = move || are_there(&gallery, &sample);
    let are_there = tokio::task::spawn_blocking(look).await.map_err(anyhow::Error::from)?;
    if !are_there {
        warn!(
            "Many files of pictures are missing from {}: is its disk there? Nothing is deleted until they are back",
            app.config.storage.images_directory.display()
        );
    }
    let done = app
        .database
        .write(move |transaction| {
            let expired = expire(transaction, &storage, now)?;
            if !are_there {
                return Ok(Gone { expired, ..Gone::default() });
            }
            let trashed = too_old(transaction, &storage, now)? + too_much(transaction, &storage, now)?;
            let deleted = out_of_the_trash(transaction, &storage, now)?;
            Ok(Gone { expired, trashed, deleted })
        })
        .await?;
    if are_there {
        sweep(app).await?;
    }
    let Gone { expired, trashed, deleted } = done;
    let count = expired + trashed + deleted;
    if count > 0 {
        info!(
            expired,
            trashed,
            deleted,
            "Pictures put into the trash: {expired} no longer public, {trashed} too old or too many; deleted: {deleted}"
        );
    }
    Ok(count as u64)
}

/// Some of the pictures, from anywhere among them.
fn sample(connection: &Connection) -> Result<Vec<String>> {
    ids(connection, &format!("SELECT id FROM pictures ORDER BY random() LIMIT {SAMPLE}"))
}

/// Whether nearly all of these have their files.
fn are_there(gallery: &Gallery, ids: &[String]) -> bool {
    let missing = |id: &&String| !gallery.has(&Kept::with_id(id));
    ids.iter().filter(missing).count() * 100 <= ids.len() * MISSING_PERCENT
}

/// What is no longer public, where that does not stay. That it is no longer public needs no change: every look at a picture
/// asks the clock.
fn expire(transaction: &Transaction<'_>, storage: &Storage, now: Timestamp) -> Result<usize> {
    if storage.expired_public == Expired::Unpublish {
        return Ok(0);
    }
    let sql = "UPDATE pictures SET trashed_at = ?1 \
               WHERE trashed_at IS NULL AND public = 1 AND public_until <= ?1 AND favourite = 0";
    Ok(transaction.execute(sql, [now])?)
}

/// What has been there for too many days.
fn too_old(transaction: &Transaction<'_>, storage: &Storage, now: Timestamp) -> Result<usize> {
    let Some(days) = storage.retention_days else { return Ok(0) };
    if now < counted_since(transaction)?.saturating_add(i64::from(days) * DAY) {
        return Ok(0);
    }
    let stays = stays(now);
    let sql = format!(
        "UPDATE pictures SET trashed_at = ?1 WHERE trashed_at IS NULL AND created_at < ?2 AND NOT {stays}"
    );
    let before = now.saturating_sub(i64::from(days) * DAY);
    Ok(transaction.execute(&sql, params![now, before])?)
}

/// Notes when the daemon began to count days, unless it did so long ago.
///
/// # Errors
/// When the database fails.
pub fn count_days(transaction: &Transaction<'_>, now: Timestamp) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO settings (name, value) VALUES ('days_count_since', ?1)";
    transaction.execute(sql, [now])?;
    Ok(())
}

/// Since when days count: the daemon's first start with a gallery, or when pictures were taken over.
fn counted_since(transaction: &Transaction<'_>) -> Result<Timestamp> {
    let sql = "SELECT max(value) FROM settings WHERE name IN ('days_count_since', 'imported_gallery')";
    let since: Option<Timestamp> = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(since.unwrap_or_default())
}

/// The oldest of what is more than may be.
fn too_much(transaction: &Transaction<'_>, storage: &Storage, now: Timestamp) -> Result<usize> {
    let Some(most) = storage.max_storage_gb.map(gigabytes) else { return Ok(0) };
    let over = bytes(transaction, "trashed_at IS NULL")?.saturating_sub(most);
    let oldest = format!("trashed_at IS NULL AND NOT {} ORDER BY created_at, number", stays(now));
    let chosen = enough(transaction, &oldest, over)?;
    let sql = "UPDATE pictures SET trashed_at = ?1 WHERE id IN (SELECT value FROM json_each(?2))";
    Ok(transaction.execute(sql, params![now, as_json(&chosen)])?)
}

/// What has been in the trash for too many days, and of what is more than may be what has been there longest.
fn out_of_the_trash(transaction: &Transaction<'_>, storage: &Storage, now: Timestamp) -> Result<usize> {
    let mut chosen = Vec::new();
    if let Some(days) = storage.trash_days {
        let before = now.saturating_sub(i64::from(days) * DAY);
        chosen = ids(transaction, &format!("SELECT id FROM pictures WHERE trashed_at <= {before}"))?;
    }
    let deleted = delete_where(transaction, &chosen, "1")?.len();
    let Some(most) = storage.max_storage_gb.map(gigabytes) else { return Ok(deleted) };
    let over = bytes(transaction, "1")?.saturating_sub(most);
    let longest = format!("trashed_at <= {} ORDER BY trashed_at, number", now.saturating_sub(DAY));
    let chosen = enough(transaction, &longest, over)?;
    Ok(deleted + delete_where(transaction, &chosen, "1")?.len())
}

/// Bytes of the pictures for which `condition` holds.
fn bytes(connection: &Connection, condition: &str) -> Result<u64> {
    let sql = format!("SELECT coalesce(sum(bytes), 0) FROM pictures WHERE {condition}");
    let sum: i64 = connection.prepare(&sql)?.query_row([], |row| row.get(0))?;
    Ok(sum.unsigned_abs())
}

/// As many of the first pictures in this order as have `over` bytes together.
fn enough(connection: &Connection, order: &str, over: u64) -> Result<Vec<String>> {
    let (mut chosen, mut sum) = (Vec::new(), 0);
    if over == 0 {
        return Ok(chosen);
    }
    let mut statement = connection.prepare(&format!("SELECT id, bytes FROM pictures WHERE {order}"))?;
    let mut rows = statement.query([])?;
    while sum < over
        && let Some(row) = rows.next()?
    {
        chosen.push(row.get(0)?);
        sum += row.get::<_, i64>(1)?.unsigned_abs();
    }
    Ok(chosen)
}
