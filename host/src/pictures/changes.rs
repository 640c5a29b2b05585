// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Changes of many pictures at once. Each function touches those that its viewer may touch, passes over the
//! others, and gives back the ids of those that it found, also where nothing had to change.

use rusqlite::{Transaction, params};

use super::{Viewer, as_json, tag};
use crate::auth::audit;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Out of `ids`, those for which `condition` holds.
fn among(transaction: &Transaction<'_>, ids: &[String], condition: &str) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT pictures.id FROM json_each(?1) AS asked JOIN pictures ON pictures.id = asked.value \
         WHERE {condition} GROUP BY pictures.id ORDER BY min(asked.key)"
    );
    let mut statement = transaction.prepare(&sql)?;
    let found = statement.query_map([as_json(ids)], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Does `change` to those of `ids` for which `condition` holds. The ids are its first parameter.
fn change(
    transaction: &Transaction<'_>,
    ids: &[String],
    condition: &str,
    change: &str,
) -> Result<Vec<String>> {
    let found = among(transaction, ids, condition)?;
    let sql = format!("UPDATE pictures SET {change} WHERE id IN (SELECT value FROM json_each(?1))");
    transaction.prepare(&sql)?.execute([as_json(&found)])?;
    Ok(found)
}

/// How many pictures of an act the audit log names.
const NAMED: usize = 5;

/// Notes what an administrator does to pictures of others: to those of `ids` that are not the viewer's own.
fn note(transaction: &Transaction<'_>, viewer: &Viewer, ids: &[String], act: &'static str) -> Result<()> {
    if !viewer.is_admin() {
        return Ok(());
    }
    let others = among(transaction, ids, &format!("NOT {}", viewer.owned()))?;
    if others.is_empty() {
        return Ok(());
    }
    let mut object = others.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if others.len() > NAMED {
        object += &format!(" and {} more", others.len() - NAMED);
    }
    audit::note(transaction, viewer.author(), act, &object, viewer.now())
}

/// Those that lie where their owners look.
fn present(condition: &str) -> String {
    format!("{condition} AND pictures.trashed_at IS NULL")
}

/// Lets everybody see them, until some time or until they are withdrawn.
///
/// # Errors
/// When the database fails.
pub fn publish(
    transaction: &Transaction<'_>,
    viewer: &Viewer,
    ids: &[String],
    until: Option<Timestamp>,
) -> Result<Vec<String>> {
    let until = until.map_or_else(|| "NULL".to_owned(), |until| until.to_string());
    let set = format!("public = 1, public_until = {until}");
    note(transaction, viewer, ids, "picture.publish")?;
    change(transaction, ids, &present(&viewer.changeable()), &set)
}

/// Ends that.
///
/// # Errors
/// When the database fails.
pub fn withdraw(transaction: &Transaction<'_>, viewer: &Viewer, ids: &[String]) -> Result<Vec<String>> {
    note(transaction, viewer, ids, "picture.withdraw")?;
    change(transaction, ids, &viewer.changeable(), "public = 0, public_until = NULL")
}

/// Puts them among their owner's favourites, or takes them away from there.
///
/// # Errors
/// When the database fails.
pub fn set_favourite(
    transaction: &Transaction<'_>,
    viewer: &Viewer,
    ids: &[String],
    favourite: bool,
) -> Result<Vec<String>> {
    change(transaction, ids, &viewer.owned(), &format!("favourite = {}", i32::from(favourite)))
}

/// Moves them to the trash.
///
/// # Errors
/// When the database fails.
pub fn trash(
    transaction: &Transaction<'_>,
    viewer: &Viewer,
    ids: &[String],
    now: Timestamp,
) -> Result<Vec<String>> {
    let set = format!("trashed_at = coalesce(trashed_at, {now})");
    note(transaction, viewer, ids, "picture.trash")?;
    change(transaction, ids, &viewer.changeable(), &set)
}

/// Takes them out of the trash. They are as they were before.
///
/// # Errors
/// When the database fails.
pub fn restore(transaction: &Transaction<'_>, viewer: &Viewer, ids: &[String]) -> Result<Vec<String>> {
    note(transaction, viewer, ids, "picture.restore")?;
    change(transaction, ids, &viewer.changeable(), "trashed_at = NULL")
}

/// Removes their rows; their files are removed by [`super::sweep()`]. A picture whose job still makes others stays until
/// the job is over, because after a restart that job is told by its pictures.
///
/// # Errors
/// When the database fails.
pub fn delete(transaction: &Transaction<'_>, viewer: &Viewer, ids: &[String]) -> Result<Vec<String>> {
    note(transaction, viewer, ids, "picture.delete")?;
    delete_where(transaction, ids, &viewer.changeable())
}

/// Removes everything that lies in the viewer's own trash, as [`delete`] does.
///
/// # Errors
/// When the database fails.
pub fn empty_trash(transaction: &Transaction<'_>, viewer: &Viewer) -> Result<Vec<String>> {
    let sql = format!("SELECT id FROM pictures WHERE {} AND trashed_at IS NOT NULL", viewer.cares_for());
    let ids = super::ids(transaction, &sql)?;
    delete_where(transaction, &ids, "1")
}

/// As [`delete`], for those for which `condition` holds.
pub(super) fn delete_where(
    transaction: &Transaction<'_>,
    ids: &[String],
    condition: &str,
) -> Result<Vec<String>> {
    let over = "NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.number = pictures.job AND state = 'accepted')";
    let found = among(transaction, ids, &format!("{condition} AND {over}"))?;
    let list = as_json(&found);
    let sql = "INSERT OR IGNORE INTO removed_pictures (id) SELECT value FROM json_each(?1)";
    transaction.execute(sql, [&list])?;
    transaction.execute("DELETE FROM pictures WHERE id IN (SELECT value FROM json_each(?1))", [&list])?;
    Ok(found)
}

/// Gives the picture `id` these tags and no others.
///
/// # Errors
/// [`Error::NotFound`] about a picture that `viewer` cannot see, [`Error::Forbidden`] about one of somebody else, and
/// as [`tag::clean`].
pub fn set_tags(
    transaction: &Transaction<'_>,
    viewer: &Viewer,
    id: &str,
    tags: &[String],
) -> Result<Vec<String>> {
    let tags = tag::clean(tags)?;
    if !super::find(transaction, viewer, id)?.is_owned_by(viewer) {
        return Err(Error::Forbidden("only its owner gives a picture tags"));
    }
    transaction.execute("DELETE FROM picture_tags WHERE picture = ?1", [id])?;
    insert_tags(transaction, &[id.to_owned()], &tags)?;
    Ok(tags)
}

/// Gives pictures these tags beside those that they have.
///
/// # Errors
/// As [`tag::clean`], also when one of them would have too many.
pub fn add_tags(
    transaction: &Transaction<'_>,
    viewer: &Viewer,
    ids: &[String],
    tags: &[String],
) -> Result<Vec<String>> {
    let tags = tag::clean(tags)?;
    let found = among(transaction, ids, &viewer.owned())?;
    insert_tags(transaction, &found, &tags)?;
    let sql = "SELECT 1 FROM json_each(?1) AS asked JOIN picture_tags ON picture = asked.value \
               GROUP BY picture HAVING count(*) > ?2";
    if transaction.prepare_cached(sql)?.exists(params![as_json(&found), tag::MOST as i64])? {
        return Err(tag::too_many());
    }
    Ok(found)
}

/// Takes these tags from pictures.
///
/// # Errors
/// When the database fails.
pub fn remove_tags(
    transaction: &Transaction<'_>,
    viewer: &Viewer,
    ids: &[String],
    tags: &[String],
) -> Result<Vec<String>> {
    let tags: Vec<_> = tags.iter().map(|tag| tag::folded(tag)).collect();
    let found = among(transaction, ids, &viewer.owned())?;
    let sql = "DELETE FROM picture_tags WHERE picture IN (SELECT value FROM json_each(?1)) \
               AND tag IN (SELECT value FROM json_each(?2))";
    transaction.prepare_cached(sql)?.execute([as_json(&found), as_json(&tags)])?;
    Ok(found)
}

fn insert_tags(transaction: &Transaction<'_>, ids: &[String], tags: &[String]) -> Result<()> {
    let sql = "INSERT OR IGNORE INTO picture_tags (picture, tag) \
               SELECT pictures.value, tags.value FROM json_each(?1) AS pictures, json_each(?2) AS tags";
    transaction.prepare_cached(sql)?.execute([as_json(ids), as_json(tags)])?;
    Ok(())
}

/// The one picture that an action was about.
///
/// # Errors
/// [`Error::NotFound`] if it was not among those that could be touched.
pub fn the_one(found: &[String]) -> Result<()> {
    if found.is_empty() { Err(Error::NotFound) } else { Ok(()) }
}
