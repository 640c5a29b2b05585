// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pages of administrators: what they decide over accounts, keys, invites and logins.

use alice::auth::{Role, setup};

use super::visitor::{PASSWORD, Visitor, acts, closed, person, with_ada};

#[tokio::test]
async fn an_administrator_lets_people_in_or_turns_them_away() {
    let stage = with_ada("registration_mode: approval").await;
    for name in ["Bob", "Eve"] {
        let page = Visitor::new(&stage).post("/register", &[("name", name), ("password", PASSWORD)]).await;
        assert!(page.status == 200 && page.text.contains("An administrator decides"));
    }
    let login = [("name", "Bob"), ("password", PASSWORD)];
    assert_eq!(Visitor::new(&stage).post("/login", &login).await.status, 401);
    let mut ada = Visitor::known(&stage, "Ada").await;
    let page = ada.get("/admin").await;
    let ids: Vec<_> = page.text.split("/admin/requests/").skip(1).step_by(2).collect();
    let ids: Vec<_> = ids.iter().map(|rest| rest.split_once('/').unwrap().0).collect();
    let page = ada.post(&format!("/admin/requests/{}/approve", ids[0]), &[]).await;
    assert_eq!(stage.models_with("x-api-key", &page.secret()).await, 200);
    assert_eq!(ada.post(&format!("/admin/requests/{}/approve", ids[0]), &[]).await.status, 409);
    let page = ada.post_and_go(&format!("/admin/requests/{}/reject", ids[1]), &[]).await;
    assert!(!page.text.contains("Waiting for you"));
    Visitor::known(&stage, "Bob").await;
    assert_eq!(Visitor::new(&stage).post("/login", &[("name", "Eve"), login[1]]).await.status, 401);
}

#[tokio::test]
async fn an_administrator_decides_over_an_account() {
    let stage = with_ada("").await;
    let bob = person(&stage, "Bob", Role::User).await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let page = format!("/admin/accounts/{}", bob.account);
    let act = |act: &str| format!("{page}/{act}");

    let mut browser = Visitor::known(&stage, "Bob").await;
    ada.post_and_go(&act("role"), &[("role", "admin")]).await;
    assert!(!browser.is_known().await, "it began as a user's");
    assert_eq!(Visitor::known(&stage, "Bob").await.get("/admin").await.status, 200);
    assert_eq!(ada.post(&act("role"), &[("role", "root")]).await.status, 400);

    ada.post_and_go(&act("disable"), &[]).await;
    assert_eq!(stage.models_with("x-api-key", &bob.key).await, 401);
    assert_eq!(browser.post("/login", &[("name", "Bob"), ("password", PASSWORD)]).await.status, 401);
    ada.post_and_go(&act("enable"), &[]).await;
    let mut browser = Visitor::known(&stage, "Bob").await;

    assert_eq!(ada.post(&act("password"), &[("password", "short")]).await.status, 400);
    let said = ada.post_and_go(&act("password"), &[("password", "another horse")]).await;
    assert!(said.text.contains("new password is set") && !browser.is_known().await);
    assert_eq!(browser.post("/login", &[("name", "Bob"), ("password", "another horse")]).await.status, 303);

    assert_eq!(ada.post_and_go(&act("delete"), &[]).await.status, 200);
    assert!(!browser.is_known().await);
    assert_eq!(ada.get(&page).await.status, 404);
    assert_eq!(ada.post(&act("delete"), &[]).await.status, 404);
    let acts = acts(&stage).await;
    for act in ["role", "disable", "enable", "password", "delete"] {
        assert!(acts.contains(&format!("Ada account.{act}")), "{act}: {acts:?}");
    }
    assert_eq!(acts.iter().filter(|act| act.contains("delete")).count(), 1, "what failed is not in the log");
}

#[tokio::test]
async fn the_last_administrators_way_in_stays() {
    let stage = closed("").await;
    let token = setup::offer(&stage.app.database, &stage.clock).await.unwrap().unwrap();
    let mut ada = Visitor::new(&stage);
    ada.post("/setup", &[("token", token.expose()), ("name", "Ada"), ("password", PASSWORD)]).await;
    let page = ada.get("/admin").await;
    let id = super::between(&page.text, "/admin/accounts/", "\"").to_owned();
    for (act, fields) in [("delete", [].as_slice()), ("disable", &[]), ("role", &[("role", "user")])] {
        let page = ada.post(&format!("/admin/accounts/{id}/{act}"), fields).await;
        assert_eq!(page.status, 409, "{act}");
        assert!(page.problem().contains("last administrator"), "{}", page.problem());
    }
    assert!(ada.is_known().await);
}

#[tokio::test]
async fn an_administrator_makes_and_ends_keys_invites_and_logins() {
    let stage = with_ada("registration_mode: invite").await;
    person(&stage, "Bob", Role::User).await;
    let mut bob = Visitor::known(&stage, "Bob").await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let fields = [("name", "scanner"), ("role", "admin"), ("limit", "x")];
    let page = ada.post("/admin/keys", &fields).await;
    assert!(page.status == 400 && page.problem().contains("limit"));
    assert!(page.text.contains("value=\"scanner\"") && page.text.contains("value=\"x\""));
    let page = ada.post("/admin/keys", &[("name", "scanner"), ("role", "user"), ("limit", "7")]).await;
    let key = page.secret();
    assert!(page.text.contains("up to 7 requests a minute"));
    let id = super::between(&page.text, "/admin/keys/", "/").to_owned();
    assert_eq!(stage.models_with("x-api-key", &key).await, 200);
    ada.post_and_go(&format!("/admin/keys/{id}/revoke"), &[]).await;
    assert_eq!(stage.models_with("x-api-key", &key).await, 401);
    ada.post_and_go(&format!("/admin/keys/{id}/delete"), &[]).await;
    assert_eq!(ada.post(&format!("/admin/keys/{id}/delete"), &[]).await.status, 404);

    let page = ada.post("/admin/invites", &[("uses", "2"), ("hours", "x")]).await;
    assert!(page.status == 400 && page.problem().contains("hours") && page.text.contains("value=\"2\""));
    let page = ada.post("/admin/invites", &[("uses", "0"), ("hours", "1")]).await;
    assert!(page.text.contains("As often as one likes") && page.text.contains("in 1 hour"));
    stage.clock.turn(stage.clock.now() + 3600);
    assert!(ada.get("/admin/invites").await.text.contains("works no more"));
    let id = super::between(&page.text, "/admin/invites/", "/");
    let page = ada.post_and_go(&format!("/admin/invites/{id}/delete"), &[]).await;
    assert!(page.text.contains("There are none"));

    let page = ada.get("/admin/logins").await;
    let id = super::between(&page.text, "/admin/logins/", "/");
    ada.post_and_go(&format!("/admin/logins/{id}/end"), &[]).await;
    assert!(ada.is_known().await && !bob.is_known().await);
}
