// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The gallery: what is known of pictures, who may see and change them, and how they are found.
//!
//! ```text
//! pictures/picture.rs    a picture's row: what it shows, whose it is, who may see it
//! pictures/viewer.rs     what somebody may see and change, as conditions on rows
//! pictures/query.rs      pages of pictures, one picture, and those beside it
//! pictures/changes.rs    publish, tag, trash, restore, delete: many at once
//! pictures/tally.rs      tags, models, statistics, usage and quotas
//! pictures/add.rs        a picture comes
//! pictures/publicity.rs  who is to see the pictures of a request
//! pictures/describe.rs   what older rows lack is filled in from their jobs and files
//! pictures/retain.rs     what has been there too long, or is too much, goes
//! pictures/sweep.rs      files go when their rows are gone
//! pictures/import.rs     the list of the Python ALICE is taken over
//! pictures/links.rs      who may open a file, and addresses that open without credentials
//! pictures/tag.rs        pure  what a tag may be
//! ```
//!
//! The functions on connections run inside [`Database::read`](crate::database::Database::read) and
//! [`Database::write`](crate::database::Database::write).

use rusqlite::Connection;

use crate::error::Result;

mod add;
mod changes;
mod describe;
mod import;
mod links;
mod picture;
pub mod publicity;
mod query;
mod retain;
mod sweep;
pub mod tag;
mod tally;
mod viewer;

pub use add::{New, add};
pub use changes::{
    add_tags, delete, empty_trash, publish, remove_tags, restore, set_favourite, set_tags, the_one, trash,
    withdraw,
};
pub use describe::describe_older;
pub use import::import;
pub use links::{Signature, Signer, Visibility, authorize, ensure_key, replace_key};
pub use picture::{Details, Mode, Picture};
pub use publicity::{PrivacyWish, Publicity};
pub use query::{Neighbours, Page, Privacy, Query, Scope, Sort, find, find_all, neighbours, page, sources};
pub use retain::{count_days, tidy};
pub use sweep::sweep;
pub use tally::{
    OwnersUsage, Statistics, Usage, models, own_quota, quota, refuse_over_quota, set_quota, statistics,
    statistics_of_mine, tags, until, usage, usage_by_owner,
};
pub use viewer::Viewer;

/// Texts as a parameter that a query takes apart.
fn as_json<Text: AsRef<str>>(texts: &[Text]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| serde_json::Value::from(text.as_ref())).collect();
    serde_json::Value::from(texts).to_string()
}

/// The texts that a query without parameters gives.
fn ids(connection: &Connection, sql: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests;
