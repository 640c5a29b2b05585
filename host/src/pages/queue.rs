// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/queue`: the jobs that run, wait, or ended lately: the visitor's own, or everyone's for administrators. The page is
//! whole without JavaScript, which loads it anew now and then; with it, `alice.js` renews the lists in place.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use futures::future::join_all;
use serde::Deserialize;
use tokio::time::timeout;

use super::jobs::{CANCEL_PATIENCE, look_on};
use super::visit::to;
use super::{Frame, Place, Visit};
use crate::api::Id;
use crate::auth::accounts;
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::jobs::store::{self, Record, Whose};
use crate::jobs::{self, Caller, Job, Progress};

mod row;

use row::{Row, Shown};

/// How many jobs that are over the page tells of.
const ENDED: u32 = 12;
/// Seconds after which the page is renewed while jobs run or wait, and else.
const BUSY_S: u64 = 4;
const IDLE_S: u64 = 20;

/// The page.
#[derive(Template)]
#[template(path = "queue.html")]
struct Page {
    frame: Frame,
    /// Whether everyone's jobs are shown.
    everyone: bool,
    /// The same behind an address.
    behind: &'static str,
    renew_s: u64,
    /// Whether a browser without scripts renews the page by itself.
    renews: bool,
    /// The page where it is the other way round.
    turned: String,
    running: Vec<Row>,
    waiting: Vec<Row>,
    ended: Vec<Row>,
    /// Whether several of them are the visitor's own to cancel.
    several_own: bool,
}

/// Whose jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    of: String,
    /// `off` where a browser without scripts is not to renew the page.
    renew: String,
}

/// The query of the page and of what is sent from it.
type Address = std::result::Result<Query<Asked>, QueryRejection>;

/// `GET /queue`, or everyone's with `?of=everyone`.
pub async fn show(visit: Visit, address: Address) -> Response {
    let asked = address.map(|Query(asked)| asked).unwrap_or_default();
    visit.answer(page(&visit, asked.of == "everyone", asked.renew != "off").await)
}

/// `POST /queue/{id}/cancel`. One that is over stays as it is.
pub async fn cancel(visit: Visit, Id(id): Id, address: Address) -> Response {
    let cancelled = async {
        let job = visit.app.jobs.arrived(&id).await.ok_or(Error::NotFound)?;
        jobs::permit(&visit.actor, job.account)?;
        end(&visit, &[job]).await;
        Ok(to(&format!("/queue{}", behind(is_everyone(address)))))
    };
    visit.answer(cancelled.await)
}

/// `POST /queue/cancel`: all jobs of the visitor that wait or run.
pub async fn cancel_own(visit: Visit) -> Response {
    let own = Caller::of(&visit.actor);
    let jobs: Vec<_> = visit.app.jobs.present().into_iter().filter(|job| job.caller == own).collect();
    end(&visit, &jobs).await;
    to("/queue")
}

/// Cancels these, and gives them a moment to end, so that the page that comes next can say so.
async fn end(visit: &Visit, jobs: &[Arc<Job>]) {
    let present = jobs.iter().filter(|job| !job.progress().is_end());
    let ends = present.map(|job| {
        jobs::cancel(&visit.app, job);
        job.outcome()
    });
    // How each ended, or that it has not yet, the page tells.
    drop(timeout(CANCEL_PATIENCE, join_all(ends)).await);
}

fn is_everyone(address: Address) -> bool {
    address.is_ok_and(|Query(asked)| asked.of == "everyone")
}

fn behind(everyone: bool) -> &'static str {
    if everyone { "?of=everyone" } else { "" }
}

/// The address of the page that is renewed, or not, other than this one.
fn turned(everyone: bool, renews: bool) -> String {
    let whose = everyone.then_some("of=everyone");
    let query: Vec<_> = whose.into_iter().chain(renews.then_some("renew=off")).collect();
    if query.is_empty() { "/queue".to_owned() } else { format!("/queue?{}", query.join("&")) }
}

async fn page(visit: &Visit, everyone: bool, renews: bool) -> Result<Response> {
    let own = Caller::of(&visit.actor);
    let whose = match (everyone, visit.actor.is_admin()) {
        (false, _) => Whose::Of(own.clone()),
        (true, true) => Whose::All,
        (true, false) => return Err(Error::Forbidden("other people's jobs are for administrators to see")),
    };
    // Before the database is asked, so that a job which ends meanwhile stands in one of the lists at least.
    let mut present = visit.app.jobs.present();
    present.retain(|job| everyone || job.caller == own);
    let (ended, names) = ended(visit, whose, everyone).await?;
    let shown = Shown { visit, names: everyone.then_some(&names) };
    let (running, mut waiting): (Vec<_>, Vec<_>) =
        present.iter().partition(|job| matches!(job.progress(), Progress::Running { .. }));
    // In the order in which they begin.
    waiting.sort_by_key(|job| visit.app.jobs.place(job).map_or(usize::MAX, |place| place.ahead));
    running.iter().for_each(|job| look_on(job));
    let page = Page {
        frame: visit.frame().at(Place::Queue),
        everyone,
        behind: behind(everyone),
        // While nothing happens there is nothing to renew.
        renews: renews && !present.is_empty(),
        turned: turned(everyone, renews),
        renew_s: if present.is_empty() { IDLE_S } else { BUSY_S },
        running: running.into_iter().map(|job| Row::running(&shown, job)).collect(),
        waiting: waiting.into_iter().map(|job| Row::waiting(&shown, job)).collect(),
        ended: ended
            .iter()
            .map(|(record, pictures)| Row::ended(&shown, record, pictures))
            .collect::<Result<_>>()?,
        several_own: present.iter().filter(|job| job.caller == own).count() > 1,
    };
    Ok(super::page_about(None, &page))
}

/// A job that is over, with its pictures.
type Ended = (Record, Vec<(u32, Kept)>);

/// The jobs that ended lately, and the names of accounts if they are wanted.
async fn ended(visit: &Visit, whose: Whose, named: bool) -> Result<(Vec<Ended>, HashMap<i64, String>)> {
    let read = visit.app.database.read(move |connection| {
        let mut ended = Vec::new();
        for record in store::ended(connection, &whose, ENDED)? {
            let pictures = store::pictures(connection, record.number)?;
            ended.push((record, pictures));
        }
        let accounts = if named { accounts::all(connection)? } else { Vec::new() };
        Ok((ended, accounts.into_iter().map(|account| (account.id, account.name)).collect()))
    });
    read.await
}
