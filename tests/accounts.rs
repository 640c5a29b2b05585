// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Accounts, keys and sessions over their lives: what they allow, when they end, and what ends with them.

use alice::auth::{Role, accounts, keys, sessions, setup};
use alice::housekeeping;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::{Person, Stage};

/// A server that demands accounts, an administrator's key, and a user.
async fn closed() -> (Stage, String, Person) {
    let server = "require_auth: true, session_timeout_seconds: 600";
    let stage = Stage::with(server, "limits: { requests_per_minute: 1000000 }").await;
    let admin = stage.set_up().await;
    let user = stage.person("user", Role::User).await;
    (stage, admin, user)
}

async fn works(stage: &Stage, token: &str) -> bool {
    stage.models_with("cookie", &format!("alice={token}")).await == 200
}

#[tokio::test]
async fn a_login_lasts_while_it_is_used_but_not_for_ever() {
    let (stage, _, user) = closed().await;
    let (used, idle) = (stage.log_in(&user).await, stage.log_in(&user).await);
    let began = stage.clock.now();
    for round in 1..=3 {
        stage.clock.turn(began + round * 599);
        assert!(works(&stage, &used).await, "round {round}");
        housekeeping::tidy(&stage.app).await.unwrap();
    }
    assert!(!works(&stage, &idle).await);
    // Used every ten minutes for two weeks.
    let mut now = began + 3 * 599;
    while now < began + 14 * 24 * 3600 {
        stage.clock.turn(now);
        assert!(works(&stage, &used).await);
        now += 599;
    }
    stage.clock.turn(began + 14 * 24 * 3600);
    assert!(!works(&stage, &used).await, "two weeks are over");
    housekeeping::tidy(&stage.app).await.unwrap();
    let left: u32 = stage
        .write(
            |transaction| Ok(transaction.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?),
        )
        .await;
    assert_eq!(left, 0, "ended logins are removed");
}

#[tokio::test]
async fn every_change_of_rights_ends_what_it_should_and_nothing_else() {
    let (stage, _, user) = closed().await;
    let other = stage.person("other", Role::User).await;
    let unaffected = stage.log_in(&other).await;
    let account = user.account;

    let token = stage.log_in(&user).await;
    stage.write(move |transaction| accounts::set_role(transaction, account, Role::Admin)).await;
    assert!(!works(&stage, &token).await, "a login does not outlive its role");
    assert_eq!(stage.models_with("x-api-key", &user.key).await, 200);
    assert_eq!(
        stage.call(Method::GET, "/v1/auth/keys", &user.key, None).await.0,
        403,
        "a key keeps its own limit"
    );

    let token = stage.log_in(&user).await;
    stage.write(move |transaction| accounts::set_password(transaction, account, "a hash")).await;
    assert!(!works(&stage, &token).await, "a login does not outlive the password");

    let (first, second) = (stage.log_in(&user).await, stage.log_in(&user).await);
    let answer = stage.call(Method::POST, "/v1/auth/sessions", &user.key, None).await.1;
    let (of_key, again) = (answer["token"].as_str().unwrap().to_owned(), answer["sessionId"].clone());
    assert!(works(&stage, &of_key).await && again.is_string());
    let child = stage.call(Method::POST, "/v1/auth/sessions", &of_key, None).await;
    assert_eq!(child.0, 403, "a login does not renew itself: {}", child.1);
    let key_id = user.key_id.clone();
    stage.write(move |transaction| keys::revoke(transaction, &key_id)).await;
    assert!(!works(&stage, &of_key).await, "a key takes its logins along");
    assert_eq!(stage.models_with("x-api-key", &user.key).await, 401);
    assert!(works(&stage, &first).await, "others stay");

    stage.write(move |transaction| sessions::end_others(transaction, account, None)).await;
    assert!(!works(&stage, &first).await && !works(&stage, &second).await);

    let token = stage.log_in(&user).await;
    stage.write(move |transaction| accounts::set_enabled(transaction, account, false)).await;
    assert!(!works(&stage, &token).await);
    stage.write(move |transaction| accounts::set_enabled(transaction, account, true)).await;
    assert!(!works(&stage, &token).await, "being let in again does not bring logins back");

    let token = stage.log_in(&user).await;
    stage.write(move |transaction| accounts::delete(transaction, account)).await;
    assert!(!works(&stage, &token).await);
    assert!(works(&stage, &unaffected).await);
}

#[tokio::test]
async fn the_last_administrator_cannot_be_lost() {
    let (stage, admin, _) = closed().await;
    let list = stage.call(Method::GET, "/v1/auth/keys", &admin, None).await.1;
    let own =
        list["data"].as_array().unwrap().iter().find(|key| key["isAdmin"] == true).unwrap()["id"].clone();
    let own = own.as_str().unwrap();
    for (method, path) in [
        (Method::DELETE, format!("/v1/auth/keys/{own}")),
        (Method::POST, format!("/v1/auth/keys/{own}/revoke")),
    ] {
        let (status, answer) = stage.call(method, &path, &admin, None).await;
        assert_eq!(status, 409, "{answer}");
    }
    for act in [
        (|transaction, id| accounts::set_role(transaction, id, Role::User))
            as fn(&rusqlite::Transaction<'_>, i64) -> _,
        |transaction, id| accounts::set_enabled(transaction, id, false),
        accounts::delete,
    ] {
        let refused = stage.app.database.write(move |transaction| {
            let id = accounts::all(transaction)?
                .into_iter()
                .find(|account| account.role == Role::Admin)
                .unwrap()
                .id;
            act(transaction, id)
        });
        assert!(matches!(refused.await, Err(alice::error::Error::Conflict(_))));
    }
    assert_eq!(stage.call(Method::GET, "/v1/auth/keys", &admin, None).await.0, 200, "nothing was changed");
    let second = stage.person("second", Role::Admin).await;
    assert_eq!(stage.call(Method::DELETE, &format!("/v1/auth/keys/{own}"), &second.key, None).await.0, 200);
}

#[tokio::test]
async fn the_last_use_is_noted_without_a_write_for_each_request() {
    let (stage, admin, user) = closed().await;
    let written = async |id: String| -> Option<i64> {
        let sql = "SELECT last_used FROM keys WHERE id = ?1";
        stage
            .app
            .database
            .read(move |reader| Ok(reader.query_row(sql, [id], |row| row.get(0))?))
            .await
            .unwrap()
    };
    stage.clock.turn(stage.clock.now() + 50);
    for _ in 0..5 {
        assert_eq!(stage.models_with("x-api-key", &user.key).await, 200);
    }
    assert_eq!(written(user.key_id.clone()).await, None, "no request writes");
    let list = stage.call(Method::GET, "/v1/auth/keys", &admin, None).await.1;
    let key = list["data"].as_array().unwrap().iter().find(|key| key["id"] == user.key_id.as_str()).unwrap();
    assert_eq!(key["lastUsed"].as_f64(), Some(stage.clock.now() as f64), "but it is known");
    housekeeping::tidy(&stage.app).await.unwrap();
    assert_eq!(written(user.key_id.clone()).await, Some(stage.clock.now()), "and written down in time");
}

#[tokio::test]
async fn a_key_is_held_to_its_own_limit_and_others_are_not() {
    let (stage, admin, user) = closed().await;
    let body = json!({"name": "slow", "rateLimit": 3});
    let (status, made) = stage.call(Method::POST, "/v1/auth/keys/generate", &admin, Some(body)).await;
    assert_eq!((status, made["info"]["rateLimit"].as_u64()), (200, Some(3)));
    let slow = made["key"].as_str().unwrap();
    for _ in 0..3 {
        assert_eq!(stage.models_with("x-api-key", slow).await, 200);
    }
    let answer = stage.request(Method::GET, "/v1/models").bearer_auth(slow).send().await.unwrap();
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "three a minute: {wait}");
    let error: Value = answer.json().await.unwrap();
    assert_eq!(error["error"]["code"], "rate_limit_exceeded");
    let lender = stage.person("lender", Role::User).await;
    let id = lender.key_id.clone();
    let sql = "UPDATE keys SET rate_limit = 2 WHERE id = ?1";
    stage.write(move |transaction| Ok(transaction.execute(sql, [id])?)).await;
    let login = stage.call(Method::POST, "/v1/auth/sessions", &lender.key, None).await.1;
    assert!(works(&stage, login["token"].as_str().unwrap()).await);
    assert!(!works(&stage, login["token"].as_str().unwrap()).await, "a login counts as its key");
    assert_eq!(stage.models_with("x-api-key", &user.key).await, 200);
    assert_eq!(stage.request(Method::GET, "/health").bearer_auth(slow).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn whoever_tries_keys_does_not_try_many() {
    let stage = Stage::with("require_auth: true", "limits: { logins_per_minute_per_address: 4 }").await;
    // One attempt of the four is the setting up itself.
    let admin = stage.set_up().await;
    for _ in 0..2 {
        assert_eq!(stage.models_with("x-api-key", "alice_wrong").await, 401);
    }
    let me = stage.call(Method::GET, "/v1/auth/me", "alice_wrong", None).await;
    assert_eq!(
        (me.0, me.1["authenticated"].as_bool()),
        (200, Some(false)),
        "a guess that is answered counts too"
    );
    assert_eq!(stage.models_with("x-api-key", "alice_wrong").await, 429);
    assert_eq!(stage.call(Method::GET, "/v1/auth/me", "alice_wrong", None).await.0, 429);
    assert_eq!(stage.models_with("x-api-key", &admin).await, 200, "the right key is none of the tries");
    for _ in 0..10 {
        assert_eq!(stage.models_with("cookie", "alice=ended").await, 401, "nor is a login that has ended");
    }
}

#[tokio::test]
async fn without_an_account_people_paint_where_that_is_allowed_and_administer_nowhere() {
    let stage = Stage::open("require_auth: false").await;
    let to = async |stage: &Stage| {
        let answer = stage.request(Method::GET, "/admin").send().await.unwrap();
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    assert_eq!(to(&stage).await, "/setup", "nobody can log in yet");
    stage.set_up().await;
    assert_eq!(to(&stage).await, "/login?return=/admin");
    assert_eq!(stage.models_with("x-api-key", "").await, 200);
    assert_eq!(stage.models_with("authorization", "Bearer unused").await, 200, "what libraries insist on");
    assert_eq!(stage.models_with("authorization", "Bearer sk-proj-1234").await, 200);
    assert_eq!(stage.models_with("authorization", "Bearer alice_mistyped").await, 401, "meant as a key");
    assert_eq!(stage.models_with("x-api-key", "sd-revoked").await, 401);
    assert_eq!(stage.call(Method::GET, "/v1/auth/keys", "", None).await.0, 401);
    assert_eq!(stage.call(Method::POST, "/v1/auth/sessions", "", None).await.0, 401);
    for (name, value) in [
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "alice.example"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "192.0.2.1"),
        ("x-forwarded-port", "443"),
        ("cf-connecting-ip", "192.0.2.1"),
        ("via", "1.1 proxy"),
    ] {
        assert_eq!(stage.models_with(name, value).await, 401, "{name}: a proxy needs an account");
    }
    let user = stage.person("user", Role::User).await;
    let request = stage.request(Method::GET, "/v1/models").header("x-forwarded-for", "192.0.2.1");
    assert_eq!(request.bearer_auth(&user.key).send().await.unwrap().status(), 200);
    for (host, status) in [("evil.example", 421), ("localhost", 200), ("192.168.1.7:8080", 200)] {
        assert_eq!(stage.models_with("host", host).await, status, "{host}");
    }
    let closed = Stage::open("require_auth: true").await;
    let key = closed.set_up().await;
    let request = closed.request(Method::GET, "/v1/models").header("host", "alice.example").bearer_auth(key);
    assert_eq!(request.send().await.unwrap().status(), 200, "names matter only without accounts");
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_somebodys_login() {
    let (stage, _, user) = closed().await;
    let token = stage.log_in(&user).await;
    let own = &stage.base;
    let same = format!("{}:1", own.rsplit_once(':').unwrap().0);
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("sec-fetch-site", "same-origin")], 303),
        (&[("sec-fetch-site", "none")], 303),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "cross-site"), ("origin", own)], 403),
        (&[("origin", own)], 303),
        (&[("origin", &same)], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "")], 403),
        (&[], 403),
    ];
    for (headers, wanted) in cases {
        let mut request = stage.request(Method::POST, "/account/logins/end-others");
        request = request.header("cookie", format!("alice={token}"));
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), *wanted, "{headers:?}");
    }
    let by_key = stage.call(Method::POST, "/v1/auth/sessions", &user.key, None).await.0;
    assert_eq!(by_key, 200, "a key is sent by nobody but its holder's program");
}

#[tokio::test]
async fn of_64_claims_of_one_setup_token_or_invite_exactly_one_is_granted() {
    let limits = "limits: { logins_per_minute_per_address: 1000, registrations_per_hour: 1000 }";
    let stage = Stage::with("host: 0.0.0.0, registration_mode: invite", limits).await;
    let token = setup::offer(&stage.app.database, &stage.clock).await.unwrap().unwrap();
    let claims = (0..64).map(|_| {
        let request =
            stage.request(Method::POST, "/v1/auth/bootstrap").header("x-setup-token", token.expose());
        async { request.send().await.unwrap() }
    });
    let answers = join_all(claims).await;
    let (granted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == 200);
    assert_eq!(granted.len(), 1);
    assert!(refused.iter().all(|answer| answer.status() == 403));
    let answer: Value = granted.into_iter().next().unwrap().json().await.unwrap();
    let admin = answer["key"].as_str().unwrap();

    let (status, invite) =
        stage.call(Method::POST, "/v1/auth/invites", admin, Some(json!({"uses": 1}))).await;
    assert_eq!(status, 200, "{invite}");
    let claims = (0..64).map(|number| {
        let body = json!({"name": format!("guest {number}"), "invite_code": invite["code"]});
        let request = stage.request(Method::POST, "/v1/auth/register").json(&body);
        async { request.send().await.unwrap().status().as_u16() }
    });
    let statuses = join_all(claims).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 63);
    let accounts = stage.app.database.read(accounts::all).await.unwrap();
    assert_eq!(accounts.len(), 2, "one administrator and one guest");
}

#[tokio::test]
async fn a_clock_that_goes_back_ends_what_has_an_end_and_the_server_goes_on() {
    let (stage, admin, user) = closed().await;
    let token = stage.log_in(&user).await;
    assert!(works(&stage, &token).await);
    let now = stage.clock.now();
    stage.clock.turn(now - 301);
    assert!(!works(&stage, &token).await, "at once");
    housekeeping::tidy(&stage.app).await.unwrap();
    assert!(!works(&stage, &token).await, "and for good");
    stage.clock.turn(now);
    assert!(!works(&stage, &token).await, "also when the clock is right again");
    let new = stage.log_in(&user).await;
    assert!(works(&stage, &new).await);
    assert_eq!(stage.models_with("x-api-key", &user.key).await, 200, "keys have no end");
    let audit = stage.call(Method::GET, "/v1/auth/audit", &admin, None).await.1;
    assert!(audit["data"].as_array().unwrap().iter().any(|entry| entry["act"] == "clock.back"), "{audit}");
}

#[tokio::test]
async fn answers_about_accounts_have_the_fields_that_clients_read() {
    let (stage, admin, user) = closed().await;
    let fields = |value: &Value| {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    let get = async |path: &str| stage.call(Method::GET, path, &admin, None).await.1;
    let info = "accessLevel account createdAt enabled id isAdmin lastUsed name rateLimit";
    let body = json!({"name": "SAM", "is_admin": false, "accessLevel": "user", "rate_limit": 5});
    let (_, made) = stage.call(Method::POST, "/v1/auth/keys/generate", &admin, Some(body)).await;
    assert_eq!(fields(&made), "info key");
    assert_eq!(fields(&made["info"]), info);
    assert_eq!(
        (made["info"]["name"].as_str(), made["info"]["accessLevel"].as_str()),
        (Some("SAM"), Some("user"))
    );
    let again =
        stage.call(Method::POST, "/v1/auth/keys/generate", &admin, Some(json!({"name": "SAM"}))).await.1;
    assert_eq!(again["info"]["account"], "SAM 2", "an account of its own");
    let keys = get("/v1/auth/keys").await;
    assert_eq!(keys["object"], "list");
    assert!(keys["data"].as_array().unwrap().iter().all(|key| fields(key) == info));
    let (status, session) = stage.call(Method::POST, "/v1/auth/sessions", &user.key, None).await;
    assert_eq!((status, fields(&session).as_str()), (200, "expiresAt sessionId token"));
    let sessions = get("/v1/auth/sessions").await;
    let listed = &sessions["data"][0];
    assert_eq!(fields(listed), "apiKeyId createdAt expiresAt id lastAccessed metadata");
    assert_eq!(listed["apiKeyId"], user.key_id.as_str());
    let stats = get("/v1/auth/stats").await;
    assert_eq!(fields(&stats), "activeKeys activeSessions adminKeys totalKeys totalSessions");
    assert_eq!((stats["totalKeys"].as_u64(), stats["adminKeys"].as_u64()), (Some(4), Some(1)));
    let id = session["sessionId"].as_str().unwrap();
    let ended = stage.call(Method::DELETE, &format!("/v1/auth/sessions/{id}"), &admin, None).await;
    assert_eq!(ended, (200, json!({"status": "deleted", "session_id": id})));
    let key = made["info"]["id"].as_str().unwrap();
    let revoked = stage.call(Method::POST, &format!("/v1/auth/keys/{key}/revoke"), &admin, None).await;
    assert_eq!(revoked, (200, json!({"status": "revoked", "key_id": key})));
    let deleted = stage.call(Method::DELETE, &format!("/v1/auth/keys/{key}"), &admin, None).await;
    assert_eq!(deleted, (200, json!({"status": "deleted", "key_id": key})));
    assert_eq!(stage.call(Method::DELETE, &format!("/v1/auth/keys/{key}"), &admin, None).await.0, 404);

    let me = async |key: &str| stage.call(Method::GET, "/v1/auth/me", key, None).await.1;
    let mine = me(&admin).await;
    assert_eq!(
        (mine["authenticated"].as_bool(), mine["access_level"].as_str(), mine["is_admin"].as_bool()),
        (Some(true), Some("admin"), Some(true))
    );
    assert_eq!(mine["session_timeout_seconds"], 600);
    assert_eq!(me(&user.key).await["key_id"], user.key_id.as_str());
    let nobody = me("alice_unknown").await;
    assert_eq!(
        (nobody["authenticated"].as_bool(), nobody["access_level"].as_str()),
        (Some(false), Some("anonymous"))
    );
    for bad in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "x", "access_level": "root"}),
        json!({"name": "x", "rate_limit": 0}),
    ] {
        let (status, answer) =
            stage.call(Method::POST, "/v1/auth/keys/generate", &admin, Some(bad.clone())).await;
        assert!(matches!(status, 400 | 422), "{bad}: {answer}");
    }
}

#[tokio::test]
async fn who_asks_for_an_account_gets_it_when_an_administrator_agrees() {
    let limits = "limits: { registrations_per_hour: 100 }";
    let stage = Stage::with("require_auth: true, registration_mode: approval", limits).await;
    let admin = stage.set_up().await;
    let register = async |body: Value| stage.call(Method::POST, "/v1/auth/register", "", Some(body)).await;
    let password = "correct horse";
    let (status, asked) = register(json!({"name": "Bob", "password": password})).await;
    assert_eq!((status, asked["status"].as_str()), (200, Some("pending")));
    let (status, answer) = register(json!({"name": "BOB"})).await;
    assert_eq!((status, answer["error"]["param"].as_str()), (400, Some("name")), "{answer}");
    let (_, other) = register(json!({"name": "Mallory"})).await;
    let act = async |id: &Value, act: &str| {
        let path = format!("/v1/auth/pending/{}/{act}", id.as_str().unwrap());
        stage.call(Method::POST, &path, &admin, None).await
    };
    let (status, approved) = act(&asked["registration_id"], "approve").await;
    assert_eq!((status, approved["status"].as_str()), (200, Some("approved")), "{approved}");
    assert_eq!(stage.models_with("x-api-key", approved["key"].as_str().unwrap()).await, 200);
    assert_eq!(act(&asked["registration_id"], "approve").await.0, 409, "once");
    assert_eq!(act(&other["registration_id"], "reject").await.0, 200);
    assert_eq!(act(&other["registration_id"], "approve").await.0, 409);
    assert_eq!(act(&json!("nothing"), "approve").await.0, 404);
    let login = stage.request(Method::POST, "/login").form(&[("name", "bob"), ("password", password)]);
    assert_eq!(login.send().await.unwrap().status(), 303, "with the password that was chosen");
    let list = stage.call(Method::GET, "/v1/auth/pending?status=pending", &admin, None).await.1;
    assert_eq!(list["data"].as_array().unwrap().len(), 0);
    assert_eq!(stage.request(Method::GET, "/livez").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_key_of_the_configuration_makes_pictures_and_administers_nothing() {
    let stage = Stage::open("require_auth: true, api_key: shared-among-friends").await;
    stage.set_up().await;
    assert_eq!(stage.models_with("authorization", "Bearer shared-among-friends").await, 200);
    assert_eq!(stage.models_with("authorization", "Bearer shared-among-foes").await, 401);
    assert_eq!(stage.call(Method::GET, "/v1/auth/keys", "shared-among-friends", None).await.0, 403);
    assert_eq!(
        stage.call(Method::GET, "/v1/auth/me", "shared-among-friends", None).await.1["access_level"],
        "user"
    );
}

#[tokio::test]
async fn whoever_was_lent_a_key_cannot_take_the_account_over() {
    let (stage, _, owner) = closed().await;
    let account = owner.account;
    stage.write(move |transaction| accounts::set_password(transaction, account, "a hash")).await;
    let by_password = stage.log_in(&owner).await;
    let by_key = stage.call(Method::POST, "/v1/auth/sessions", &owner.key, None).await.1;
    let by_key = by_key["token"].as_str().unwrap().to_owned();
    let revoke = format!("/account/keys/{}/revoke", owner.key_id);
    let acts = ["/account/keys", "/account/logins/end-others", revoke.as_str()];
    for (shown, wanted) in [(&owner.key, 403), (&by_key, 403), (&by_password, 200)] {
        for act in acts {
            let request = stage.request(Method::POST, act).header("x-api-key", shown);
            let status = request.form(&[("name", "mine")]).send().await.unwrap().status().as_u16();
            assert!(status == wanted || (wanted == 200 && status == 303), "{act}: {status}");
        }
    }
    assert_eq!(stage.models_with("x-api-key", &owner.key).await, 401, "revoked with the password");
}
