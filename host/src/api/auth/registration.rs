// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /v1/auth/registration-mode` and `POST /v1/auth/register`: an account for whoever asks, as far as the
//! operator allows it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::Shown;
use crate::api::json;
use crate::app::App;
use crate::auth::Actor;
use crate::auth::accounts::Name;
use crate::auth::registration::{self, Application, Registered};
use crate::config::RegistrationMode;
use crate::error::{Alice, Error, Result};
use crate::secret::Secret;

/// How people come by an account here.
#[derive(Debug, Serialize)]
pub struct Mode {
    mode: RegistrationMode,
    /// Whether one is needed to make pictures.
    require_auth: bool,
}

/// How people come by an account here.
pub async fn mode(State(app): State<App>) -> Json<Mode> {
    let server = &app.config.server;
    Json(Mode { mode: server.registration_mode, require_auth: !server.allows_anonymous() })
}

/// What may stand in the address, as the clients of the Python ALICE write it. A password is not read there:
/// addresses are kept in histories and logs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RegisterQuery {
    name: Option<String>,
    #[serde(alias = "inviteCode")]
    invite_code: Option<Secret>,
}

/// What may stand in the body, where it goes before the address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RegisterRequest {
    name: Option<String>,
    #[serde(alias = "inviteCode")]
    invite_code: Option<Secret>,
    password: Option<Secret>,
}

/// What clients get back.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum RegisterResponse {
    /// There is an account.
    Created {
        /// What to do now.
        message: &'static str,
        /// The key, shown this one time.
        key: Shown,
        /// The id of the key.
        key_id: String,
    },
    /// An administrator will decide.
    Pending {
        /// What happens now.
        message: &'static str,
        /// The id of the request.
        registration_id: String,
    },
}

/// Registers somebody.
///
/// 403 where only administrators make accounts, 400 for a bad invite or a name that is taken.
pub async fn register(
    State(app): State<App>,
    actor: Actor,
    query: std::result::Result<Query<RegisterQuery>, QueryRejection>,
    body: json::Body,
) -> std::result::Result<Json<RegisterResponse>, Alice> {
    let Query(query) = query.map_err(|_| Error::Malformed("the query cannot be read".into()))?;
    let application = application(query, json::parse_optional(&body)?)?;
    let registered = registration::register(&app, &actor, application).await?;
    Ok(Json(registered.into()))
}

fn application(query: RegisterQuery, body: RegisterRequest) -> Result<Application> {
    let name = body.name.or(query.name).ok_or_else(|| Error::Malformed("`name` is missing".into()))?;
    Ok(Application {
        name: Name::parse("name", &name)?,
        password: body.password,
        invite: body.invite_code.or(query.invite_code),
    })
}

impl From<Registered> for RegisterResponse {
    fn from(registered: Registered) -> Self {
        match registered {
            Registered::Created { key, .. } => Self::Created {
                message: "The account is made. Keep the key: it is not shown again.",
                key: key.secret.into(),
                key_id: key.id,
            },
            Registered::Pending { id } => {
                Self::Pending { message: "An administrator will decide.", registration_id: id }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::keys::NewKey;

    #[test]
    fn the_body_goes_before_the_query_and_only_it_may_hold_a_password() {
        let query = |text: &str| {
            Query::<RegisterQuery>::try_from_uri(&format!("/register?{text}").parse().unwrap()).unwrap().0
        };
        let both =
            application(query("name=A+B&inviteCode=x&password=y"), RegisterRequest::default()).unwrap();
        assert_eq!(both.name.as_str(), "A B");
        assert_eq!(both.invite.as_ref().unwrap().expose(), "x");
        assert!(both.password.is_none());
        let body = json!({"name": "C", "invite_code": "canary1", "password": "canary2"});
        let body: RegisterRequest = serde_json::from_value(body).unwrap();
        assert!(!format!("{body:?}").contains("canary"));
        let both = application(query("name=A&invite_code=x"), body).unwrap();
        assert_eq!(both.name.as_str(), "C");
        assert_eq!(both.invite.unwrap().expose(), "canary1");
        assert_eq!(both.password.unwrap().expose(), "canary2");
        let nameless = application(query(""), RegisterRequest::default());
        assert!(matches!(nameless, Err(Error::Malformed(text)) if text.contains("`name`")));
    }

    #[test]
    fn the_answer_has_the_fields_of_the_predecessor() {
        let key = NewKey { id: "k".into(), secret: "canary".into() };
        let created = RegisterResponse::from(Registered::Created { account: 1, key });
        assert!(!format!("{created:?}").contains("canary"));
        let created = serde_json::to_value(created).unwrap();
        assert_eq!((&created["status"], &created["key_id"]), (&json!("created"), &json!("k")));
        assert_eq!(created["key"], "canary", "this once");
        assert!(created["message"].is_string());
        let pending = serde_json::to_value(RegisterResponse::from(Registered::Pending { id: "r".into() }));
        let pending = pending.unwrap();
        assert_eq!((&pending["status"], &pending["registration_id"]), (&json!("pending"), &json!("r")));
        let mode = Mode { mode: RegistrationMode::Approval, require_auth: true };
        assert_eq!(serde_json::to_value(mode).unwrap(), json!({"mode": "approval", "require_auth": true}));
    }
}
