// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is done every now and then: writing down what was used, removing logins and pictures whose time is over, and shutting
//! every door that a clock which went back would leave open for longer.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};
use tracing::{error, warn};

use crate::app::App;
use crate::auth::audit::{self, Author};
use crate::auth::sessions;
use crate::clock::{Clock, Timestamp};
use crate::database::Database;
use crate::error::Result;
use crate::{jobs, pictures};

/// How often it is looked whether there is anything to do.
const PERIOD: Duration = Duration::from_secs(15);
/// Of how many rounds one looks after the pictures too: once an hour.
const PICTURES_EVERY: u64 = 240;
/// Seconds after which the time is written down again, for the daemon's next life. An idle server need not
/// wake its disk more often.
const MARK_EVERY: i64 = 300;
/// Seconds of a day.
const DAY: i64 = 24 * 3600;

/// Tidies up until the daemon ends.
pub async fn run(app: App) {
    if let Some(days) = app.config.storage.retention_days {
        // The Python ALICE had this in its configuration and never did it.
        warn!(
            "Pictures older than {days} days go to the trash (`storage.retention_days`), but for favourites and what is public"
        );
    }
    for round in 0_u64.. {
        if round.is_multiple_of(PICTURES_EVERY)
            && let Err(cause) = pictures::tidy(&app).await
        {
            error!("Tidying up the pictures failed: {}", cause.cause());
        }
        tokio::time::sleep(PERIOD).await;
        if let Err(cause) = tidy(&app).await {
            error!("Tidying up failed: {}", cause.cause());
        }
    }
}

/// Tidies up once.
///
/// # Errors
/// When the database fails.
pub async fn tidy(app: &App) -> Result<()> {
    if app.clock.went_back() {
        return shut_doors(app).await;
    }
    app.jobs.tidy();
    let (now, timeout) = (app.clock.now(), app.config.server.session_timeout_seconds);
    let marked = app.database.read(marked_time).await?;
    let ended = app.database.read(move |connection| sessions::any_ended(connection, now, timeout)).await?;
    let jobs_kept_for = i64::from(app.config.limits.job_days) * DAY;
    let settled = now.saturating_sub(MARK_EVERY);
    let seen = app.usage.pending();
    let mark = now >= marked.unwrap_or(0).saturating_add(MARK_EVERY);
    if seen.is_none() && !ended && !mark {
        return Ok(());
    }
    let written = seen.clone();
    let left_over = app.database.read(move |connection| jobs::store::left_over(connection, settled)).await?;
    let gallery = app.gallery.clone();
    let remove = move || left_over.iter().try_for_each(|kept| gallery.remove(kept));
    tokio::task::spawn_blocking(remove).await.map_err(anyhow::Error::from)??;
    app.database
        .write(move |transaction| {
            if let Some(seen) = written {
                seen.write(transaction)?;
            }
            sessions::remove_ended(transaction, now, timeout)?;
            jobs::store::forget_left_over(transaction, settled)?;
            jobs::store::forget_ended_before(transaction, now.saturating_sub(jobs_kept_for))?;
            mark_time(transaction, now)
        })
        .await?;
    if let Some(seen) = seen {
        app.usage.wrote(&seen);
    }
    Ok(())
}

/// Ends everything that has an end, because the clock that would tell when no longer can.
async fn shut_doors(app: &App) -> Result<()> {
    warn!("The machine's clock went back; all logins, signed addresses and dated invites end now");
    let now = app.clock.now();
    app.database
        .write(move |transaction| {
            transaction.execute_batch(
                "DELETE FROM sessions; DELETE FROM setup_token; DELETE FROM invites WHERE expires_at IS NOT NULL;",
            )?;
            pictures::replace_key(transaction)?;
            audit::note(transaction, &Author::console(), "clock.back", "logins, signed addresses, invites", now)?;
            mark_time(transaction, now)
        })
        .await?;
    app.clock.believe();
    Ok(())
}

/// Tells `clock` the latest time that an earlier life of the daemon has seen.
///
/// # Errors
/// When the database fails.
pub fn remember(database: &Database, clock: &Clock) -> Result<()> {
    let marked = database.write_now(|transaction| marked_time(transaction))?;
    clock.remember(marked.unwrap_or(0));
    Ok(())
}

fn marked_time(connection: &rusqlite::Connection) -> Result<Option<Timestamp>> {
    let sql = "SELECT value FROM settings WHERE name = 'latest_time'";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?)
}

fn mark_time(transaction: &Transaction<'_>, now: Timestamp) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO settings (name, value) VALUES ('latest_time', ?1)";
    transaction.execute(sql, params![now])?;
    Ok(())
}
