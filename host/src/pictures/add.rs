// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A picture comes into the gallery.

use rusqlite::{Transaction, params};

use super::Details;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gallery::Kept;

/// A picture that comes.
#[derive(Clone, Debug)]
pub struct New {
    /// Its file.
    pub kept: Kept,
    /// The account that it belongs to.
    pub account: Option<i64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The number of its job and its place among the job's pictures.
    pub job: Option<(i64, u32)>,
    /// Everybody may see it: until some time, or until it is withdrawn.
    pub public: Option<Option<Timestamp>>,
    /// Milliseconds that it took.
    pub took_ms: Option<i64>,
    /// What it shows.
    pub details: Details,
}

/// Writes a picture down as the latest one.
///
/// # Errors
/// When it is there already; when the database fails.
pub fn add(transaction: &Transaction<'_>, new: &New) -> Result<()> {
    let New { kept, account, created_at, job, public, took_ms, details } = new;
    let (job, place) = job.unzip();
    let sql = "INSERT INTO pictures (id, account, created_at, number, job, place, public, public_until, took_ms) \
               VALUES (?1, ?2, ?3, (SELECT coalesce(max(number), 0) + 1 FROM pictures), ?4, ?5, ?6, ?7, ?8)";
    let until = public.flatten();
    let values = params![kept.id(), account, created_at, job, place, public.is_some(), until, took_ms];
    transaction.prepare_cached(sql)?.execute(values)?;
    describe(transaction, kept.id(), details)
}

/// Writes down what a picture shows.
pub(super) fn describe(transaction: &Transaction<'_>, id: &str, details: &Details) -> Result<()> {
    let sql = "UPDATE pictures SET described = 1, width = ?2, height = ?3, bytes = ?4, prompt = ?5, \
               negative_prompt = ?6, model = ?7, model_name = ?8, family = ?9, steps = ?10, guidance = ?11, \
               scheduler = ?12, seed = ?13, loras = ?14, mode = ?15, text = ?16, folded = ?17 WHERE id = ?1";
    let loras = serde_json::to_string(&details.loras).map_err(anyhow::Error::from)?;
    transaction.prepare_cached(sql)?.execute(params![
        id,
        details.width,
        details.height,
        i64::try_from(details.bytes).unwrap_or(i64::MAX),
        details.prompt,
        details.negative_prompt,
        details.model,
        details.model_name,
        details.family,
        details.steps,
        details.guidance,
        details.scheduler,
        details.seed.map(u64::cast_signed),
        loras,
        details.mode.map(super::Mode::as_str),
        details.text,
        details.folded(),
    ])?;
    Ok(())
}
