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
