// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `POST /v1/auth/bootstrap`: the first administrator, for programs. People use the page `/setup`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::Shown;
use crate::api::json;
use crate::app::App;
use crate::auth::accounts::Name;
use crate::auth::{Actor, setup};
use crate::error::{Alice, Error};
use crate::secret::Secret;

/// The name of an administrator for whom no other was asked.
const NAME: &str = "admin";

/// What clients send; nothing of it when the token is in the header `X-Setup-Token`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BootstrapRequest {
    /// The token that the daemon has printed.
    #[serde(alias = "setupToken")]
    setup_token: Option<Secret>,
    /// The name of the account, else `admin`.
    name: Option<String>,
}

/// What clients get back.
#[derive(Debug, Serialize)]
pub struct BootstrapResponse {
    message: &'static str,
    /// The key, shown this one time.
    key: Shown,
    key_id: String,
}

/// Makes the first administrator, with a key, for whoever has the setup token.
///
/// 403 on a server that is set up and for a wrong token, 409 when an account has the name.
pub async fn bootstrap(
    State(app): State<App>,
    actor: Actor,
    headers: HeaderMap,
    body: json::Body,
) -> Result<Json<BootstrapResponse>, Alice> {
    let wire: BootstrapRequest = json::parse_optional(&body)?;
    let header = headers.get("x-setup-token").and_then(|value| value.to_str().ok()).map(Secret::from);
    let token = header.or(wire.setup_token).unwrap_or_default();
    let name = Name::parse("name", wire.name.as_deref().unwrap_or(NAME))?;
    let made = setup::create_administrator(&app, &actor, &token, name, None, true).await?;
    let key = made.key.ok_or_else(|| Error::Internal(anyhow::anyhow!("no key was made")))?;
    Ok(Json(BootstrapResponse {
        message: "You are the administrator now. Keep the key: it is not shown again.",
        key: key.secret.into(),
        key_id: key.id,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_token_are_read_and_neither_is_shown() {
        for text in [r#"{"setup_token": "canary"}"#, r#"{"setupToken": "canary", "more": 1}"#] {
            let request: BootstrapRequest = serde_json::from_str(text).unwrap();
            assert_eq!(request.setup_token.as_ref().unwrap().expose(), "canary");
            assert!(!format!("{request:?}").contains("canary"));
        }
    }
}
