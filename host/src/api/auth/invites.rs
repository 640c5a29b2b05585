// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `/v1/auth/invites`: codes with which people make accounts of their own. For administrators.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{Seconds, Shown};
use crate::api::{Id, json};
use crate::app::App;
use crate::auth::Actor;
use crate::auth::audit::Author;
use crate::auth::invites::{self, Invite, NewInvite, Terms};
use crate::clock::Clock;
use crate::error::Alice;

/// What clients send to make one.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct InviteRequest {
    /// How often it works; 0 for ever.
    uses: i64,
    /// Hours for which it works; absent or null for ever.
    #[serde(alias = "expiresHours")]
    expires_hours: Option<i64>,
}

impl Default for InviteRequest {
    fn default() -> Self {
        Self { uses: 1, expires_hours: None }
    }
}

/// A new invite.
#[derive(Debug, Serialize)]
pub struct InviteResponse {
    /// The code, shown this one time.
    code: Shown,
    /// -1 for ever.
    uses_remaining: i64,
    expires_at: Option<Seconds>,
    created_at: Seconds,
}

/// All invites.
#[derive(Debug, Serialize)]
pub struct InviteList {
    data: Vec<InviteItem>,
}

/// An invite in the list.
#[derive(Debug, Serialize)]
pub struct InviteItem {
    /// The invite's id, which deletes it. The code itself was shown when it was made, and is not kept.
    code: String,
    created_by: String,
    created_at: Seconds,
    expires_at: Option<Seconds>,
    /// -1 for ever.
    uses_remaining: i64,
    /// Ids of the keys that were made with it.
    used_by: Vec<String>,
    valid: bool,
}

/// What clients get back when one is gone.
#[derive(Debug, Serialize)]
pub struct InviteDeleted {
    status: &'static str,
    /// The invite's id.
    code: String,
}

/// Makes an invite. 422 for numbers out of range.
pub async fn create(
    State(app): State<App>,
    actor: Actor,
    body: json::Body,
) -> Result<Json<InviteResponse>, Alice> {
    let wire: InviteRequest = json::parse_optional(&body)?;
    let terms = Terms::new(wire.uses, wire.expires_hours)?;
    let (author, now) = (Author::from(&actor), app.clock.now());
    let made =
        app.database.write(move |transaction| invites::create(transaction, &author, terms, now)).await?;
    Ok(Json(made.into()))
}

/// All invites, the latest first.
pub async fn list(State(app): State<App>) -> Result<Json<InviteList>, Alice> {
    let invites = app.database.read(invites::all).await?;
    let data = invites.into_iter().map(|invite| InviteItem::new(invite, &app.clock)).collect();
    Ok(Json(InviteList { data }))
}

/// Deletes an invite, named by its id or its code. 404 for an unknown one.
pub async fn delete(
    State(app): State<App>,
    actor: Actor,
    Id(code): Id,
) -> Result<Json<InviteDeleted>, Alice> {
    let (author, now) = (Author::from(&actor), app.clock.now());
    let id = app.database.write(move |transaction| invites::delete(transaction, &author, &code, now)).await?;
    Ok(Json(InviteDeleted { status: "deleted", code: id }))
}

impl From<NewInvite> for InviteResponse {
    fn from(made: NewInvite) -> Self {
        let NewInvite { invite, code } = made;
        Self {
            code: code.into(),
            uses_remaining: invite.uses_remaining,
            expires_at: invite.expires_at.map(Seconds::from),
            created_at: invite.created_at.into(),
        }
    }
}

impl InviteItem {
    fn new(invite: Invite, clock: &Clock) -> Self {
        Self {
            valid: invite.is_valid(clock),
            code: invite.id,
            created_by: invite.created_by,
            created_at: invite.created_at.into(),
            expires_at: invite.expires_at.map(Seconds::from),
            uses_remaining: invite.uses_remaining,
            used_by: invite.used_by,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn invite() -> Invite {
        Invite {
            id: "i".into(),
            created_by: "admin".into(),
            created_at: 1000,
            expires_at: Some(4600),
            uses_remaining: 2,
            used_by: vec!["k".into()],
        }
    }

    #[test]
    fn both_spellings_are_read_and_everything_may_be_left_out() {
        for (text, uses, hours) in [
            ("{}", 1, None),
            (r#"{"uses": 0, "expires_hours": 24}"#, 0, Some(24)),
            (r#"{"expiresHours": 2}"#, 1, Some(2)),
            (r#"{"expiresHours": null}"#, 1, None),
        ] {
            let request: InviteRequest = serde_json::from_str(text).unwrap();
            assert_eq!((request.uses, request.expires_hours), (uses, hours), "{text}");
        }
    }

    #[test]
    fn the_answers_have_the_fields_of_the_predecessor() {
        let made = InviteResponse::from(NewInvite { invite: invite(), code: "canary".into() });
        assert!(!format!("{made:?}").contains("canary"));
        let made = serde_json::to_string(&made).unwrap();
        assert_eq!(made, r#"{"code":"canary","uses_remaining":2,"expires_at":4600.0,"created_at":1000.0}"#);
        let clock = Clock::standing(4599);
        let item = serde_json::to_value(InviteItem::new(invite(), &clock)).unwrap();
        let expected = json!({
            "code": "i", "created_by": "admin", "created_at": 1000.0, "expires_at": 4600.0,
            "uses_remaining": 2, "used_by": ["k"], "valid": true,
        });
        assert_eq!(item, expected);
        clock.turn(4600);
        assert!(!InviteItem::new(invite(), &clock).valid);
    }
}
