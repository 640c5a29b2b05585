// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Takes over the list of pictures of the Python ALICE, once, at the first start that finds its `gallery.json` and the
//! pictures. Their names stay, and with them their addresses. The list itself is only read.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::Value;
use tracing::{error, info, warn};

use super::{Details, Mode, New, tag};
use crate::adapters::Lora;
use crate::clock::Timestamp;
use crate::database::Database;
use crate::error::Result;
use crate::gallery::{Gallery, Kept};

/// Most bytes of the list: a hundred thousand pictures with long prompts.
const LARGEST: u64 = 1 << 30;
/// The account of what belonged to somebody who is gone: no account has this number, so that administrators alone see it.
const NOBODY: i64 = -1;
/// The owner of what was made without a key.
const ANONYMOUS: &str = "anonymous";

/// The list.
#[derive(Deserialize)]
struct List {
    images: BTreeMap<String, Value>,
}

/// A picture as the list has it. Fields that are not named here are ignored.
#[derive(Deserialize)]
struct Entry {
    filename: String,
    owner_api_key_id: Option<String>,
    #[serde(default)]
    is_public: bool,
    created_at: f64,
    expires_at: Option<f64>,
    #[serde(default)]
    prompt: String,
    negative_prompt: Option<String>,
    model: Option<String>,
    steps: Option<u32>,
    guidance_scale: Option<f64>,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    seed: Option<i128>,
    scheduler: Option<String>,
    generation_time: Option<f64>,
    loras: Option<Vec<String>>,
    lora_scales: Option<Vec<f32>>,
    #[serde(default)]
    tags: Vec<String>,
}

/// What became of the list.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    taken: usize,
    /// Their files are not there.
    missing: usize,
    /// They cannot be made sense of.
    odd: usize,
}

/// Takes over the list at `path` if it is there and was not taken over before. Keys must have been taken over already:
/// they say whose picture is whose. A list that cannot be read is left for another start, and so is one of whose
/// pictures most are not there.
///
/// # Errors
/// When the database fails.
pub fn import(database: &Database, path: &Path, gallery: &Gallery, now: Timestamp) -> anyhow::Result<()> {
    if database.write_now(is_done)? {
        return Ok(());
    }
    let list = match read(path) {
        Ok(Some(list)) => list,
        Ok(None) => return Ok(()),
        Err(problem) => {
            error!("The list of pictures {} cannot be taken over: {problem:#}", path.display());
            return Ok(());
        }
    };
    let files = gallery.clone();
    let Counted { taken, missing, odd } =
        database.write_now(move |transaction| store(transaction, list, &files, now))?;
    if missing > taken {
        warn!(
            missing,
            "{missing} pictures of {} are not in `storage.images_directory`; the list is looked at again at the next start",
            path.display()
        );
    } else {
        info!(
            taken, missing, odd, path = %path.display(),
            "Took over {taken} pictures; {missing} have no file, {odd} entries could not be understood",
        );
    }
    Ok(())
}

fn is_done(transaction: &Transaction<'_>) -> Result<bool> {
    Ok(transaction.prepare_cached("SELECT 1 FROM settings WHERE name = 'imported_gallery'")?.exists([])?)
}

/// The list at `path`, if there is one.
fn read(path: &Path) -> anyhow::Result<Option<List>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    anyhow::ensure!(file.metadata()?.len() <= LARGEST, "it is larger than {LARGEST} bytes");
    let list: List = serde_json::from_reader(std::io::BufReader::new(file))
        .map_err(|error| anyhow::anyhow!("line {}, column {}: {error}", error.line(), error.column()))?;
    Ok(Some(list))
}

fn store(transaction: &Transaction<'_>, list: List, gallery: &Gallery, now: Timestamp) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut entries = Vec::new();
    for entry in list.images.into_values() {
        match understood(entry) {
            Some(entry) => entries.push(entry),
            None => counted.odd += 1,
        }
    }
    entries.sort_by(|(_, one), (_, other)| one.created_at.total_cmp(&other.created_at));
    for (kept, entry) in entries {
        match gallery.find(&kept)? {
            Some((_, bytes)) => {
                let is_new = add(transaction, kept, entry, bytes, now)?;
                counted.taken += usize::from(is_new);
            }
            None => counted.missing += 1,
        }
    }
    // With most of them missing their disk is probably not there, or not all of it.
    if counted.missing <= counted.taken {
        transaction.execute("INSERT INTO settings (name, value) VALUES ('imported_gallery', ?1)", [now])?;
    }
    Ok(counted)
}

/// The entry and the name of its file, if both can be made sense of.
fn understood(entry: Value) -> Option<(Kept, Entry)> {
    let entry: Entry = serde_json::from_value(entry).ok()?;
    (entry.created_at.is_finite()).then_some(())?;
    Some((Kept::named(&entry.filename)?, entry))
}

/// Takes one over, unless it is there already.
fn add(transaction: &Transaction<'_>, kept: Kept, entry: Entry, bytes: u64, now: Timestamp) -> Result<bool> {
    let there = transaction.prepare_cached("SELECT 1 FROM pictures WHERE id = ?1")?.exists([kept.id()])?;
    if there {
        return Ok(false);
    }
    let public = publicity(&entry, now);
    let account = owner(transaction, &entry, public.is_some())?;
    let tags = tags(&entry.tags);
    let new = New {
        kept: kept.clone(),
        account,
        created_at: seconds(entry.created_at),
        job: None,
        public,
        took_ms: entry.generation_time.map(|seconds| (seconds.max(0.0) * 1000.0) as i64),
        details: entry.into_details(bytes),
    };
    super::add(transaction, &new)?;
    let mut insert =
        transaction.prepare_cached("INSERT OR IGNORE INTO picture_tags (picture, tag) VALUES (?1, ?2)")?;
    for tag in tags {
        insert.execute([kept.id(), &tag])?;
    }
    Ok(true)
}

/// The account of the key that it belonged to. What was made without a key is for everyone who may use the server only if
/// it is public.
fn owner(transaction: &Transaction<'_>, entry: &Entry, public: bool) -> Result<Option<i64>> {
    let key = entry.owner_api_key_id.as_deref().filter(|key| !key.is_empty() && *key != ANONYMOUS);
    let Some(key) = key else { return Ok(if public { None } else { Some(NOBODY) }) };
    let sql = "SELECT account FROM keys WHERE id = ?1";
    let account = transaction.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(Some(account.unwrap_or(NOBODY)))
}

/// Until when everybody may see it.
fn publicity(entry: &Entry, now: Timestamp) -> Option<Option<Timestamp>> {
    let until = entry.expires_at.map(seconds);
    (entry.is_public && until.is_none_or(|until| until > now)).then_some(until)
}

/// The tags that are tags here too.
fn tags(all: &[String]) -> Vec<String> {
    let fit = all.iter().filter_map(|one| tag::clean(std::slice::from_ref(one)).ok());
    fit.flatten().take(tag::MOST).collect()
}

fn seconds(time: f64) -> Timestamp {
    time as Timestamp
}

impl Entry {
    fn into_details(self, bytes: u64) -> Details {
        let scales = self.lora_scales.unwrap_or_default().into_iter().chain(std::iter::repeat(1.0));
        let loras = self.loras.unwrap_or_default().into_iter().zip(scales);
        let bare = |model: &String| model.rsplit('/').next().unwrap_or(model).to_owned();
        Details {
            width: self.width,
            height: self.height,
            bytes,
            prompt: self.prompt,
            negative_prompt: self.negative_prompt.unwrap_or_default(),
            model_name: self.model.as_ref().map(bare),
            model: self.model,
            family: None,
            steps: self.steps,
            guidance: self.guidance_scale,
            scheduler: self.scheduler,
            seed: self.seed.and_then(|seed| u64::try_from(seed).ok()),
            loras: loras.map(|(id, scale)| Lora { id, scale }).collect(),
            mode: Some(Mode::Words),
            text: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
