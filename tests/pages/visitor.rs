// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Somebody with a browser: it keeps the cookie of a login and says that its forms are the server's own.

use alice::auth::{Role, accounts, audit};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Method, RequestBuilder, Response};

use crate::stage::{Person, Stage};

/// A password that nobody's rules refuse.
pub(super) const PASSWORD: &str = "correct horse battery";

/// Limits that no test meets by chance.
const UNLIMITED: &str = "limits: { requests_per_minute: 1000000, logins_per_minute: 1000000, \
                         logins_per_minute_per_address: 1000000, registrations_per_hour: 1000000 }";

/// A browser.
pub(super) struct Visitor<'a> {
    stage: &'a Stage,
    /// `name=value` of the login's cookie.
    pub(super) cookie: Option<String>,
}

/// A page, or the way to one.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    /// Where the browser is sent.
    pub(super) to: Option<String>,
    pub(super) text: String,
}

impl Page {
    /// What the page says about a problem.
    pub(super) fn problem(&self) -> &str {
        super::between(&self.text, "role=\"alert\">", "</p>")
    }

    /// What the page shows once.
    pub(super) fn secret(&self) -> String {
        super::between(&self.text, "<code class=\"once\" tabindex=\"0\">", "</code>").to_owned()
    }
}

/// A server that demands accounts. It paints so slowly that no picture is finished in any test.
pub(super) async fn closed(server: &str) -> Stage {
    Stage::painting(&format!("require_auth: true, {server}"), "step_ms: 60000", UNLIMITED).await
}

/// Such a server that is set up, with an administrator who has the password.
pub(super) async fn with_ada(server: &str) -> Stage {
    set_up(closed(server).await).await
}

/// The same where pictures are finished at once.
pub(super) async fn with_ada_who_paints(server: &str) -> Stage {
    set_up(Stage::painting(&format!("require_auth: true, {server}"), "", UNLIMITED).await).await
}

async fn set_up(stage: Stage) -> Stage {
    stage.set_up().await;
    person(&stage, "Ada", Role::Admin).await;
    stage
}

/// Somebody with the password.
pub(super) async fn person(stage: &Stage, name: &str, role: Role) -> Person {
    let person = stage.person(name, role).await;
    let hash = stage.app.passwords.hash(PASSWORD.into()).await.unwrap();
    let account = person.account;
    stage.write(move |transaction| accounts::set_password(transaction, account, &hash)).await;
    person
}

/// The acts in the audit log, the latest first.
pub(super) async fn acts(stage: &Stage) -> Vec<String> {
    let entries = stage.app.database.read(|connection| audit::latest(connection, 100)).await.unwrap();
    entries.into_iter().map(|entry| format!("{} {}", entry.actor, entry.act)).collect()
}

impl<'a> Visitor<'a> {
    pub(super) fn new(stage: &'a Stage) -> Self {
        Self { stage, cookie: None }
    }

    /// Somebody who has logged in with the password.
    pub(super) async fn known(stage: &'a Stage, name: &str) -> Self {
        let mut visitor = Self::new(stage);
        let page = visitor.post("/login", &[("name", name), ("password", PASSWORD)]).await;
        assert_eq!(page.status, 303, "{name}: {}", page.text);
        visitor
    }

    /// Opens a page.
    pub(super) async fn get(&mut self, path: &str) -> Page {
        let request = self.stage.request(Method::GET, path);
        self.send(request).await
    }

    /// Sends a form.
    pub(super) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let request = self.stage.request(Method::POST, path).form(fields);
        self.send(request.header("sec-fetch-site", "same-origin")).await
    }

    /// Sends a form that succeeds, and opens the page that it leads to.
    pub(super) async fn post_and_go(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.post(path, fields).await;
        assert_eq!(page.status, 303, "{path}: {}", page.text);
        self.get(&page.to.unwrap()).await
    }

    /// Whether the browser is logged in.
    pub(super) async fn is_known(&mut self) -> bool {
        self.get("/account").await.status == 200
    }

    async fn send(&mut self, request: RequestBuilder) -> Page {
        let request = match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        };
        let answer = request.send().await.unwrap();
        self.keep_cookie(&answer);
        let status = answer.status().as_u16();
        let to = answer.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
        Page { status, to, text: answer.text().await.unwrap() }
    }

    fn keep_cookie(&mut self, answer: &Response) {
        let Some(cookie) = answer.headers().get(SET_COOKIE) else { return };
        let cookie = cookie.to_str().unwrap();
        let gone = cookie.contains("Max-Age=0");
        self.cookie = (!gone).then(|| cookie.split_once(';').unwrap().0.to_owned());
    }
}
