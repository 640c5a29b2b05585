// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Models in one file: the published ones by the shapes of their tensors, and small ones against directories with
//! the same weights.

#[path = "../../../../checkpoint/src/single/tests/published.rs"]
mod published;
mod shapes;

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
};

use serde_json::{Map, Value};

use self::{
    published::{Encoder, REFINER, SD1, SD2, SDXL, Sizes, Tensors},
    shapes::Shapes,
};
use super::*;

/// Small ones of the build of both generations' files.
const SMALL: Sizes = Sizes {
    first: 32,
    multiples: &[1, 2],
    depths: &[1, 0],
    middle: 1,
    blocks: 1,
    context: 64,
    vae: 32,
    encoders: &[Encoder::OpenAi { prefix: "cond_stage_model.transformer.text_model.", layers: 2, width: 64 }],
    vocabulary: 8,
    length: 5,
    ..SD1
};
const SMALL_SECOND: Sizes = Sizes {
    linear: true,
    encoders: &[Encoder::OpenClip {
        prefix: "cond_stage_model.model.",
        layers: 2,
        width: 64,
        projection: 64,
    }],
    ..SMALL
};
const SMALL_XL: Sizes = Sizes {
    depths: &[0, 2],
    middle: 2,
    context: 192,
    linear: true,
    added: Some(32 + 6 * 8),
    encoders: &[
        Encoder::OpenAi { prefix: "conditioner.embedders.0.transformer.text_model.", layers: 2, width: 64 },
        Encoder::OpenClip { prefix: "conditioner.embedders.1.model.", layers: 3, width: 128, projection: 32 },
    ],
    ..SMALL
};

/// A file with these tensors, in numbers that look like chance.
fn write(path: &Path, tensors: &Tensors) {
    let mut file = published::write(path, tensors, &json!({}));
    let data = file.stream_position().unwrap();
    let values = (file.seek(SeekFrom::End(0)).unwrap() - data) / 2;
    file.seek(SeekFrom::Start(data)).unwrap();
    // Half-precision numbers of either sign between 1/16 and 1/8.
    let value = |index: u64| {
        let chance = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let [low, high, ..] = (chance >> 40).to_le_bytes();
        [low, high & 0x83 | 11 << 2]
    };
    file.write_all(&(0..values).flat_map(value).collect::<Vec<_>>()).unwrap();
}

/// Writes the model `checkpoint` as a directory.
fn write_directory(path: &Path, checkpoint: &Checkpoint) {
    let mut index = json!({ "_class_name": "StableDiffusionPipeline" });
    if checkpoint.family() == Family::Sdxl {
        index["_class_name"] = "StableDiffusionXLPipeline".into();
    }
    for encoder in checkpoint.text_encoders().unwrap() {
        let class = if encoder.projection { "CLIPTextModelWithProjection" } else { "CLIPTextModel" };
        index[encoder.component] = json!(["transformers", class]);
    }
    fs::write(path.join("model_index.json"), index.to_string()).unwrap();
    for component in checkpoint.components().unwrap() {
        let directory = path.join(component);
        fs::create_dir(&directory).unwrap();
        let config: Value = checkpoint.config(component).unwrap();
        fs::write(directory.join("config.json"), config.to_string()).unwrap();
        let weights = checkpoint.weights(component).unwrap();
        let (mut header, mut data) = (Map::new(), Vec::new());
        for name in weights.names() {
            let tensor = weights.tensor(name).unwrap();
            let start = data.len();
            data.extend_from_slice(&tensor.bytes);
            let offsets = [start, data.len()];
            let entry = json!({ "dtype": "F16", "shape": tensor.shape, "data_offsets": offsets });
            header.insert(name.to_owned(), entry);
        }
        let header = serde_json::to_vec(&header).unwrap();
        let file = [&(header.len() as u64).to_le_bytes(), &header[..], &data].concat();
        fs::write(directory.join("model.safetensors"), file).unwrap();
    }
}

/// Everything that a model answers: to a prompt, to a latent, and the picture of one.
fn answers(request: &LoadRequest) -> (ModelInfo, Vec<f32>, Vec<f32>, Vec<u8>) {
    let mut backend = backend();
    let (model, info) = backend.load(request, &Uncontrolled).unwrap();
    let mut loaded = Loaded { backend, model, info, _files: None };
    let chunks: Vec<_> = (0..loaded.info.text_encoders.len() as u32)
        .map(|encoder| TextChunk { encoder, ids: &[6, 1, 3, 7, 7], weights: &EVEN })
        .collect();
    let prompt = loaded.encode_chunks(&chunks, 0).unwrap();
    let tokens = loaded.tokens(prompt);
    let shape = LatentShape { channels: 4, height: 2, width: 1 };
    let latent = numbers(&[1, 4, 2, 1], 7).to_f32();
    let sizes = NamedTensor { name: TIME_IDS, shape: &[6], data: &[8.0, 16.0, 0.0, 3.0, 8.0, 16.0] };
    let extras = if loaded.info.inputs.is_empty() { &[][..] } else { &[sizes] };
    let row = DenoiseRow { latent: &latent, timestep: 500.0, conditioning: prompt, extras, hints: &[] };
    let mut noise = vec![0.0; 8];
    loaded.backend.denoise(model, shape, &[row], &mut noise, &Uncontrolled).unwrap();
    let (shape, mut pixels) = (LatentShape { height: 1, ..shape }, vec![0; 8 * 8 * 3]);
    let options = DecodeOptions::default();
    loaded.backend.decode(model, shape, &latent[..4], &options, &mut pixels, &Uncontrolled).unwrap();
    (loaded.info, tokens, noise, pixels)
}

fn file_request(path: &Path) -> LoadRequest {
    LoadRequest { files: ModelFiles::SingleFile { path: path.to_owned() }, ..request(path) }
}

#[test]
fn the_published_files_have_every_tensor_that_the_networks_want() {
    // Numbers of values of diffusers' and transformers' own networks of these models.
    for (sizes, values, inputs) in [
        (SD1, 1_066_235_307, 0),
        (SD2, 1_289_952_427, 0),
        (SDXL, 3_468_837_867, 1),
        (REFINER, 3_037_840_363, 1),
        (Sizes { input: 9, ..SD1 }, 1_066_249_707, 1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        published::write(&path, &sizes.tensors(), &json!({}));
        let describe = || super::backend().describe().unwrap();
        let mut backend = NetBackend::new(describe, |_, _| Ok(Shapes));
        let (_, info) = backend.load(&file_request(&path), &Uncontrolled).unwrap();
        assert_eq!(info.memory_bytes / 4, values, "{sizes:?}");
        assert_eq!((info.latent_scale, info.inputs.len()), (8, inputs));
    }
}

#[test]
fn a_file_answers_as_a_directory_with_the_same_weights() {
    for sizes in [SMALL, SMALL_SECOND, SMALL_XL] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        write(&path, &sizes.tensors());
        write_directory(directory.path(), &Checkpoint::open(&path).unwrap());
        let found = answers(&file_request(&path));
        assert_eq!(found, answers(&request(directory.path())), "{sizes:?}");
        assert!(found.1.iter().chain(&found.2).all(|value| value.is_finite() && *value != 0.0));
    }
}

#[test]
fn another_autoencoder_can_be_put_into_a_model() {
    let directory = tempfile::tempdir().unwrap();
    let [path, without, vae] = ["model", "without", "vae"].map(|name| directory.path().join(name));
    let tensors = SMALL.tensors();
    write(&path, &tensors);
    let is_vae = |(name, _): &(String, Vec<usize>)| name.starts_with("first_stage_model.");
    write(&without, &tensors.iter().filter(|tensor| !is_vae(tensor)).cloned().collect());
    write(&vae, &SMALL.autoencoder());
    let error = backend().load(&file_request(&without), &Uncontrolled).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadModel);
    assert!(error.message.contains("no autoencoder"), "{error}");
    let with = |path: &Path| answers(&LoadRequest { vae: Some(vae.clone()), ..file_request(path) });
    assert_eq!(with(&without).3, with(&path).3, "it takes the place of the model's own");
    assert_ne!(with(&path).3, answers(&file_request(&path)).3);
    let missing = LoadRequest { vae: Some("/nowhere".into()), ..file_request(&path) };
    assert_eq!(backend().load(&missing, &Uncontrolled).unwrap_err().kind, ErrorKind::BadModel);
}

#[test]
fn what_a_file_lacks_or_has_in_another_shape_is_a_bad_model() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let load = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = SMALL_XL.tensors();
        change(&mut tensors);
        published::write(&path, &tensors, &json!({}));
        let family = LoadRequest { family: "sdxl".to_owned(), ..file_request(&path) };
        let error = backend().load(&family, &Uncontrolled).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadModel, "{error}");
        assert!(error.message.contains("model.safetensors"), "{error}");
        error.message
    };
    let at = |name: &str| SMALL_XL.tensors().iter().position(|(found, _)| found == name).unwrap();
    let query = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_q.weight";
    let key = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight";
    let (query, key) = (at(query), at(key));
    let message = load(&|tensors| drop(tensors.remove(query)));
    assert!(message.contains("attn2.to_q.weight"), "{message}");
    // Names that change places make shapes that do not fit.
    let message = load(&|tensors| {
        let shape = std::mem::take(&mut tensors[query].1);
        tensors[query].1 = std::mem::replace(&mut tensors[key].1, shape);
    });
    assert!(message.contains("attn2.to_"), "{message}");
}
