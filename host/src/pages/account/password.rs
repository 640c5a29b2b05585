// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The password of one's own account.

use axum::response::Response;
use rusqlite::Transaction;
use serde::Deserialize;

use super::{Part, Said, refuse_configured, render};
use crate::auth::accounts::{self, Account, Name};
use crate::auth::sessions::{self, NewSession};
use crate::auth::{Caller, Role, audit, passwords};
use crate::error::{Error, Result};
use crate::pages::visit::{Sent, read, to};
use crate::pages::{Visit, rows};
use crate::secret::Secret;

/// A password to be set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    current: Secret,
    new: Secret,
}

/// `POST /account/password`: a new password and, in this browser, a new login; the others end.
pub async fn set(visit: Visit, caller: Caller, form: Sent<Fields>) -> Response {
    let changed = match read(form) {
        Ok(fields) => change(&visit, &caller, fields).await,
        Err(error) => Err(error),
    };
    let after = || to("/account?done=password");
    match changed {
        Ok(Some(session)) => visit.with_login(&session, after()),
        Ok(None) => after(),
        Err(error) => render(&visit, &caller, Said::problem(Part::Password, error)).await,
    }
}

async fn change(visit: &Visit, caller: &Caller, fields: Fields) -> Result<Option<NewSession>> {
    let Fields { current, new } = fields;
    let (app, id, role) = (&visit.app, caller.account, caller.role);
    passwords::check("new password", &new)?;
    let (account, stored) = app
        .database
        .read(move |connection| {
            refuse_configured(connection, id)?;
            Ok((accounts::find(connection, id)?, accounts::password(connection, id)?))
        })
        .await?;
    prove(visit, &account, role, stored.clone(), current).await?;
    let hash = app.passwords.hash(new).await?;
    let (author, now) = (visit.author(), app.clock.now());
    let login = rows::login(Some(caller)).map(str::to_owned);
    let act = move |transaction: &Transaction<'_>| {
        if accounts::password(transaction, id)? != stored {
            return Err(Error::Conflict("the password was changed meanwhile".into()));
        }
        let ended = login.map(|login| end(transaction, &login, id)).transpose()?;
        accounts::set_password(transaction, id, &hash)?;
        audit::note(transaction, &author, "password.change", &account.name, now)?;
        // From now on the login stands on the password, also if a key began it.
        ended.map(|()| sessions::begin(transaction, id, None, now)).transpose()
    };
    app.database.write(act).await
}

/// Ends the login at hand. One that has ended meanwhile gets no successor.
fn end(transaction: &Transaction<'_>, login: &str, account: i64) -> Result<()> {
    match sessions::end(transaction, login, Some(account)) {
        Err(Error::NotFound) => Err(Error::Unauthorized("this login has ended")),
        ended => ended,
    }
}

/// Makes sure that whoever sets a password may: they know the present one or, where there is none, may do all
/// that the account may do. A password lets its owner in with all of that.
async fn prove(
    visit: &Visit,
    account: &Account,
    role: Role,
    stored: Option<String>,
    current: Secret,
) -> Result<()> {
    if stored.is_none() {
        let may = role == account.role;
        return may.then_some(()).ok_or(Error::Forbidden("this login may do less than the account"));
    }
    visit.app.rates.login_to(&Name::parse("name", &account.name)?.folded())?;
    let verdict = visit.app.passwords.verify(stored, current).await?;
    if verdict.matches { Ok(()) } else { Err(Error::invalid("current password", "is wrong")) }
}
