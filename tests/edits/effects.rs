// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What becomes of each thing that is wanted of pictures: it is done, or it is said that it is not.

use super::*;

/// The warnings of an answer of the images API, each up to its first colon.
fn warned(answer: &Value) -> Vec<&str> {
    let warnings = answer["x_alice"]["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| warning.as_str().unwrap().split(':').next().unwrap()).collect()
}

fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn what_has_no_effect_is_told() {
    let server = server().await;
    let (image, mask) = (base64(&picture(128, 128)), base64(&mask_in_white(128, 128)));
    let all = json!({
        "strength": 0.5, "resize_mode": "fit", "mask_blur": 2, "mask_invert": true, "only_masked": true,
        "only_masked_padding": 8, "image_guidance_scale": 2,
    });
    let of_mask = ["mask_blur", "mask_invert", "only_masked", "only_masked_padding"];
    let of_picture = ["strength", "resize_mode", "image_guidance_scale"];
    let cases = [
        (json!({}), all.clone(), [&of_picture[..], &of_mask].concat()),
        (
            json!({}),
            json!({"mask_invert": false, "only_masked": false, "controls": [], "input_images": []}),
            vec![],
        ),
        (json!({"input_images": [image]}), all.clone(), [&of_mask[..], &["image_guidance_scale"]].concat()),
        (
            json!({"input_images": [image], "mask": mask}),
            json!({"only_masked_padding": 8}),
            vec!["only_masked_padding"],
        ),
        (
            json!({"input_images": [image], "mask": mask}),
            json!({"resize_mode": "fit", "only_masked": true, "only_masked_padding": 8, "mask_invert": true}),
            vec!["resize_mode"],
        ),
        (
            json!({"input_images": [image], "model": "sd1-pix2pix"}),
            json!({"strength": 0.1, "image_guidance_scale": 2, "resize_mode": "fit"}),
            vec!["strength"],
        ),
    ];
    for (pictures, wishes, unheard) in cases {
        let body = with(with(json!({"prompt": "x", "steps": 2}), pictures), wishes.clone());
        let answer = server.post_json(GENERATIONS, &body).await;
        let wanted: Vec<_> = unheard.iter().map(|param| format!("`{param}` has no effect")).collect();
        assert_eq!(warned(&answer), wanted, "{wishes}");
    }
    let body = json!({
        "model": "sd2-v", "messages": [{"role": "user", "content": "x"}], "sam_config": {"mask_blur": 2},
        "metadata": {"steps": "2", "strength": "much", "upscaler": 4, "tags": ["holiday"]},
    });
    let answer = server.post_json(CHAT, &body).await;
    let told = &answer["choices"][0]["message"]["metadata"];
    let warnings = [
        "`strength` in `metadata` cannot be read and is left out",
        "`upscaler` in `metadata` cannot be read and is left out",
        "`mask_blur` has no effect: there is no picture to begin with",
    ];
    assert_eq!((&told["steps"], &told["warnings"]), (&json!(2), &json!(warnings)));
}

#[tokio::test]
async fn a_strength_that_nobody_has_asked_for_leaves_a_step() {
    let directory = source("tests/fixtures");
    let models = format!("models: {{ directory: {}, default_model: sd2-v }}", directory.display());
    let server = Server::with(&format!("generation: {{ backend: paint, default_steps: 1 }}\n{models}")).await;
    let one = json!({"prompt": "x", "input_images": [base64(&picture(64, 64))]});
    for (fields, steps, warnings) in [
        (json!({}), 2, vec![]),
        (json!({"steps": 1}), 2, vec!["`steps` is 2"]),
        (json!({"steps": 1, "strength": 1}), 1, vec![]),
        (json!({"steps": 1, "model": "sd1-pix2pix"}), 1, vec![]),
    ] {
        let answer = server.post_json(GENERATIONS, &with(one.clone(), fields.clone())).await;
        assert_eq!((&answer["x_alice"]["steps"], warned(&answer)), (&json!(steps), warnings), "{fields}");
    }
    for (hires, steps, warnings) in [
        (json!({}), 2, vec![]),
        (json!({"steps": 1, "upscaler": "lanczos"}), 2, vec!["`hires.steps` is 2"]),
        (json!({"strength": 1}), 1, vec![]),
    ] {
        let answer = server.post_json(GENERATIONS, &json!({"prompt": "x", "hires": hires})).await;
        let used = &answer["x_alice"];
        assert_eq!((&used["steps"], &used["hires"]["steps"]), (&json!(1), &json!(steps)), "{hires}");
        assert_eq!((&used["width"], &used["hires"]["width"]), (&json!(128), &json!(128)), "twice as large");
        assert_eq!(warned(&answer), warnings, "{hires}");
    }
    let answer = server.post_json(GENERATIONS, &json!({"prompt": "x", "steps": 1, "hires": {}})).await;
    assert_eq!(warned(&answer), ["`hires.steps` is 2"], "they follow the first run's");
}

#[tokio::test]
async fn a_mask_is_read_by_what_there_is_in_it() {
    let server = server().await;
    let half = |left: [u8; 4], right: [u8; 4]| {
        file(RgbaImage::from_fn(64, 64, |x, _| Rgba(if x < 32 { left } else { right })).into())
    };
    let (black, white) = ([0, 0, 0, 255], [255; 4]);
    let body = |mask: &[u8], inverted: bool| {
        let image = base64(&picture(64, 64));
        json!({"prompt": "x", "input_images": [image], "mask": base64(mask), "mask_invert": inverted, "steps": 2})
    };
    for (mask, inverted, polarity) in [
        (half([0; 4], black), false, "transparent"),
        (half([255, 255, 255, 127], black), false, "transparent"),
        // As some programs write what is meant to be opaque.
        (half([255, 255, 255, 254], [0, 0, 0, 254]), false, "white"),
        (half(white, [0, 0, 0, 128]), true, "black"),
    ] {
        let used = &server.post_json(GENERATIONS, &body(&mask, inverted)).await["x_alice"];
        assert_eq!(used["mask_polarity"], polarity);
    }
    let speck = |x, y| Rgba(if (x, y) == (30, 30) { white } else { black });
    let speck = file(RgbaImage::from_fn(64, 64, speck).into());
    let cases = [(half(black, black), false, 4), (half(white, white), true, 4), (speck, false, 64)];
    for (mask, inverted, blur) in cases {
        for only_masked in [false, true] {
            let wishes = json!({"only_masked": only_masked, "mask_blur": blur});
            let body = with(body(&mask, inverted), wishes);
            let answer = server.post(GENERATIONS, &body).await;
            assert_eq!(answer.status(), 400);
            let refused: Value = answer.json().await.unwrap();
            assert_eq!(refused["error"]["param"], "mask");
            assert!(refused["error"]["message"].as_str().unwrap().contains("covers nothing of the picture"));
        }
    }
}

#[tokio::test]
async fn a_picture_may_stand_wherever_a_client_looks_for_its_place() {
    let server = Server::paint().await;
    let image = picture(64, 64);
    let (text, url) = (base64(&image), data_url(&image));
    for fields in [
        json!({"image": text}),
        json!({"image": url}),
        json!({"image": [text]}),
        json!({"image": {"image_url": url}}),
        json!({"image": [{"image_url": {"url": url}}]}),
        json!({"images": [text]}),
    ] {
        let body = with(json!({"prompt": "x", "steps": 2}), fields);
        assert_eq!(server.post_json(EDITS, &body).await["x_alice"]["mode"], "img2img");
    }
    let form =
        || Form::default().text("prompt", "x").text("steps", "2").text("upscaler", "").text("mask", "");
    for (name, value) in [
        ("input_images", format!("[\"{text}\"]")),
        ("input_images", text.clone()),
        ("images[]", url),
        ("image", text),
    ] {
        let used = &send_json(&server, EDITS, form().text(name, &value)).await["x_alice"];
        assert_eq!((&used["mode"], &used["steps"]), (&json!("img2img"), &json!(2)), "{name}");
    }
}

/// The picture that an answer brings.
fn painted(answer: &Value) -> RgbImage {
    let file = BASE64_STANDARD.decode(answer["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    image::load_from_memory(&file).unwrap().into_rgb8()
}

#[tokio::test]
async fn what_steers_a_masked_region_is_cut_like_it() {
    let server = server().await;
    let (image, hint) = (image::load_from_memory(&picture(256, 192)).unwrap(), rings(512, 192));
    let pixel = |x, y| Rgb([if (96..160).contains(&x) && (64..128).contains(&y) { 255 } else { 0 }; 3]);
    let mask = DynamicImage::from(RgbImage::from_fn(256, 192, pixel));
    // The mask with 32 pixels around it, which needs no scaling to be painted.
    let cut = |picture: &DynamicImage| picture.crop_imm(64, 32, 128, 128);
    let body = |image: &DynamicImage, mask: &DynamicImage, hint: &DynamicImage, preprocessor: &str| {
        let text = |picture: &DynamicImage| base64(&file(picture.clone()));
        let control =
            json!({"model": "controlnet-sd1-eps", "image": text(hint), "preprocessor": preprocessor});
        json!({
            "prompt": "x", "model": "sd1-eps", "size": "128x128", "steps": 4, "seed": 7, "mask_blur": 0,
            "input_images": [text(image)], "mask": text(mask), "controls": [control],
        })
    };
    for preprocessor in ["none", "canny"] {
        let whole = with(body(&image, &mask, &hint, preprocessor), json!({"only_masked": true}));
        let whole = DynamicImage::from(painted(&server.post_json(GENERATIONS, &whole).await));
        // Its middle is as large as the picture.
        let fitted = hint.crop_imm(128, 0, 256, 192);
        let part = body(&cut(&image), &cut(&mask), &cut(&fitted), preprocessor);
        let part = painted(&server.post_json(GENERATIONS, &part).await);
        assert_eq!((whole.width(), whole.height()), (256, 192));
        assert!(cut(&whole).into_rgb8() == part, "{preprocessor}: the region is painted as if it were all");
        let uncut = body(&cut(&image), &cut(&mask), &hint, preprocessor);
        let uncut = painted(&server.post_json(GENERATIONS, &uncut).await);
        assert!(uncut != part, "{preprocessor}: what steers is seen");
    }
}

/// A picture with edges everywhere.
fn rings(width: u32, height: u32) -> DynamicImage {
    let far = |x: u32, y: u32| (x * x + y * y).isqrt();
    RgbImage::from_fn(width, height, |x, y| Rgb([if far(x, y) / 8 % 2 == 0 { 250 } else { 20 }; 3])).into()
}
