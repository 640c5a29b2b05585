// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who makes a request.

use axum::http::request::Parts;

use super::{came_through_a_proxy, changes_something, origin};
use crate::app::App;
use crate::auth::credentials::{self, Credentials};
use crate::auth::token::Kind;
use crate::auth::{Caller, Who, keys, sessions};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Who makes the request with this head.
///
/// # Errors
/// [`Error::Unauthorized`] when something is shown that proves nothing; [`Error::CrossSite`] when a page of
/// another site may have made a request that a browser signed with a login.
pub(super) async fn find(app: &App, parts: &Parts) -> Result<Who> {
    let without_account = app.config.server.allows_anonymous() && !came_through_a_proxy(parts);
    let changes = changes_something(&parts.method);
    let caller = match credentials::shown(&parts.headers) {
        Credentials::None => return Ok(if without_account { Who::Anonymous } else { Who::Nobody }),
        Credentials::Text(text) if without_account && !credentials::is_meant(text.expose()) => {
            return Ok(Who::Anonymous);
        }
        Credentials::Text(text) => {
            let caller = match Kind::of(text.expose()) {
                Some(Kind::Session) => of_session(app, text).await?,
                _ => of_key(app, text).await?,
            };
            caller.ok_or(Error::Unauthorized(keys::UNKNOWN))?
        }
        Credentials::Cookie(_) if changes && !origin::is_ours(&parts.headers) => {
            return Err(Error::CrossSite);
        }
        Credentials::Cookie(token) => match of_session(app, token).await? {
            Some(caller) => caller,
            // A login that has ended is nobody's fault: where none is needed, none is missed.
            None if without_account => return Ok(Who::Anonymous),
            None => return Err(Error::Unauthorized("this login has ended")),
        },
    };
    app.usage.saw(&caller.proof, app.clock.now());
    Ok(Who::Known(caller))
}

async fn of_key(app: &App, key: Secret) -> Result<Option<Caller>> {
    app.database.read(move |connection| keys::holder(connection, key.expose())).await
}

async fn of_session(app: &App, token: Secret) -> Result<Option<Caller>> {
    let shared = app.clone();
    app.database
        .read(move |connection| sessions::holder(connection, token.expose(), shared.session_terms()))
        .await
}
