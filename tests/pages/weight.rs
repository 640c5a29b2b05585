// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a first visit costs, and what is kept for the next one.

use reqwest::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, COOKIE, HeaderValue, LOCATION, REFERER, SET_COOKIE,
};

use crate::harness::Server;

/// Bytes on their way.
async fn weight(server: &Server, path: &str) -> usize {
    let request = server.client.get(format!("{}{path}", server.base)).header(ACCEPT_ENCODING, "gzip");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.bytes().await.unwrap().len()
}

/// The addresses of what a page is made of.
fn parts(page: &str) -> Vec<&str> {
    page.split('"').filter(|part| part.starts_with("/static/")).collect()
}

#[tokio::test]
async fn the_first_page_is_light() {
    let server = Server::paint().await;
    let page = server.get("/").await.text().await.unwrap();
    let mut sum = weight(&server, "/").await;
    // Pictures, icons among them, are not counted.
    for part in parts(&page).into_iter().filter(|part| !part.contains("icon-")) {
        sum += weight(&server, part).await;
    }
    assert!(sum < 60_000, "{sum} bytes");
}

#[tokio::test]
async fn what_pages_are_made_of_is_kept_until_it_changes() {
    let server = Server::paint().await;
    let page = server.get("/").await.text().await.unwrap();
    let parts = parts(&page);
    let versioned: Vec<_> = parts.iter().filter(|part| part.contains("?v=")).collect();
    assert_eq!(versioned.len(), 2, "{parts:?}");
    for part in versioned {
        let kept = server.get(part).await.headers()[CACHE_CONTROL].to_str().unwrap().to_owned();
        assert!(kept.contains("immutable"), "{part}: {kept}");
        let older = server.get(&format!("{}0", part)).await;
        assert_eq!(older.headers()[CACHE_CONTROL], "no-cache", "{part}");
    }
}

#[tokio::test]
async fn pages_are_compressed_and_answers_of_the_api_are_not() {
    let server = Server::paint().await;
    for (path, compressed) in [("/", true), ("/static/logo.svg", true), ("/v1/models", false)] {
        let request = server.client.get(format!("{}{path}", server.base)).header(ACCEPT_ENCODING, "gzip");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers().contains_key(CONTENT_ENCODING), compressed, "{path}");
    }
}

#[tokio::test]
async fn addresses_of_the_python_alice_lead_to_what_took_their_place() {
    let server = Server::paint().await;
    for (old, kind) in [
        ("/web", "text/html"),
        ("/web/", "text/html"),
        ("/web/generate.html", "text/html"),
        ("/web/style.css", "text/css"),
        ("/web/app.js", "text/javascript"),
    ] {
        let answer = server.get(old).await;
        assert_eq!(answer.status(), 200, "{old}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(kind), "{old}");
    }
    assert_eq!(server.get("/web/emergency-admin.html").await.status(), 404);
}

#[tokio::test]
async fn a_theme_that_was_chosen_is_told_to_every_page() {
    let server = Server::paint().await;
    assert_eq!(server.get("/theme.css").await.text().await.unwrap(), ":root { color-scheme: light dark; }\n");
    let stays =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let chosen = stays.post(format!("{}/theme", server.base)).form(&[("theme", "dark")]);
    let chosen = chosen.header(REFERER, format!("{}/login?return=/", server.base)).send().await.unwrap();
    assert_eq!(
        (chosen.status().as_u16(), &chosen.headers()[LOCATION]),
        (303, &HeaderValue::from_static("/login?return=/"))
    );
    let cookie = chosen.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let style =
        server.client.get(format!("{}/theme.css", server.base)).header(COOKIE, cookie).send().await.unwrap();
    assert_eq!(style.text().await.unwrap(), ":root { color-scheme: dark; }\n");
}
