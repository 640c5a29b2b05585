// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Somebody at a page: who it is, and what every handler of a page does for them.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequestParts};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use rusqlite::Transaction;

use super::Frame;
use super::moment::Moment;
use crate::app::App;
use crate::auth::audit::{self, Author};
use crate::auth::sessions::NewSession;
use crate::auth::{Actor, credentials};
use crate::clock::Timestamp;
use crate::error::{Alice, Error, Result};

/// A form as a handler gets it.
pub(super) type Sent<T> = std::result::Result<Form<T>, FormRejection>;

/// Somebody at a page.
#[derive(Debug)]
pub struct Visit {
    pub(super) app: App,
    pub(super) actor: Actor,
    /// Whether the browser came over TLS.
    tls: bool,
}

impl FromRequestParts<App> for Visit {
    type Rejection = Alice;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> std::result::Result<Self, Alice> {
        let actor = Actor::from_request_parts(parts, app).await?;
        Ok(Self { app: app.clone(), actor, tls: credentials::over_tls(&parts.headers) })
    }
}

impl Visit {
    /// What stands around the page.
    pub(super) fn frame(&self) -> Frame {
        Frame::new(&self.app, Some(&self.actor))
    }

    /// Who acts, for the audit log.
    pub(super) fn author(&self) -> Author {
        Author::from(&self.actor)
    }

    /// `at` as the page shows it.
    pub(super) fn moment(&self, at: Timestamp) -> Moment {
        Moment { at, now: self.app.clock.now() }
    }

    /// Does `work` and notes it as `act`, in one transaction. `work` is told the time, and gives what it was
    /// done to, for the note.
    ///
    /// # Errors
    /// Those of `work`.
    pub(super) async fn act(
        &self,
        act: &'static str,
        work: impl FnOnce(&Transaction<'_>, Timestamp) -> Result<String> + Send + 'static,
    ) -> Result<()> {
        let (author, now) = (self.author(), self.app.clock.now());
        let work = move |transaction: &Transaction<'_>| {
            let object = work(transaction, now)?;
            audit::note(transaction, &author, act, &object, now)
        };
        self.app.database.write(work).await
    }

    /// The answer, or the page that says why there is none.
    pub(super) fn answer(&self, answer: Result<Response>) -> Response {
        answer.unwrap_or_else(|error| super::problem(&self.app, Some(&self.actor), &error))
    }

    /// The answer to a browser that has this login from now on.
    pub(super) fn with_login(&self, session: &NewSession, answer: impl IntoResponse) -> Response {
        ([credentials::set_cookie(&session.token, self.tls)], answer).into_response()
    }

    /// The answer to a browser that has no login any more.
    pub(super) fn without_login(&self, answer: impl IntoResponse) -> Response {
        ([credentials::clear_cookie(self.tls)], answer).into_response()
    }
}

/// What a form holds.
///
/// # Errors
/// [`Error::Malformed`], which repeats nothing that was typed.
pub(super) fn read<T>(form: Sent<T>) -> Result<T> {
    let Form(fields) = form.map_err(|_| Error::Malformed("the form could not be read".into()))?;
    Ok(fields)
}

/// The way to a page of this server.
pub(super) fn to(path: &str) -> Response {
    Redirect::to(path).into_response()
}
