// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The page, as a browser without JavaScript sees it.

use reqwest::StatusCode;

use crate::harness::Server;

mod administration;
mod asking_in_a_browser;
mod create;
mod create_in_a_browser;
mod forms;
mod gallery;
mod jobs;
mod keyboard_in_a_browser;
mod library;
mod looks;
mod people;
mod people_in_a_browser;
mod pictures;
mod queue;
mod status;
mod visitor;
mod weight;
mod words;

/// What stands between `before` and the next `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no `{before}` in the page")).1;
    rest.split_once(after).unwrap().0
}

#[tokio::test]
async fn the_form_leads_to_a_picture_and_its_parameters() {
    let server = Server::paint().await;
    let form = server.get("/").await.text().await.unwrap();
    assert!(form.contains("<form") && form.contains("name=\"prompt\""));
    assert!(form.contains("sd/alice-emoji"));
    let fields =
        [("prompt", "a red apple"), ("size", "256x256"), ("seed", "7"), ("steps", "3"), ("count", "2")];
    let page = jobs::end(&server, server.submit(&fields).await).await;
    assert_eq!(page.matches("<figure>").count(), 2);
    assert!(page.contains(">7</a>") && page.contains(">8</a>"), "the seed of each picture");
    assert!(page.contains("256 × 256, enlarged from 128 × 128"));
    let picture = server.get(&format!("/images/{}", between(&page, "<img src=\"/images/", "\""))).await;
    assert_eq!(picture.headers()["content-type"], "image/png");
}

#[tokio::test]
async fn a_problem_is_said_and_nothing_typed_is_lost() {
    let server = Server::paint().await;
    for (field, value, named) in [
        ("steps", "900", "steps"),
        ("guidance_scale", "NaN", "guidance scale"),
        ("seed", "x", "seed"),
        ("size", "0x0", "width"),
        ("count", "99", "number of pictures"),
    ] {
        let answer = server.submit(&[("prompt", "a red apple"), (field, value)]).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{field}");
        let page = answer.text().await.unwrap();
        assert!(between(&page, "role=\"alert\">", "</p>").contains(named), "{field}");
        assert!(page.contains("a red apple</textarea>"), "{field}");
    }
    assert_eq!(server.submit(&[("prompt", " ")]).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(server.submit(&[]).await.status(), StatusCode::BAD_REQUEST);
    let huge = "x".repeat(2 << 20);
    assert_eq!(server.submit(&[("prompt", &huge)]).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_people_type_is_text_on_the_page() {
    let server = Server::paint().await;
    let attack = "</textarea><script>alert(1)</script>\"'";
    let page = jobs::end(&server, server.submit(&[("prompt", attack), ("steps", "1")]).await).await;
    assert!(!page.contains("<script>alert"), "the prompt is escaped");
    assert!(page.contains("alert(1)"), "and still shown");
    let page = server.get("/?prompt=%3Cscript%3Ealert(1)%3C%2Fscript%3E").await.text().await.unwrap();
    assert!(!page.contains("<script>alert"));
}

#[tokio::test]
async fn the_address_fills_in_the_form() {
    let server = Server::paint().await;
    let page = server.get("/?prompt=a+red+apple&seed=7&scheduler=ddim").await.text().await.unwrap();
    assert!(page.contains(">a red apple</textarea>"));
    assert!(page.contains("value=\"7\"") && page.contains("<option value=\"ddim\" selected>"));
}

#[tokio::test]
async fn everything_that_the_page_needs_is_served_here_and_nothing_else_may_run() {
    let server = Server::paint().await;
    let answer = server.get("/").await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = answer.text().await.unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing from other servers");
    for part in page.split(['"']).filter(|part| part.starts_with("/static/")) {
        assert_eq!(server.get(part).await.status(), StatusCode::OK, "{part}");
    }
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_said_so_to_people_and_to_programs() {
    let server = Server::paint().await;
    let ask = |accept: &str| {
        server.client.get(format!("{}/nowhere/at-all", server.base)).header("accept", accept).send()
    };
    let page = ask("text/html,*/*;q=0.8").await.unwrap();
    assert_eq!(page.status(), StatusCode::NOT_FOUND);
    assert!(page.text().await.unwrap().contains("<h1>There is nothing here</h1>"));
    let answer = ask("*/*").await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert!(answer.json::<serde_json::Value>().await.is_ok());
}
