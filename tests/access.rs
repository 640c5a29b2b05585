// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who may do what: every route of the table with everybody who may call it, and everybody who may not.

use std::collections::BTreeMap;

use alice::auth::{Role, accounts, keys};
use alice::router::{Access, Dialect, Route, routes};
use reqwest::header::LOCATION;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::stage::{Person, Stage};

/// Somebody who calls, and what they show.
#[derive(Clone)]
struct Visitor {
    name: &'static str,
    /// A header and its value.
    shows: Option<(&'static str, String)>,
    /// What they are worth on a server that demands accounts.
    worth: Worth,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Worth {
    Nothing,
    /// Shows something that proves nothing: refused also where no account is needed.
    Suspect,
    /// A login that has ended: a browser sends its cookie on its own, so it is nothing.
    Ended,
    User,
    Admin,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// The handler ran.
    Through,
    Unauthorized,
    Forbidden,
    NotSetUp,
}

/// Where no account is needed, those who show nothing are users.
fn expected(access: Access, worth: Worth, anonymous: bool) -> Verdict {
    let known = match worth {
        Worth::Nothing | Worth::Ended if anonymous && access == Access::User => return Verdict::Through,
        Worth::Nothing | Worth::Ended | Worth::Suspect => None,
        Worth::User => Some(Role::User),
        Worth::Admin => Some(Role::Admin),
    };
    match (access, known) {
        (Access::Always | Access::Public, _) => Verdict::Through,
        (_, None) => Verdict::Unauthorized,
        (Access::Admin, Some(Role::User)) => Verdict::Forbidden,
        (Access::User | Access::Account | Access::Admin, Some(_)) => Verdict::Through,
    }
}

/// The route's path with something in the place of its names that is nowhere there.
fn example(route: &Route) -> String {
    let part = |part: &str| if part.starts_with('{') { "0".repeat(8) } else { part.to_owned() };
    route.path.split('/').map(part).collect::<Vec<_>>().join("/")
}

async fn verdict(route: &Route, answer: Response) -> Verdict {
    let status = answer.status().as_u16();
    let to = answer.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    let text = answer.text().await.unwrap();
    match status {
        303 if to.starts_with("/login?return=") => Verdict::Unauthorized,
        303 if to == "/setup" && route.path != "/setup" => Verdict::NotSetUp,
        401 if route.rule.dialect != Dialect::Page => Verdict::Unauthorized,
        403 if text.to_lowercase().contains("this needs an administrator") => Verdict::Forbidden,
        403 if text.to_lowercase().contains("not set up yet") => Verdict::NotSetUp,
        _ => Verdict::Through,
    }
}

impl Visitor {
    fn call(&self, stage: &Stage, method: Method, path: &str) -> RequestBuilder {
        let request = stage.request(method, path);
        match &self.shows {
            // A browser says that its own page made the request.
            Some(("cookie", value)) => {
                request.header("cookie", value).header("sec-fetch-site", "same-origin")
            }
            Some((name, value)) => request.header(*name, value),
            None => request,
        }
    }
}

struct Cast {
    visitors: Vec<Visitor>,
    owner: Person,
}

/// Everybody, on a server that they all know.
async fn cast(stage: &Stage) -> Cast {
    let owner = stage.person("owner", Role::User).await;
    let other = stage.person("other", Role::User).await;
    let admin = stage.person("chief", Role::Admin).await;
    let second = stage.person("second admin", Role::Admin).await;
    let revoked = stage.person("revoked", Role::Admin).await;
    let shut_out = stage.person("shut out", Role::Admin).await;
    let demoted = stage.person("demoted", Role::Admin).await;
    let ended = stage.log_in(&second).await;
    let of_gone_key = stage.log_in(&revoked).await;
    let (revoked_id, shut_out_account, demoted_account) =
        (revoked.key_id.clone(), shut_out.account, demoted.account);
    stage
        .write(move |transaction| {
            // The login was made with the key.
            transaction
                .execute("UPDATE sessions SET key = ?1 WHERE account = ?2", (&revoked_id, revoked.account))?;
            keys::revoke(transaction, &revoked_id)?;
            accounts::set_enabled(transaction, shut_out_account, false)?;
            accounts::set_role(transaction, demoted_account, Role::User)
        })
        .await;
    stage.clock.turn(stage.clock.now() + i64::from(stage.app.config.server.session_timeout_seconds));
    let fresh = stage.log_in(&admin).await;
    let of_owner = stage.log_in(&owner).await;
    let basic = {
        use base64::Engine;
        base64::prelude::BASE64_STANDARD.encode(format!("anyone:{}", admin.key))
    };
    let visitor = |name, header: &'static str, value: String, worth| Visitor {
        name,
        shows: Some((header, value)),
        worth,
    };
    let visitors = vec![
        Visitor { name: "anonymous", shows: None, worth: Worth::Nothing },
        visitor("owner by key", "authorization", format!("Bearer {}", owner.key), Worth::User),
        visitor("owner by login", "cookie", format!("alice={of_owner}"), Worth::User),
        visitor("owner's token as key", "x-api-key", of_owner.clone(), Worth::User),
        visitor("other user", "x-api-key", other.key.clone(), Worth::User),
        visitor("admin by Bearer", "authorization", format!("Bearer {}", admin.key), Worth::Admin),
        visitor("admin by X-Admin-Key", "x-admin-key", admin.key.clone(), Worth::Admin),
        visitor("admin by X-Api-Key", "x-api-key", admin.key.clone(), Worth::Admin),
        visitor("admin by Basic", "authorization", format!("Basic {basic}"), Worth::Admin),
        visitor("admin by login", "cookie", format!("alice={fresh}"), Worth::Admin),
        visitor(
            "admin by the cookie of TLS without TLS",
            "cookie",
            format!("__Host-alice={fresh}"),
            Worth::Ended,
        ),
        visitor("demoted admin", "x-api-key", demoted.key.clone(), Worth::User),
        visitor("revoked key", "x-api-key", revoked.key.clone(), Worth::Suspect),
        visitor("key of somebody shut out", "x-api-key", shut_out.key.clone(), Worth::Suspect),
        visitor("mistyped key", "x-api-key", format!("{}x", other.key), Worth::Suspect),
        visitor("expired session", "cookie", format!("alice={ended}"), Worth::Ended),
        visitor("session of a revoked key", "cookie", format!("alice={of_gone_key}"), Worth::Ended),
        visitor("key in the cookie", "cookie", format!("alice={}", admin.key), Worth::Ended),
        visitor("empty key", "x-api-key", String::new(), Worth::Nothing),
    ];
    Cast { visitors, owner }
}

const UNLIMITED: &str = "limits: { requests_per_minute: 1000000, logins_per_minute: 1000000, \
                         logins_per_minute_per_address: 1000000, registrations_per_hour: 1000000 }";

/// Calls every route as every visitor. Gives how often each verdict was seen.
async fn matrix(stage: &Stage, visitors: &[Visitor], anonymous: bool) -> BTreeMap<Verdict, usize> {
    let mut seen = BTreeMap::new();
    for route in routes() {
        let methods = if route.method == Method::GET {
            vec![Method::GET, Method::HEAD]
        } else {
            vec![route.method.clone()]
        };
        for visitor in visitors {
            for method in &methods {
                let head = *method == Method::HEAD;
                let answer = visitor.call(stage, method.clone(), &example(&route)).send().await.unwrap();
                // A picture that a stranger may not see, also one that is nowhere, leads to the login.
                let access = if route.path == "/gallery/{id}" { Access::User } else { route.rule.access };
                let wanted = expected(access, visitor.worth, anonymous);
                let status = answer.status().as_u16();
                assert!(status < 500, "{method} {} as {}: {status}", route.path, visitor.name);
                // The answer to HEAD has no text to tell a Forbidden by.
                let got = if head && status == 403 { wanted } else { verdict(&route, answer).await };
                assert_eq!(got, wanted, "{method} {} as {} ({status})", route.path, visitor.name);
                *seen.entry(got).or_default() += 1;
            }
        }
    }
    seen
}

#[tokio::test]
async fn every_route_lets_through_whom_its_rule_names_and_nobody_else() {
    for (server, anonymous) in
        [("require_auth: true", false), ("host: 0.0.0.0", false), ("require_auth: false", true)]
    {
        let stage = Stage::with(server, UNLIMITED).await;
        stage.set_up().await;
        let cast = cast(&stage).await;
        let seen = matrix(&stage, &cast.visitors, anonymous).await;
        assert!(
            seen[&Verdict::Through] > 100
                && seen[&Verdict::Unauthorized] > 50
                && seen[&Verdict::Forbidden] > 20,
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn before_it_is_set_up_a_server_on_a_network_serves_nothing_but_that() {
    let stage = Stage::with("host: 0.0.0.0, require_auth: false", UNLIMITED).await;
    for route in routes() {
        let answer = stage.request(route.method.clone(), &example(&route)).send().await.unwrap();
        let wanted = if route.rule.access == Access::Always { Verdict::Through } else { Verdict::NotSetUp };
        assert_eq!(verdict(&route, answer).await, wanted, "{} {}", route.method, route.path);
    }
    let always: Vec<_> = routes().into_iter().filter(|route| route.rule.access == Access::Always).collect();
    let paths: Vec<_> = always.iter().map(|route| route.path).collect();
    let wanted = [
        "/livez",
        "/readyz",
        "/theme.css",
        "/theme",
        "/static/{file}",
        "/v1/auth/bootstrap",
        "/setup",
        "/setup",
    ];
    assert_eq!(paths, wanted);
}

#[test]
fn administration_is_for_administrators_in_the_table_itself() {
    for route in routes() {
        let parts: Vec<_> = route.path.trim_start_matches("/v1/auth").split('/').collect();
        let administers = ["keys", "invites", "pending", "stats", "audit", "admin"].contains(&parts[1]);
        let sessions = parts[1] == "sessions" && route.method != Method::POST;
        let deletes_files = route.method == Method::DELETE
            && ["/v1/models/", "/v1/loras/", "/v1/controlnets/", "/v1/upscalers/"]
                .iter()
                .any(|beginning| route.path.starts_with(beginning));
        let of_all_pictures = ["/v1/gallery/stats", "/v1/gallery/cleanup"].contains(&route.path);
        let admin = route.rule.access == Access::Admin;
        assert_eq!(
            admin,
            administers || sessions || deletes_files || of_all_pictures,
            "{} {}",
            route.method,
            route.path
        );
        let changes = route.method != Method::GET && route.method != Method::OPTIONS;
        let body = route.rule.body != alice::router::Body::None;
        assert!(changes || !body, "{} {} reads no body", route.method, route.path);
    }
}

#[tokio::test]
async fn a_picture_is_for_its_owner_for_administrators_and_for_whoever_holds_its_signed_address() {
    let stage = Stage::with("require_auth: true", UNLIMITED).await;
    stage.set_up().await;
    let cast = cast(&stage).await;
    let body = json!({"prompt": "x", "steps": 1, "response_format": "url"});
    let request = stage.request(Method::POST, "/v1/images/generations").bearer_auth(&cast.owner.key);
    let answer: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
    let signed = answer["data"][0]["url"].as_str().unwrap().to_owned();
    let signed = signed.strip_prefix(&stage.base).unwrap();
    let (plain, _) = signed.split_once('?').unwrap();
    for visitor in &cast.visitors {
        let may = visitor.name.starts_with("owner") || visitor.worth == Worth::Admin;
        for (path, wanted) in [(plain, if may { 200 } else { 404 }), (signed, 200)] {
            for method in [Method::GET, Method::HEAD] {
                let answer = visitor.call(&stage, method, path).send().await.unwrap();
                assert_eq!(answer.status().as_u16(), wanted, "{} {path}", visitor.name);
                if wanted == 200 {
                    assert_eq!(answer.headers()["cache-control"], "private, no-store");
                    assert_eq!(answer.headers()["content-type"], "image/png");
                }
            }
        }
    }
    let forged = [
        signed.replace("signature=", "signature=0"),
        format!("{plain}?expires=99999999999&{}", signed.split_once('&').unwrap().1),
        signed.replace("&signature", "&signatur"),
        format!("/images/{}.png?{}", "0".repeat(32), signed.split_once('?').unwrap().1),
    ];
    for path in forged {
        assert_eq!(stage.request(Method::GET, &path).send().await.unwrap().status(), 404, "{path}");
    }
    let expires: i64 = signed.split(['=', '&']).nth(1).unwrap().parse().unwrap();
    stage.clock.turn(expires - 1);
    assert_eq!(stage.request(Method::GET, signed).send().await.unwrap().status(), 200);
    stage.clock.turn(expires);
    assert_eq!(
        stage.request(Method::GET, signed).send().await.unwrap().status(),
        404,
        "the second it expires"
    );
    stage.clock.turn(expires - 10_000);
    assert_eq!(stage.request(Method::GET, signed).send().await.unwrap().status(), 404, "the clock went back");
}
