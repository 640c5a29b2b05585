// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Asking for pictures, as a browser without JavaScript does: the first visit, sizes, LoRAs, settings that a picture
//! carries, and who may see it.

use reqwest::StatusCode;
use serde_json::json;

use super::visitor::{Visitor, with_ada_who_paints};
use super::{between, jobs};
use crate::edits::{Form, picture, send};
use crate::harness::Server;
use crate::loras;

/// The file of the first picture on a page.
async fn first_file(server: &Server, page: &str) -> Vec<u8> {
    let path = format!("/images/{}", between(page, "<img src=\"/images/", "\""));
    server.get(&path).await.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn the_first_picture_takes_one_press_and_the_welcome_goes() {
    let server = Server::paint().await;
    let page = server.get("/").await.text().await.unwrap();
    let starters = between(&page, "<form class=\"starters\"", "</form>");
    assert!(
        starters.contains("name=\"prompt\" value=\"a red apple\"")
            && page.contains("Make your first picture")
    );
    // The button is all that its form sends.
    let sent = server.client.post(format!("{}/", server.base)).form(&[("prompt", "a red apple")]);
    let page = jobs::end(&server, sent.send().await.unwrap()).await;
    assert!(page.contains("<dd>512 × 512, enlarged from 128 × 128</dd>"), "one can look at it: {page}");
    let page = server.get("/").await.text().await.unwrap();
    assert!(!page.contains("Make your first picture") && page.contains("Your picture appears here"));
}

#[tokio::test]
async fn a_size_of_ones_own_wins_over_the_list_and_a_wrong_one_is_named() {
    let server = Server::paint().await;
    let sent =
        [("prompt", "a fox"), ("size", "512x512"), ("width", "320"), ("height", "192"), ("steps", "1")];
    let page = jobs::end(&server, server.submit(&sent).await).await;
    assert!(page.contains("<dd>320 × 192, enlarged from 128 × 128</dd>"), "{page}");
    assert!(page.contains("<option value=\"320x192\" selected>320 × 192</option>"), "{page}");
    let answer = server.submit(&[("prompt", "a fox"), ("width", "9999")]).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let page = answer.text().await.unwrap();
    assert!(between(&page, "role=\"alert\">", "</p>").contains("width") && page.contains("value=\"9999\""));
}

#[tokio::test]
async fn loras_are_chosen_by_their_weights_and_those_for_other_models_are_marked() {
    let server = Server::start(loras::directory("backend: paint"), &[]);
    let page = server.get("/").await.text().await.unwrap();
    let list = between(&page, "<details class=\"more loras\"", "</details>");
    assert!(list.contains("name=\"lora.lora/kohya\""), "{list}");
    let last = list.rsplit("<li").next().unwrap();
    assert!(last.contains("class=\"off\"") && last.contains("large") && last.contains("SDXL"), "{last}");
    let sent = [("prompt", "a fox"), ("lora.lora/kohya", "0.7"), ("lora.lora/large", ""), ("steps", "1")];
    let page = jobs::end(&server, server.submit(&sent).await).await;
    assert!(page.contains("<dd>a fox &#60;lora:kohya:0.7&#62;</dd>"), "{page}");
    let answer = server.submit(&[("prompt", "a fox"), ("lora.lora/large", "1")]).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let page = answer.text().await.unwrap();
    assert!(between(&page, "role=\"alert\">", "</p>").contains("large"), "{page}");
    assert!(page.contains("<details class=\"more loras\" open>") && page.contains("value=\"1\""));
}

#[tokio::test]
async fn the_settings_that_a_picture_carries_are_restored() {
    let server = Server::paint().await;
    let sent = [
        ("prompt", "a red <apple>"),
        ("negative_prompt", "leaves"),
        ("size", "256x256"),
        ("scheduler", "ddim"),
        ("steps", "3"),
        ("guidance_scale", "4.5"),
        ("seed", "77"),
    ];
    let page = jobs::end(&server, server.submit(&sent).await).await;
    let file = first_file(&server, &page).await;
    let page = send(&server, "/restore", Form::default().text("prompt", "").file("image", &file)).await;
    assert_eq!(page.status(), StatusCode::OK);
    let page = page.text().await.unwrap();
    assert!(page.contains("The picture&#39;s settings are in the form"), "{page}");
    assert!(page.contains(">a red &#60;apple&#62;</textarea>") && page.contains(">leaves</textarea>"));
    assert!(
        page.contains("<option value=\"256x256\" selected>")
            && page.contains("<option value=\"ddim\" selected>")
    );
    assert!(["3", "4.5", "77"].iter().all(|value| page.contains(&format!("value=\"{value}\""))));
    // Painted again, it is the same picture.
    let again = jobs::end(&server, server.submit(&sent).await).await;
    assert!(first_file(&server, &again).await == file);
}

#[tokio::test]
async fn what_a_picture_of_elsewhere_needs_and_is_not_here_is_said() {
    let server = Server::paint().await;
    let text = "a castle <lora:ink:0.8>\nSteps: 20, Sampler: Restart, CFG scale: 7, Seed: 5, Size: 512x768, Model: dreamy";
    let file = with_text(text);
    let page = send(&server, "/restore", Form::default().file("image", &file)).await.text().await.unwrap();
    for missing in
        ["The model dreamy is not here", "The sampler Restart is not known", "The LoRA ink is not here"]
    {
        assert!(page.contains(missing), "{missing}: {page}");
    }
    assert!(
        page.contains("<option value=\"512x768\" selected>")
            && page.contains(">a castle &#60;lora:ink:0.8&#62;<")
    );

    for (form, said) in [
        (Form::default().text("prompt", "kept").file("image", &picture(8, 8)), "carries no settings"),
        (Form::default().text("prompt", "kept").file("image", b"nothing"), "carries no settings"),
        (Form::default().text("prompt", "kept").no_file("image"), "choose one first"),
    ] {
        let answer = send(&server, "/restore", form).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{said}");
        let page = answer.text().await.unwrap();
        assert!(between(&page, "role=\"alert\">", "</p>").contains(said), "{page}");
        assert!(page.contains(">kept</textarea>"), "nothing typed is lost");
    }
}

/// A PNG file with this text as its parameters.
fn with_text(text: &str) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 8, 8);
    encoder.set_color(png::ColorType::Rgb);
    encoder.add_text_chunk("parameters".into(), text.into()).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[9; 8 * 8 * 3]).unwrap();
    writer.finish().unwrap();
    file
}

#[tokio::test]
async fn tokens_are_counted_by_the_models_own_tokenizer() {
    let server = Server::paint().await;
    let counted = server.post_json("/v1/tokens", &json!({"prompt": "a (red:1.2) apple <lora:x:1>"})).await;
    assert_eq!(counted["prompt"], json!({"tokens": 3, "chunks": 1, "tokens_per_chunk": 22}));
    assert_eq!(counted["negative_prompt"], json!({"tokens": 0, "chunks": 0, "tokens_per_chunk": 22}));
    let long = vec!["apple"; 30].join(" ");
    let counted = server.post_json("/v1/tokens", &json!({"model": "alice-emoji", "prompt": long})).await;
    assert_eq!(counted["prompt"]["chunks"], 2, "{counted}");
    assert_eq!(counted["prompt"]["tokens"], 30, "{counted}");
    for wrong in
        [json!({"model": "none"}), json!({"prompt": "<lora:x"}), json!({"prompt": "x".repeat(40_000)})]
    {
        let answer =
            server.client.post(format!("{}/v1/tokens", server.base)).json(&wrong).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{wrong}");
    }
}

#[tokio::test]
async fn who_may_see_a_picture_is_chosen_with_it() {
    let stage = with_ada_who_paints("").await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let form = ada.get("/").await.text;
    assert!(form.contains("<select id=\"share\"") && form.contains("everybody, for a week"));
    for (share, status) in [("", 404), ("24", 200)] {
        let job = ada.post("/", &[("prompt", "a fox"), ("steps", "1"), ("share", share)]).await.to.unwrap();
        let page = loop {
            let page = ada.get(&job).await.text;
            if page.contains("<img src=\"/images/") {
                break page;
            }
            tokio::task::yield_now().await;
        };
        let picture = format!("/images/{}", between(&page, "<img src=\"/images/", "\""));
        assert_eq!(Visitor::new(&stage).get(&picture).await.status, status, "{share}");
    }
    let refused = ada.post("/", &[("prompt", "a fox"), ("share", "9999")]).await;
    assert_eq!(refused.status, 400);
    assert!(refused.problem().contains("hours for everybody"), "{}", refused.problem());
}
