// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Jobs on disk. What is written here is what a client was told.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::stored::Stored;
use super::{Caller, Fingerprint};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gallery::Kept;
use crate::pictures::{self, Details, Publicity};

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
    /// What it is to do, as JSON: [`Stored`].
    pub request: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// It runs, or did so when the daemon died.
    pub begun: bool,
    /// How often the daemon has died of it alone.
    pub strikes: u32,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Milliseconds from its beginning to its end.
    pub took_ms: Option<i64>,
    /// Why it failed: a word and a sentence.
    pub error: Option<(String, String)>,
    /// What marks a repetition of its request.
    pub fingerprint: Option<Fingerprint>,
}

const COLUMNS: &str = "number, id, account, caller, state, request, accepted_at, begun, strikes, ended_at, \
                       took_ms, error_code, error, fingerprint";

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
            begun: row.get(7)?,
            strikes: row.get(8)?,
            ended_at: row.get(9)?,
            took_ms: row.get(10)?,
            error: code.zip(error),
            fingerprint: row.get(13)?,
        })
    }
}

/// A job that is accepted.
#[derive(Debug)]
pub struct New {
    /// Its id.
    pub id: String,
    /// The account that asks.
    pub account: Option<i64>,
    /// As whom the account, or somebody without one, stands in line.
    pub caller: Caller,
    /// What it is to do.
    pub task: Stored,
    /// The pictures it is going to have, by their places.
    pub planned: Vec<Kept>,
    /// What marks a repetition of its request.
    pub fingerprint: Option<Fingerprint>,
    /// Who may see its pictures.
    pub publicity: Publicity,
    /// When.
    pub now: Timestamp,
}

/// Writes an accepted job down, with the pictures it needs and those it is going to have, and gives its number.
///
/// # Errors
/// When the database fails.
pub fn insert(transaction: &Transaction<'_>, new: &New) -> Result<i64> {
    let New { id, account, caller, task, planned, fingerprint, publicity, now } = new;
    // One picture may serve for several things.
    let inputs: BTreeSet<_> = task.pictures().into_iter().map(|input| &input.name).collect();
    let request = serde_json::to_string(task).map_err(anyhow::Error::from)?;
    let sql = "INSERT INTO jobs (id, account, caller, request, accepted_at, fingerprint, public, public_hours) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (public, hours) = match *publicity {
        Publicity::Private => (false, None),
        Publicity::Public { hours } => (true, hours),
    };
    let values = params![id, account, caller.to_string(), request, now, fingerprint, public, hours];
    transaction.prepare_cached(sql)?.execute(values)?;
    let number = transaction.last_insert_rowid();
    let mut plan =
        transaction.prepare_cached("INSERT INTO planned_pictures (id, job, place) VALUES (?1, ?2, ?3)")?;
    for (place, kept) in (0_u32..).zip(planned) {
        plan.execute(params![kept.id(), number, place])?;
    }
    let mut need = transaction.prepare_cached("INSERT INTO inputs (name, job) VALUES (?1, ?2)")?;
    for name in inputs {
        need.execute(params![name, number])?;
    }
    Ok(number)
}

/// The pictures that jobs which are not over need.
///
/// # Errors
/// When the database fails.
pub fn inputs(connection: &Connection) -> Result<BTreeSet<String>> {
    let mut statement = connection.prepare("SELECT name FROM inputs")?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// A job that is over needs no pictures any more.
fn forget_inputs(transaction: &Transaction<'_>, number: i64) -> Result<()> {
    transaction.prepare_cached("DELETE FROM inputs WHERE job = ?1")?.execute([number])?;
    Ok(())
}

/// A job begins.
///
/// # Errors
/// When the database fails.
pub fn begin(transaction: &Transaction<'_>, number: i64) -> Result<()> {
    transaction.execute("UPDATE jobs SET begun = 1 WHERE number = ?1", [number])?;
    Ok(())
}

/// The daemon has died, and only this job was running.
///
/// # Errors
/// When the database fails.
pub fn strike(transaction: &Transaction<'_>, number: i64) -> Result<()> {
    transaction.execute("UPDATE jobs SET strikes = strikes + 1 WHERE number = ?1", [number])?;
    Ok(())
}

/// No job runs: the daemon begins, or ends in good order.
///
/// # Errors
/// When the database fails.
pub fn none_runs(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute("UPDATE jobs SET begun = 0 WHERE state = 'accepted' AND begun = 1", [])?;
    Ok(())
}

/// What is written down with a job's last picture.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// When.
    pub now: Timestamp,
    /// Milliseconds since it began.
    pub took_ms: i64,
}

/// A picture of a job is kept; with the last of them the job is done.
///
/// # Errors
/// When the database fails.
pub fn add_picture(
    transaction: &Transaction<'_>,
    (number, place): (i64, u32),
    account: Option<i64>,
    kept: &Kept,
    details: Details,
    finish: Finish,
) -> Result<()> {
    let sql = "SELECT public, public_hours FROM jobs WHERE number = ?1";
    let read = |row: &Row<'_>| Ok((row.get::<_, bool>(0)?, row.get::<_, Option<u32>>(1)?));
    let (public, hours) = transaction.prepare_cached(sql)?.query_row([number], read)?;
    let until = hours.map(|hours| pictures::until(finish.now, hours));
    let new = pictures::New {
        kept: kept.clone(),
        account,
        created_at: finish.now,
        job: Some((number, place)),
        public: public.then_some(until),
        took_ms: Some(finish.took_ms),
        details,
    };
    pictures::add(transaction, &new)?;
    let sql = "DELETE FROM planned_pictures WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute([kept.id()])?;
    let sql = "UPDATE jobs SET state = 'done', ended_at = ?2, took_ms = ?3 \
               WHERE number = ?1 AND state = 'accepted' \
               AND NOT EXISTS (SELECT 1 FROM planned_pictures WHERE job = ?1)";
    if transaction.prepare_cached(sql)?.execute(params![number, finish.now, finish.took_ms])? > 0 {
        forget_inputs(transaction, number)?;
    }
    Ok(())
}

/// A job ended in another way than by its last picture. `false` if it had ended already.
///
/// # Errors
/// When the database fails.
pub fn end(
    transaction: &Transaction<'_>,
    number: i64,
    state: State,
    error: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE jobs SET state = ?2, error_code = ?3, error = ?4, ended_at = ?5 \
               WHERE number = ?1 AND state = 'accepted'";
    let (code, error) = error.unzip();
    let ended =
        transaction.prepare_cached(sql)?.execute(params![number, state.as_str(), code, error, now])? > 0;
    if ended {
        forget_inputs(transaction, number)?;
    }
    Ok(ended)
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

impl Whose {
    /// The condition on a job, and the value of its second parameter.
    pub(super) fn clause(&self) -> (&'static str, Option<String>) {
        match self {
            Self::All => ("?2 IS NULL", None),
            Self::Of(caller) => ("caller = ?2", Some(caller.to_string())),
        }
    }
}

/// The latest jobs, the newest first; `before` is the number of one, from which on to look.
///
/// # Errors
/// When the database fails.
pub fn list(connection: &Connection, whose: &Whose, before: Option<i64>, limit: u32) -> Result<Vec<Record>> {
    let (clause, caller) = whose.clause();
    let sql =
        format!("SELECT {COLUMNS} FROM jobs WHERE number < ?1 AND {clause} ORDER BY number DESC LIMIT ?3");
    let before = before.unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let records = statement.query_map(params![before, caller, limit], Record::read)?;
    Ok(records.collect::<rusqlite::Result<_>>()?)
}

/// The latest jobs that are over, the newest first.
///
/// # Errors
/// When the database fails.
pub fn ended(connection: &Connection, whose: &Whose, limit: u32) -> Result<Vec<Record>> {
    let (clause, caller) = whose.clause();
    let sql = format!(
        "SELECT {COLUMNS} FROM jobs WHERE state <> 'accepted' AND {clause} ORDER BY number DESC LIMIT ?1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let records = statement.query_map(params![limit, caller], Record::read)?;
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

/// The jobs that were done after `moment` and whose requests may be repeated, the oldest first. That they are not
/// `accepted` says the same as `done` and less; it is what the index over ended jobs asks for.
///
/// # Errors
/// When the database fails.
pub fn repeatable(connection: &Connection, moment: Timestamp) -> Result<Vec<Record>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM jobs WHERE state <> 'accepted' AND ended_at > ?1 AND state = 'done' \
         AND fingerprint IS NOT NULL ORDER BY number"
    );
    let mut statement = connection.prepare(&sql)?;
    let records = statement.query_map([moment], Record::read)?;
    Ok(records.collect::<rusqlite::Result<_>>()?)
}

/// The kept pictures of a job with their places.
///
/// # Errors
/// When the database fails.
pub fn pictures(connection: &Connection, number: i64) -> Result<Vec<(u32, Kept)>> {
    names(connection, "SELECT place, id FROM pictures WHERE job = ?1 ORDER BY place", number)
}

/// The latest kept pictures of these jobs that do not lie in the trash, the newest first.
///
/// # Errors
/// When the database fails.
pub fn latest_pictures(connection: &Connection, whose: &Whose, limit: u32) -> Result<Vec<Kept>> {
    let (clause, caller) = whose.clause();
    let sql = format!(
        "SELECT pictures.id FROM jobs JOIN pictures ON pictures.job = jobs.number \
         WHERE {clause} AND trashed_at IS NULL ORDER BY jobs.number DESC, place LIMIT ?1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let pictures =
        statement.query_map(params![limit, caller], |row| Ok(Kept::with_id(&row.get::<_, String>(0)?)))?;
    Ok(pictures.collect::<rusqlite::Result<_>>()?)
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

/// The pictures that jobs which ended before `moment` will never have. A file of such a name is a left-over.
///
/// # Errors
/// When the database fails.
pub fn left_over(connection: &Connection, moment: Timestamp) -> Result<Vec<Kept>> {
    let sql = "SELECT planned_pictures.id FROM planned_pictures JOIN jobs ON jobs.number = job \
               WHERE state <> 'accepted' AND ended_at < ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let names = statement.query_map([moment], |row| Ok(Kept::with_id(&row.get::<_, String>(0)?)))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// Forgets the pictures that will never be, whose files are gone.
///
/// # Errors
/// When the database fails.
pub fn forget_left_over(transaction: &Transaction<'_>, moment: Timestamp) -> Result<()> {
    let sql = "DELETE FROM planned_pictures \
               WHERE job IN (SELECT number FROM jobs WHERE state <> 'accepted' AND ended_at < ?1)";
    transaction.execute(sql, [moment])?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;
    use crate::jobs::stored::testing::painting;

    const FINISH: Finish = Finish { now: 9, took_ms: 5 };

    /// Writes a job with two pictures down, and gives its number and their names.
    async fn accept(database: &Database, id: &'static str) -> (i64, [Kept; 2]) {
        let planned = [Kept::random().unwrap(), Kept::random().unwrap()];
        let new = New {
            id: id.to_owned(),
            account: Some(3),
            caller: Caller::Account(3),
            task: painting(2),
            planned: planned.to_vec(),
            fingerprint: (id == "a").then_some([7; 32]),
            publicity: Publicity::Private,
            now: 1,
        };
        let write = database.write(move |transaction| insert(transaction, &new));
        (write.await.unwrap(), planned)
    }

    async fn add(database: &Database, number: i64, place: u32, kept: &Kept) -> Result<()> {
        let kept = kept.clone();
        database
            .write(move |transaction| {
                add_picture(transaction, (number, place), Some(3), &kept, Details::default(), FINISH)
            })
            .await
    }

    async fn state(database: &Database, id: &'static str) -> State {
        database.read(move |connection| find(connection, id)).await.unwrap().unwrap().state
    }

    #[tokio::test]
    async fn a_job_is_done_with_its_last_picture_and_none_is_there_twice() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("alice.db")).unwrap();
        let (number, planned) = accept(&database, "a").await;
        add(&database, number, 1, &planned[1]).await.unwrap();
        assert_eq!(state(&database, "a").await, State::Accepted);
        let missing = database.read(move |connection| super::planned(connection, number)).await.unwrap();
        assert_eq!(missing, [(0, planned[0].clone())]);
        add(&database, number, 1, &Kept::random().unwrap()).await.unwrap_err();
        add(&database, number, 0, &planned[0]).await.unwrap();
        assert_eq!(state(&database, "a").await, State::Done);
        let all = database.read(move |connection| pictures(connection, number)).await.unwrap();
        assert_eq!(all, [(0, planned[0].clone()), (1, planned[1].clone())]);
        assert!(database.read(unfinished).await.unwrap().is_empty());
        let after = async |moment| {
            let found = database.read(move |connection| repeatable(connection, moment)).await.unwrap();
            found.into_iter().map(|job| (job.id, job.fingerprint)).collect::<Vec<_>>()
        };
        assert_eq!(after(8).await, [("a".to_owned(), Some([7; 32]))]);
        assert_eq!(after(9).await, []);
    }

    #[tokio::test]
    async fn what_an_ended_job_will_never_have_is_left_over_and_its_end_stays_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("alice.db")).unwrap();
        let (number, mut planned) = accept(&database, "a").await;
        let _waiting = accept(&database, "b").await;
        let cancel = move |transaction: &Transaction<'_>| end(transaction, number, State::Cancelled, None, 2);
        assert!(database.write(cancel).await.unwrap());
        let fail = move |transaction: &Transaction<'_>| {
            end(transaction, number, State::Failed, Some(("internal_error", "late")), 3)
        };
        assert!(!database.write(fail).await.unwrap(), "it had ended already");
        assert_eq!(state(&database, "a").await, State::Cancelled);
        let mut left = database.read(|connection| left_over(connection, 100)).await.unwrap();
        left.sort_unstable_by(|a, b| a.file.cmp(&b.file));
        planned.sort_unstable_by(|a, b| a.file.cmp(&b.file));
        assert_eq!(left, planned, "and nothing of the job that still waits");
        database.write(|transaction| forget_left_over(transaction, 100)).await.unwrap();
        database.write(|transaction| forget_ended_before(transaction, 100)).await.unwrap();
        let rest = database.read(|connection| list(connection, &Whose::All, None, 10)).await.unwrap();
        assert_eq!(rest.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[tokio::test]
    async fn lists_go_back_in_time_and_are_one_callers_or_everybodys() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("alice.db")).unwrap();
        let (first, _) = accept(&database, "a").await;
        let (second, _) = accept(&database, "b").await;
        let ids = async |whose: Whose, before| {
            let list = database.read(move |connection| list(connection, &whose, before, 10)).await.unwrap();
            list.into_iter().map(|job| job.number).collect::<Vec<_>>()
        };
        assert_eq!(ids(Whose::All, None).await, [second, first]);
        assert_eq!(ids(Whose::Of(Caller::Account(3)), Some(second)).await, [first]);
        assert_eq!(ids(Whose::Of(Caller::Account(4)), None).await, [0; 0]);
        let cancel = move |transaction: &Transaction<'_>| end(transaction, first, State::Cancelled, None, 2);
        assert!(database.write(cancel).await.unwrap());
        for (whose, wanted) in [
            (Whose::All, vec![first]),
            (Whose::Of(Caller::Account(3)), vec![first]),
            (Whose::Of(Caller::Account(4)), vec![]),
        ] {
            let over = database.read(move |connection| ended(connection, &whose, 10)).await.unwrap();
            assert_eq!(over.into_iter().map(|job| job.number).collect::<Vec<_>>(), wanted);
        }
    }
}
