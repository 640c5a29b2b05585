// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The logins to one's own account.

use axum::response::Response;
use rusqlite::Transaction;

use super::{Part, Said, need_password, render};
use crate::api::Id;
use crate::auth::{Caller, sessions};
use crate::error::Result;
use crate::pages::visit::to;
use crate::pages::{Visit, rows};

/// `POST /account/logins/{id}/end`.
pub async fn end(visit: Visit, caller: Caller, Id(id): Id) -> Response {
    let account = caller.account;
    let end = move |transaction: &Transaction<'_>, _now| {
        sessions::end(transaction, &id, Some(account))?;
        Ok(id)
    };
    let ended = match need_password(&caller) {
        Ok(()) => visit.act("session.end", end).await,
        Err(error) => Err(error),
    };
    answer(&visit, &caller, ended).await
}

/// `POST /account/logins/end-others`: all logins but the one at hand.
pub async fn end_others(visit: Visit, caller: Caller) -> Response {
    let (account, kept) = (caller.account, rows::login(Some(&caller)).map(str::to_owned));
    let end = move |transaction: &Transaction<'_>, _now| {
        sessions::end_others(transaction, account, kept.as_deref())?;
        Ok("all others".to_owned())
    };
    let ended = match need_password(&caller) {
        Ok(()) => visit.act("session.end", end).await,
        Err(error) => Err(error),
    };
    answer(&visit, &caller, ended).await
}

async fn answer(visit: &Visit, caller: &Caller, ended: Result<()>) -> Response {
    match ended {
        Ok(()) => to("/account"),
        Err(error) => render(visit, caller, Said::problem(Part::Logins, error)).await,
    }
}
