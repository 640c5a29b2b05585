// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pages to be read: the guide's examples lead to forms and are there; the API's examples have the server's address.

use reqwest::header::HOST;

use super::visitor::{Visitor, with_ada};
use crate::harness::Server;

#[tokio::test]
async fn the_guides_examples_are_there_and_fill_in_the_form() {
    let server = Server::paint().await;
    let page = server.get("/guide").await.text().await.unwrap();
    let examples: Vec<_> = page.split("<li><a href=\"").skip(1).collect();
    assert!(examples.len() >= 8, "{}", examples.len());
    for example in examples {
        let address = example.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
        let picture = super::between(example, "<img src=\"", "\"");
        assert_eq!(server.get(picture).await.headers()["content-type"], "image/webp", "{picture}");
        let form = server.get(&address).await.text().await.unwrap();
        let prompt = super::between(&address, "prompt=", "&").replace("%20", " ");
        assert!(form.contains(&format!(">{prompt}</textarea>")), "{address}");
    }
}

#[tokio::test]
async fn the_apis_examples_have_the_address_that_the_browser_used() {
    let server = Server::paint().await;
    let page = server.get("/api").await.text().await.unwrap();
    assert!(page.contains(&format!("curl {}/v1/images/generations", server.base)));
    assert!(page.contains("No key is needed") && !page.contains("alice_YOUR_KEY"));
    let named = server.client.get(format!("{}/api", server.base)).header(HOST, "localhost:1234");
    let page = named.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("curl http://localhost:1234/v1/images/generations"));
}

#[tokio::test]
async fn where_accounts_are_needed_the_examples_show_where_the_key_goes() {
    let stage = with_ada("").await;
    let page = Visitor::known(&stage, "Ada").await.get("/api").await.text;
    assert!(page.contains("Authorization: Bearer alice_YOUR_KEY") && !page.contains("No key is needed"));
    assert_eq!(Visitor::new(&stage).get("/api").await.status, 303, "strangers are sent to the login");
}
