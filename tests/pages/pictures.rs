// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Pictures that come with the form, as a browser without JavaScript sends them.

use super::*;
use crate::edits::{Form, mask_in_white, picture, send};

/// The form as a browser sends it that was only given a prompt: every field is there.
fn form(prompt: &str) -> Form {
    let fields = [
        ("prompt", prompt),
        ("negative_prompt", ""),
        ("size", "picture"),
        ("steps", "4"),
        ("seed", ""),
        ("strength", "0.5"),
        ("resize_mode", "fit"),
        ("larger", ""),
    ];
    fields.into_iter().fold(Form::default(), |form, (name, value)| form.text(name, value))
}

#[tokio::test]
async fn a_form_with_files_leads_to_a_picture_that_leads_to_the_next() {
    let server = Server::paint().await;
    let page = server.get("/").await.text().await.unwrap();
    assert!(page.contains("enctype=\"multipart/form-data\"") && page.contains("name=\"mask\" type=\"file\""));
    let sent = form("a red apple").file("image", &picture(96, 64)).file("mask", &mask_in_white(96, 64));
    let page = jobs::end(&server, send(&server, "/", sent).await).await;
    assert!(page.contains("<dt>Begun with a picture</dt><dd>strength 0.5, masked</dd>"), "{page}");
    assert!(page.contains("<option value=\"fit\" selected>") && page.contains("value=\"0.5\""));

    // The list and the slider say something also where nobody has moved them.
    let sent = [
        ("prompt", "x"),
        ("steps", "4"),
        ("strength", "0.75"),
        ("resize_mode", "crop"),
        ("only_masked", "on"),
    ];
    let sent = sent.into_iter().fold(Form::default(), |form, (name, value)| form.text(name, value));
    let sent = sent.file("image", &picture(96, 64)).file("mask", &mask_in_white(96, 64));
    let unmoved = jobs::end(&server, send(&server, "/", sent).await).await;
    assert!(
        unmoved.contains("<dd>strength 0.75, masked</dd>") && !unmoved.contains("no effect"),
        "{unmoved}"
    );

    let next = between(&page, "<a href=\"/?source=", "\"").replace("&#38;", "&");
    let file = next.split('&').next().unwrap().to_owned();
    let page = server.get(&format!("/?source={next}")).await.text().await.unwrap();
    assert!(page.contains(">a red apple</textarea>") && page.contains("<option value=\"picture\" selected>"));
    assert!(page.contains(&format!("name=\"source\" value=\"{file}\"")));
    assert!(page.contains(&format!("<img src=\"/images/{file}\"")));
    let page = jobs::end(&server, send(&server, "/", form("a pear").text("source", &file)).await).await;
    assert!(page.contains("<dd>strength 0.5</dd>"), "{page}");
    assert!(page.contains(&format!("name=\"source\" value=\"{file}\"")), "it may be begun with again");
}

#[tokio::test]
async fn what_is_wrong_with_a_picture_is_said_and_nothing_typed_is_lost() {
    let server = Server::paint().await;
    let missing = format!("{}.png", "0".repeat(32));
    for (sent, said) in [
        (form("a pear").file("image", b"nothing like it"), "picture"),
        (form("a pear").file("image", &picture(64, 64)).file("mask", &mask_in_white(8, 8)), "mask"),
        (form("a pear").file("mask", &mask_in_white(8, 8)), "mask"),
        (
            form("a pear").file("image", &picture(64, 64)).file("image", &picture(64, 64)),
            "the picture holds 2 pictures",
        ),
        (form("a pear").text("larger", "2"), "the second painting cannot be used"),
        (form("a pear").text("larger", "x"), "the second painting must be a number"),
        (form("a pear").text("source", &missing), "not there any more"),
        (form("a pear").text("source", "../alice.db"), "not there any more"),
    ] {
        let answer = send(&server, "/", sent).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{said}");
        let page = answer.text().await.unwrap();
        let problem = between(&page, "role=\"alert\">", "</p>");
        assert!(problem.to_lowercase().contains(said), "{said}: {problem}");
        assert!(page.contains("a pear</textarea>"), "{said}");
    }
    let page = server.get("/?source=%22%3E%3Cscript%3E").await.text().await.unwrap();
    assert!(!page.contains("name=\"source\""), "no picture's name");
    // The browser's empty file fields are no pictures.
    let sent = form("a pear").no_file("image").no_file("mask");
    let page = jobs::end(&server, send(&server, "/", sent).await).await;
    assert!(!page.contains("Begun with a picture"));
}

/// What the button beside the picture at `place` sends.
async fn upscaled(server: &Server, page: &str, fields: &[(&str, &str)]) -> reqwest::Response {
    let action = between(page, "action=\"/jobs/", "\"");
    let (id, act) = page.split("action=\"/jobs/").find_map(|rest| rest.split_once("/upscale\"")).unwrap();
    assert!(!action.is_empty() && !act.is_empty());
    server.client.post(format!("{}/jobs/{id}/upscale", server.base)).form(fields).send().await.unwrap()
}

#[tokio::test]
async fn a_finished_picture_is_made_larger_by_a_button_and_keeps_what_it_was_painted_with() {
    let directory = crate::harness::source("tests/fixtures");
    let models = format!("models: {{ directory: {}, default_model: sd2-v }}", directory.display());
    let server = Server::with(&format!("generation: {{ backend: paint }}\n{models}")).await;
    let sent =
        [("prompt", "a red <apple>"), ("size", "64x64"), ("steps", "2"), ("seed", "7"), ("count", "2")];
    let page = jobs::end(&server, server.submit(&sent).await).await;
    assert_eq!(page.matches("<details class=\"upscale\">").count(), 2, "of several one is chosen");
    assert!(page.contains("<option value=\"upscaler/real-x2\">real-x2 (2 ×)</option>"), "{page}");

    let answer = upscaled(&server, &page, &[("place", "1"), ("upscaler", "upscaler/real-x2")]).await;
    let page = jobs::end(&server, answer).await;
    assert!(page.contains("<dt>Made larger</dt><dd>2 × with real-x2</dd>"), "{page}");
    assert!(page.contains("<dt>Size</dt><dd>128 × 128, from 64 × 64</dd>"), "{page}");
    assert!(page.contains("<title>a red &#60;apple&#62;") && page.contains(">8</a>"), "{page}");
    assert!(page.contains(">a red &#60;apple&#62;</textarea>"), "the form is still that of the picture");
    let picture = server.get(&format!("/images/{}", between(&page, "<img src=\"/images/", "\""))).await;
    let file = picture.bytes().await.unwrap();
    let text = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
    let text = text.info().uncompressed_latin1_text[0].text.clone();
    assert!(text.starts_with("a red <apple>\nSteps: 2, "), "{text}");
    assert!(text.contains(", Seed: 8, "), "{text}");
    assert!(text.ends_with(", Postprocess upscale by: 2, Postprocess upscaler: upscaler/real-x2"), "{text}");

    let answer = upscaled(&server, &page, &[("place", "0"), ("upscaler", "upscaler/old-x4")]).await;
    let page = jobs::end(&server, answer).await;
    assert!(page.contains("<dd>512 × 512, from 128 × 128</dd>") && page.contains(">8</a>"), "{page}");

    for (fields, status) in [
        (&[("place", "9"), ("upscaler", "real-x2")][..], StatusCode::NOT_FOUND),
        (&[("place", "0"), ("upscaler", "nothing")], StatusCode::BAD_REQUEST),
        (&[("upscaler", "real-x2")], StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(upscaled(&server, &page, fields).await.status(), status, "{fields:?}");
    }
    let missing = format!("{}/jobs/{}/upscale", server.base, "0".repeat(32));
    let answer = server.client.post(missing).form(&[("place", "0")]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn where_no_upscaler_is_installed_the_page_offers_the_filter_and_says_so() {
    let server = Server::paint().await;
    let page =
        jobs::end(&server, server.submit(&[("prompt", "a fox"), ("steps", "1"), ("size", "128x128")]).await)
            .await;
    assert!(page.contains("value=\"lanczos\"") && page.contains(">Upscale 2 ×</button>"), "{page}");
    let page =
        jobs::end(&server, upscaled(&server, &page, &[("place", "0"), ("upscaler", "lanczos")]).await).await;
    assert!(page.contains("<dd>256 × 256, from 128 × 128</dd>") && page.contains("adds no detail"), "{page}");
}
