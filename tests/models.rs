// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the server offers: models, LoRAs and embeddings, how they are called, and looking again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Server, source};
use files::{copy_model, embedding, lora, pickles, safetensors};

mod companions;
pub(crate) mod files;
mod removal;
mod replaced;

/// A server over the directory `models` that `fill` has filled, with further configuration of the models.
fn server(more: &str, fill: impl FnOnce(&Path)) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let models = directory.path().join("models");
    fs::create_dir(&models).unwrap();
    fill(&models);
    let config = format!(
        "server: {{ port: 0 }}\nmodels: {{ directory: models, {more} }}\ngeneration: {{ backend: paint }}\n"
    );
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    Server::start(directory, &[])
}

async fn ids(server: &Server, path: &str) -> Vec<String> {
    let list = server.get_json(path).await;
    assert_eq!(list["object"], "list");
    list["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
}

async fn refresh(server: &Server) -> Value {
    server.post_json("/v1/models/refresh", &json!({})).await
}

#[tokio::test]
async fn models_at_any_depth_have_names_of_their_own() {
    let server = server("", |models| {
        for name in ["one", "deep/er/two", "a/same", "b/same"] {
            fs::create_dir_all(models.join(name).parent().unwrap()).unwrap();
            symlink(source("models/alice-emoji"), models.join(name)).unwrap();
        }
    });
    assert_eq!(
        ids(&server, "/v1/models").await,
        ["sd/a/same", "sd/b/same", "sd/one", "sd/two", "sd/alice-emoji"]
    );
    // Each by id, by name, by the last part behind anything, and with the slash escaped.
    for asked in ["sd/two", "two", "foo/two", "sd%2Ftwo"] {
        let info = server.get_json(&format!("/v1/models/{asked}/info")).await;
        assert_eq!(info["id"], "sd/two", "{asked}");
        assert_eq!(server.get_json(&format!("/v1/models/{asked}")).await["id"], "sd/two");
    }
    assert_eq!(server.get_json("/v1/models/sd%2Fa%2Fsame/info").await["id"], "sd/a/same");
    let several = server.get("/v1/models/same/info").await;
    assert_eq!(several.status(), StatusCode::BAD_REQUEST);
    let detail = several.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("sd/a/same, sd/b/same"), "{detail}");
    for unknown in ["sd/three/info", "three", "info", "%FF/info"] {
        let answer = server.get(&format!("/v1/models/{unknown}")).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{unknown}");
    }
    let body = json!({"prompt": "x", "steps": 1, "model": "sd/b/same"});
    assert_eq!(server.post("/v1/images/generations", &body).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_model_may_be_called_as_the_end_of_an_address() {
    let server = server("", |models| {
        copy_model(&models.join("info"));
        copy_model(&models.join("one"));
    });
    for (path, id, is_info) in [
        ("sd/info", "sd/info", false),
        ("info", "sd/info", false),
        ("sd/info/info", "sd/info", true),
        ("sd/one/info", "sd/one", true),
    ] {
        let answer = server.get_json(&format!("/v1/models/{path}")).await;
        let has_type = answer.get("model_type").is_some();
        assert_eq!((&answer["id"], has_type), (&json!(id), is_info), "{path}");
    }
}

#[tokio::test]
async fn what_is_to_be_known_about_a_model_is_told() {
    let server = server("", |models| {
        copy_model(&models.join("trees"));
        let sidecar = "description: For trees\ntrigger: oak\nfixed_size: true\nprediction_type: v_prediction\n\
            zero_snr: true\ndefaults: { steps: 8, guidance_scale: 0, scheduler: ddim, clip_skip: 1 }\n";
        fs::write(models.join("trees/model_config.yml"), sidecar).unwrap();
    });
    let info = server.get_json("/v1/models/trees/info").await;
    let told = json!({
        "id": "sd/trees", "object": "model", "name": "trees", "model_type": "sd15", "family": "sd1",
        "prediction": "v_prediction", "native_resolution": 128, "fixed_size": true, "needs_picture": false,
        "separate_vae": false, "description": "For trees", "trigger": ["oak"],
        "recommended_resolutions": [{"width": 128, "height": 128, "label": "Square (128×128)"}],
        "defaults": {"steps": 8, "guidance_scale": 0.0, "scheduler": "ddim", "width": 128, "height": 128, "clip_skip": 1},
    });
    for (key, value) in told.as_object().unwrap() {
        assert_eq!(info[key], *value, "{key} of {info}");
    }
    assert!(info["size_mb"].as_f64().unwrap() > 1.0 && info["created"].as_u64().unwrap() > 0, "{info}");
    let defaults = server.get_json("/v1/generation/defaults").await;
    assert_eq!(
        defaults,
        json!({"steps": 8, "guidance_scale": 0.0, "scheduler": "ddim", "width": 128, "height": 128})
    );
    let made = server.post_json("/v1/images/generations", &json!({"prompt": "x"})).await;
    assert_eq!((&made["x_alice"]["steps"], &made["x_alice"]["clip_skip"]), (&json!(8), &json!(1)));
}

#[tokio::test]
async fn loras_and_embeddings_are_found_by_what_they_are() {
    let server = server("", |models| {
        lora(&models.join("loras/Oak_Leaves.safetensors"));
        lora(&models.join("loras/sub/elm.safetensors"));
        lora(&models.join("elsewhere/ash.safetensors"));
        embedding(&models.join("embeddings/sub/badhands.safetensors"));
        embedding(&models.join("word.safetensors"));
        let sidecar = "trigger: [oak, leaf]\ndescription: Leaves\ntriger: 1\nmodel_type: x\n";
        fs::write(models.join("loras/Oak_Leaves.yaml"), sidecar).unwrap();
        safetensors(&models.join("vae/better.safetensors"), &[("decoder.conv_out.weight", &[3, 4, 3, 3])]);
    });
    assert_eq!(ids(&server, "/v1/loras").await, ["lora/ash", "lora/elm", "lora/Oak_Leaves"]);
    assert_eq!(ids(&server, "/v1/models/loras").await, ids(&server, "/v1/loras").await);
    assert_eq!(ids(&server, "/v1/embeddings").await, ["embedding/badhands", "embedding/word"]);
    assert_eq!(ids(&server, "/v1/models").await, ["sd/alice-emoji"]);
    let list = server.get_json("/v1/loras").await;
    let leaves = &list["data"][2];
    assert_eq!((&leaves["name"], &leaves["trigger"]), (&json!("Oak_Leaves"), &json!(["oak", "leaf"])));
    assert_eq!((&leaves["sizeMb"], &leaves["description"]), (&json!(0), &json!("Leaves")));
    assert!(leaves["created"].as_u64().unwrap() > 0 && leaves.get("baseModel").is_some(), "{leaves}");
    let early = server.early_log.join("\n");
    assert!(!early.contains("Passed over"), "an autoencoder is nothing to complain about: {early}");
    assert!(
        early.contains("Oak_Leaves.yaml:3: `triger` is not a known key; did you mean `trigger`?"),
        "{early}"
    );
    assert!(early.contains("Oak_Leaves.yaml:4: `model_type` has no effect"), "{early}");
    refresh(&server).await;
    assert!(!server.wait_for_log("Models found").contains("did you mean"), "said once");
}

/// Links everything of the fixtures' directory `name` into `to`.
fn link_fixtures(name: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(source("tests/fixtures").join(name)).unwrap() {
        let path = entry.unwrap().path();
        symlink(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test]
async fn single_files_of_every_family_are_listed_as_what_they_are() {
    let vae = "file-sd1-pix2pix-vae.safetensors";
    let configured = format!("vae: {{ sd/file-sd1: {vae}, given: {vae}, sd/overruled: {vae} }}");
    let server = server(&configured, |models| {
        link_fixtures("files", models);
        link_fixtures("loras", &models.join("loras"));
        link_fixtures("embeddings", &models.join("embeddings"));
        // Three without an autoencoder: one gets none, one has it from the configuration alone, and of one the
        // configuration knows better than what lies beside it.
        for name in ["bare", "given", "overruled"] {
            let path = models.join(name).with_extension("safetensors");
            symlink(source("tests/fixtures/files/file-sd1-pix2pix.safetensors"), path).unwrap();
        }
        fs::write(models.join("overruled.yaml"), "vae: nowhere.safetensors\n").unwrap();
        let sidecar = "vae: file-sd1-pix2pix-vae.safetensors\n";
        fs::write(models.join("file-sd1-pix2pix.yaml"), sidecar).unwrap();
    });
    let told = [
        ("sd/file-sd1", "sd1", "epsilon", false, true),
        ("sd/file-sd1-inpaint", "sd1", "epsilon", true, false),
        ("sd/file-sd1-pix2pix", "sd1", "epsilon", true, true),
        ("sd/file-sd2-v", "sd2", "v_prediction", false, false),
        ("sd/file-sdxl", "sdxl", "epsilon", false, false),
        ("sd/file-sdxl-refiner", "sdxl_refiner", "epsilon", false, false),
        ("sd/given", "sd1", "epsilon", true, true),
        ("sd/overruled", "sd1", "epsilon", true, true),
    ];
    let found = ids(&server, "/v1/models").await;
    assert_eq!(found[..told.len()], told.map(|(id, ..)| id.to_owned()));
    assert_eq!(found[told.len()..], ["sd/alice-emoji"], "an autoencoder is no model");
    for (id, family, prediction, needs_picture, separate_vae) in told {
        let info = server.get_json(&format!("/v1/models/{id}/info")).await;
        let values = (&info["family"], &info["prediction"], &info["needs_picture"], &info["separate_vae"]);
        assert_eq!(
            values,
            (&json!(family), &json!(prediction), &json!(needs_picture), &json!(separate_vae)),
            "{id}"
        );
    }
    let early = server.early_log.join("\n");
    assert!(early.contains("Passed over `bare.safetensors`") && early.contains("`models.vae`"), "{early}");
    assert_eq!(early.matches("Passed over").count(), 1, "{early}");
    let loras = fs::read_dir(source("tests/fixtures/loras")).unwrap().count();
    let list = server.get_json("/v1/loras").await;
    let list = list["data"].as_array().unwrap();
    assert_eq!(list.len(), loras);
    for lora in list {
        // In models as small as these the widths do not always tell.
        let made_for = if lora["name"].as_str().unwrap().contains("sdxl") { "sdxl" } else { "sd15" };
        assert!(lora["baseModel"].is_null() || lora["baseModel"] == made_for, "{lora}");
        assert_eq!(lora["baseModel"], lora["base_model"]);
    }
    assert_eq!(
        ids(&server, "/v1/embeddings").await,
        ["embedding/sd1-eps/wobbly", "embedding/sdxl/wobbly", "embedding/zigzag"]
    );
    for id in ["sd/file-sd1", "sd/file-sdxl"] {
        let body = json!({"prompt": "x", "steps": 1, "model": id, "size": "64x64"});
        let answer = server.post("/v1/images/generations", &body).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{id}: {text}");
    }
}

#[tokio::test]
async fn junk_is_listed_nowhere_named_once_and_explained_to_whoever_asks_for_it() {
    let server = server("", |models| {
        pickles(models);
        fs::write(models.join("cut.safetensors"), [9, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap();
        fs::write(models.join("words.gguf"), b"GGUF\x03\0\0\0").unwrap();
        fs::write(models.join("empty.safetensors"), "").unwrap();
        safetensors(&models.join("strange.safetensors"), &[("some.weight", &[2, 2, 2])]);
        fs::create_dir_all(models.join("half")).unwrap();
        fs::write(models.join("half/model_index.json"), "{}").unwrap();
        fs::write(models.join("notes.txt"), "nothing").unwrap();
        lora(&models.join("loras/loud.safetensors"));
        fs::write(models.join("loras/loud.yaml"), "trigger: 7\n").unwrap();
        safetensors(&models.join("loras/loha.safetensors"), &[("lora_unet_x.hada_w1_a", &[4, 4])]);
        copy_model(&models.join("escaping"));
        fs::write(models.join("escaping/model_config.yaml"), "vae: ../../secret.safetensors\n").unwrap();
        copy_model(&models.join("absolute"));
        fs::write(models.join("absolute/model_config.yaml"), "vae: /etc/hostname\n").unwrap();
        lora(&models.join("loras/el:m.safetensors"));
        embedding(&models.join("embeddings/w<o>rd.safetensors"));
    });
    assert_eq!(ids(&server, "/v1/models").await, ["sd/alice-emoji"]);
    assert!(ids(&server, "/v1/loras").await.is_empty() && ids(&server, "/v1/embeddings").await.is_empty());
    let early = server.early_log.join("\n");
    let junk = [
        "old.ckpt",
        "disguised.safetensors",
        "cut.safetensors",
        "words.gguf",
        "empty.safetensors",
        "strange.safetensors",
        "half",
        "loras/loud.safetensors",
        "loras/loha.safetensors",
        "escaping",
        "absolute",
        "loras/el:m.safetensors",
        "embeddings/w<o>rd.safetensors",
    ];
    for name in junk {
        assert_eq!(early.matches(&format!("Passed over `{name}`")).count(), 1, "{name} in {early}");
    }
    assert!(!early.contains("notes.txt") && early.contains("it is a LoHa"), "{early}");
    assert!(early.contains("loud.yaml:1: `trigger` must be text or a list of texts"), "{early}");
    assert_eq!(early.matches("leads out of the directory of models").count(), 2, "{early}");
    assert!(!early.contains("/etc/hostname"), "nor whether it is there: {early}");
    // Not again, unless something has changed.
    fs::write(server.directory.path().join("models/empty.safetensors"), "x").unwrap();
    refresh(&server).await;
    let log = server.wait_for_log("Models found");
    assert_eq!(log.matches("Passed over").count(), 1, "{log}");
    assert!(log.contains("Passed over `empty.safetensors`"), "{log}");
    for (asked, code) in
        [("disguised", "unsafe_format"), ("sd/old", "unsafe_format"), ("cut", "model_unusable")]
    {
        let body = json!({"prompt": "x", "model": asked});
        let answer = server.post("/v1/images/generations", &body).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{asked}");
        let error = answer.json::<Value>().await.unwrap();
        assert_eq!((&error["error"]["code"], &error["error"]["param"]), (&json!(code), &json!("model")));
        let message = error["detail"].as_str().unwrap();
        assert!(message.contains("is not offered") && !message.contains("models/"), "{message}");
    }
    assert_eq!(server.get("/v1/models/strange/info").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_refresh_finds_what_has_come_and_loses_what_has_gone() {
    let server = server("", |models| copy_model(&models.join("one")));
    let models = server.directory.path().join("models");
    let counts = |models: u32, loras: u32, embeddings: u32| {
        json!({
            "status": "ok", "models_found": models, "loras_found": loras, "embeddings_found": embeddings,
            "controlnets_found": 0, "upscalers_found": 0,
        })
    };
    assert_eq!(refresh(&server).await, counts(2, 0, 0));
    copy_model(&models.join("two"));
    lora(&models.join("loras/elm.safetensors"));
    embedding(&models.join("embeddings/word.safetensors"));
    assert_eq!(ids(&server, "/v1/models").await.len(), 2, "nobody has looked yet");
    assert_eq!(refresh(&server).await, counts(3, 1, 1));
    fs::write(models.join("one/model_config.yaml"), "description: Changed\n").unwrap();
    refresh(&server).await;
    assert_eq!(server.get_json("/v1/models/one").await["description"], "Changed");
    fs::remove_dir_all(models.join("one")).unwrap();
    assert_eq!(refresh(&server).await, counts(2, 1, 1));
    assert_eq!(ids(&server, "/v1/models").await, ["sd/two", "sd/alice-emoji"]);
    // Many at once.
    let many = (0..24).map(|_| refresh(&server));
    for answer in futures::future::join_all(many).await {
        assert_eq!(answer, counts(2, 1, 1));
    }
}

#[tokio::test]
async fn running_jobs_keep_their_model_when_it_goes_off_the_list() {
    let directory = tempfile::tempdir().unwrap();
    copy_model(&directory.path().join("models/one"));
    let config =
        "server: { port: 0 }\ngeneration: { backend: paint, backend_options: { paint: { step_ms: 20 } } }\n";
    fs::write(directory.path().join("config.yaml"), config).unwrap();
    let server = Server::start(directory, &[]);
    let body = json!({"prompt": "x", "model": "one", "steps": 20});
    let running = async { server.post("/v1/images/generations", &body).await.status() };
    let lost = async {
        // At its first step it has read everything that it needs.
        while server.get_json("/v1/jobs").await["data"][0]["step"].as_u64().unwrap_or(0) == 0 {
            tokio::task::yield_now().await;
        }
        fs::remove_dir_all(server.directory.path().join("models/one")).unwrap();
        refresh(&server).await["models_found"].clone()
    };
    assert_eq!(tokio::join!(running, lost), (StatusCode::OK, json!(1)));
}

#[tokio::test]
async fn an_autoencoder_that_the_configuration_names_must_be_there() {
    let configured = "vae: { one: nowhere.safetensors, far: /else/where.safetensors, ghost: x }";
    let server = server(configured, |models| {
        for name in ["one", "two", "far"] {
            copy_model(&models.join(name));
        }
    });
    assert_eq!(ids(&server, "/v1/models").await, ["sd/two", "sd/alice-emoji"]);
    let early = server.early_log.join("\n");
    assert!(early.contains("`models.vae`: there is no `nowhere.safetensors`"), "{early}");
    assert!(early.contains("`models.vae`: `/else/where.safetensors` is not there"), "{early}");
    assert!(early.contains("`models.vae` names `ghost`"), "{early}");
    let told = server.get("/v1/models/far").await;
    assert_eq!(told.status(), StatusCode::NOT_FOUND);
    let told = told.text().await.unwrap();
    assert!(told.contains("`models.vae` is not there") && !told.contains("/else"), "{told}");
}
