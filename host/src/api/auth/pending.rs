// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/auth/pending`: requests for an account that wait for a decision. For administrators.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::{Seconds, Shown};
use crate::api::Id;
use crate::app::App;
use crate::auth::Actor;
use crate::auth::audit::Author;
use crate::auth::pending::{self, Approved, Request, Status};
use crate::error::{Alice, Error};

/// Which requests a client wants to see.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// `pending`, `approved` or `rejected`; absent: all.
    status: Option<String>,
}

/// Requests for an account.
#[derive(Debug, Serialize)]
pub struct PendingList {
    data: Vec<PendingItem>,
}

/// A request for an account.
#[derive(Debug, Serialize)]
pub struct PendingItem {
    id: String,
    name: String,
    status: Status,
    created_at: Seconds,
    /// The name of the account that decided, also if it rejected the request.
    approved_by: Option<String>,
    approved_at: Option<Seconds>,
    api_key_id: Option<String>,
}

/// What clients get back when there is an account.
#[derive(Debug, Serialize)]
pub struct ApprovedResponse {
    status: &'static str,
    /// The key, shown this one time.
    key: Shown,
    key_id: String,
    message: &'static str,
}

/// What clients get back when a request is rejected or gone.
#[derive(Debug, Serialize)]
pub struct Settled {
    status: &'static str,
    registration_id: String,
}

/// The requests of one status, or all, the oldest first. 400 for an unknown status.
pub async fn list(
    State(app): State<App>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<PendingList>, Alice> {
    let Query(filter) = filter.map_err(|_| Error::Malformed("the query cannot be read".into()))?;
    let status = filter.status.as_deref().filter(|status| !status.is_empty());
    let status = status.map(Status::parse).transpose()?;
    let requests = app.database.read(move |connection| pending::all(connection, status)).await?;
    Ok(Json(PendingList { data: requests.into_iter().map(PendingItem::from).collect() }))
}

/// Makes the account that is asked for. 404 for an unknown request, 409 for one that was decided already or
/// whose name is taken by now.
pub async fn approve(
    State(app): State<App>,
    actor: Actor,
    Id(id): Id,
) -> Result<Json<ApprovedResponse>, Alice> {
    let (author, now) = (Author::from(&actor), app.clock.now());
    let approved =
        app.database.write(move |transaction| pending::approve(transaction, &author, &id, now)).await?;
    Ok(Json(approved.into()))
}

/// Turns a request down. 404 for an unknown one, 409 for one that was decided already.
pub async fn reject(State(app): State<App>, actor: Actor, Id(id): Id) -> Result<Json<Settled>, Alice> {
    let (author, now, registration_id) = (Author::from(&actor), app.clock.now(), id.clone());
    app.database.write(move |transaction| pending::reject(transaction, &author, &id, now)).await?;
    Ok(Json(Settled { status: "rejected", registration_id }))
}

/// Deletes a request, decided or not. 404 for an unknown one.
pub async fn delete(State(app): State<App>, actor: Actor, Id(id): Id) -> Result<Json<Settled>, Alice> {
    let (author, now, registration_id) = (Author::from(&actor), app.clock.now(), id.clone());
    app.database.write(move |transaction| pending::delete(transaction, &author, &id, now)).await?;
    Ok(Json(Settled { status: "deleted", registration_id }))
}

impl From<Request> for PendingItem {
    fn from(request: Request) -> Self {
        Self {
            id: request.id,
            name: request.name,
            status: request.status,
            created_at: request.created_at.into(),
            approved_by: request.decided_by,
            approved_at: request.decided_at.map(Seconds::from),
            api_key_id: request.key,
        }
    }
}

impl From<Approved> for ApprovedResponse {
    fn from(approved: Approved) -> Self {
        Self {
            status: "approved",
            key: approved.key.secret.into(),
            key_id: approved.key.id,
            message: "Hand the key over to the one who asked: it is not shown again.",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::keys::NewKey;

    #[test]
    fn the_answers_have_the_fields_of_the_predecessor() {
        let request = Request {
            id: "r".into(),
            name: "Alice".into(),
            status: Status::Approved,
            created_at: 1000,
            decided_by: Some("admin".into()),
            decided_at: Some(2000),
            key: Some("k".into()),
        };
        let expected = json!({
            "id": "r", "name": "Alice", "status": "approved", "created_at": 1000.0, "approved_by": "admin",
            "approved_at": 2000.0, "api_key_id": "k",
        });
        assert_eq!(serde_json::to_value(PendingItem::from(request)).unwrap(), expected);
        let key = NewKey { id: "k".into(), secret: "canary".into() };
        let approved = ApprovedResponse::from(Approved { account: 1, key });
        assert!(!format!("{approved:?}").contains("canary"));
        let approved = serde_json::to_value(approved).unwrap();
        assert_eq!((&approved["status"], &approved["key"]), (&json!("approved"), &json!("canary")));
        assert!(approved["key_id"] == "k" && approved["message"].is_string());
        let settled = Settled { status: "rejected", registration_id: "r".into() };
        let expected = json!({"status": "rejected", "registration_id": "r"});
        assert_eq!(serde_json::to_value(settled).unwrap(), expected);
    }
}
