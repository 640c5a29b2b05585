// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The gallery's pages, as a browser without JavaScript sees them.

use std::collections::BTreeSet;

use alice::auth::Role;
use alice::router::{Dialect, routes};
use reqwest::Method;
use serde_json::json;

use super::between;
use super::visitor::{Page, Visitor, person, with_ada_who_paints};
use crate::stage::{BEGINNING, Person, Stage};

mod browser;
mod finding;
mod going_on;
mod leaks;
mod rights;
mod ways;

/// A text that would be markup, an attribute or an address if it were not text.
const HOSTILE: &str = "<script>alert(1)</script>\"'&<b x='";

/// The id of a picture that somebody has painted.
pub(super) async fn painted(stage: &Stage, person: &Person, prompt: &str) -> String {
    painted_at(stage, &person.key, prompt, "256x256").await
}

/// The same in a size, by the holder of a key.
async fn painted_at(stage: &Stage, key: &str, prompt: &str, size: &str) -> String {
    let asked = json!({"prompt": prompt, "size": size, "steps": 1, "seed": 7, "response_format": "url"});
    let (status, body) = stage.call(Method::POST, "/v1/images/generations", key, Some(asked)).await;
    assert_eq!(status, 200, "{body}");
    let url = body["data"][0]["url"].as_str().unwrap_or_else(|| panic!("{body}"));
    between(url, "/images/", ".png").to_owned()
}

/// The ids on a page of the gallery, in their order.
fn shown(page: &str) -> Vec<String> {
    page.split("<li class=\"tile").skip(1).map(|tile| between(tile, "id=\"p", "\"").to_owned()).collect()
}

/// What the page says was done.
fn said(page: &str) -> &str {
    between(between(page, "id=\"news\"", "</div>"), "<p>", "</p>")
}

/// A server with Grace and Mallory, who make pictures, and Ada, who administers.
async fn stage() -> (Stage, Person, Person) {
    let stage = with_ada_who_paints("registration_mode: open").await;
    let grace = person(&stage, "Grace", Role::User).await;
    let mallory = person(&stage, "Mallory", Role::User).await;
    (stage, grace, mallory)
}

/// Sends a form about one picture, and opens what it leads to.
async fn act(visitor: &mut Visitor<'_>, id: &str, action: &str, more: &[(&str, &str)]) -> Page {
    let fields: Vec<_> = [("id", id), ("action", action)].into_iter().chain(more.iter().copied()).collect();
    visitor.post_and_go("/gallery", &fields).await
}

#[tokio::test]
async fn an_empty_gallery_says_what_comes_there() {
    let (stage, ..) = stage().await;
    let mut grace = Visitor::known(&stage, "Grace").await;
    let page = grace.get("/gallery").await.text;
    assert!(page.contains("0 pictures") && page.contains("Your pictures come here"), "{page}");
    assert!(page.contains("<a class=\"go\" href=\"/\">Make a picture</a>"));
    assert!(grace.get("/gallery?scope=public").await.text.contains("Nobody has made a picture public yet"));
    let nothing = grace.get("/gallery?q=unicorn&favourites=on").await.text;
    assert!(nothing.contains("No picture fits") && nothing.contains("Clear the filters"), "{nothing}");
    assert!(grace.get("/gallery/trash").await.text.contains("The trash is empty"));
}

#[tokio::test]
async fn many_pictures_are_changed_by_one_form_and_the_page_says_so() {
    let (stage, grace, _) = stage().await;
    let (one, two) = (painted(&stage, &grace, "a red apple").await, painted(&stage, &grace, "a fox").await);
    let mut grace = Visitor::known(&stage, "Grace").await;
    let both = [("id", one.as_str()), ("id", two.as_str()), ("back", "/gallery?q=&sort=oldest")];
    let mut sent = async |more: &[(&str, &str)]| {
        let fields: Vec<_> = both.iter().chain(more).copied().collect();
        grace.post_and_go("/gallery", &fields).await.text
    };
    let page = sent(&[("action", "favourite")]).await;
    assert_eq!(said(&page), "2 pictures are among your favourites now.");
    assert_eq!(page.matches("name=\"unstar\"").count(), 2);
    assert_eq!(shown(&page), [one.clone(), two.clone()], "the way back keeps the order");
    let page = sent(&[("action", "tag"), ("tags", "Summer, fruit")]).await;
    assert_eq!(said(&page), "2 pictures got the tags.");
    assert!(page.contains("<option value=\"summer\" >summer (2)</option>"), "{page}");
    let page = sent(&[("action", "untag"), ("tags", "fruit")]).await;
    assert!(!page.contains("value=\"fruit\""));
    let page = sent(&[("action", "publish"), ("hours", "48")]).await;
    assert_eq!(page.matches("<span class=\"badge\">Public</span>").count(), 2);
    let page = sent(&[("action", "withdraw")]).await;
    assert!(!page.contains("class=\"badge\""));
    let page = sent(&[("action", "trash")]).await;
    assert_eq!(said(&page), "Moved 2 pictures to the trash.");
    assert!(shown(&page).is_empty());
    let undo = between(&page, "id=\"news\"", "</form>").to_owned();
    let ids: Vec<_> = undo.split("name=\"id\" value=\"").skip(1).map(|rest| rest[..32].to_owned()).collect();
    assert_eq!(ids, [one.clone(), two.clone()]);
    let page = sent(&[("action", "restore")]).await;
    assert_eq!(shown(&page).len(), 2);
    assert_eq!(page.matches("name=\"unstar\"").count(), 2, "they are as they were");

    let page = grace.post_and_go("/gallery", &[("action", "trash")]).await.text;
    assert!(said(&page).starts_with("No picture was selected"), "{page}");
    for (action, more) in [("burn", ("", "")), ("publish", ("hours", "169")), ("tag", ("tags", " , "))] {
        let answer = grace.post("/gallery", &[("id", &one), ("action", action), more]).await;
        assert_eq!(answer.status, 400, "{action}");
    }
}

#[tokio::test]
async fn the_trash_gives_back_or_takes_for_good() {
    let (stage, grace, _) = stage().await;
    let ids = [painted(&stage, &grace, "one").await, painted(&stage, &grace, "two").await];
    let three = painted(&stage, &grace, "three").await;
    let mut grace = Visitor::known(&stage, "Grace").await;
    for id in ids.iter().chain([&three]) {
        act(&mut grace, id, "trash", &[]).await;
    }
    let trash = grace.get("/gallery/trash").await.text;
    assert_eq!(shown(&trash).len(), 3);
    assert!(trash.contains("days left") && !trash.contains("class=\"on star\""), "{trash}");
    assert!(grace.get(&format!("/gallery/{three}")).await.text.contains("Bring back from the trash"));
    let page = act(&mut grace, &three, "restore", &[("back", "/gallery/trash")]).await.text;
    assert_eq!(shown(&page).len(), 2);
    assert_eq!(shown(&grace.get("/gallery").await.text), std::slice::from_ref(&three));

    let page = act(&mut grace, &ids[0], "delete", &[("back", "/gallery/trash")]).await.text;
    assert_eq!(said(&page), "Deleted 1 picture for good.");
    for path in [format!("/gallery/{}", ids[0]), format!("/images/{}.png", ids[0])] {
        assert_eq!(grace.get(&path).await.status, 404, "{path}");
    }
    let page = grace.post_and_go("/gallery/trash", &[]).await.text;
    assert!(page.contains("The trash is empty"));
    assert_eq!(grace.get(&format!("/images/{}.png", ids[1])).await.status, 404);
    assert_eq!(grace.get(&format!("/gallery/{three}")).await.status, 200);
}

#[tokio::test]
async fn words_of_people_are_text_on_every_page() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, HOSTILE).await;
    let mut grace = Visitor::known(&stage, "Grace").await;
    act(&mut grace, &id, "tag", &[("tags", HOSTILE)]).await;
    act(&mut grace, &id, "publish", &[("hours", "until")]).await;
    let attack = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let hostile_address =
        format!("/gallery?q={attack}&tag={attack}&model={attack}&sort={attack}&scope={attack}");
    let done = format!("/gallery?done=trash&count=1&moved={attack}");
    let view = format!("/gallery/{id}");
    for path in ["/gallery", "/gallery?scope=public", &hostile_address, &done, &view] {
        let page = grace.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text.contains("<script>alert"), "{path}: {}", page.text);
        assert!(!page.text.contains("x='"), "{path}");
        assert_eq!(page.text.matches("<script").count(), 1, "{path}");
    }
    assert!(grace.get(&view).await.text.contains("alert(1)"));
}

#[tokio::test]
async fn every_page_of_pictures_is_whole_and_every_form_is_on_one() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, HOSTILE).await;
    let other = painted(&stage, &grace, "a fox").await;
    let mut grace = Visitor::known(&stage, "Grace").await;
    act(&mut grace, &id, "tag", &[("tags", HOSTILE)]).await;
    let view = format!("/gallery/{id}");
    let mut sent_to = BTreeSet::new();
    for path in ["/gallery", "/gallery?q=a&favourites=on", "/gallery?scope=public", &view] {
        check(&stage, grace.get(path).await, &mut sent_to);
    }
    act(&mut grace, &id, "publish", &[("hours", "until")]).await;
    check(&stage, grace.get(&view).await, &mut sent_to);
    let mut nobody = Visitor::new(&stage);
    for path in ["/gallery", &view] {
        check(&stage, nobody.get(path).await, &mut sent_to);
    }
    check(&stage, act(&mut grace, &other, "trash", &[]).await, &mut sent_to);
    check(&stage, grace.get("/gallery/trash").await, &mut sent_to);
    check(&stage, grace.get(&format!("/gallery/{other}")).await, &mut sent_to);
    let forms = routes()
        .into_iter()
        .filter(|route| route.rule.dialect == Dialect::Page && route.method == Method::POST);
    let forms = forms.map(|route| route.path).filter(|path| path.starts_with("/gallery"));
    for path in forms {
        assert!(sent_to.contains(path), "no form leads to {path}");
    }
}

/// As every page is checked; addresses to be shared hold the server's own.
fn check(stage: &Stage, page: Page, sent_to: &mut BTreeSet<&'static str>) {
    let text = page.text.replace(&stage.base, "");
    super::forms::check(&Page { text, ..page }, sent_to);
}

#[tokio::test]
async fn the_storage_page_says_who_has_how_much_and_sets_limits() {
    let (stage, grace, mallory) = stage().await;
    painted(&stage, &grace, "a red apple").await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let page = ada.get("/admin/storage").await.text;
    assert!(page.contains("1 picture") && page.contains("Grace") && page.contains("Mallory"), "{page}");
    let quota = |account: i64| format!("/admin/accounts/{account}/quota");
    let page = ada.post_and_go(&quota(grace.account), &[("gb", "0,5")]).await.text;
    assert!(page.contains("The limit is set."), "{page}");
    assert!(page.contains(&format!(
        "id=\"quota-{}\" name=\"gb\" inputmode=\"decimal\" value=\"0.5\"",
        grace.account
    )));
    assert!(
        page.contains(&format!(
            "id=\"quota-{}\" name=\"gb\" inputmode=\"decimal\" value=\"\"",
            mallory.account
        ))
    );
    let wrong = ada.post(&quota(grace.account), &[("gb", "much")]).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.problem().contains("limit must be"), "{}", wrong.text);
    assert_eq!(ada.post(&quota(0), &[("gb", "1")]).await.status, 404);
    let mut visitor = Visitor::known(&stage, "Grace").await;
    assert!(visitor.get("/gallery").await.text.contains("of 500 MB used"));
    assert_eq!(visitor.get("/admin/storage").await.status, 403);
    assert_eq!(visitor.post(&quota(grace.account), &[("gb", "9")]).await.status, 403);
    let page = ada.post_and_go(&quota(grace.account), &[("gb", "")]).await.text;
    assert!(
        page.contains(&format!(
            "id=\"quota-{}\" name=\"gb\" inputmode=\"decimal\" value=\"\"",
            grace.account
        ))
    );
}
