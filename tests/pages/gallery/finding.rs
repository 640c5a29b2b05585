// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Looking for pictures, and going from one to the next.

use super::*;
use crate::harness::Server;

#[tokio::test]
async fn the_address_says_which_pictures_are_shown_and_in_which_order() {
    let (stage, grace, _) = stage().await;
    let apple = painted(&stage, &grace, "a red apple").await;
    let fox = painted(&stage, &grace, "A FOX in the snow").await;
    let mut visitor = Visitor::known(&stage, "Grace").await;
    act(&mut visitor, &fox, "tag", &[("tags", "winter")]).await;
    act(&mut visitor, &apple, "favourite", &[]).await;
    act(&mut visitor, &apple, "publish", &[("hours", "24")]).await;
    let both = [fox.clone(), apple.clone()];
    let reversed = vec![apple.clone(), fox.clone()];
    for (query, wanted) in [
        ("", &both[..]),
        ("?sort=oldest", &reversed),
        ("?q=fox", &both[..1]),
        ("?q=winter", &both[..1]),
        ("?tag=winter", &both[..1]),
        ("?favourites=on", &both[1..]),
        ("?privacy=public", &both[1..]),
        ("?privacy=private", &both[..1]),
        ("?scope=public", &both[1..]),
        ("?model=sd%2Falice-emoji", &both[..]),
        ("?model=other", &[]),
        ("?q=fox&favourites=on", &[]),
        ("?page=2", &[]),
        ("?page=x&sort=x&privacy=x&scope=x", &both[..]),
    ] {
        let page = visitor.get(&format!("/gallery{query}")).await.text;
        assert_eq!(shown(&page), wanted, "{query}");
    }
    let page = visitor.get("/gallery?q=fox&tag=winter&sort=oldest").await.text;
    assert!(page.contains("id=\"q\" name=\"q\" type=\"search\" value=\"fox\""), "{page}");
    assert!(
        page.contains("<option value=\"winter\" selected>")
            && page.contains("<option value=\"oldest\" selected>")
    );
    assert!(page.contains("href=\"/gallery?tag=winter&#38;sort=oldest\""), "a filter is taken away alone");
    assert!(page.contains("href=\"/gallery?sort=oldest\">Clear all"), "{page}");
    assert!(page.contains("1 picture<") || page.contains("1 picture ·"), "{page}");
}

/// A server without accounts whose pages hold two pictures, and five pictures, the newest first.
pub(super) async fn five() -> (Server, Vec<String>) {
    five_on_pages_of(2).await
}

async fn five_on_pages_of(size: u32) -> (Server, Vec<String>) {
    let storage = format!("storage: {{ gallery_page_size: {size} }}");
    let server = Server::with(&format!("generation: {{ backend: paint }}\n{storage}")).await;
    let mut ids = Vec::new();
    for prompt in ["one", "two", "three", "four", "five"] {
        let asked = json!({"prompt": prompt, "size": "128x128", "steps": 1, "response_format": "url"});
        let made = server.post_json("/v1/images/generations", &asked).await;
        ids.insert(0, between(made["data"][0]["url"].as_str().unwrap(), "/images/", ".png").to_owned());
    }
    (server, ids)
}

#[tokio::test]
async fn pages_lead_to_each_other_and_a_picture_leads_back_to_its_page() {
    let (server, ids) = five().await;
    let get = async |path: &str| server.get(path).await.text().await.unwrap();
    let page = get("/gallery").await;
    assert_eq!(shown(&page), ids[..2]);
    assert!(
        page.contains("5 pictures") && page.contains("Page 1 of 3") && !page.contains("rel=\"prev\""),
        "{page}"
    );
    let page = get("/gallery?page=2").await;
    assert_eq!(shown(&page), ids[2..4]);
    assert!(
        page.contains("href=\"/gallery\" rel=\"prev\"")
            && page.contains("href=\"/gallery?page=3\" rel=\"next\"")
    );
    assert!(!get("/gallery?page=3").await.contains("rel=\"next\""));
    assert!(get("/gallery?page=99").await.contains("href=\"/gallery?page=3\" rel=\"prev\""));

    let page = get(&format!("/gallery/{}", ids[3])).await;
    assert!(page.contains("4 of 5"), "{page}");
    assert!(page.contains(&format!("href=\"/gallery?page=2#p{}\" rel=\"up\"", ids[3])), "{page}");
    assert!(page.contains(&format!("href=\"/gallery/{}\" rel=\"prev\"", ids[2])));
    assert!(page.contains(&format!("href=\"/gallery/{}\" rel=\"next\"", ids[4])));
    let page = get(&format!("/gallery/{}?sort=oldest", ids[4])).await;
    assert!(page.contains("1 of 5") && !page.contains("rel=\"prev\""), "{page}");
    assert!(page.contains(&format!("href=\"/gallery/{}?sort=oldest\" rel=\"next\"", ids[3])));
    // One that does not fit what was looked for has nothing beside it.
    let page = get(&format!("/gallery/{}?q=nothing", ids[4])).await;
    assert!(!page.contains("rel=\"next\""));
}

#[tokio::test]
async fn a_page_without_a_size_holds_all_pictures() {
    let (server, ids) = five_on_pages_of(0).await;
    let page = server.get("/gallery").await.text().await.unwrap();
    assert_eq!(shown(&page), ids);
    assert!(!page.contains("class=\"pager\""), "{page}");
    let page = server.get(&format!("/gallery/{}", ids[4])).await.text().await.unwrap();
    assert!(page.contains(&format!("href=\"/gallery#p{}\" rel=\"up\"", ids[4])), "{page}");
}

#[tokio::test]
async fn pictures_keep_their_room_and_their_shape() {
    let (stage, grace, _) = stage().await;
    let wide = painted_at(&stage, &grace.key, "wide", "512x256").await;
    let mut visitor = Visitor::known(&stage, "Grace").await;
    let page = visitor.get("/gallery").await.text;
    assert!(
        page.contains("<li class=\"tile s20\"") && page.contains("width=\"512\" height=\"256\""),
        "{page}"
    );
    let thumbnail = stage
        .request(Method::GET, &format!("/thumbnails/{wide}.webp"))
        .header("x-api-key", &grace.key)
        .send()
        .await
        .unwrap();
    assert_eq!(thumbnail.headers()["content-type"], "image/webp");
}
