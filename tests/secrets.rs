// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Secrets stay secret: a canary is put wherever a secret goes, and looked for wherever text comes out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use alice::router::{Access, routes};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Server, alice};

/// Part of every secret that a person makes up here.
const CANARY: &str = "canary7f3a";

/// What came out of the server so far.
struct Collected(String);

impl Collected {
    async fn add(&mut self, answer: Response) -> String {
        for (name, value) in answer.headers() {
            self.0 += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
        }
        let text = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
        self.0 += &text;
        self.0 += "\n";
        text
    }
}

/// All files below `directory`.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_canary_in_every_secret_field_comes_out_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let shared = format!("shared-{CANARY}");
    let imported = format!("sd-{CANARY}");
    let config = format!(
        "server: {{ port: 0, require_auth: true, registration_mode: approval, api_key: {shared} }}\n\
         generation: {{ backend: paint }}\nlogging: {{ level: DEBUG }}\n\
         limits: {{ registrations_per_hour: 1000, logins_per_minute_per_address: 1000, logins_per_minute: 1000 }}\n"
    );
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    fs::create_dir_all(directory.path().join("data/auth")).unwrap();
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(&imported));
    let keys = json!({"0a1b2c3d": {"id": "0a1b2c3d", "name": "old admin", "key_hash": hash, "created_at": 1.5e9,
        "last_used": null, "is_admin": true, "access_level": "admin", "rate_limit": 1000, "enabled": true}});
    fs::write(directory.path().join("data/auth/api_keys.json"), keys.to_string()).unwrap();
    let mut command = alice(directory.path());
    command.env("RUST_LOG", "trace");
    let server = Server::start_command(command, directory);
    let mut out = Collected(server.early_log.join("\n"));
    // Secrets that the server makes up, which come out once each.
    let mut made = Vec::new();
    let url = |path: &str| format!("{}{path}", server.base);
    let own = |request: reqwest::RequestBuilder| request.header("sec-fetch-site", "same-origin");

    // Every secret that somebody may send, right or wrong, in every place that it may stand.
    for (name, value) in [
        ("authorization", format!("Bearer {CANARY}")),
        ("authorization", format!("Bearer alice_{CANARY}")),
        ("authorization", format!("Basic {CANARY}")),
        ("authorization", format!("Bearer {shared}")),
        ("x-api-key", imported.clone()),
        ("x-admin-key", format!("sd-wrong-{CANARY}")),
        ("x-setup-token", format!("alice_setup_{CANARY}")),
        ("cookie", format!("alice={CANARY}; __Host-alice={CANARY}; alice_session={CANARY}")),
    ] {
        for route in routes() {
            let path = route
                .path
                .replace("{file}", "nothing")
                .replace("{id}", "nothing")
                .replace("{code}", "nothing");
            let request = own(server.client.request(route.method.clone(), url(&path))).header(name, &value);
            out.add(request.send().await.unwrap()).await;
        }
    }
    let password = format!("password-{CANARY}");
    let token = format!("alice_setup_{CANARY}");
    let invite = format!("alice_invite_{CANARY}");
    for (path, form) in [
        ("/setup", [("token", token.as_str()), ("name", "eve"), ("password", &password)]),
        ("/login", [("name", "nobody"), ("password", &password), ("return", "/")]),
        ("/login", [("key", &shared[..3]), ("key", &password), ("return", "/")]),
        ("/register", [("name", "guest"), ("password", &password), ("invite_code", &invite)]),
        ("/register", [("name", ""), ("password", &password), ("invite_code", &invite)]),
    ] {
        out.add(own(server.client.post(url(path))).form(&form).send().await.unwrap()).await;
    }
    for (path, body) in [
        ("/v1/auth/bootstrap", json!({"setup_token": token})),
        ("/v1/auth/register", json!({"name": "one", "invite_code": invite, "password": password})),
        ("/v1/auth/register", json!({"name": 7, "invite_code": {"a": CANARY}, "password": [CANARY]})),
        ("/v1/auth/bootstrap", json!({"setup_token": [CANARY]})),
    ] {
        out.add(server.client.post(url(path)).json(&body).send().await.unwrap()).await;
    }
    let query = format!("/v1/auth/register?name=two&invite_code={invite}&password={password}");
    out.add(server.client.post(url(&query)).send().await.unwrap()).await;

    // What the server makes up comes out in its own answer, and in no other.
    let admin = |method, path: &str| server.client.request(method, url(path)).header("x-api-key", &imported);
    let new =
        admin(Method::POST, "/v1/auth/keys/generate").json(&json!({"name": "new"})).send().await.unwrap();
    made.push(new.json::<Value>().await.unwrap()["key"].as_str().unwrap().to_owned());
    let login = admin(Method::POST, "/v1/auth/sessions").send().await.unwrap();
    made.push(login.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned());
    let code = admin(Method::POST, "/v1/auth/invites").json(&json!({"uses": 0})).send().await.unwrap();
    made.push(code.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned());
    for route in routes().into_iter().filter(|route| route.method == Method::GET) {
        out.add(admin(Method::GET, route.path).send().await.unwrap()).await;
        if route.rule.access != Access::Always {
            let cookie = format!("alice={}", made[1]);
            out.add(server.client.get(url(route.path)).header("cookie", cookie).send().await.unwrap()).await;
        }
    }
    let pending = admin(Method::GET, "/v1/auth/pending").send().await.unwrap().text().await.unwrap();
    assert!(pending.contains("guest") && pending.contains("one"), "the password was taken: {pending}");

    server.order_to_end();
    out.0 += &server.wait_for_log("Ended");
    out.0 += &server.log_so_far();
    assert!(out.0.contains("Draining") && out.0.len() > 50_000, "there is something to look through");
    for secret in made.iter().map(String::as_str).chain([CANARY]) {
        let place = out.0.find(secret).map(|at| &out.0[at.saturating_sub(300)..(at + 100).min(out.0.len())]);
        assert_eq!(place, None, "{secret}");
    }
    for path in files(&server.directory.path().join("data")) {
        let bytes = fs::read(&path).unwrap();
        for secret in made.iter().map(String::as_str).chain([CANARY]) {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a secret in clear", path.display());
        }
    }
}

#[tokio::test]
async fn what_the_server_writes_is_for_its_own_user_alone() {
    let server = Server::with("generation: { backend: paint }").await;
    server.post_json("/v1/images/generations", &json!({"prompt": "x", "steps": 1})).await;
    for directory in ["data", "images"] {
        let directory = server.directory.path().join(directory);
        assert_eq!(
            fs::metadata(&directory).unwrap().permissions().mode() & 0o777,
            0o700,
            "{}",
            directory.display()
        );
        let files = files(&directory);
        assert!(!files.is_empty());
        for path in files {
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                path.display()
            );
        }
    }
}
