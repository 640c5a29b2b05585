// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What was done in the last hours, and what the models were last used for, out of the rows of the jobs.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::store::Whose;
use crate::clock::Timestamp;
use crate::error::Result;

/// Seconds of an hour.
pub const HOUR: i64 = 3600;
/// How many of the latest jobs say when a model was last used: enough to remember, few enough to read for a page.
const REMEMBERED: u32 = 2000;

/// What was done from some moment on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Finished pictures of each hour.
    pub hours: Vec<u64>,
    /// Jobs that were done.
    pub jobs: u64,
    /// Milliseconds that these took, all together.
    pub took_ms: u64,
    /// Jobs that failed.
    pub failed: u64,
}

impl Throughput {
    /// Finished pictures.
    pub fn pictures(&self) -> u64 {
        self.hours.iter().sum()
    }

    /// Seconds for one picture, if there is any.
    pub fn seconds_per_picture(&self) -> Option<f64> {
        let pictures = self.pictures();
        (pictures > 0).then(|| self.took_ms as f64 / 1000.0 / pictures as f64)
    }
}

/// What was done of these jobs in so many hours from `from` on.
///
/// # Errors
/// When the database fails.
pub fn since(connection: &Connection, whose: &Whose, from: Timestamp, hours: usize) -> Result<Throughput> {
    let (clause, caller) = whose.clause();
    // That they are not accepted is what the index over ended jobs asks for. A request that says no number is for one.
    let sql = format!(
        "SELECT (ended_at - ?1) / {HOUR}, SUM(iif(state = 'done', coalesce(json_extract(request, '$.count'), 1), 0)), \
         SUM(state = 'done'), SUM(iif(state = 'done', coalesce(took_ms, 0), 0)), SUM(state = 'failed') \
         FROM jobs WHERE state <> 'accepted' AND ended_at >= ?1 AND {clause} GROUP BY 1"
    );
    let mut throughput = Throughput { hours: vec![0; hours], ..Throughput::default() };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![from, caller])?;
    while let Some(row) = rows.next()? {
        let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        // What the clock, set back, has ended in a time to come is counted in the last hour.
        let hour = usize::try_from(row.get::<_, i64>(0)?).unwrap_or(0).min(hours.saturating_sub(1));
        if let Some(pictures) = throughput.hours.get_mut(hour) {
            *pictures += count(1)?;
        }
        throughput.jobs += count(2)?;
        throughput.took_ms += count(3)?;
        throughput.failed += count(4)?;
    }
    Ok(throughput)
}

/// When each model or upscaler was last asked for, by its id, as far as the latest jobs tell.
///
/// # Errors
/// When the database fails.
pub fn last_used(connection: &Connection) -> Result<BTreeMap<String, Timestamp>> {
    let sql = "SELECT coalesce(json_extract(request, '$.model'), json_extract(request, '$.enlarge.upscaler')) AS means, \
               MAX(accepted_at) FROM (SELECT request, accepted_at FROM jobs ORDER BY number DESC LIMIT ?1) \
               GROUP BY means HAVING means IS NOT NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let used = statement.query_map([REMEMBERED], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(used.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;
    use crate::jobs::Caller;

    #[tokio::test]
    async fn pictures_are_counted_by_the_hours_in_which_they_were_finished() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("alice.db")).unwrap();
        let jobs = [
            ("account 1", "done", r#"{"model": "sd/a", "count": 3}"#, 3600, 6000),
            ("account 1", "done", r#"{"enlarge": {"upscaler": "upscaler/x4"}}"#, 7300, 2000),
            ("account 1", "failed", r#"{"model": "sd/b", "count": 4}"#, 7300, 9000),
            ("account 1", "done", r#"{"model": "sd/a", "count": 2}"#, 3599, 1),
            ("account 2", "done", r#"{"model": "sd/a", "count": 2}"#, 99_999, 1000),
        ];
        database
            .write(move |transaction| {
                for (number, (caller, state, request, ended_at, took_ms)) in jobs.into_iter().enumerate() {
                    let sql = "INSERT INTO jobs (id, caller, state, request, accepted_at, ended_at, took_ms) \
                               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
                    let id = number.to_string();
                    transaction
                        .execute(sql, params![id, caller, state, request, ended_at - 9, ended_at, took_ms])?;
                }
                Ok(())
            })
            .await
            .unwrap();
        let of = async |whose: Whose| {
            database.read(move |connection| since(connection, &whose, 3600, 3)).await.unwrap()
        };
        let one = of(Whose::Of(Caller::Account(1))).await;
        assert_eq!(one, Throughput { hours: vec![3, 1, 0], jobs: 2, took_ms: 8000, failed: 1 });
        assert_eq!(one.seconds_per_picture(), Some(2.0));
        assert_eq!(of(Whose::All).await.hours, [3, 1, 2]);
        assert_eq!(of(Whose::Of(Caller::Account(3))).await.seconds_per_picture(), None);
        let used = database.read(last_used).await.unwrap();
        let wanted = [("sd/a", 99_990), ("sd/b", 7291), ("upscaler/x4", 7291)];
        assert_eq!(used, wanted.map(|(id, at)| (id.to_owned(), at)).into());
    }
}
