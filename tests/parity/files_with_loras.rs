// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! LoRAs on single files, whose layers lie there under other names, packed three in one, turned or as convolutions:
//! each changes as the same layer of a directory does. What diffusers makes of such LoRAs is in `adapters`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use alice_checkpoint::lora::Lora;
use alice_checkpoint::{Checkpoint, Family, Layer};
use alice_plugin::Adapter;

use super::WRONG_DB;
use super::checkpoints::{Single, answers};
use super::network::{Network, signal};
use crate::tensors::{self, RawTensors};

/// The files, and a layer that lies in each otherwise than in a directory, or is nowhere else.
const FILES: [(&str, &str); 4] = [
    ("file-sd1", "down_blocks.0.attentions.0.proj_in"),
    ("file-sd2-v", "text_model.encoder.layers.22.self_attn.k_proj"),
    ("file-sdxl", "text_projection"),
    ("file-sdxl-refiner", "text_model.encoder.layers.2.self_attn.v_proj"),
];
/// What the names of a denoiser's tensors begin with in a single file.
const UNET: &str = "model.diffusion_model.";

/// The layers of a model that LoRAs are trained for: all but tables.
fn layers(checkpoint: &Checkpoint) -> Vec<Layer> {
    let components = checkpoint.components().unwrap().into_iter().filter(|component| *component != "vae");
    let layers = components.flat_map(|component| checkpoint.layers(component).unwrap());
    layers.filter(|layer| !layer.module.contains("embeddings.")).collect()
}

/// kohya's name of a layer of a model of `family`, from its path `module`.
fn kohya(family: Family, component: &str, module: &str) -> String {
    let prefix = match (family, component) {
        (_, "unet") => "lora_unet",
        (Family::Sd1 | Family::Sd2, _) => "lora_te",
        (_, "text_encoder") => "lora_te1",
        _ => "lora_te2",
    };
    format!("{prefix}_{}", module.replace('.', "_"))
}

/// What a file calls the denoiser's layers, by diffusers' names: found by their values, which no two share.
fn original_names(single: &Single, layers: &[Layer]) -> BTreeMap<String, String> {
    let file = tensors::read(&single.path);
    let in_file = file.iter().filter_map(|(name, tensor)| {
        Some((tensor.bytes.as_slice(), name.strip_prefix(UNET)?.strip_suffix(".weight")?))
    });
    let by_values: HashMap<_, _> = in_file.collect();
    let weights = single.checkpoint().weights("unet").unwrap();
    let of_unet = layers.iter().filter(|layer| layer.component == "unet");
    let named = of_unet.map(|layer| {
        let weight = weights.tensor(&format!("{}.weight", layer.module)).unwrap();
        (layer.module.clone(), by_values[&*weight.bytes].to_owned())
    });
    named.collect()
}

/// A LoRA for all `layers` under the names that `name` gives them, of small ranks, with the same numbers each time.
fn lora(layers: &[Layer], name: impl Fn(&Layer) -> String) -> RawTensors {
    let mut state: u64 = 7;
    let mut random = |shape: &[u64], size: f32| {
        let values = (0..shape.iter().product()).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * size
        });
        tensors::of_f32(shape, &values.collect::<Vec<_>>())
    };
    let mut tensors = RawTensors::new();
    for (index, layer) in layers.iter().enumerate() {
        let (rank, name) = (1 + index as u64 % 3, name(layer));
        let (mut down, mut up): (Vec<_>, Vec<_>) = layer.shape.iter().map(|side| (*side as u64, 1)).unzip();
        (up[0], up[1], down[0]) = (down[0], rank, rank);
        let inputs: u64 = down[1..].iter().product();
        tensors.insert(format!("{name}.lora_down.weight"), random(&down, 1.0));
        tensors.insert(format!("{name}.lora_up.weight"), random(&up, (inputs as f32).sqrt().recip()));
        tensors.insert(format!("{name}.alpha"), tensors::of_f32(&[], &[0.75 * rank as f32]));
    }
    tensors
}

fn adapter(path: &Path) -> [Adapter; 1] {
    [Adapter { path: path.to_owned(), scale: -0.7 }]
}

#[test]
fn loras_change_a_single_file_as_they_change_a_directory_of_the_same_weights() {
    for (name, telling) in FILES {
        let (single, scratch) = (Single::new(name), tempfile::tempdir().unwrap());
        let checkpoint = single.checkpoint();
        let (family, layers) = (checkpoint.family(), layers(&checkpoint));
        assert!(layers.iter().any(|layer| layer.module == telling), "{name}");
        let originals = original_names(&single, &layers);
        let own = |layer: &Layer| kohya(family, layer.component, &layer.module);
        let original = |layer: &Layer| match originals.get(&layer.module) {
            Some(module) if layer.component == "unet" => kohya(family, "unet", module),
            _ => own(layer),
        };
        let paths = ["own.safetensors", "original.safetensors"].map(|file| scratch.path().join(file));
        tensors::write(&paths[0], &lora(&layers, own));
        tensors::write(&paths[1], &lora(&layers, original));
        for path in &paths {
            let fit = Lora::open(path).unwrap().fit(&layers);
            assert_eq!((fit.unmatched, fit.changes.len()), (Vec::new(), layers.len()), "{name}");
        }

        let mut network = Network::load(&single.path, None);
        let plain = answers(&mut network, &single.reference);
        network.adapt(&adapter(&paths[0]));
        let changed = answers(&mut network, &single.reference);
        // Zeros are zeros with every LoRA, and no LoRA is for the autoencoder.
        let differ = |what: &str| what.starts_with("denoise.") || what.starts_with("text.");
        for (what, values) in changed.iter().filter(|(what, _)| differ(what) && !what.contains("zeros")) {
            let db = signal(&plain[what], values);
            assert!(db <= WRONG_DB, "{name} {what}: {db:.1} dB from an unchanged model");
        }
        network.adapt(&adapter(&paths[1]));
        assert!(
            answers(&mut network, &single.reference) == changed,
            "{name}: the original names say otherwise"
        );
        network.adapt(&[]);
        assert!(answers(&mut network, &single.reference) == plain, "{name}: something is left of the LoRAs");

        single.write_directory(scratch.path());
        let mut network = Network::load(scratch.path(), None);
        network.adapt(&adapter(&paths[0]));
        let of_directory = answers(&mut network, &single.reference);
        assert!(of_directory == changed, "{name}: a directory of the same weights changes otherwise");
    }
}
