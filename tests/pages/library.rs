// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pages of the models: what everybody sees and may do, and what is for administrators.

use std::fs;
use std::path::Path;

use alice::auth::Role;
use reqwest::Method;
use tempfile::TempDir;

use super::visitor::{Visitor, person};
use crate::browser::Browser;
use crate::models::files::{copy_model, embedding, lora};
use crate::stage::Stage;

/// A server with the models `one` and one whose name is no markup, a LoRA and an embedding; Ada administers it, Bob
/// does not.
async fn library() -> (Stage, TempDir) {
    let models = tempfile::tempdir().unwrap();
    fill(models.path());
    let stage = Stage::of_models(models.path(), "auto_unload_timeout: 0", "").await;
    stage.set_up().await;
    person(&stage, "Ada", Role::Admin).await;
    person(&stage, "Bob", Role::User).await;
    (stage, models)
}

fn fill(models: &Path) {
    copy_model(&models.join("one"));
    copy_model(&models.join("t<b>&'o"));
    lora(&models.join("loras/leaves.safetensors"));
    embedding(&models.join("embeddings/badhands.safetensors"));
}

const ODD: &str = "/library/sd%2Ft%3Cb%3E%26%27o";

#[tokio::test]
async fn everybody_sees_uses_loads_and_unloads_models() {
    let (stage, _models) = library().await;
    let mut bob = Visitor::known(&stage, "Bob").await;
    let page = bob.get("/library").await.text;
    for text in
        ["SD 1.5", "128 px", "not used lately", "Not in memory", "leaves", "badhands", "/?model=sd%2Fone"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("t<b>") && page.contains("t&#60;b&#62;"), "names are text");
    assert!(!page.contains("Delete") && page.contains(ODD), "{page}");

    let fields = [("id", "sd/one"), ("back", "list")];
    let page = bob.post_and_go("/library/load", &fields).await.text;
    assert!(page.contains("It is in memory.") && page.contains("In memory: "), "{page}");
    let page = bob.get("/library/sd%2Fone").await.text;
    assert!(page.contains(">Unload<") && !page.contains("For administrators"), "{page}");
    let page = bob.post_and_go("/library/unload", &[("id", "sd/one")]).await.text;
    assert!(page.contains("It is out of memory.") && page.contains(">Load<"), "back on the model's page");
    assert_eq!(bob.get(ODD).await.status, 200);
    assert_eq!(bob.get("/library/sd%2Fnothing").await.status, 404);
    assert_eq!(bob.post("/library/load", &[("id", "sd/nothing")]).await.status, 404);
    let page = bob.post_and_go("/library/refresh", &[]).await.text;
    assert!(page.contains("Looked again: there are 2 models."), "{page}");
    for (path, fields) in [
        ("/admin/models/default", [("id", "sd/one"), ("kind", "")]),
        ("/admin/models/delete", [("id", "sd/one"), ("kind", "model")]),
    ] {
        assert_eq!(bob.post(path, &fields).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn a_model_is_last_used_when_somebody_asked_for_it() {
    let (stage, _models) = library().await;
    let mut bob = Visitor::known(&stage, "Bob").await;
    bob.post("/", &[("prompt", "a fox"), ("model", "sd/one"), ("steps", "1")]).await;
    let page = bob.get("/library/sd%2Fone").await.text;
    assert!(page.contains("Last used</dt><dd>just now</dd>"), "{page}");
    assert!(bob.get(ODD).await.text.contains("not lately"));
}

#[tokio::test]
async fn an_administrator_chooses_the_default_model_for_good() {
    let (stage, _models) = library().await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    let file = stage.app.config.file.clone().unwrap();
    assert_eq!(stage.app.models.default_model().unwrap().id, "sd/one", "the first one found");
    let odd = [("id", "sd/t<b>&'o")];
    fs::write(&file, "models: { pinned: [] }\n").unwrap();
    let page = ada.post("/admin/models/default", &odd).await;
    assert!(page.status == 409 && page.problem().contains("left to people"), "{}", page.text);
    fs::write(&file, "models:\n  pinned: []\n").unwrap();
    let page = ada.post_and_go("/admin/models/default", &odd).await.text;
    assert!(page.contains(">default<") && !page.contains("Make it the default"), "{page}");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "models:\n  default_model: \"sd/t<b>&'o\"\n  pinned: []\n"
    );
    assert_eq!(stage.app.models.default_model().unwrap().id, odd[0].1);
    ada.post_and_go("/library/refresh", &[]).await;
    assert_eq!(stage.app.models.default_model().unwrap().id, odd[0].1, "also after another look");
    let page = ada.post("/admin/models/delete", &[("kind", "model"), odd[0]]).await;
    assert!(page.status == 409 && page.problem().contains("models.default_model"), "{}", page.text);
    assert!(super::visitor::acts(&stage).await.contains(&"Ada model.default".to_owned()));
    assert!(ada.get("/admin/log").await.text.contains("made the default model"));
}

#[tokio::test]
async fn an_administrator_deletes_models_and_what_works_beside_them() {
    let (stage, models) = library().await;
    let mut ada = Visitor::known(&stage, "Ada").await;
    assert!(ada.get("/library").await.text.contains("Delete <span class=\"name\">leaves</span>"));
    let page = ada.post_and_go("/admin/models/delete", &[("kind", "lora"), ("id", "lora/leaves")]).await.text;
    assert!(page.contains("It is deleted.") && !page.contains("leaves"), "{page}");
    assert!(ada.get(ODD).await.text.contains("For administrators"));
    ada.post_and_go("/admin/models/delete", &[("kind", "model"), ("id", "sd/t<b>&'o")]).await;
    assert_eq!(ada.get(ODD).await.status, 404);
    assert!(!models.path().join("t<b>&'o").exists() && models.path().join("one").exists());
    for fields in [[("kind", "lora"), ("id", "lora/leaves")], [("kind", "x"), ("id", "sd/one")]] {
        assert_eq!(ada.post("/admin/models/delete", &fields).await.status, 404);
    }
}

#[tokio::test]
async fn a_browser_that_asks_for_the_list_of_models_is_led_to_their_page() {
    let stage = Stage::open("").await;
    let accepting = async |accept: &str| {
        stage.request(Method::GET, "/models").header("accept", accept).send().await.unwrap()
    };
    let answer = accepting("text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (303, "/library"));
    for accept in ["*/*", "application/json"] {
        let list: serde_json::Value = accepting(accept).await.json().await.unwrap();
        assert_eq!(list["object"], "list", "{accept}");
    }
}

/// What each browser does: a model is loaded, unloaded, made the default, and one is deleted, a LoRA too; and files are
/// looked for again.
async fn acts(script: bool) {
    let (stage, models) = library().await;
    let ada = Visitor::known(&stage, "Ada").await;
    let browser = Browser::start(script).await;
    browser.look(1280, 800, "light").await;
    browser.log_in(&stage.base, ada.cookie.as_ref().unwrap()).await;
    browser.open(&format!("{}/library", stage.base)).await;
    browser.click(".shelf li:first-child form button").await;
    browser.wait(".shelf li:first-child .loaded").await;
    browser.click(".shelf li:first-child form button").await;
    browser.wait(".shelf:not(:has(.loaded))").await;
    browser.open(&format!("{}{ODD}", stage.base)).await;
    browser.click("form[action='/admin/models/default'] button").await;
    browser.wait(".tag.on").await;
    browser.open(&format!("{}/library/sd%2Fone", stage.base)).await;
    browser.click(".sure summary").await;
    browser.click(".sure .danger").await;
    browser.arrives("/library", "after deleting").await;
    assert!(stage.app.models.exactly("sd/one").is_none());
    browser.until("document.body.textContent.includes('leaves')").await;
    browser.click(".rows .sure summary").await;
    browser.click(".rows .sure[open] .danger").await;
    browser.until("!document.body.textContent.includes('leaves')").await;
    // Its file comes back, and is seen when somebody looks again.
    lora(&models.path().join("loras/leaves.safetensors"));
    browser.click("form[action='/library/refresh'] button").await;
    browser.until("document.body.textContent.includes('leaves')").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_acts_on_models() {
    acts(true).await;
}

#[tokio::test]
#[ignore = "needs Debian's chromium and chromium-driver: .ci/run installs them"]
async fn a_browser_without_scripts_acts_on_models() {
    acts(false).await;
}
