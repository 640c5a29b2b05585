// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the gallery does not show of its people, what is in whose trash, and the form that a picture fills in.

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, COOKIE};

use super::*;
use crate::pages::visitor::acts;

#[tokio::test]
async fn strangers_and_others_learn_nothing_of_a_public_pictures_owner() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, "a fox").await;
    let mut owner = Visitor::known(&stage, "Grace").await;
    act(&mut owner, &id, "publish", &[("hours", "24")]).await;
    act(&mut owner, &id, "favourite", &[]).await;
    let page = format!("/gallery/{id}");
    assert!(!Visitor::new(&stage).get(&page).await.text.contains("Grace"));
    let mut mallory = Visitor::known(&stage, "Mallory").await;
    assert!(!mallory.get(&page).await.text.contains("Grace"));
    assert!(Visitor::known(&stage, "Ada").await.get(&page).await.text.contains("<dd>Grace</dd>"));
    let liked = mallory.get("/gallery?scope=public&favourites=on").await.text;
    assert!(shown(&liked).is_empty(), "what she likes is her own affair");
    assert_eq!(shown(&owner.get("/gallery?favourites=on").await.text), std::slice::from_ref(&id));
}

#[tokio::test]
async fn what_belongs_to_somebody_who_is_gone_lies_in_the_administrators_trash() {
    let (stage, grace, _) = stage().await;
    let (left, own) = (painted(&stage, &grace, "left behind").await, painted(&stage, &grace, "own").await);
    let mut ada = Visitor::known(&stage, "Ada").await;
    act(&mut ada, &own, "trash", &[]).await;
    assert!(!shown(&ada.get("/gallery/trash").await.text).contains(&own), "it lies in its owner's");
    let mut owner = Visitor::known(&stage, "Grace").await;
    assert_eq!(shown(&owner.get("/gallery/trash").await.text), [own]);
    ada.post_and_go(&format!("/admin/accounts/{}/delete", grace.account), &[]).await;
    act(&mut ada, &left, "trash", &[]).await;
    assert!(shown(&ada.get("/gallery/trash").await.text).contains(&left));
    act(&mut ada, &left, "restore", &[]).await;
    assert!(!shown(&ada.get("/gallery/trash").await.text).contains(&left));
}

#[tokio::test]
async fn what_administrators_do_to_others_pictures_is_in_the_log() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, "a fox").await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    for (act_of, fields) in [("publish", &[("hours", "24")][..]), ("withdraw", &[]), ("trash", &[])] {
        act(&mut ada, &id, act_of, fields).await;
        assert_eq!(acts(&stage).await[0], format!("Ada picture.{act_of}"));
    }
    let log = ada.get("/admin/log").await.text;
    assert!(log.contains("moved to the trash the picture of somebody else") && log.contains(&id));
    let before = acts(&stage).await.len();
    let mut owner = Visitor::known(&stage, "Grace").await;
    act(&mut owner, &id, "restore", &[]).await;
    let after = acts(&stage).await;
    let of_pictures = after.iter().filter(|act| act.contains("picture.")).count();
    assert_eq!(of_pictures, 3, "her own are her own: {after:?}");
    assert_eq!(after.len(), before + 1, "her login alone");
}

#[tokio::test]
async fn a_picture_fills_in_the_form_however_long_its_words_are() {
    let (stage, grace, _) = stage().await;
    // Few tokens, and many bytes of an address.
    let words = format!("a{}fox", " ".repeat(9000));
    let id = painted(&stage, &grace, &words).await;
    let mut visitor = Visitor::known(&stage, "Grace").await;
    let page = visitor.get(&format!("/gallery/{id}")).await.text;
    assert!(page.contains(&format!("href=\"/?from={id}\"")), "{page}");
    let form = visitor.get(&format!("/?from={id}")).await;
    assert_eq!(form.status, 200);
    assert!(form.text.contains(&format!(">{words}</textarea>")) && form.text.contains("value=\"7\""));
    let mut mallory = Visitor::known(&stage, "Mallory").await;
    assert_eq!(mallory.get(&format!("/?from={id}")).await.status, 404, "of a picture that is not his");
}

#[tokio::test]
async fn a_second_run_is_varied_as_one() {
    let (stage, grace, _) = stage().await;
    let asked = json!({"prompt": "a fox", "model": "sd/alice-emoji", "size": "128x128", "steps": 2,
                       "hires": {"scale": 2}, "response_format": "url"});
    let (status, body) = stage.call(Method::POST, "/v1/images/generations", &grace.key, Some(asked)).await;
    // A model of one size refuses a second run; then there is nothing to be varied.
    if status != 200 {
        assert!(body["error"]["param"].as_str().unwrap().starts_with("hires"), "{body}");
        return;
    }
    let url = body["data"][0]["url"].as_str().unwrap();
    let id = between(url, "/images/", ".png").to_owned();
    let mut visitor = Visitor::known(&stage, "Grace").await;
    let job = visitor.post_and_go(&format!("/gallery/{id}/vary"), &[]).await;
    assert!(job.text.contains("<dt>Second run</dt>"), "{}", job.text);
}

#[tokio::test]
async fn an_archive_is_not_packed_once_more() {
    let (stage, grace, _) = stage().await;
    painted(&stage, &grace, "a fox").await;
    let visitor = Visitor::known(&stage, "Grace").await;
    let request = stage
        .request(Method::GET, "/gallery/export")
        .header(COOKIE, visitor.cookie.as_ref().unwrap())
        .header(ACCEPT_ENCODING, "gzip");
    let answer = request.send().await.unwrap();
    assert!(!answer.headers().contains_key(CONTENT_ENCODING));
    assert!(answer.bytes().await.unwrap().starts_with(b"PK"));
}

#[tokio::test]
async fn whoever_comes_to_where_only_a_form_leads_finds_the_page_with_the_form() {
    let (stage, ..) = stage().await;
    for (path, page) in [
        ("/restore", "/"),
        ("/theme", "/"),
        ("/logout", "/"),
        ("/library/load", "/library"),
        ("/gallery/abc/vary", "/gallery/abc"),
    ] {
        let browser = stage.request(Method::GET, path).header(ACCEPT, "text/html").send().await.unwrap();
        assert_eq!(browser.status(), 303, "{path}");
        assert_eq!(browser.headers()["location"], page, "{path}");
        let program = stage.request(Method::GET, path).send().await.unwrap();
        assert_eq!(program.status(), 405, "{path}");
    }
}
