// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is refused of pictures and of what is wanted of them, and how that is said.

use super::*;

/// Status, parameter and message of a refusal.
async fn refusal(answer: Response) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("no refusal: {status} {body}"));
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    (status, text("param"), text("message"))
}

/// `body` with `fields`.
fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn what_cannot_be_used_is_named_in_the_clients_words() {
    let server = server().await;
    let (image, mask) = (base64(&picture(128, 128)), base64(&mask_in_white(128, 128)));
    let other = base64(&mask_in_white(64, 128));
    let alpha = base64(&mask_in_alpha(128, 128));
    let one = json!({"prompt": "x", "input_images": [image], "mask": mask, "steps": 4});
    let control = |fields: Value| json!({"controls": [with(json!({"model": "x", "image": image}), fields)]});
    let of_sd1 = |fields: Value| {
        let control = with(json!({"model": "controlnet-sd1-eps", "image": image}), fields);
        json!({"model": "sd1-eps", "controls": [control]})
    };
    let cases = [
        (json!({"strength": 1.5}), "strength", "must be 0 to 1, not 1.5"),
        (json!({"strength": 0.1}), "strength", "leaves none of 4 steps; with 0.25 one is left"),
        (json!({"resize_mode": "squeeze"}), "resize_mode", "expected one of `crop`, `fit`, `stretch`"),
        (json!({"mask_blur": -1}), "mask_blur", "must be 0 to 64"),
        (json!({"mask": other}), "mask", "is 64 x 128 pixels and the picture 128 x 128"),
        (json!({"mask": alpha, "mask_invert": true}), "mask_invert", "black and white"),
        (json!({"only_masked_padding": 4000}), "only_masked_padding", "must be 0 to 512"),
        (json!({"image_guidance_scale": 99}), "image_guidance_scale", "must be 0 to 20"),
        (json!({"input_images": [image, image]}), "input_images", "holds 2 pictures"),
        (json!({"input_images": ["%%%"]}), "input_images", "base64"),
        (json!({"input_images": [base64(b"GIF89a whatever")]}), "input_images", ""),
        (json!({"input_images": ["https://example.com/a.png"]}), "input_images", ""),
        (json!({"input_images": null}), "mask", "needs the picture that it is for"),
        (json!({"input_images": [{"file_id": "file-1"}]}), "input_images[0]", "`file_id`"),
        (json!({"mask": {"file_id": "file-1"}}), "mask", "`file_id`"),
        (json!({"hires": {"scale": 2}}), "hires", "cannot be used with a picture to begin with"),
        (json!({"upscaler": "nothing"}), "upscaler", "`nothing`"),
        (json!({"input_images": "A".repeat(100_000)}), "input_images", "…"),
        (control(json!({})), "controls[0].model", "`x`"),
        (
            control(json!({"model": "controlnet-sdxl"})),
            "controls[0].model",
            "made for models of the kind sdxl, not sd2",
        ),
        (
            with(of_sd1(json!({})), json!({"model": "alice-emoji"})),
            "controls[0].model",
            "does not fit `sd/alice-emoji`: it takes prompts of 32 values a token, those of this model have 128",
        ),
        (
            with(of_sd1(json!({"model": "t2i-light-sd1-eps"})), json!({"model": "sd1-inpaint"})),
            "controls[0].model",
            "24 (1/1), 24 (1/2), 32 (1/4), 32 (1/8) channels",
        ),
        (control(json!({"model": "t2i-full-sdxl"})), "controls[0].model", "the kind sdxl, not sd2"),
        (json!({"controls": [{"model": "x"}]}), "controls[0].image", "must be given"),
        (json!({"controls": vec![json!({"model": "x", "image": image}); 5]}), "controls", "at most 4"),
        (of_sd1(json!({"preprocessor": "depth"})), "controls[0].preprocessor", "must be `canny` or `none`"),
        (of_sd1(json!({"strength": 3})), "controls[0].strength", "must be 0 to 2"),
        (of_sd1(json!({"end": 1.1})), "controls[0].end", "must be 0 to 1"),
        (of_sd1(json!({"start": 0.6, "end": 0.4})), "controls[0].start", "0.6 is after 0.4"),
        (json!({"controls": [null]}), "controls[0]", "null, expected an object with `model` and `image`"),
        (json!({"controls": 7}), "controls", "expected a list"),
        (json!({"hires": true}), "hires", "expected an object with `scale`"),
        (json!({"hires": {"steps": "x"}}), "hires.steps", "expected a whole number"),
        (json!({"strength": "x"}), "strength", "expected a number"),
        (json!({"image": 7}), "image", "expected base64, a data URL"),
        (json!({"image": image}), "input_images", "holds 2 pictures"),
        (json!({"image": "nothing", "input_images": []}), "image", ""),
        (json!({"image": {"file_id": "file-1"}}), "image", "`file_id`"),
        (json!({"mask": base64(&mask_in_white(1, 1))}), "mask", "is 1 x 1 pixels"),
        (
            json!({"input_images": [base64(&picture(4000, 20))], "mask": null}),
            "input_images",
            "is 4000 x 20 pixels",
        ),
        (json!({"model": "sd1-pix2pix"}), "mask", "changes the whole picture"),
        (json!({"mask": 7}), "mask", "cannot be used: expected base64, a data URL, or an object"),
        (json!({"size": "128x128", "width": 9999}), "width", "must be 64 to 2048"),
        (json!({"size": "128x9999", "width": 128}), "size", "must be 64 to 2048"),
        (json!({"seed": 1.5}), "seed", "floating point `1.5`, expected a whole number"),
        (json!({"seed": -2}), "seed", "must be -1 or 0 to 2^64-1"),
        (json!({"seed": 2e20}), "seed", "must be -1 or 0 to 2^64-1"),
    ];
    for (fields, param, said) in cases {
        let answer = server.post(GENERATIONS, &with(one.clone(), fields.clone())).await;
        let (status, named, message) = refusal(answer).await;
        let shown: String = fields.to_string().chars().take(120).collect();
        assert_eq!((status, named.as_str()), (400, param), "{shown}: {message}");
        assert!(message.contains(said), "{shown}: {message}");
    }
    let hires = json!({"prompt": "x", "steps": 4, "size": "128x128"});
    let cases = [
        (json!({"scale": 9}), "hires.scale", "must be 1 to 4"),
        (json!({"scale": 2, "width": 256}), "hires", "either `scale`, or `width` and `height`"),
        (json!({"width": 64, "height": 64}), "hires", "must not be smaller than 128 x 128"),
        (json!({"steps": 0}), "hires.steps", "must be 1 to 150"),
        (json!({"strength": 0.01}), "hires.strength", "leaves none of 4 steps"),
        (json!({"upscaler": "nothing"}), "hires.upscaler", "`nothing`"),
    ];
    for (wish, param, said) in cases {
        let answer = server.post(GENERATIONS, &with(hires.clone(), json!({ "hires": wish }))).await;
        let (status, named, message) = refusal(answer).await;
        assert_eq!((status, named.as_str()), (400, param), "{wish}: {message}");
        assert!(message.contains(said), "{wish}: {message}");
    }
    let left = std::fs::read_dir(server.directory.path().join("inputs")).unwrap().count();
    assert_eq!(left, 0, "of a request that is refused nothing stays");
}

#[tokio::test]
async fn forms_are_refused_in_the_same_words() {
    let server = Server::paint().await;
    let image = picture(64, 64);
    let form = || Form::default().text("prompt", "x");
    let cases = [
        (form(), "image", "must be given"),
        (form().file("image", &image).file("image[]", &image), "image", "holds 2 pictures"),
        (form().file("image", b"not a picture"), "image", ""),
        (form().file("image", b""), "image", ""),
        (form().file("image", &image).file("mask", &mask_in_white(32, 32)), "mask", "is 32 x 32 pixels"),
        (form().file("image", &image).file("mask", &image).file("mask", &image), "mask", "holds 2 pictures"),
        (form().file("image", &image).file("mask", &image).text("mask", "x"), "mask", "holds 2 pictures"),
        (form().file("picture", &image), "picture", "is a file"),
        (form().file("image", &image).text("seed", "1.5"), "seed", "expected a whole number"),
        (form().file("image", &image).text("seed", "36893488147419103232"), "seed", "must be -1 or 0"),
        (form().file("image", &image).text("n", "many"), "n", ""),
        (form().file("image", &image).text("n", "11"), "n", "must be 1 to 10"),
        (form().file("image", &image).text("size", "big"), "size", "`<width>x<height>`"),
        (form().file("image", &image).text("stream", "perhaps"), "stream", ""),
        (form().file("image", &image).text("controls", "{"), "controls", "is not the JSON"),
        (form().file("image", &image).text("prompt", "y"), "prompt", "more than once"),
        (form().file("image", &image).text("strength", "2"), "strength", "must be 0 to 1"),
        (form().file("image", &image).file("control_image", &image), "control_image", "more pictures than"),
        (form().file("image", &image).text("output_format", "jpeg"), "output_format", "must be `png`"),
        (Form::default().file("image", &image), "prompt", "must not be empty"),
    ];
    for (form, param, said) in cases {
        let (status, named, message) = refusal(send(&server, EDITS, form).await).await;
        assert_eq!((status, named.as_str()), (400, param), "{message}");
        assert!(message.contains(said), "{param}: {message}");
    }
    let many = (0..97).fold(form(), |form, place| form.text(&format!("a{place}"), "1"));
    let (status, _, message) = refusal(send(&server, EDITS, many).await).await;
    assert_eq!((status, message.as_str()), (400, "the form has more than 96 parts"));
    let long = form().text("user", &"x".repeat(2 << 20)).file("image", &image);
    assert_eq!(refusal(send(&server, EDITS, long).await).await.1, "user");
    for (kind, body) in [
        ("multipart/form-data", "--x\r\n"),
        ("multipart/form-data; boundary=x", ""),
        (
            "multipart/form-data; boundary=x",
            "--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nends",
        ),
        ("application/json", "not json"),
    ] {
        let request = server.client.post(format!("{}{EDITS}", server.base)).header("content-type", kind);
        let (status, _, message) = refusal(request.body(body).send().await.unwrap()).await;
        assert_eq!(status, 400, "{kind} {body}: {message}");
        assert!(!message.is_empty());
    }
    server.post_json(GENERATIONS, &json!({"prompt": "x", "steps": 1})).await;
}

#[tokio::test]
async fn pictures_that_steer_and_came_as_files_are_named_as_such() {
    let server = server().await;
    let image = picture(64, 64);
    let (with, without) = (
        json!({"model": "controlnet-sd1-eps", "image": base64(&image)}),
        json!({"model": "controlnet-sd1-eps"}),
    );
    let form = |controls: Value| {
        let form = Form::default().text("prompt", "x").text("model", "sd1-eps");
        form.text("controls", &controls.to_string())
    };
    let junk = b"not a picture";
    let cases = [
        (form(json!([without])).file("control_image", junk), "control_image"),
        (form(json!([with, without])).file("control_image[]", junk), "control_image"),
        (
            form(json!([without, {"model": "controlnet-sd1-eps", "image": "aGk="}]))
                .file("control_image", &image),
            "controls[1].image",
        ),
        (form(json!([without, without])).file("control_image", &image), "controls[1].image"),
    ];
    for (form, param) in cases {
        let (status, named, message) = refusal(send(&server, GENERATIONS, form).await).await;
        assert_eq!((status, named.as_str()), (400, param), "{message}");
    }
}

#[tokio::test]
async fn the_chat_form_refuses_in_its_own_words() {
    let server = Server::paint().await;
    let image = base64(&picture(64, 64));
    let cases = [
        (json!({"input_images": [image, image]}), 400, "input_images"),
        (json!({"input_images": ["nothing"]}), 400, "input_images"),
        (json!({"input_image_urls": ["http://127.0.0.1/a.png"]}), 400, "input_image_urls"),
        (json!({"input_images": [image], "mask": 7}), 422, "mask"),
        (json!({"steps": "many"}), 422, "steps"),
        (json!({"input_images": [image], "strength": 2}), 422, "strength"),
        (json!({"input_images": [image], "mask": base64(&mask_in_white(8, 8))}), 400, "mask"),
        (
            json!({"input_images": [image], "controls": [{"model": "x", "image": image}]}),
            400,
            "controls[0].model",
        ),
        (json!({"hires": {"scale": 2}}), 400, "hires"),
    ];
    for (config, status, param) in cases {
        let (got, named, message) = refusal(server.post(CHAT, &chat(config.clone())).await).await;
        assert_eq!((got, named.as_str()), (status, param), "{message}");
    }
    for (metadata, param) in [
        (json!({"input_images": [image], "mask": 7}), "mask"),
        (json!({"input_images": [image], "mask": "not a picture"}), "mask"),
        (json!({"hires": "large"}), "hires"),
        (json!({"controls": [7]}), "controls"),
    ] {
        let body = json!({"model": "alice-emoji", "messages": [{"role": "user", "content": "x"}], "metadata": metadata});
        let (status, named, message) = refusal(server.post(CHAT, &body).await).await;
        assert_eq!((status, named.as_str()), (400, param), "{message}");
    }
    let parts =
        json!([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "nothing"}}]);
    let body = json!({"model": "alice-emoji", "messages": [{"role": "user", "content": parts}]});
    assert_eq!(refusal(server.post(CHAT, &body).await).await.1, "messages");
    let with_empty_list = with(body, json!({"sam_config": {"input_images": []}}));
    assert_eq!(refusal(server.post(CHAT, &with_empty_list).await).await.1, "messages");
    let parts = json!([{"type": "image_url", "image_url": {"url": data_url(&picture(64, 64))}}]);
    let body = json!({"model": "alice-emoji", "messages": [{"role": "user", "content": parts}]});
    let (_, named, message) = refusal(server.post(CHAT, &body).await).await;
    assert_eq!((named.as_str(), message.as_str()), ("messages", "`messages` must not be empty"));
    let parts = json!([{"type": "input_audio"}]);
    let body = json!({"model": "alice-emoji", "messages": [{"role": "user", "content": parts}]});
    assert_eq!(refusal(server.post(CHAT, &body).await).await.1, "messages");
}
