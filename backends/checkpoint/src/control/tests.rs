// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The published networks by their headers, in every spelling, and what is no such network.

use std::fs;

use serde_json::json;

use super::*;
use crate::single::tests::published::{REFINER, SD1, SD2, SDXL, Sizes, Tensors, write};

/// A file with these tensors, opened; its name says nothing.
fn open(tensors: &Tensors) -> Result<ControlFile, Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("network");
    write(&path, tensors, &json!({}));
    let opened = ControlFile::open(&path)?;
    // What it says of its weights is what the file holds.
    assert_eq!(opened.weights()?.names().count(), opened.catalog()?.entries.len());
    Ok(opened)
}

fn refusal(tensors: &Tensors) -> String {
    match open(tensors) {
        Err(error) => error.to_string(),
        Ok(network) => panic!("it was taken for a {}", network.kind()),
    }
}

fn layer(all: &mut Tensors, name: &str, weight: &[usize]) {
    all.push((format!("{name}.weight"), weight.to_vec()));
    all.push((format!("{name}.bias"), vec![weight[0]]));
}

fn prefixed(prefix: &str, tensors: Tensors) -> Tensors {
    tensors.into_iter().map(|(name, shape)| (format!("{prefix}{name}"), shape)).collect()
}

/// The ControlNet for a model of these sizes, as `cldm.py` names it.
fn original(sizes: &Sizes) -> Tensors {
    let first_half = |name: &str| !name.starts_with("output_blocks.") && !name.starts_with("out.");
    let mut all: Tensors = sizes.unet().into_iter().filter(|(name, _)| first_half(name)).collect();
    let widths = [(3, 16), (16, 16), (16, 32), (32, 32), (32, 96), (96, 96), (96, 256), (256, sizes.first)];
    for (place, (input, output)) in widths.into_iter().enumerate() {
        layer(&mut all, &format!("input_hint_block.{}", 2 * place), &[output, input, 3, 3]);
    }
    let last = sizes.multiples.len() - 1;
    let mut kept = vec![sizes.first];
    for (level, multiple) in sizes.multiples.iter().enumerate() {
        let count = sizes.blocks + usize::from(level < last);
        kept.extend(std::iter::repeat_n(sizes.first * multiple, count));
    }
    for (place, channels) in kept.iter().enumerate() {
        layer(&mut all, &format!("zero_convs.{place}.0"), &[*channels, *channels, 1, 1]);
    }
    let channels = kept[kept.len() - 1];
    layer(&mut all, "middle_block_out.0", &[channels, channels, 1, 1]);
    all
}

/// The same under diffusers' names, in whose words the file's own reading puts them.
fn in_diffusers_names(sizes: &Sizes) -> Tensors {
    let catalog = open(&original(sizes)).unwrap().catalog().unwrap();
    catalog.entries.into_iter().map(|(name, entry)| (name, entry.shape)).collect()
}

#[test]
fn the_published_control_networks_have_as_many_tensors_and_values_as_diffusers_has() {
    // Of diffusers 0.42.1's `ControlNetModel` with the configurations of these models.
    for (sizes, family, tensors, values) in [
        (SD1, Family::Sd1, 340, 361_279_120_u64),
        (SD2, Family::Sd2, 340, 364_228_240),
        (SDXL, Family::Sdxl, 844, 1_251_014_160),
    ] {
        for prefix in ["", CONTROL_MODEL] {
            let network = open(&prefixed(prefix, original(&sizes))).unwrap();
            assert_eq!((network.kind(), network.base()), (ControlKind::ControlNet, family));
            assert_eq!(network.catalog().unwrap().entries.len(), tensors, "{family}");
            assert_eq!(network.values().unwrap(), values, "{family}");
        }
    }
    assert_eq!(open(&original(&REFINER)).unwrap().base(), Family::SdxlRefiner);
}

#[test]
fn a_configuration_is_worked_out_alike_in_both_spellings() {
    for sizes in [SD1, SD2, SDXL] {
        let config: Value = open(&original(&sizes)).unwrap().config().unwrap();
        let again: Value = open(&in_diffusers_names(&sizes)).unwrap().config().unwrap();
        assert_eq!(config, again);
        assert_eq!(config["conditioning_embedding_out_channels"], json!([16, 32, 96, 256]));
        assert_eq!(config["layers_per_block"], 2);
        assert_eq!((&config["in_channels"], &config["conditioning_channels"]), (&json!(4), &json!(3)));
    }
    let config: Value = open(&original(&SD1)).unwrap().config().unwrap();
    assert_eq!(config["block_out_channels"], json!([320, 640, 1280, 1280]));
    assert_eq!(config["transformer_layers_per_block"], json!([1, 1, 1, 1]));
    assert_eq!(
        (&config["attention_head_dim"], &config["down_block_types"][3]),
        (&json!(8), &json!("DownBlock2D"))
    );
    assert_eq!(config.get("addition_embed_type"), None);
    let config: Value = open(&original(&SDXL)).unwrap().config().unwrap();
    assert_eq!(config["transformer_layers_per_block"], json!([1, 2, 10]));
    assert_eq!(config["attention_head_dim"], json!([5, 10, 20]));
    assert_eq!(config["addition_time_embed_dim"], 256);
    assert_eq!(config["projection_class_embeddings_input_dim"], 2816);
    assert_eq!(config["cross_attention_dim"], 2048);
}

/// A full adapter as TencentARC names it, with pictures of so many values a cell.
fn full_adapter(cell: usize) -> Tensors {
    let mut all = Tensors::new();
    layer(&mut all, "conv_in", &[320, cell, 3, 3]);
    let mut from = 320;
    for (level, channels) in [320, 640, 1280, 1280].into_iter().enumerate() {
        for block in 0..2 {
            let place = format!("body.{}", 2 * level + block);
            if block == 0 && channels != from {
                layer(&mut all, &format!("{place}.in_conv"), &[channels, from, 1, 1]);
            }
            layer(&mut all, &format!("{place}.block1"), &[channels, channels, 3, 3]);
            layer(&mut all, &format!("{place}.block2"), &[channels, channels, 1, 1]);
        }
        from = channels;
    }
    all
}

/// A light adapter as TencentARC names it.
fn light_adapter() -> Tensors {
    let (mut all, mut from) = (Tensors::new(), 192);
    for (level, channels) in [320, 640, 1280, 1280].into_iter().enumerate() {
        let middle = channels / 4;
        layer(&mut all, &format!("body.{level}.in_conv"), &[middle, from, 1, 1]);
        for block in 0..4 {
            for part in ["block1", "block2"] {
                layer(&mut all, &format!("body.{level}.body.{block}.{part}"), &[middle, middle, 3, 3]);
            }
        }
        layer(&mut all, &format!("body.{level}.out_conv"), &[channels, middle, 1, 1]);
        from = channels;
    }
    all
}

#[test]
fn the_published_adapters_have_as_many_tensors_and_values_as_diffusers_has() {
    // Of diffusers 0.42.1's `T2IAdapter`.
    for (tensors, kind, base, count, values) in [
        (full_adapter(192), "full_adapter", Family::Sd1, 38, 77_369_280_u64),
        (full_adapter(768), "full_adapter_xl", Family::Sdxl, 38, 79_028_160),
        (light_adapter(), "light_adapter", Family::Sd1, 80, 18_689_200),
    ] {
        let adapter = open(&tensors).unwrap();
        assert_eq!((adapter.kind(), adapter.base()), (ControlKind::T2iAdapter, base));
        let catalog = adapter.catalog().unwrap();
        assert_eq!((catalog.entries.len(), adapter.values().unwrap()), (count, values), "{kind}");
        let config: Value = adapter.config().unwrap();
        let light = kind == "light_adapter";
        let channels = if light { json!([320, 640, 1280]) } else { json!([320, 640, 1280, 1280]) };
        assert_eq!((&config["adapter_type"], &config["channels"]), (&json!(kind), &channels));
        assert_eq!(config["num_res_blocks"], if light { 4 } else { 2 });
        assert_eq!(config["in_channels"], 3);

        let renamed = catalog.entries.into_iter().map(|(name, entry)| (name, entry.shape)).collect();
        let again = open(&renamed).unwrap();
        assert_eq!((again.base(), again.config::<Value>().unwrap()), (base, config), "{kind}");
    }
    let grey: Value = open(&full_adapter(64)).unwrap().config().unwrap();
    assert_eq!((&grey["in_channels"], &grey["downscale_factor"]), (&json!(1), &json!(8)));
}

#[test]
fn directories_are_what_their_configuration_says() {
    let directory = tempfile::tempdir().unwrap();
    let write_config = |config: Value| {
        fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
    };
    let open = || ControlFile::open(directory.path());
    assert!(matches!(open(), Err(Error::Missing { .. })));
    write_config(json!({"_class_name": "ControlNetModel", "cross_attention_dim": 768}));
    assert!(matches!(open(), Err(Error::Missing { .. })), "there are no weights");
    fs::write(directory.path().join("diffusion_pytorch_model.bin"), "pickled").unwrap();
    assert!(matches!(open(), Err(Error::UnsafeFormat { .. })));
    let weights = directory.path().join("diffusion_pytorch_model.fp16.safetensors");
    write(&weights, &vec![("conv_in.weight".to_owned(), vec![8, 4, 3, 3])], &json!({}));
    for (config, kind, base) in [
        (json!({"_class_name": "ControlNetModel", "cross_attention_dim": 768}), "controlnet", Family::Sd1),
        (json!({"_class_name": "ControlNetModel", "cross_attention_dim": 1024}), "controlnet", Family::Sd2),
        (
            json!({"_class_name": "ControlNetModel", "cross_attention_dim": 2048, "addition_embed_type": "text_time"}),
            "controlnet",
            Family::Sdxl,
        ),
        (json!({"_class_name": "T2IAdapter", "downscale_factor": 16}), "t2i_adapter", Family::Sdxl),
        (json!({"_class_name": "T2IAdapter", "downscale_factor": 8}), "t2i_adapter", Family::Sd1),
    ] {
        write_config(config);
        let network = open().unwrap();
        assert_eq!((network.kind(), network.base()), (kind.parse().unwrap(), base));
        assert_eq!((network.values().unwrap(), network.path()), (8 * 4 * 9, directory.path()));
        assert!(network.config_path().ends_with("config.json"));
    }
    for class in ["UNet2DConditionModel", "ControlNetUnionModel", "\u{7}", ""] {
        write_config(json!({"_class_name": class}));
        let message = open().unwrap_err().to_string();
        assert!(
            message.contains("cannot be used as a ControlNet") && !message.contains('\u{7}'),
            "{message}"
        );
    }
    write_config(json!("ControlNetModel"));
    assert!(matches!(open(), Err(Error::Json { .. })));
}

#[test]
fn what_is_no_control_network_is_called_by_its_name() {
    let and = |mut tensors: Tensors, name: &str| {
        tensors.push((name.to_owned(), vec![1]));
        tensors
    };
    for (tensors, word) in [
        (and(original(&SD1), "lora_controlnet"), "Control-LoRA"),
        (and(original(&SD1), "difference"), "differs from its base"),
        (and(in_diffusers_names(&SDXL), "task_embedding"), "union"),
        (and(Tensors::new(), "controlnet_blocks.0.weight"), "another build"),
        (and(original(&SD1), "fuser.weight"), "\"fuser.weight\""),
        (and(full_adapter(192), "body.0.skep.weight"), "\"body.0.skep.weight\""),
        (and(full_adapter(192), "body.8.block1.weight"), "9 blocks"),
        (full_adapter(48), "48 values"),
        (SD1.unet(), "neither"),
        (Tensors::new(), "neither"),
    ] {
        let message = refusal(&tensors);
        assert!(message.contains(word), "{message}");
        assert!(message.contains("cannot be used as a ControlNet or T2I-Adapter"), "{message}");
    }
}

#[test]
fn every_tensor_of_a_control_network_is_missed() {
    for all in [original(&SD1), full_adapter(192), light_adapter()] {
        for left_out in all.iter().step_by(5) {
            refusal(&all.iter().filter(|tensor| *tensor != left_out).cloned().collect());
        }
    }
    let renamed = in_diffusers_names(&SD1);
    let without = |gone: &str| renamed.iter().filter(|(name, _)| name != gone).cloned().collect();
    for gone in
        ["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "controlnet_cond_embedding.conv_in.weight"]
    {
        refusal(&without(gone));
    }
    assert!(refusal(&without("controlnet_down_blocks.11.weight")).contains("11 outputs"));
    let deaf = |(name, _): &(String, Vec<usize>)| !name.starts_with("mid_block.attentions.");
    assert!(refusal(&renamed.iter().filter(|tensor| deaf(tensor)).cloned().collect()).contains("middle"));
}
