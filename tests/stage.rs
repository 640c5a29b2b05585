// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A server inside the test itself, with a clock that the test turns and people who have accounts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alice::app::App;
use alice::auth::accounts::{self, Name};
use alice::auth::{Role, keys, sessions};
use alice::clock::Clock;
use alice::config::{Config, file};
use alice::error::Error;
use reqwest::{Method, RequestBuilder, redirect};
use rusqlite::Transaction;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::{plugins, source};

/// When every test begins.
pub(crate) const BEGINNING: i64 = 1_800_000_000;

/// A running server. It ends with its test's runtime.
pub(crate) struct Stage {
    pub(crate) app: App,
    pub(crate) clock: Clock,
    pub(crate) base: String,
    pub(crate) client: reqwest::Client,
    directory: TempDir,
}

/// Somebody with an account.
pub(crate) struct Person {
    pub(crate) account: i64,
    pub(crate) key_id: String,
    pub(crate) key: String,
}

impl Stage {
    /// A server whose configuration has these keys in its section `server`.
    pub(crate) async fn open(server: &str) -> Self {
        Self::with(server, "").await
    }

    /// The same with further sections.
    pub(crate) async fn with(server: &str, more: &str) -> Self {
        Self::painting(server, "", more).await
    }

    /// The same with options of the paint backend.
    pub(crate) async fn painting(server: &str, paint: &str, more: &str) -> Self {
        let models = format!("directory: {}", source("models").display());
        Self::built(server, paint, &models, "", more).await
    }

    /// The same with further keys of the section `storage`.
    pub(crate) async fn storing(server: &str, storage: &str) -> Self {
        let models = format!("directory: {}", source("models").display());
        Self::built(server, "", &models, storage, "limits: { requests_per_minute: 1000000 }").await
    }

    /// A server with these models, which need accounts, and these options of the paint backend.
    pub(crate) async fn of_models(models: &Path, options: &str, paint: &str) -> Self {
        let models = format!("directory: {}, {options}", models.display());
        Self::built("require_auth: true", paint, &models, "", "").await
    }

    async fn built(server: &str, paint: &str, models: &str, storage: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "server: {{ port: 0, {server} }}\n\
             generation: {{ backend: paint, backend_directories: [{}], \
                            backend_options: {{ paint: {{ {paint} }} }} }}\n\
             models: {{ {models} }}\n\
             storage: {{ database: {}, images_directory: {}, inputs_directory: {}, auth_directory: {}, \
                         thumbnails_directory: {}, gallery_file: {}, {storage} }}\n\
             engine: {{ isolation: none }}\n{more}\n",
            plugins().display(),
            path("data/alice.db"),
            path("images"),
            path("inputs"),
            path("auth"),
            path("thumbnails"),
            path("data/gallery.json"),
        );
        let file = directory.path().join("config.yaml");
        let config = Config { file: Some(file.clone()), ..file::parse(&file, &config).unwrap().config };
        let clock = Clock::standing(BEGINNING);
        let (shared, program) = (clock.clone(), PathBuf::from(env!("CARGO_BIN_EXE_alice")));
        let app = tokio::task::spawn_blocking(move || App::with_program(config, shared, program))
            .await
            .unwrap()
            .unwrap();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(alice::server::serve(listener, app.clone(), std::future::pending()));
        let client =
            reqwest::Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        Self { app, clock, base, client, directory }
    }

    /// The directory of everything that it keeps.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A change of the database.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> T {
        self.app.database.write(act).await.unwrap()
    }

    /// A new account with a key.
    pub(crate) async fn person(&self, name: &str, role: Role) -> Person {
        let (name, now) = (Name::parse("name", name).unwrap(), self.clock.now());
        self.write(move |transaction| {
            let account = accounts::create(transaction, &name, role, None, now)?;
            let key = keys::create(transaction, account, &name, role, 1_000_000, now)?;
            Ok(Person { account, key_id: key.id, key: key.secret.expose().to_owned() })
        })
        .await
    }

    /// The token of a new login of `person`.
    pub(crate) async fn log_in(&self, person: &Person) -> String {
        let (account, now) = (person.account, self.clock.now());
        let session = self.write(move |transaction| sessions::begin(transaction, account, None, now)).await;
        session.token.expose().to_owned()
    }

    /// A request to be completed.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }
}

impl Stage {
    /// Makes the first administrator as a person would, and gives their key.
    pub(crate) async fn set_up(&self) -> String {
        let token = alice::auth::setup::offer(&self.app.database, &self.clock).await.unwrap().unwrap();
        let request =
            self.request(Method::POST, "/v1/auth/bootstrap").json(&json!({"setup_token": token.expose()}));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["key"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The status and JSON of a call with a key.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self.request(method, path).header("x-api-key", key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// The status of `GET /v1/models` with a header.
    pub(crate) async fn models_with(&self, name: &str, value: &str) -> u16 {
        let answer = self.request(Method::GET, "/v1/models").header(name, value).send().await.unwrap();
        answer.status().as_u16()
    }
}
