// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The page of a job, from its place in line to its end, as a browser without JavaScript sees it.

use std::time::Duration;

use alice::auth::Role;
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::between;
use super::visitor::{Visitor, person, with_ada};
use crate::harness::Server;

/// What makes a browser without JavaScript load the page anew.
const REFRESH: &str = "<noscript><meta http-equiv=\"refresh\"";

/// One job at a time, which takes longer than any test.
const ENDLESS: &str = "generation: { backend: paint, max_concurrent: 1, \
                       backend_options: { paint: { step_ms: 60000 } } }";

/// A form in which everything is filled in.
const FIELDS: &[(&str, &str)] = &[
    ("prompt", "a red apple"),
    ("negative_prompt", "leaves"),
    ("model", "sd/alice-emoji"),
    ("size", "320x320"),
    ("scheduler", "ddim"),
    ("count", "2"),
    ("steps", "9"),
    ("guidance_scale", "4.5"),
    ("seed", "7"),
];

/// The page that `answer` has led to, once its job is over.
pub(super) async fn end(server: &Server, answer: Response) -> String {
    let path = path(&answer);
    until(server, &path, |page| !page.contains(REFRESH)).await
}

/// Where a form has led to.
fn path(answer: &Response) -> String {
    assert_eq!(answer.status(), StatusCode::OK);
    let url = answer.url();
    assert!(url.path().starts_with("/jobs/"), "{url}");
    url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// The page at `path`, as soon as it is as wanted.
async fn until(server: &Server, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let page = text(server, path).await;
        if wanted(&page) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn text(server: &Server, path: &str) -> String {
    let answer = server.get(path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.text().await.unwrap()
}

/// Sends the button that cancels on the page at `path`, and gives the page that comes next.
async fn cancel(server: &Server, path: &str) -> String {
    let page = text(server, path).await;
    let action = between(between(&page, "class=\"now\"", "</div>"), "action=\"", "\"").to_owned();
    let answer = server.client.post(format!("{}{action}", server.base)).send().await.unwrap();
    assert_eq!(self::path(&answer), path, "back to the page");
    answer.text().await.unwrap()
}

/// Whether everything of [`FIELDS`] stands in the form.
fn is_filled_in(page: &str) -> bool {
    let form = between(page, "<form class=\"card ask\"", "</form>");
    let selected = |value: &str| form.contains(&format!("<option value=\"{value}\" selected>"));
    form.contains("<details class=\"more\" open>")
        && form.contains(">a red apple</textarea>")
        && form.contains(">leaves</textarea>")
        && ["320x320", "ddim", "2"].into_iter().all(selected)
        && between(form, "value=\"sd/alice-emoji\"", ">").ends_with(" checked")
        && ["9", "4.5", "7"].into_iter().all(|value| form.contains(&format!("value=\"{value}\"")))
}

#[tokio::test]
async fn those_who_wait_see_how_many_are_before_them_and_may_cancel() {
    let server = Server::with(ENDLESS).await;
    let first = path(&server.submit(&[("prompt", "one"), ("steps", "9")]).await);
    let page = until(&server, &first, |page| page.contains("max=\"9\"")).await;
    assert!(page.contains(">Getting ready<") && page.contains("value=\"0\"") && page.contains(REFRESH));

    let second = path(&server.submit(FIELDS).await);
    let third = path(&server.submit(&[("prompt", "three")]).await);
    assert!(text(&server, &second).await.contains(">You are next<"));
    let page = text(&server, &third).await;
    assert!(page.contains(">1 is before you<") && page.contains(REFRESH));
    assert!(page.contains("<progress id=\"bar\" aria-label=\"Steps\"></progress>"), "no step is done");

    let page = cancel(&server, &second).await;
    assert!(page.contains("<h1>Cancelled</h1>") && !page.contains(REFRESH));
    assert!(!page.contains("class=\"now\"") && !page.contains("<figure>"));
    assert!(is_filled_in(&page), "{page}");
    assert!(text(&server, &third).await.contains(">You are next<"));

    assert!(cancel(&server, &first).await.contains("<h1>Cancelled</h1>"), "also while it runs");
    until(&server, &third, |page| page.contains(">Getting ready<")).await;
}

#[tokio::test]
async fn the_room_of_the_pictures_is_there_before_they_are() {
    let server = Server::with(ENDLESS).await;
    let page = text(&server, &path(&server.submit(FIELDS).await)).await;
    assert_eq!(page.matches("<svg viewBox=\"0 0 320 320\"").count(), 2);
    assert!(page.contains(">7</a>") && page.contains(">8</a>"), "the seeds");
    assert!(is_filled_in(&page));
}

#[tokio::test]
async fn a_finished_job_shows_its_pictures_and_keeps_what_was_typed() {
    let server = Server::paint().await;
    let page = end(&server, server.submit(FIELDS).await).await;
    assert_eq!(page.matches("download>Download</a>").count(), 2);
    assert!(page.contains("<dt>Took</dt>") && page.contains("Your pictures are ready"));
    assert!(is_filled_in(&page), "{page}");
    // The seed of a picture, with everything else.
    let address = between(&page, "<span>Seed <a href=\"", "\"");
    assert!(is_filled_in(&text(&server, address).await));

    let page = end(&server, server.submit(&[("prompt", "a fox")]).await).await;
    assert!(page.contains("<details class=\"more\" >"), "what was left open stays open: {page}");
    assert!(page.contains("placeholder=\"random\"") && page.contains("Your picture is ready"));
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_what_to_do_and_keeps_what_was_typed() {
    let server = Server::with(
        "generation: { backend: paint, backend_options: { paint: { \
         faults: [{ call: denoise, do: out_of_memory }] } } }",
    )
    .await;
    let page = end(&server, server.submit(FIELDS).await).await;
    assert!(page.contains("<h1>It failed</h1>"), "{page}");
    assert!(between(&page, "<p class=\"problem\">", "</p>").contains("backend failed"));
    assert!(page.contains("try a smaller size") && is_filled_in(&page));
}

#[tokio::test]
async fn a_full_line_is_said_at_once_and_nothing_typed_is_lost() {
    let server = Server::with(&format!("{ENDLESS}\nlimits: {{ waiting: 0 }}")).await;
    server.submit(&[("prompt", "one")]).await;
    let answer = server.submit(FIELDS).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(RETRY_AFTER));
    let page = answer.text().await.unwrap();
    assert!(between(&page, "role=\"alert\">", "</p>").contains("try again in about"), "{page}");
    let form = between(&page, "<form class=\"card ask\"", "</form>");
    assert!(form.contains(">a red apple</textarea>") && form.contains("value=\"7\""));
}

#[tokio::test]
async fn a_page_that_is_looked_at_shows_previews() {
    let server =
        Server::with("generation: { backend: paint, backend_options: { paint: { step_ms: 100 } } }").await;
    let path = path(&server.submit(&[("prompt", "a red apple"), ("steps", "150")]).await);
    let page = until(&server, &path, |page| page.contains("class=\"preview\"")).await;
    assert!(page.contains(">Step "), "{page}");
    let preview = between(&page, "class=\"preview\" src=\"", "\"").to_owned();
    let answer = server.get(&preview).await;
    assert_eq!(answer.headers()[CONTENT_TYPE], "image/png");
    assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
    image::load_from_memory(&answer.bytes().await.unwrap()).unwrap();
    let of_another = preview.replace("place=0", "place=1");
    for missing in [&of_another, "/jobs/00000000000000000000000000000000/preview?place=0"] {
        assert_eq!(server.get(missing).await.status(), StatusCode::NOT_FOUND, "{missing}");
    }
    cancel(&server, &path).await;
    assert_eq!(server.get(&preview).await.status(), StatusCode::NOT_FOUND, "it is over");
}

#[tokio::test]
async fn a_job_is_for_the_account_that_asked_and_for_administrators() {
    let stage = with_ada("").await;
    for name in ["Bob", "Eve"] {
        person(&stage, name, Role::User).await;
    }
    let mut bob = Visitor::known(&stage, "Bob").await;
    let page = bob.post("/", &[("prompt", "a red apple")]).await;
    assert_eq!(page.status, 303);
    let job = page.to.unwrap();
    let (mut eve, mut ada) = (Visitor::known(&stage, "Eve").await, Visitor::known(&stage, "Ada").await);
    assert!(bob.get("/").await.text.contains(&format!("href=\"{job}\"")), "the way back to it");
    assert!(!eve.get("/").await.text.contains("/jobs/") && !ada.get("/").await.text.contains("/jobs/"));
    for path in [&job, &format!("{job}/preview?place=0")] {
        let page = eve.get(path).await;
        assert_eq!((page.status, page.text.contains("There is nothing here")), (404, true), "{path}");
    }
    assert_eq!(eve.post(&format!("{job}/cancel"), &[]).await.status, 404);
    for visitor in [&mut bob, &mut ada] {
        let page = visitor.get(&job).await;
        assert!(page.status == 200 && page.text.contains("a red apple") && page.text.contains(REFRESH));
    }
    assert!(ada.post_and_go(&format!("{job}/cancel"), &[]).await.text.contains("<h1>Cancelled</h1>"));
    assert!(bob.get(&job).await.text.contains("<h1>Cancelled</h1>"));
    assert!(!bob.get("/").await.text.contains("/jobs/"), "it is over");
    assert_eq!(eve.get(&job).await.status, 404, "also then");
    let nobody = Visitor::new(&stage).get(&job).await;
    assert_eq!(nobody.to, Some(format!("/login?return={job}")));
}
