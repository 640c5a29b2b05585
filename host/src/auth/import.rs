// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Takes over the keys of the Python ALICE, once, at the first start that finds its `api_keys.json`. The keys
//! work on as they are, because both keep the same hash of them. The file itself is only read.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use rusqlite::{Transaction, params};
use serde::Deserialize;
use tracing::info;

use super::accounts::{self, Name};
use super::audit::{self, Author};
use super::token::Hash;
use super::{Role, keys, setup};
use crate::clock::Timestamp;
use crate::database::Database;
use crate::error::Result;

/// Most letters of an id.
const LONGEST_ID: usize = 32;
/// The end of the year 9999: no date of the file lies behind it.
const LATEST: f64 = 253_402_300_800.0;

/// A key as the file has it. Fields that are not named here are ignored.
#[derive(Deserialize)]
struct Row {
    id: Option<String>,
    #[serde(default)]
    name: String,
    key_hash: String,
    created_at: f64,
    last_used: Option<f64>,
    #[serde(default)]
    is_admin: bool,
    /// Is missing in the oldest files.
    access_level: Option<Level>,
    #[serde(default = "default_rate_limit")]
    rate_limit: u32,
    #[serde(default = "default_enabled")]
    enabled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// May do nothing.
    Anonymous,
    User,
    Admin,
}

fn default_rate_limit() -> u32 {
    keys::RATE_LIMIT
}

fn default_enabled() -> bool {
    true
}

/// A key as the database has it.
struct Key {
    id: String,
    name: Name,
    hash: Hash,
    role: Role,
    rate_limit: u32,
    enabled: bool,
    created_at: Timestamp,
    last_used: Option<Timestamp>,
}

/// Takes over `api_keys.json` in `directory` if it is there and was not taken over before: each key with an
/// account of its own. An enabled administrator's key among them counts as setting the server up.
///
/// # Errors
/// A file that cannot be read, or not be made sense of in every part: a start with some of the keys would
/// shut people out, or open the server as if nobody had set it up.
pub fn run(database: &Database, directory: &Path, now: Timestamp) -> anyhow::Result<()> {
    if database.write_now(is_done)? {
        return Ok(());
    }
    let path = directory.join("api_keys.json");
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let keys = parse(&bytes).with_context(|| format!("cannot take over the keys of {}", path.display()))?;
    let count = keys.len();
    database
        .write_now(move |transaction| store(transaction, &keys, now))
        .with_context(|| format!("cannot take over the keys of {}", path.display()))?;
    info!(count, path = %path.display(), "Took over {count} keys");
    Ok(())
}

fn is_done(transaction: &Transaction<'_>) -> Result<bool> {
    Ok(transaction.prepare_cached("SELECT 1 FROM settings WHERE name = 'imported_keys'")?.exists([])?)
}

fn store(transaction: &Transaction<'_>, keys: &[Key], now: Timestamp) -> Result<()> {
    for key in keys {
        insert(transaction, key)?;
        if key.enabled && key.role == Role::Admin {
            setup::finish(transaction, now)?;
        }
    }
    transaction.execute("INSERT INTO settings (name, value) VALUES ('imported_keys', ?1)", [now])?;
    audit::note(transaction, &Author::console(), "keys.import", &format!("{} keys", keys.len()), now)
}

fn insert(transaction: &Transaction<'_>, key: &Key) -> Result<()> {
    let account = accounts::create_numbered(transaction, &key.name, key.role, key.created_at)?;
    transaction.execute(
        "INSERT INTO keys (id, account, name, hash, role, rate_limit, enabled, created_at, last_used)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            key.id,
            account,
            key.name.as_str(),
            key.hash,
            key.role,
            key.rate_limit,
            key.enabled,
            key.created_at,
            key.last_used
        ],
    )?;
    Ok(())
}

/// The keys of a file. No complaint repeats more of it than the id of a key.
fn parse(bytes: &[u8]) -> anyhow::Result<Vec<Key>> {
    let rows: BTreeMap<String, serde_json::Value> = serde_json::from_slice(bytes).map_err(|error| {
        anyhow!("it is not a JSON object (line {}, column {})", error.line(), error.column())
    })?;
    let mut hashes = HashSet::new();
    let mut keys = Vec::with_capacity(rows.len());
    for (id, row) in rows {
        let row: Row = serde_path_to_error::deserialize(row).map_err(|error| malformed(&id, error.path()))?;
        let hash = row.key_hash.to_ascii_lowercase();
        let key = row.into_key(&id).with_context(|| format!("the key {id:?}"))?;
        ensure!(hashes.insert(hash), "the key {id:?}: another key has the same hash");
        keys.push(key);
    }
    Ok(keys)
}

/// What is wrong with a row, without the words of its parser, which can repeat values.
fn malformed(id: &str, path: &serde_path_to_error::Path) -> anyhow::Error {
    match path.to_string().as_str() {
        "." => anyhow!("the key {id:?}: it must be an object with `key_hash` and `created_at`"),
        field => anyhow!("the key {id:?}: its `{field}` is not what it must be"),
    }
}

impl Row {
    fn into_key(self, id: &str) -> anyhow::Result<Key> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let usable = (1..=LONGEST_ID).contains(&id.len()) && id.chars().all(fits) && id != keys::CONFIGURED;
        ensure!(usable, "its id must have 1 to {LONGEST_ID} letters, digits, `-` or `_`, and not be taken");
        ensure!(self.id.as_deref().is_none_or(|inner| inner == id), "its `id` is another one");
        ensure!(self.rate_limit > 0, "its `rate_limit` must be at least 1");
        let Some(hash) = Hash::from_hex(&self.key_hash) else {
            bail!("its `key_hash` is no SHA-256 in hexadecimal");
        };
        let last_used = self.last_used.map(|at| date("last_used", at)).transpose()?;
        Ok(Key {
            id: id.to_owned(),
            name: usable_name(&self.name, id)?,
            hash,
            role: Role::admin_if(self.is_admin || self.access_level == Some(Level::Admin)),
            rate_limit: self.rate_limit,
            enabled: self.enabled && self.access_level != Some(Level::Anonymous),
            created_at: date("created_at", self.created_at)?,
            last_used,
        })
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the range was checked; the fraction is not kept")]
fn date(field: &str, seconds: f64) -> anyhow::Result<Timestamp> {
    ensure!((0.0..LATEST).contains(&seconds), "its `{field}` is no date");
    Ok(seconds as Timestamp)
}

/// `text`, or as much of it as can be a name here.
fn usable_name(text: &str, id: &str) -> anyhow::Result<Name> {
    let visible: String = text.chars().filter(|c| c.is_whitespace() || !accounts::is_invisible(*c)).collect();
    let words = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    let name = if words.is_empty() { format!("key {id}") } else { words };
    Name::try_from(name.chars().take(accounts::LONGEST_NAME).collect::<String>())
        .map_err(|problem| anyhow!("its `name` cannot be used: {problem}"))
}

#[cfg(test)]
mod tests;
