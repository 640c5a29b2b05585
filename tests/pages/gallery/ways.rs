// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The ways on from a finished picture: another one, a larger one, the form, a file.

use super::*;

/// Waits until a job of the visitor is over, and gives its page.
async fn end(visitor: &mut Visitor<'_>, path: &str) -> String {
    loop {
        let page = visitor.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        if !page.text.contains("http-equiv=\"refresh\"") {
            return page.text;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_picture_is_varied_and_made_larger_by_one_click() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, "a red <apple>").await;
    let mut visitor = Visitor::known(&stage, "Grace").await;
    let job = visitor.post(&format!("/gallery/{id}/vary"), &[]).await;
    assert_eq!(job.status, 303, "{}", job.text);
    let page = end(&mut visitor, &job.to.unwrap()).await;
    assert!(page.contains("a red &#60;apple&#62;"), "{page}");
    let page = visitor.get("/gallery").await.text;
    assert_eq!(shown(&page).len(), 2);
    let varied = shown(&page)[0].clone();
    let seed = |page: &str| between(page, "<dt>Seed</dt><dd>", "<").to_owned();
    let (old, new) = (
        visitor.get(&format!("/gallery/{id}")).await.text,
        visitor.get(&format!("/gallery/{varied}")).await.text,
    );
    assert_eq!(seed(&old), "7");
    assert_ne!(seed(&new), "7");
    let size = |page: &str| between(page, "<dt>Size</dt><dd>", "<").to_owned();
    assert_eq!(size(&new), size(&old));

    assert!(old.contains("name=\"upscaler\" value=\"lanczos\""), "{old}");
    let job = visitor.post(&format!("/gallery/{id}/upscale"), &[("upscaler", "lanczos")]).await;
    end(&mut visitor, &job.to.unwrap()).await;
    let larger = shown(&visitor.get("/gallery").await.text)[0].clone();
    let page = visitor.get(&format!("/gallery/{larger}")).await.text;
    assert_eq!(size(&page), "512 × 512");
    assert!(page.contains("a red &#60;apple&#62;") && !page.contains("/vary\""), "{page}");
    assert_eq!(visitor.post(&format!("/gallery/{larger}/vary"), &[]).await.status, 400);
}

#[tokio::test]
async fn the_form_is_filled_in_with_what_made_a_picture() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, "a red apple & more").await;
    let mut visitor = Visitor::known(&stage, "Grace").await;
    let page = visitor.get(&format!("/gallery/{id}")).await.text;
    let link = |text: &str| {
        let before = page.split_once(text).unwrap().0;
        before.rsplit_once("href=\"").unwrap().1.split_once('"').unwrap().0.replace("&#38;", "&")
    };
    let form = visitor.get(&link("title=\"Fill in the form with what made this picture\"")).await.text;
    assert!(form.contains(">a red apple &#38; more</textarea>"), "{form}");
    assert!(form.contains("value=\"7\""), "the seed");
    let form = visitor.get(&link("title=\"Begin a new picture with this one\"")).await.text;
    assert!(form.contains(&format!("name=\"source\" value=\"{id}.png\"")), "{form}");
}

#[tokio::test]
async fn pictures_come_as_one_file_all_or_those_selected() {
    let (stage, grace, _) = stage().await;
    let (apple, fox) =
        (painted(&stage, &grace, "A red apple!").await, painted(&stage, &grace, "a fox").await);
    let name = |words: &str, id: &str| format!("{words}-{}.png", &id[..12]);
    let names = [name("a-red-apple", &apple), name("a-fox", &fox)];
    let zip = async |request: reqwest::RequestBuilder| {
        // As browsers ask: they take pages, which are text, made smaller.
        let request = request.header("accept-encoding", "gzip");
        let answer = request.header("x-api-key", &grace.key).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/zip");
        assert!(!answer.headers().contains_key("content-encoding"), "pictures do not get smaller");
        assert!(answer.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
        let bytes = answer.bytes().await.unwrap();
        names.iter().filter(|name| bytes.windows(name.len()).any(|part| part == name.as_bytes())).count()
    };
    assert_eq!(zip(stage.request(Method::GET, "/gallery/export")).await, 2);
    assert_eq!(zip(stage.request(Method::GET, "/gallery/export?q=fox")).await, 1);
    let selected = stage.request(Method::POST, "/gallery/export").form(&[("id", &fox)]);
    assert_eq!(zip(selected.header("sec-fetch-site", "same-origin")).await, 1);
    let mut visitor = Visitor::known(&stage, "Grace").await;
    let page = visitor.post_and_go("/gallery/export", &[("back", "/gallery?q=x")]).await.text;
    assert!(said(&page).starts_with("No picture was selected"));
}

#[tokio::test]
async fn a_private_picture_has_a_link_for_those_without_an_account() {
    let (stage, grace, _) = stage().await;
    let id = painted(&stage, &grace, "a red apple").await;
    let mut visitor = Visitor::known(&stage, "Grace").await;
    let page = visitor.get(&format!("/gallery/{id}")).await.text;
    let link = between(&page, "id=\"link\" value=\"", "\"").replace("&#38;", "&");
    assert!(link.starts_with(&format!("{}/images/{id}.png?expires=", stage.base)), "{link}");
    assert_eq!(stage.client.get(&link).send().await.unwrap().status(), 200);
    assert_eq!(stage.client.get(link.split('?').next().unwrap()).send().await.unwrap().status(), 404);
}
