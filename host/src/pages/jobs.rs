// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/jobs/{id}`: what becomes of a request, beside the form that made it. The page is whole without JavaScript,
//! which loads it anew every few seconds; with it, `alice.js` follows the job's events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Visit;
use super::visit::to;
use crate::api::Id;
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::jobs::store::{self, Record};
use crate::jobs::{self, Job};

mod upscale;
mod view;
mod words;

pub(super) use view::shows;
pub(super) use words::Now;

pub use upscale::upscale;
pub(super) use upscale::{Offer, offers, origin};

/// Seconds after which a browser without JavaScript loads the page of a job anew that is not over.
const REFRESH_S: u64 = 2;
/// How long previews are made for somebody who has opened the page: until it is loaded anew, or its script looks
/// on by itself.
const LOOK: Duration = Duration::from_secs(2 * REFRESH_S);
/// How long a cancelled job is waited for, so that the page that comes next can say that it is over.
pub(super) const CANCEL_PATIENCE: Duration = Duration::from_secs(2);

/// What the address of a job's page holds beside the job's id.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Chosen {
    /// The seed in the form's field. It stands nowhere else: of a job, one cannot tell whether its seed was
    /// chosen or random.
    pub(super) seed: Option<u64>,
    /// The file of the finished picture that it began with, of which a job keeps a copy of its own.
    pub(super) source: Option<String>,
}

/// The query of a job's page.
type Address = std::result::Result<Query<Chosen>, QueryRejection>;

/// Which preview.
#[derive(Debug, Deserialize)]
pub struct Of {
    /// The place of the picture.
    place: u32,
}

/// A job that somebody may see.
enum Seen {
    /// It waits or runs.
    Present(Arc<Job>),
    /// It is over. The pictures are those that were finished, with their places.
    Past(Box<Record>, Vec<(u32, Kept)>),
}

/// The address of a job's page, with what was chosen for it.
pub(super) fn address(id: &str, chosen: &Chosen) -> String {
    chosen.behind(&format!("/jobs/{id}"))
}

impl Chosen {
    /// `path` with what was chosen as its query.
    fn behind(&self, path: &str) -> String {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        let source = self.source.as_deref().and_then(Kept::named).map(|kept| format!("source={}", kept.file));
        let query: Vec<_> = seed.into_iter().chain(source).collect();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
    }
}

/// `GET /jobs/{id}`.
pub async fn show(visit: Visit, Id(id): Id, address: Address) -> Response {
    let page = find(&visit, &id).await.and_then(|seen| {
        if let Seen::Present(job) = &seen {
            look_on(job);
        }
        view::page(&visit, &seen, &chosen(address))
    });
    visit.answer(page)
}

/// `POST /jobs/{id}/cancel`. One that is over stays as it is.
pub async fn cancel(visit: Visit, Id(id): Id, query: Address) -> Response {
    let seen = find(&visit, &id).await;
    if let Ok(Seen::Present(job)) = &seen {
        jobs::cancel(&visit.app, job);
        // The page tells how it ended, or that it has not ended yet.
        let _told_by_the_page = tokio::time::timeout(CANCEL_PATIENCE, job.outcome()).await;
    }
    visit.answer(seen.map(|_| to(&address(&id, &chosen(query)))))
}

/// `GET /jobs/{id}/preview?place=0`: the latest preview, if it is of that picture.
pub async fn preview(
    visit: Visit,
    Id(id): Id,
    of: std::result::Result<Query<Of>, QueryRejection>,
) -> Response {
    let preview = find(&visit, &id).await.and_then(|seen| {
        let Seen::Present(job) = seen else { return Err(Error::NotFound) };
        let Query(of) = of.map_err(|_| Error::NotFound)?;
        let preview = job.preview().filter(|preview| preview.place == of.place).ok_or(Error::NotFound)?;
        Ok(([(header::CONTENT_TYPE, "image/png")], preview.png.clone()).into_response())
    });
    visit.answer(preview)
}

/// An address that was typed wrongly chooses nothing.
fn chosen(address: Address) -> Chosen {
    address.map(|Query(chosen)| chosen).unwrap_or_default()
}

/// The job, or [`Error::NotFound`]: also when it is there and the visitor may not see it.
async fn find(visit: &Visit, id: &str) -> Result<Seen> {
    let app = &visit.app;
    if let Some(job) = app.jobs.arrived(id).await.filter(|job| !job.progress().is_end()) {
        jobs::permit(&visit.actor, job.account)?;
        return Ok(Seen::Present(job));
    }
    let id = id.to_owned();
    let found = app.database.read(move |connection| {
        let Some(record) = store::find(connection, &id)? else { return Ok(None) };
        let pictures = store::pictures(connection, record.number)?;
        Ok(Some((record, pictures)))
    });
    let (record, pictures) = found.await?.ok_or(Error::NotFound)?;
    jobs::permit(&visit.actor, record.account)?;
    Ok(Seen::Past(Box::new(record), pictures))
}

/// Previews are made while somebody looks: here for a while after the page was opened.
pub(super) fn look_on(job: &Arc<Job>) {
    let look = job.look();
    tokio::spawn(async move {
        tokio::time::sleep(LOOK).await;
        drop(look);
    });
}
