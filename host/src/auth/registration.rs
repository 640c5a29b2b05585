// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How people come by an account without an administrator's hand, as far as the operator allows it.

use rusqlite::Transaction;

use super::accounts::{self, Name};
use super::audit::{self, Author};
use super::keys::{self, NewKey};
use super::{Actor, Role, invites, pending};
use crate::app::App;
use crate::clock::{Clock, Timestamp};
use crate::config::RegistrationMode;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What somebody who wants an account says.
#[derive(Clone, Debug)]
pub struct Application {
    /// The name of the account.
    pub name: Name,
    /// A password to log in with, beside the key that every account begins with.
    pub password: Option<Secret>,
    /// The code of an invite.
    pub invite: Option<Secret>,
}

/// What came of it.
#[derive(Debug)]
pub enum Registered {
    /// There is an account now.
    Created {
        /// Its number.
        account: i64,
        /// Its key.
        key: NewKey,
    },
    /// An administrator will decide.
    Pending {
        /// The id of the request.
        id: String,
    },
}

/// An application that was looked at, with the hash of its password.
struct Candidate {
    name: Name,
    password: Option<String>,
    /// Is there where an invite is needed.
    invite: Option<Secret>,
}

/// Registers somebody in the way that the operator chose (`server.registration_mode`).
///
/// # Errors
/// [`Error::Forbidden`] where only administrators make accounts; [`Error::Invalid`] about `name` when it is
/// taken or asked for already, about `password` or `invite_code` when they cannot be used;
/// [`Error::Conflict`] when too many requests are pending.
pub async fn register(app: &App, actor: &Actor, application: Application) -> Result<Registered> {
    let mode = app.config.server.registration_mode;
    let Application { name, password, mut invite } = application;
    if mode == RegistrationMode::Disabled {
        return Err(Error::Forbidden("only administrators make accounts on this server"));
    }
    if mode != RegistrationMode::Invite {
        invite = None;
    } else if invite.as_ref().is_none_or(Secret::is_empty) {
        return Err(Error::invalid("invite_code", "is needed to register on this server"));
    }
    let password = app.passwords.chosen(password).await?;
    let candidate = Candidate { name, password, invite };
    let (author, clock) = (Author::from(actor), app.clock.clone());
    app.database
        .write(move |transaction| match mode {
            RegistrationMode::Approval => ask(transaction, &author, &candidate, clock.now()),
            _ => admit(transaction, &author, &candidate, &clock),
        })
        .await
}

/// Makes an account and its key, for an invite if there is one.
fn admit(
    transaction: &Transaction<'_>,
    author: &Author,
    candidate: &Candidate,
    clock: &Clock,
) -> Result<Registered> {
    let Candidate { name, password, invite } = candidate;
    let now = clock.now();
    // Before the name is looked up: without an invite nobody learns which names are taken.
    let invite = match invite {
        Some(code) => Some(invites::use_up(transaction, code, clock)?),
        None => None,
    };
    refuse_taken(transaction, name)?;
    let (account, key) = make_account(transaction, name, password.as_deref(), now)?;
    if let Some(invite) = invite {
        invites::note_use(transaction, &invite, &key.id, now)?;
    }
    audit::note(transaction, author, "registration.create", name.as_str(), now)?;
    Ok(Registered::Created { account, key })
}

/// Asks for an account, which an administrator decides about.
fn ask(
    transaction: &Transaction<'_>,
    author: &Author,
    candidate: &Candidate,
    now: Timestamp,
) -> Result<Registered> {
    refuse_taken(transaction, &candidate.name)?;
    let id = pending::create(transaction, &candidate.name, candidate.password.as_deref(), now)?;
    audit::note(transaction, author, "registration.request", candidate.name.as_str(), now)?;
    Ok(Registered::Pending { id })
}

fn refuse_taken(transaction: &Transaction<'_>, name: &Name) -> Result<()> {
    if accounts::is_taken(transaction, &name.folded())? {
        return Err(Error::invalid("name", "is taken"));
    }
    Ok(())
}

/// An account that may make pictures, and its first key. `password` is a hash.
///
/// # Errors
/// [`Error::Conflict`] when the name is taken.
pub(super) fn make_account(
    transaction: &Transaction<'_>,
    name: &Name,
    password: Option<&str>,
    now: Timestamp,
) -> Result<(i64, NewKey)> {
    let account = accounts::create(transaction, name, Role::User, password, now)?;
    let key = keys::create(transaction, account, name, Role::User, keys::RATE_LIMIT, now)?;
    Ok((account, key))
}

#[cfg(test)]
mod tests;
