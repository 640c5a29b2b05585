// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The published single files by their headers, what people do to them, and what is no such file.

use std::io::Write as _;

use serde_json::json;

use self::published::{REFINER, SD1, SD2, SDXL, Sizes, Tensors, write};
use super::*;
use crate::{Checkpoint, Layout};

pub(crate) mod published;
mod refused;
mod spellings;
mod training;

/// A file that is gone when dropped, and what it is called.
pub(super) struct Written(tempfile::TempDir);

impl Written {
    pub(super) fn new(tensors: &Tensors, notes: &Value) -> Self {
        let written = Self(tempfile::tempdir().unwrap());
        write(&written.path(), tensors, notes);
        written
    }

    fn path(&self) -> PathBuf {
        // The name says nothing, so it need not end in any way.
        self.0.path().join("model")
    }

    fn open(&self) -> Result<Checkpoint, Error> {
        Checkpoint::open(self.path())
    }
}

/// The model of these tensors.
fn open(tensors: &Tensors) -> Checkpoint {
    Written::new(tensors, &json!({})).open().unwrap()
}

/// Why a file with these tensors is refused.
fn refusal(tensors: &Tensors) -> String {
    match Written::new(tensors, &json!({})).open() {
        Err(error) => error.to_string(),
        Ok(checkpoint) => panic!("it was taken for a model of the family {}", checkpoint.family()),
    }
}

/// `tensors` without those whose names begin so.
fn without(tensors: Tensors, prefix: &str) -> Tensors {
    tensors.into_iter().filter(|(name, _)| !name.starts_with(prefix)).collect()
}

/// `tensors` with one more.
fn and(mut tensors: Tensors, name: &str, shape: &[usize]) -> Tensors {
    tensors.push((name.to_owned(), shape.to_vec()));
    tensors
}

#[test]
fn the_published_files_are_of_their_families_with_as_many_tensors_as_diffusers_has() {
    // Counts of diffusers 0.42.1's and transformers 5's own networks of these models, `model.state_dict()`.
    for (sizes, family, counts) in [
        (SD1, Family::Sd1, &[("unet", 686), ("vae", 248), ("text_encoder", 196)][..]),
        (SD2, Family::Sd2, &[("unet", 686), ("vae", 248), ("text_encoder", 372)]),
        (SDXL, Family::Sdxl, &[("unet", 1680), ("vae", 248), ("text_encoder", 196), ("text_encoder_2", 517)]),
        (REFINER, Family::SdxlRefiner, &[("unet", 1220), ("vae", 248), ("text_encoder_2", 517)]),
    ] {
        let checkpoint = open(&sizes.tensors());
        assert_eq!((checkpoint.family(), checkpoint.layout()), (family, Layout::SingleFile));
        assert_eq!(checkpoint.components().unwrap().len(), counts.len());
        for (component, count) in counts {
            let catalog = checkpoint.catalog(component).unwrap();
            assert_eq!(catalog.entries.len(), *count, "{family} {component}");
        }
    }
}

#[test]
fn configurations_say_what_those_of_the_published_directories_say() {
    let config =
        |sizes: Sizes, component: &str| -> Value { open(&sizes.tensors()).config(component).unwrap() };
    let unet = config(SD1, "unet");
    assert_eq!(unet["block_out_channels"], json!([320, 640, 1280, 1280]));
    assert_eq!(unet["down_block_types"][3], "DownBlock2D");
    assert_eq!(
        unet["up_block_types"],
        json!(["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"])
    );
    assert_eq!((&unet["attention_head_dim"], &unet["use_linear_projection"]), (&json!(8), &json!(false)));
    assert_eq!((&unet["cross_attention_dim"], &unet["in_channels"]), (&json!(768), &json!(4)));
    let unet = config(SD2, "unet");
    assert_eq!(unet["attention_head_dim"], json!([5, 10, 20, 20]));
    assert_eq!((&unet["cross_attention_dim"], &unet["use_linear_projection"]), (&json!(1024), &json!(true)));
    let unet = config(SDXL, "unet");
    assert_eq!(unet["attention_head_dim"], json!([5, 10, 20]));
    assert_eq!(unet["transformer_layers_per_block"], json!([1, [2, 2], [10, 10]]));
    assert_eq!(unet["addition_time_embed_dim"], 256);
    assert_eq!(unet["projection_class_embeddings_input_dim"], 2816);
    let unet = config(REFINER, "unet");
    assert_eq!(unet["attention_head_dim"], json!([6, 12, 24, 24]));
    assert_eq!(unet["transformer_layers_per_block"], json!([1, [4, 4], [4, 4], 4]));
    assert_eq!(unet["addition_time_embed_dim"], 256);

    let vae = config(SD1, "vae");
    assert_eq!(vae["block_out_channels"], json!([128, 256, 512, 512]));
    assert_eq!((&vae["layers_per_block"], &vae["scaling_factor"]), (&json!(2), &json!(0.18215)));
    assert_eq!(config(SDXL, "vae")["scaling_factor"], 0.13025);
    assert_eq!(config(REFINER, "vae")["scaling_factor"], 0.13025);

    let text = config(SD1, "text_encoder");
    assert_eq!((&text["num_hidden_layers"], &text["num_attention_heads"]), (&json!(12), &json!(12)));
    assert_eq!((&text["hidden_act"], &text["intermediate_size"]), (&json!("quick_gelu"), &json!(3072)));
    assert_eq!((&text["vocab_size"], &text["max_position_embeddings"]), (&json!(49408), &json!(77)));
    let text = config(SD2, "text_encoder");
    assert_eq!((&text["num_hidden_layers"], &text["num_attention_heads"]), (&json!(23), &json!(16)));
    assert_eq!(text["hidden_act"], "gelu");
    let text = config(SDXL, "text_encoder_2");
    assert_eq!((&text["num_hidden_layers"], &text["num_attention_heads"]), (&json!(32), &json!(20)));
    assert_eq!((&text["hidden_act"], &text["projection_dim"]), (&json!("gelu"), &json!(1280)));
}

#[test]
fn models_that_take_a_picture_beside_the_latent_say_how_many_channels() {
    for (sizes, family) in [(SD1, Family::Sd1), (SD2, Family::Sd2), (SDXL, Family::Sdxl)] {
        for input in [8, 9] {
            let checkpoint = open(&Sizes { input, ..sizes.clone() }.tensors());
            assert_eq!(checkpoint.family(), family);
            assert_eq!(checkpoint.config::<Value>("unet").unwrap()["in_channels"], input);
        }
    }
}

#[test]
fn packed_and_turned_tensors_are_as_the_network_uses_them() {
    let checkpoint = open(&SDXL.tensors());
    let layers = checkpoint.layers("text_encoder_2").unwrap();
    let shape = |module: &str| &layers.iter().find(|layer| layer.module == module).unwrap().shape;
    assert_eq!(shape("text_model.encoder.layers.31.self_attn.v_proj"), &[1280, 1280]);
    assert_eq!(shape("text_projection"), &[1280, 1280]);
    let unet = checkpoint.layers("unet").unwrap();
    let module = "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k";
    let layer = unet.iter().find(|layer| layer.module == module).unwrap();
    assert_eq!((layer.component, &layer.shape[..]), ("unet", &[1280, 2048][..]));
    assert!(unet.iter().all(|layer| matches!(layer.shape.len(), 2 | 4)));
    let vae = checkpoint.layers("vae").unwrap();
    let layer = vae.iter().find(|layer| layer.module == "encoder.mid_block.attentions.0.to_q").unwrap();
    assert_eq!(layer.shape, [512, 512]);
}

#[test]
fn settings_and_tokenizers_are_those_of_the_published_models() {
    for (sizes, zeros) in [(SD1, false), (SD2, false), (SDXL, true), (REFINER, false)] {
        let checkpoint = open(&sizes.tensors());
        assert_eq!(checkpoint.settings().unwrap().force_zeros_for_empty_prompt, zeros);
        for encoder in checkpoint.text_encoders().unwrap() {
            assert!(checkpoint.tokenizer(encoder.tokenizer).unwrap().is_none());
            assert_eq!(encoder.projection, encoder.component == "text_encoder_2");
        }
    }
}
