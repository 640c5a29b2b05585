// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What is refused, and with which kind of error.

use super::*;

#[track_caller]
fn assert_kind<T>(result: Result<T>, kind: ErrorKind, says: &str) {
    let Err(error) = result else { panic!("accepted, expected {kind:?}: {says}") };
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(says), "{error} does not say {says}");
}

fn load(micro: &Micro) -> Result<()> {
    backend().load(&request(micro.path()), &Uncontrolled).map(drop)
}

#[test]
fn a_load_must_name_a_known_family_format_and_device() {
    let micro = Micro::new();
    let load = |change: fn(&mut LoadRequest)| {
        let mut request = request(micro.path());
        change(&mut request);
        backend().load(&request, &Uncontrolled)
    };
    assert_kind(load(|request| request.family = "sd9".into()), ErrorKind::Unsupported, "sd9");
    assert_kind(load(|request| request.dtype = "int4".into()), ErrorKind::Unsupported, "int4");
    assert_kind(load(|request| request.device = 1), ErrorKind::Invalid, "device 1");
    let missing =
        |request: &mut LoadRequest| request.files = ModelFiles::Diffusers { path: "/nowhere".into() };
    assert_kind(load(missing), ErrorKind::BadModel, "/nowhere");
}

#[test]
fn files_that_do_not_fit_their_configuration_are_bad_models() {
    let without = |component: &str, name: &'static str| {
        Micro::new().with_tensors(component, |mut tensors| {
            assert!(tensors.remove(name).is_some(), "{name}");
            tensors
        })
    };
    for (component, name) in [
        ("unet", "time_embedding.linear_2.bias"),
        ("unet", "up_blocks.1.attentions.1.transformer_blocks.0.attn2.to_v.weight"),
        ("vae", "decoder.mid_block.attentions.0.to_q.weight"),
        ("vae", "quant_conv.weight"),
        ("text_encoder", "final_layer_norm.weight"),
    ] {
        assert_kind(load(&without(component, name)), ErrorKind::BadModel, "has no tensor");
    }
    let other_shape = Micro::new().with_tensors("vae", |mut tensors| {
        tensors.get_mut("encoder.conv_in.weight").unwrap().0 = vec![3, 2, 3, 3];
        tensors
    });
    assert_kind(load(&other_shape), ErrorKind::BadModel, "encoder.conv_in.weight");
}

#[test]
fn networks_that_do_not_fit_each_other_are_refused() {
    let wide = Micro::new().with_config("text_encoder", "hidden_size", json!(8));
    assert_kind(load(&wide), ErrorKind::BadModel, "cross_attention_dim");
    let deep = Micro::new().with_config("vae", "latent_channels", json!(5));
    assert_kind(load(&deep), ErrorKind::Unsupported, "in_channels");
}

#[test]
fn a_configuration_that_asks_for_more_is_refused_by_key_and_value() {
    for (component, key, value) in [
        ("unet", "time_cond_proj_dim", json!(256)),
        ("unet", "mid_block_type", json!("UNetMidBlock2D")),
        ("unet", "resnet_time_scale_shift", json!("scale_shift")),
        ("unet", "act_fn", json!("mish")),
        ("unet", "out_channels", json!(9)),
        ("vae", "latents_mean", json!([0.0])),
        ("vae", "in_channels", json!(1)),
        ("text_encoder", "hidden_act", json!("relu")),
    ] {
        let text = value.to_string();
        let micro = Micro::new().with_config(component, key, value);
        assert_kind(load(&micro), ErrorKind::Unsupported, key);
        assert_kind(load(&micro), ErrorKind::Unsupported, &text);
        assert_kind(load(&micro), ErrorKind::Unsupported, component);
    }
}

#[test]
fn prompts_that_the_text_encoder_cannot_read_are_invalid() {
    let mut loaded = Loaded::new();
    let mut refused = |chunks: &[(&[u32], &[f32])], skip, says: &str| {
        assert_kind(loaded.encode(chunks, skip), ErrorKind::Invalid, says);
    };
    refused(&[], 0, "chunks");
    refused(&[(&FIRST[..4], &EVEN[..4])], 0, "4 token ids");
    refused(&[(&FIRST, &EVEN[..4])], 0, "4 weights");
    refused(&[(&FIRST, &EVEN), (&[9, 11, 10, 10, 10], &EVEN)], 0, "token 11");
    refused(&[(&[9, u32::MAX, 10, 10, 10], &EVEN)], 0, "vocabulary");
    refused(&[(&FIRST, &[1.0, f32::NAN, 1.0, 1.0, 1.0])], 0, "weight");
    refused(&[(&FIRST, &EVEN)], 3, "clip_skip");
    refused(&[(&FIRST, &EVEN)], u32::MAX, "clip_skip");
    refused(&vec![(&FIRST[..], &EVEN[..]); 1025], 0, "1025");

    let chunk = TextChunk { encoder: 1, ids: &FIRST, weights: &EVEN };
    let row = NamedTensor { name: "rows.0", shape: &[1, 6], data: &[0.0; 6] };
    let mut encode = |chunk: TextChunk<'_>, extra_rows: &[NamedTensor<'_>]| {
        let request = TextRequest { chunks: &[chunk], extra_rows, clip_skip: 0 };
        loaded.backend.encode_text(loaded.model, &request, &Uncontrolled)
    };
    assert_kind(encode(chunk, &[]), ErrorKind::Invalid, "text encoder 1");
    let chunk = TextChunk { encoder: 0, ..chunk };
    encode(chunk, &[row]).unwrap();
    let further = TextChunk { ids: &[9, 12, 10, 10, 10], ..chunk };
    assert_kind(encode(further, &[row]), ErrorKind::Invalid, "token 12");
    assert_kind(encode(chunk, &[NamedTensor { name: "rows.1", ..row }]), ErrorKind::Invalid, "rows.1");
    assert_kind(encode(chunk, &[NamedTensor { shape: &[1, 5], ..row }]), ErrorKind::Invalid, "shape");
    let endless = NamedTensor { data: &[0.0, 0.0, f32::INFINITY, 0.0, 0.0, 0.0], ..row };
    assert_kind(encode(chunk, &[endless]), ErrorKind::Invalid, "finite");
}

#[test]
fn rows_that_do_not_fit_the_model_are_invalid() {
    let mut loaded = Loaded::new();
    let conditioning = loaded.encode(&[(&FIRST, &EVEN)], 0).unwrap();
    let long = loaded.encode(&[(&FIRST, &EVEN), (&SECOND, &EVEN)], 0).unwrap();
    let micro = Micro::new();
    let (other, _) = loaded.backend.load(&request(micro.path()), &Uncontrolled).unwrap();
    let latent = [0.0; 60];
    let fine = DenoiseRow { latent: &latent, timestep: 1.0, conditioning, extras: &[], hints: &[] };
    let mut refused = |model, shape, rows: &[DenoiseRow<'_>], out: usize, says: &str| {
        let result = loaded.backend.denoise(model, shape, rows, &mut vec![0.0; out], &Uncontrolled);
        assert_kind(result, ErrorKind::Invalid, says);
    };
    let model = loaded.model;
    refused(model, SHAPE, &[], 0, "rows");
    refused(model, SHAPE, &vec![fine; 1025], 1025 * 60, "1025");
    refused(model, SHAPE, &[DenoiseRow { latent: &latent[1..], ..fine }], 60, "59");
    refused(model, SHAPE, &[fine], 59, "room");
    refused(model, SHAPE, &[fine, fine], 60, "room");
    refused(model, SHAPE, &[DenoiseRow { timestep: f32::NAN, ..fine }], 60, "timestep");
    refused(model, SHAPE, &[DenoiseRow { timestep: f32::INFINITY, ..fine }], 60, "timestep");
    refused(model, SHAPE, &[fine, DenoiseRow { conditioning: long, ..fine }], 120, "number of tokens");
    refused(model, LatentShape { channels: 9, ..SHAPE }, &[fine], 60, "channels");
    refused(model, LatentShape { channels: 0, ..SHAPE }, &[fine], 60, "channels");
    refused(model, LatentShape { height: 0, ..SHAPE }, &[fine], 60, "side");
    refused(model, LatentShape { width: u32::MAX, height: u32::MAX, ..SHAPE }, &[fine], 60, "side");
    refused(other, SHAPE, &[fine], 60, "another model");

    let hint = NamedTensor { name: "hint", shape: &[1], data: &[0.0] };
    let row = DenoiseRow { extras: &[hint], ..fine };
    let result = loaded.backend.denoise(model, SHAPE, &[row], &mut [0.0; 60], &Uncontrolled);
    assert_kind(result, ErrorKind::Unsupported, "hint");
}

#[test]
fn pictures_that_do_not_fit_the_model_are_invalid() {
    let Loaded { mut backend, model, .. } = Loaded::new();
    let mut decode = |shape, latents: usize, out: usize, says: &str| {
        let (latents, mut out) = (vec![0.0; latents], vec![0; out]);
        let result =
            backend.decode(model, shape, &latents, &DecodeOptions::default(), &mut out, &Uncontrolled);
        assert_kind(result, ErrorKind::Invalid, says);
    };
    decode(SHAPE, 0, 0, "rows");
    decode(SHAPE, 61, 180, "latents");
    decode(SHAPE, 60, 179, "room");
    decode(SHAPE, 120, 180, "room");
    decode(SHAPE, 60 * 1025, 180 * 1025, "1025");
    decode(LatentShape { channels: 3, ..SHAPE }, 45, 180, "channels");
    decode(LatentShape { width: 0, ..SHAPE }, 0, 0, "side");
    decode(LatentShape { height: 100_000, ..SHAPE }, 60, 180, "side");

    let tiled = DecodeOptions { tile: Some(0) };
    let result = backend.decode(model, SHAPE, &[0.0; 60], &tiled, &mut [0; 180], &Uncontrolled);
    assert_kind(result, ErrorKind::Invalid, "tile");

    let mut encode = |pixels: usize, mean: usize, deviation: usize, says: &str| {
        let (mut mean, mut deviation) = (vec![0.0; mean], vec![0.0; deviation]);
        let pixels = vec![0; pixels];
        let result = backend.encode_image(
            model,
            SHAPE,
            &pixels,
            &EncodeOptions::default(),
            &mut mean,
            &mut deviation,
            &Uncontrolled,
        );
        assert_kind(result, ErrorKind::Invalid, says);
    };
    encode(0, 0, 0, "rows");
    encode(181, 60, 60, "pictures");
    encode(180, 59, 60, "mean");
    encode(180, 60, 120, "deviation");
}

#[test]
fn adapters_that_cannot_act_are_refused_by_what_is_wrong() {
    let Loaded { mut backend, model, .. } = Loaded::new();
    let directory = tempfile::tempdir().unwrap();
    let style = directory.path().join("style.safetensors");
    let mut adapt = |adapter: Adapter, count| backend.adapt(model, &vec![adapter; count], &Uncontrolled);
    let adapter = |scale| Adapter { path: style.clone(), scale };
    assert_kind(adapt(adapter(1.0), 1), ErrorKind::BadModel, "style.safetensors");
    let pair = |module: &str| {
        let down = (format!("{module}.lora_A.weight"), (vec![1, 3], vec![1.0; 3]));
        [down, (format!("{module}.lora_B.weight"), (vec![3, 1], vec![1.0; 3]))]
    };
    micro::write(&style, &pair("transformer.single_blocks.0.attn.to_q").into());
    assert_kind(adapt(adapter(1.0), 1), ErrorKind::BadModel, "another kind of model");
    assert_kind(adapt(adapter(0.0), 1), ErrorKind::BadModel, "another kind of model");
    assert_kind(adapt(adapter(f32::NAN), 1), ErrorKind::Invalid, "scale");
    assert_kind(adapt(adapter(1.0), 65), ErrorKind::Invalid, "65");
    std::fs::write(&style, b"PK\x03\x04 and so on").unwrap();
    assert_kind(adapt(adapter(1.0), 1), ErrorKind::BadModel, "refused");
    let unknown = ModelHandle(model.0 + 1);
    assert_kind(backend.adapt(unknown, &[], &Uncontrolled), ErrorKind::StaleHandle, "model");
}
