// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The gallery's API by the real server: who sees and changes what, what ends when, and what is never lost.

use alice::auth::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::{Person, Stage};

mod carried;
mod finding;
mod keeping;
mod looking_after;

/// A server that demands accounts, with an administrator and two users, with these keys of `storage`.
struct Scene {
    stage: Stage,
    admin: String,
    ada: Person,
    bob: Person,
}

impl Scene {
    async fn new(storage: &str) -> Self {
        let stage = Stage::storing("require_auth: true", storage).await;
        let admin = stage.set_up().await;
        let ada = stage.person("ada", Role::User).await;
        let bob = stage.person("bob", Role::User).await;
        Self { stage, admin, ada, bob }
    }

    /// The id of a new picture of Ada's, which was asked for with these fields beside the usual ones.
    async fn paint(&self, fields: Value) -> String {
        paint(&self.stage, &self.ada.key, fields).await
    }

    async fn call(&self, method: Method, path: &str, key: &str, body: Option<Value>) -> (u16, Value) {
        self.stage.call(method, path, key, body).await
    }

    /// The ids that somebody with this key finds.
    async fn found(&self, key: &str, query: &str) -> Vec<String> {
        ids(&self.call(Method::GET, &format!("/v1/gallery?{query}"), key, None).await.1)
    }

    /// The status of a GET without credentials.
    async fn open(&self, path: &str) -> u16 {
        self.stage.request(Method::GET, path).send().await.unwrap().status().as_u16()
    }
}

/// The id of a new picture of whoever has this key.
async fn paint(stage: &Stage, key: &str, fields: Value) -> String {
    let mut body = json!({"prompt": "a fox", "steps": 1, "seed": 7, "response_format": "url"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let (status, answer) = stage.call(Method::POST, "/v1/images/generations", key, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    id_in(answer["data"][0]["url"].as_str().unwrap())
}

/// The id of the picture at an address.
fn id_in(url: &str) -> String {
    let file = url.rsplit("/images/").next().unwrap();
    file.split('.').next().unwrap().to_owned()
}

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().unwrap_or_else(|| panic!("{list}"));
    data.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}
