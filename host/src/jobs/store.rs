// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Jobs on disk. What is written here is what a client was told.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::Caller;
use crate::clock::Timestamp;
use crate::draft::{Parameters, Request};
use crate::error::Result;
use crate::gallery::Kept;
use crate::models::Registry;

/// A request as it is written down: enough to begin it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// The model's id.
    pub model: String,
    /// What the pictures have in common.
    pub parameters: Parameters,
    /// Number of pictures.
    pub count: u32,
}

impl Stored {
    /// What is written down of `request`.
    pub fn of(request: &Request) -> Self {
        Self { model: request.model.id.clone(), parameters: request.parameters.clone(), count: request.count }
    }

    /// The request again.
    ///
    /// # Errors
    /// When its model is gone, or cannot be sampled so any more.
    pub fn restore(self, models: &Registry) -> Result<Request> {
        let model = models.find(Some(&self.model))?;
        Request::again(model, self.parameters, self.count)
    }
}

/// How a job stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits, runs, or did so when the daemon ended.
    Accepted,
    /// Its pictures are kept.
    Done,
    /// It ended without all of its pictures.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn parse(word: &str) -> Self {
        let all = [Self::Accepted, Self::Done, Self::Failed];
        all.into_iter().find(|state| state.as_str() == word).unwrap_or(Self::Cancelled)
    }
}

/// A job as it is written down.
#[derive(Clone, Debug)]
pub struct Record {
    /// The order of acceptance.
    pub number: i64,
    /// Its id.
    pub id: String,
    /// The account that asked.
    pub account: Option<i64>,
    /// As whom the account, or somebody without one, stood in line.
    pub caller: String,
    /// How it stands.
    pub state: State,
    /// The request as JSON: [`Stored`].
    pub request: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// How often it has begun.
    pub starts: u32,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Milliseconds from its beginning to its end.
    pub took_ms: Option<i64>,
    /// The end of the prompt was not seen.
    pub truncated: bool,
    /// Why it failed: a word and a sentence.
    pub error: Option<(String, String)>,
}

const COLUMNS: &str = "number, id, account, caller, state, request, accepted_at, starts, ended_at, took_ms, \
                       truncated, error_code, error";

impl Record {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (code, error): (Option<String>, Option<String>) = (row.get(11)?, row.get(12)?);
        Ok(Self {
            number: row.get(0)?,
            id: row.get(1)?,
            account: row.get(2)?,
            caller: row.get(3)?,
            state: State::parse(&row.get::<_, String>(4)?),
            request: row.get(5)?,
            accepted_at: row.get(6)?,
            starts: row.get(7)?,
            ended_at: row.get(8)?,
            took_ms: row.get(9)?,
            truncated: row.get(10)?,
            error: code.zip(error),
        })
    }
}

/// Writes an accepted job down, with the pictures it is going to have, and gives its number.
///
/// # Errors
/// When the database fails.
pub fn insert(
    transaction: &Transaction<'_>,
    id: &str,
    account: Option<i64>,
    caller: &Caller,
    request: &Stored,
    planned: &[Kept],
    now: Timestamp,
) -> Result<i64> {
    let request = serde_json::to_string(request).map_err(anyhow::Error::from)?;
    let sql = "INSERT INTO jobs (id, account, caller, request, accepted_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.prepare_cached(sql)?.execute(params![id, account, caller.to_string(), request, now])?;
    let number = transaction.last_insert_rowid();
    let mut plan =
        transaction.prepare_cached("INSERT INTO planned_pictures (id, job, place) VALUES (?1, ?2, ?3)")?;
    for (place, kept) in (0_u32..).zip(planned) {
        plan.execute(params![kept.id(), number, place])?;
    }
    Ok(number)
}

/// A job begins.
///
/// # Errors
/// When the database fails.
pub fn count_start(transaction: &Transaction<'_>, number: i64) -> Result<()> {
    transaction.execute("UPDATE jobs SET starts = starts + 1 WHERE number = ?1", [number])?;
    Ok(())
}

/// The daemon ends in good order: what is not finished did not bring it down.
///
/// # Errors
/// When the database fails.
pub fn forgive_starts(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute("UPDATE jobs SET starts = 0 WHERE state = 'accepted' AND starts > 0", [])?;
    Ok(())
}

/// What is written down with a job's last picture.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// When.
    pub now: Timestamp,
    /// Milliseconds since it began.
    pub took_ms: i64,
    /// The end of the prompt was not seen.
    pub truncated: bool,
}

/// A picture of a job is kept; with the last of them the job is done.
///
/// # Errors
/// When the database fails.
pub fn add_picture(
    transaction: &Transaction<'_>,
    number: i64,
    account: Option<i64>,
    place: u32,
    kept: &Kept,
    finish: Finish,
) -> Result<()> {
    let sql = "INSERT INTO pictures (id, account, created_at, job, place) VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.prepare_cached(sql)?.execute(params![kept.id(), account, finish.now, number, place])?;
    let sql = "DELETE FROM planned_pictures WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute([kept.id()])?;
    let sql = "UPDATE jobs SET state = 'done', ended_at = ?2, took_ms = ?3, truncated = ?4 \
               WHERE number = ?1 AND state = 'accepted' \
               AND NOT EXISTS (SELECT 1 FROM planned_pictures WHERE job = ?1)";
    transaction.prepare_cached(sql)?.execute(params![
        number,
        finish.now,
        finish.took_ms,
        finish.truncated
    ])?;
    Ok(())
}

/// A job ended in another way than by its last picture.
///
/// # Errors
/// When the database fails.
pub fn end(
    transaction: &Transaction<'_>,
    number: i64,
    state: State,
    error: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<()> {
    let sql = "UPDATE jobs SET state = ?2, error_code = ?3, error = ?4, ended_at = ?5 \
               WHERE number = ?1 AND state = 'accepted'";
    let (code, error) = error.unzip();
    transaction.prepare_cached(sql)?.execute(params![number, state.as_str(), code, error, now])?;
    Ok(())
}

/// The job `id`.
///
/// # Errors
/// When the database fails.
pub fn find(connection: &Connection, id: &str) -> Result<Option<Record>> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id], Record::read).optional()?)
}

/// Whose jobs.
#[derive(Clone, Debug)]
pub enum Whose {
    /// Everybody's.
    All,
    /// Those of one caller.
    Of(Caller),
}

/// The latest jobs, the newest first; `before` is the number of one, from which on to look.
///
/// # Errors
/// When the database fails.
pub fn list(connection: &Connection, whose: &Whose, before: Option<i64>, limit: u32) -> Result<Vec<Record>> {
    let (clause, caller) = match whose {
        Whose::All => ("?3 IS NULL", None),
        Whose::Of(caller) => ("caller = ?3", Some(caller.to_string())),
    };
    let sql =
        format!("SELECT {COLUMNS} FROM jobs WHERE number < ?1 AND {clause} ORDER BY number DESC LIMIT ?2");
    let before = before.unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let records = statement.query_map(params![before, limit, caller], Record::read)?;
    Ok(records.collect::<rusqlite::Result<_>>()?)
}

/// The jobs that are not over, the oldest first.
///
/// # Errors
/// When the database fails.
pub fn unfinished(connection: &Connection) -> Result<Vec<Record>> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE state = 'accepted' ORDER BY number");
    let mut statement = connection.prepare(&sql)?;
    let records = statement.query_map([], Record::read)?;
    Ok(records.collect::<rusqlite::Result<_>>()?)
}

/// The kept pictures of a job with their places.
///
/// # Errors
/// When the database fails.
pub fn pictures(connection: &Connection, number: i64) -> Result<Vec<(u32, Kept)>> {
    names(connection, "SELECT place, id FROM pictures WHERE job = ?1 ORDER BY place", number)
}

/// The pictures that a job is still going to have, with their places.
///
/// # Errors
/// When the database fails.
pub fn planned(connection: &Connection, number: i64) -> Result<Vec<(u32, Kept)>> {
    names(connection, "SELECT place, id FROM planned_pictures WHERE job = ?1 ORDER BY place", number)
}

fn names(connection: &Connection, sql: &str, number: i64) -> Result<Vec<(u32, Kept)>> {
    let mut statement = connection.prepare_cached(sql)?;
    let names = statement.query_map([number], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    Ok(names
        .map(|name| name.map(|(place, id)| (place, Kept::with_id(&id))))
        .collect::<rusqlite::Result<_>>()?)
}

/// The pictures that jobs which are over will never have. A file of such a name is a left-over.
///
/// # Errors
/// When the database fails.
pub fn left_over(connection: &Connection) -> Result<Vec<Kept>> {
    let sql = "SELECT planned_pictures.id FROM planned_pictures JOIN jobs ON jobs.number = job \
               WHERE state <> 'accepted'";
    let mut statement = connection.prepare(sql)?;
    let names = statement.query_map([], |row| Ok(Kept::with_id(&row.get::<_, String>(0)?)))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// Forgets the pictures that will never be, whose files are gone.
///
/// # Errors
/// When the database fails.
pub fn forget_left_over(transaction: &Transaction<'_>) -> Result<()> {
    let sql = "DELETE FROM planned_pictures WHERE job IN (SELECT number FROM jobs WHERE state <> 'accepted')";
    transaction.execute(sql, [])?;
    Ok(())
}

/// Forgets the jobs that ended before `moment`; their pictures stay.
///
/// # Errors
/// When the database fails.
pub fn forget_ended_before(transaction: &Transaction<'_>, moment: Timestamp) -> Result<()> {
    let sql = "DELETE FROM jobs WHERE state <> 'accepted' AND ended_at < ?1 \
               AND NOT EXISTS (SELECT 1 FROM planned_pictures WHERE job = number)";
    transaction.execute(sql, [moment])?;
    Ok(())
}
