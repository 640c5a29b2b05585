// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pages for people with accounts: how they come in, what they do to their own account, and what they
//! cannot do.

use alice::auth::{Role, keys, setup};

use super::visitor::{PASSWORD, Visitor, acts, closed, person, with_ada};
use crate::stage::Stage;

#[tokio::test]
async fn the_setup_token_leads_to_the_administration() {
    let stage = closed("").await;
    let token = setup::offer(&stage.app.database, &stage.clock).await.unwrap().unwrap();
    let mut ada = Visitor::new(&stage);
    assert_eq!(ada.get("/").await.to.as_deref(), Some("/setup"));
    assert!(ada.get("/setup").await.text.contains("action=\"/setup\""));
    for (token, name, password, about) in [
        ("alice_setup_wrong", "Ada", PASSWORD, "setup token"),
        (token.expose(), "Ada", "s3cret!", "password"),
        (token.expose(), "", PASSWORD, "name"),
    ] {
        let page = ada.post("/setup", &[("token", token), ("name", name), ("password", password)]).await;
        assert!(page.status >= 400 && page.problem().contains(about), "{}", page.problem());
        assert!(page.text.contains(&format!("value=\"{name}\"")), "the name is still there");
        assert!(!page.text.contains(token) && !page.text.contains(password), "secrets are not");
    }
    let fields = [("token", token.expose()), ("name", "Ada"), ("password", PASSWORD)];
    let page = ada.post("/setup", &fields).await;
    assert_eq!((page.status, page.to.as_deref()), (303, Some("/admin")));
    assert_eq!(ada.get("/admin").await.status, 200);
    let mut eve = Visitor::new(&stage);
    let page =
        eve.post("/setup", &[("token", token.expose()), ("name", "Eve"), ("password", PASSWORD)]).await;
    assert_eq!(page.status, 403);
    assert!(page.text.contains("is set up") && page.text.contains("href=\"/login\""));
    assert!(eve.cookie.is_none());
    assert_eq!(acts(&stage).await, ["Ada login", "- setup"]);
}

#[tokio::test]
async fn people_log_in_with_a_password_or_a_key_and_nobody_else_does() {
    let stage = with_ada("").await;
    let bob = person(&stage, "Bob", Role::User).await;
    let mut visitor = Visitor::new(&stage);
    let mut answers = Vec::new();
    for (name, password) in [("Bob", "wrong horse"), ("nobody", PASSWORD), ("", ""), ("Bob", "")] {
        let page = visitor.post("/login", &[("name", name), ("password", password)]).await;
        assert_eq!(page.status, 401);
        assert!(page.text.contains(&format!("value=\"{name}\"")) && !page.text.contains(PASSWORD));
        answers.push(page.problem().to_owned());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    for key in ["alice_unknown", "x", &format!("{}x", bob.key)] {
        let page = visitor.post("/login", &[("key", key)]).await;
        assert_eq!(page.status, 401);
        assert!(page.problem().contains("key") && !page.text.contains(&bob.key));
    }
    assert!(visitor.cookie.is_none() && !visitor.is_known().await);
    let page = visitor.post("/login", &[("name", " bOB "), ("password", PASSWORD)]).await;
    assert_eq!((page.status, page.to.as_deref()), (303, Some("/")));
    assert!(visitor.is_known().await);
    let page = visitor.get("/login").await;
    assert!(page.text.contains("You are logged in") && page.text.contains("Bob"));
    let mut visitor = Visitor::new(&stage);
    assert_eq!(visitor.post("/login", &[("key", &format!(" {} ", bob.key))]).await.status, 303);
    assert!(visitor.is_known().await);
    assert_eq!(visitor.get("/admin").await.status, 403, "a user");
}

#[tokio::test]
async fn a_login_leads_to_the_page_that_was_wanted_and_never_to_another_server() {
    let stage = with_ada("").await;
    let mut visitor = Visitor::new(&stage);
    let refused = visitor.get("/?prompt=a+fox&seed=7").await;
    let login = refused.to.unwrap();
    assert_eq!(login, "/login?return=/%3Fprompt%3Da%2Bfox%26seed%3D7");
    let page = visitor.get(&login).await;
    let wanted = super::between(&page.text, "name=\"return\" value=\"", "\"");
    assert_eq!(wanted.replace("&#38;", "&"), "/?prompt=a+fox&seed=7");
    assert_eq!(visitor.post("/admin/keys", &[]).await.to.as_deref(), Some("/login?return=/admin"));
    for (wanted, reached) in [
        ("/admin/keys", "/admin/keys"),
        ("/?prompt=a+fox&seed=7", "/?prompt=a+fox&seed=7"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/\r\nSet-Cookie: alice=x", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ] {
        let fields = [("name", "Ada"), ("password", PASSWORD), ("return", wanted)];
        let page = Visitor::new(&stage).post("/login", &fields).await;
        assert_eq!((page.status, page.to.as_deref()), (303, Some(reached)), "{wanted:?}");
    }
}

#[tokio::test]
async fn a_login_ends_with_its_browsers_next_one_and_with_logging_out() {
    let stage = with_ada("").await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let mut earlier = Visitor::new(&stage);
    earlier.cookie = ada.cookie.clone();
    assert_eq!(ada.post("/login", &[("name", "Ada"), ("password", PASSWORD)]).await.status, 303);
    assert!(ada.is_known().await && !earlier.is_known().await);
    earlier.cookie = ada.cookie.clone();
    let page = ada.post("/logout", &[]).await;
    assert_eq!((page.status, page.to.as_deref()), (303, Some("/login")));
    assert!(ada.cookie.is_none() && !earlier.is_known().await);
    assert_eq!(acts(&stage).await[0], "Ada logout");
    assert_eq!(ada.post("/logout", &[]).await.status, 303, "nothing to end");
}

#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    let stage = with_ada("").await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let cookie = ada.cookie.clone().unwrap();
    for (name, value) in
        [("sec-fetch-site", "cross-site"), ("origin", "http://evil.example"), ("origin", "null")]
    {
        let request = stage.request(reqwest::Method::POST, "/logout").header("cookie", &cookie);
        assert_eq!(request.header(name, value).send().await.unwrap().status(), 403, "{name}: {value}");
    }
    assert!(ada.is_known().await);
}

#[tokio::test]
async fn a_browser_that_says_nothing_of_the_site_is_told_to_name_the_origin_of_a_form() {
    let stage = with_ada("").await;
    let answer = stage.request(reqwest::Method::GET, "/login").send().await.unwrap();
    assert_eq!(answer.headers()["referrer-policy"], "same-origin");
}

#[tokio::test]
async fn a_new_password_ends_all_logins_but_the_one_that_set_it() {
    let stage = with_ada("").await;
    person(&stage, "Bob", Role::User).await;
    let (mut here, mut there) = (Visitor::known(&stage, "Bob").await, Visitor::known(&stage, "Bob").await);
    for (current, new, about) in
        [("wrong horse", "another horse", "current password is wrong"), (PASSWORD, "s3cret!", "new password")]
    {
        let page = here.post("/account/password", &[("current", current), ("new", new)]).await;
        assert_eq!(page.status, 400);
        assert!(page.problem().contains(about), "{}", page.problem());
        assert!(!page.text.contains(current) && !page.text.contains(new));
    }
    let before = here.cookie.clone();
    let page =
        here.post_and_go("/account/password", &[("current", PASSWORD), ("new", "another horse")]).await;
    assert!(page.text.contains("new password is set"));
    assert!(here.is_known().await && here.cookie != before, "with a fresh login");
    assert!(!there.is_known().await);
    there.cookie = before;
    assert!(!there.is_known().await);
    assert_eq!(there.post("/login", &[("name", "Bob"), ("password", PASSWORD)]).await.status, 401);
    assert_eq!(there.post("/login", &[("name", "Bob"), ("password", "another horse")]).await.status, 303);
    assert!(acts(&stage).await.contains(&"Bob password.change".to_owned()));
}

#[tokio::test]
async fn people_make_keys_and_a_revoked_one_ends_its_logins() {
    let stage = with_ada("").await;
    let bob = person(&stage, "Bob", Role::User).await;
    let mut here = Visitor::known(&stage, "Bob").await;
    let page = here.post("/account/keys", &[("name", " ")]).await;
    assert_eq!(page.status, 400);
    assert!(page.problem().contains("The name"));
    let made = here.post("/account/keys", &[("name", "laptop")]).await;
    assert_eq!(made.status, 200);
    let key = made.secret();
    assert_eq!(stage.models_with("x-api-key", &key).await, 200);
    assert!(!here.get("/account").await.text.contains(&key), "it is shown once");
    let mut by_key = Visitor::new(&stage);
    assert_eq!(by_key.post("/login", &[("key", &key)]).await.status, 303);
    assert!(by_key.is_known().await);
    let id = super::between(&made.text, "<b class=\"name\">laptop</b>", "revoke#keys");
    let id = super::between(id, "/account/keys/", "/").to_owned();
    here.post_and_go(&format!("/account/keys/{id}/revoke"), &[]).await;
    assert!(!by_key.is_known().await && here.is_known().await);
    assert_eq!(stage.models_with("x-api-key", &key).await, 401);
    let mut other = Visitor::known(&stage, "Ada").await;
    let page = other.post(&format!("/account/keys/{}/revoke", bob.key_id), &[]).await;
    assert_eq!(page.status, 404, "keys of others are not there");
    assert_eq!(stage.models_with("x-api-key", &bob.key).await, 200);
}

#[tokio::test]
async fn people_end_their_other_logins_and_nobody_elses() {
    let stage = with_ada("").await;
    person(&stage, "Bob", Role::User).await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let mut here = Visitor::known(&stage, "Bob").await;
    let mut there = Visitor::known(&stage, "Bob").await;
    let mut third = Visitor::known(&stage, "Bob").await;
    let page = there.get("/account").await;
    assert_eq!(page.text.matches("this one").count(), 1);
    let other = super::between(&page.text, "/account/logins/", "/").to_owned();
    assert_eq!(ada.post(&format!("/account/logins/{other}/end"), &[]).await.status, 404);
    there.post_and_go(&format!("/account/logins/{other}/end"), &[]).await;
    assert!(!third.is_known().await && here.is_known().await, "the latest comes first");
    there.post_and_go("/account/logins/end-others", &[]).await;
    assert!(there.is_known().await && ada.is_known().await && !here.is_known().await);
}

#[tokio::test]
async fn nobody_gives_themselves_more_than_they_have() {
    let stage = with_ada("api_key: shared-by-everybody").await;
    person(&stage, "Bob", Role::User).await;
    let mut bob = Visitor::known(&stage, "Bob").await;
    let key = bob.post("/account/keys", &[("name", "laptop"), ("role", "admin")]).await.secret();
    let admin =
        |key: String| async { stage.call(reqwest::Method::GET, "/v1/auth/keys", &{ key }, None).await.0 };
    assert_eq!(admin(key).await, 403);
    // An administrator's account whose key may make pictures only, and which has no password.
    let carol = stage.person("Carol", Role::Admin).await;
    let (account, now) = (carol.account, stage.clock.now());
    let small = stage.write(move |transaction| {
        let name = alice::auth::accounts::Name::parse("name", "small")?;
        keys::create(transaction, account, &name, Role::User, 5, now)
    });
    let small = small.await.secret.expose().to_owned();
    let mut visitor = Visitor::new(&stage);
    assert_eq!(visitor.post("/login", &[("key", &small)]).await.status, 303);
    assert_eq!(visitor.get("/admin").await.status, 403);
    assert_eq!(visitor.post("/account/password", &[("new", PASSWORD)]).await.status, 403);
    assert_eq!(visitor.post("/account/keys", &[("name", "more")]).await.status, 403, "a key makes no keys");
    // Her other key may do all that the account may, and so give it a password.
    assert_eq!(visitor.post("/login", &[("key", &carol.key)]).await.status, 303);
    visitor.post_and_go("/account/password", &[("new", PASSWORD)]).await;
    let key = visitor.post("/account/keys", &[("name", "more"), ("role", "admin")]).await.secret();
    assert_eq!(admin(key).await, 200, "whoever has set the password knows it");
    Visitor::known(&stage, "Carol").await;
    // What belongs to the configuration stays as it says.
    let mut shared = Visitor::new(&stage);
    assert_eq!(shared.post("/login", &[("key", "shared-by-everybody")]).await.status, 303);
    assert_eq!(shared.post("/account/password", &[("new", PASSWORD)]).await.status, 403);
    assert_eq!(shared.post("/account/keys", &[("name", "mine")]).await.status, 403);
    assert_eq!(shared.post("/account/keys/config/revoke", &[]).await.status, 403);
    assert!(shared.is_known().await);
}

#[tokio::test]
async fn registration_goes_as_the_operator_chose() {
    let fields = [("name", "Bob"), ("password", PASSWORD)];
    let stage = with_ada("registration_mode: disabled").await;
    let mut bob = Visitor::new(&stage);
    let page = bob.get("/register").await;
    assert!(page.text.contains("only administrators") && !page.text.contains("name=\"password\""));
    assert_eq!(bob.post("/register", &fields).await.status, 403);

    let stage = with_ada("registration_mode: open").await;
    let mut bob = Visitor::new(&stage);
    assert!(!bob.get("/register").await.text.contains("invite_code"));
    let page = bob.post("/register", &[("name", "Bob"), ("password", "")]).await;
    assert!(page.status == 400 && page.problem().contains("password"));
    let page = bob.post("/register", &fields).await;
    assert_eq!(page.status, 200);
    assert_eq!(stage.models_with("x-api-key", &page.secret()).await, 200);
    assert!(bob.is_known().await);
    let page = Visitor::new(&stage).post("/register", &[("name", "ada"), ("password", PASSWORD)]).await;
    assert!(page.status >= 400 && page.problem().contains("taken") && page.text.contains("value=\"ada\""));

    let stage = with_ada("registration_mode: invite").await;
    let code =
        Visitor::known(&stage, "Ada").await.post("/admin/invites", &[("uses", "1"), ("hours", "")]).await;
    let code = code.secret();
    let mut bob = Visitor::new(&stage);
    assert!(bob.get("/register").await.text.contains("invite_code"));
    let page = bob.post("/register", &[fields[0], fields[1], ("invite_code", "alice_invite_wrong")]).await;
    assert!(page.problem().contains("The invite code") && !page.text.contains("alice_invite_wrong"));
    let page = bob.post("/register", &[fields[0], fields[1], ("invite_code", &code)]).await;
    assert!(page.status == 200 && bob.is_known().await);
    let again = [("name", "Eve"), ("password", PASSWORD), ("invite_code", &code)];
    assert_eq!(Visitor::new(&stage).post("/register", &again).await.status, 400);
}

#[tokio::test]
async fn too_many_attempts_to_log_in_are_refused_for_a_while_whoever_asks() {
    let stage = Stage::with("require_auth: true", "limits: { logins_per_minute: 3 }").await;
    stage.set_up().await;
    person(&stage, "Bob", Role::User).await;
    let attempt = async |name: &str| {
        let fields = [("name", name), ("password", "wrong horse")];
        Visitor::new(&stage).post("/login", &fields).await
    };
    for name in ["Bob", "nobody"] {
        for _ in 0..3 {
            assert_eq!(attempt(name).await.status, 401);
        }
        let page = attempt(name).await;
        assert_eq!(page.status, 429);
        assert!(page.problem().contains("try again in") && page.text.contains(name));
    }
}
