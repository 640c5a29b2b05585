// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Files that are no model that is known here, or not all of one.

use super::*;

/// `tensors` with another shape for one of them.
fn reshaped(tensors: Tensors, name: &str, shape: &[usize]) -> Tensors {
    let other = |(found, old): (String, Vec<usize>)| match found == name {
        true => (found, shape.to_vec()),
        false => (found, old),
    };
    tensors.into_iter().map(other).collect()
}

#[test]
fn parts_that_would_be_left_out_are_named() {
    for part in [
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.fuser.alpha",
        "model.diffusion_model.time_cond_proj.weight",
        "model.diffusion_model.output_blocks.12.0.in_layers.0.weight",
        "control_model.input_blocks.0.0.weight",
        "first_stage_model.quantize.embedding.weight",
        "cond_stage_model.transformer.adapter.weight",
        "cond_stage_model.proj.weight",
        "cond_stage_model.model.ln_final.weight",
        "conditioner.embedders.2.model.weight",
        "depth_model.model.pretrained.weight",
    ] {
        let message = refusal(&and(SD1.tensors(), part, &[1]));
        assert!(message.contains("no known model family") && message.contains(part), "{message}");
    }
}

#[test]
fn added_conditioning_goes_with_the_text_encoders_of_sdxl() {
    let added = Sizes { added: Some(1024), ..SD2 };
    assert!(refusal(&added.tensors()).contains("label_emb"));
    let plain = Sizes { added: None, ..SDXL };
    assert!(refusal(&plain.tensors()).contains("label_emb"));
    let odd = Sizes { added: Some(2817), ..SDXL };
    assert!(refusal(&odd.tensors()).contains("2817"));
    let second_alone = without(SDXL.tensors(), text::XL_FIRST);
    assert!(refusal(&second_alone).contains("text encoders"));
    assert!(refusal(&without(SD1.tensors(), text::PLAIN)).contains("no text encoder"));
}

#[test]
fn another_kind_of_noise_is_refused() {
    for mark in EDM {
        assert!(refusal(&and(SDXL.tensors(), mark, &[1])).contains(mark));
    }
}

#[test]
fn what_lies_among_models_and_is_none_is_called_by_its_name() {
    let file = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), vec![1])).collect::<Tensors>();
    for (names, word) in [
        (&["lora_unet_mid_block.lora_down.weight"][..], "a LoRA"),
        (&["emb_params"], "embedding"),
        (&["clip_g", "clip_l"], "embedding"),
        (&["decoder.conv_in.weight", "encoder.conv_in.weight"], "autoencoder"),
        (&["model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight"], "another build"),
        (&["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], "another build"),
        (&["control_model.zero_convs.0.0.weight"], "a ControlNet"),
        (&["controlnet_down_blocks.0.weight"], "a ControlNet"),
        (&["adapter.body.0.in_conv.weight"], "a T2I-Adapter"),
        (&["body.0.block1.weight"], "a T2I-Adapter"),
        (&["model.1.sub.0.RDB1.conv1.0.weight"], "an upscaler"),
        (&["body.0.rdb1.conv1.weight"], "an upscaler"),
        (&["something"], "no denoiser"),
        (&[], "no denoiser"),
    ] {
        let message = refusal(&file(names));
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn every_tensor_that_a_network_needs_is_missed_by_its_name_in_the_file() {
    let sizes = Sizes { vocabulary: 8, ..SD1 };
    let all = sizes.tensors();
    let optional = |name: &str| name.ends_with("position_ids");
    // One in seven, which meets every kind.
    for (name, _) in all.iter().filter(|(name, _)| !optional(name)).step_by(7) {
        refusal(&all.iter().filter(|(other, _)| other != name).cloned().collect());
    }
    let gone = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight";
    let message = refusal(&without(all, gone));
    assert!(message.contains("has no tensor") && message.contains(gone), "{message}");
}

#[test]
fn shapes_that_cannot_be_are_named() {
    for (name, shape) in [
        ("model.diffusion_model.input_blocks.0.0.weight", &[320, 4][..]),
        ("first_stage_model.decoder.conv_in.weight", &[]),
        ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", &[49408]),
        ("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", &[320]),
    ] {
        let message = refusal(&reshaped(SD1.tensors(), name, shape));
        assert!(message.contains(name), "{message}");
    }
    let gone = "conditioner.embedders.1.model.ln_final.weight";
    assert!(refusal(&without(SDXL.tensors(), gone)).contains(gone));
    let packed = "conditioner.embedders.1.model.transformer.resblocks.3.attn.in_proj_weight";
    // Of nothing, each row may claim any length.
    for shape in [&[3841, 1280][..], &[], &[0, 1 << 40, 1 << 40]] {
        assert!(refusal(&reshaped(SDXL.tensors(), packed, shape)).contains(packed));
    }
    let turned = "conditioner.embedders.1.model.text_projection";
    assert!(refusal(&reshaped(SDXL.tensors(), turned, &[1280])).contains(turned));
}

#[test]
fn levels_that_diffusers_cannot_describe_are_refused() {
    let deeper = Sizes { middle: 3, ..SDXL };
    assert!(refusal(&deeper.tensors()).contains("depth"));
    let without_one = without(SD1.tensors(), "model.diffusion_model.input_blocks.5.1.");
    assert!(refusal(&without_one).contains("only some blocks"));
}

#[test]
fn a_file_that_is_cut_off_is_damaged_and_a_pickle_is_refused() {
    let written = Written::new(&SD1.tensors(), &json!({}));
    let length = std::fs::metadata(written.path()).unwrap().len();
    let file = std::fs::File::options().write(true).open(written.path()).unwrap();
    file.set_len(length - 1).unwrap();
    assert!(matches!(written.open(), Err(Error::Damaged { .. })));
    file.set_len(10_000).unwrap();
    assert!(matches!(written.open(), Err(Error::Damaged { .. })));
    std::fs::write(written.path(), b"PK\x03\x04 archive/data.pkl").unwrap();
    let error = written.open().unwrap_err();
    assert!(matches!(error, Error::UnsafeFormat { .. }));
    assert!(error.to_string().contains("from_single_file"), "{error}");
}
