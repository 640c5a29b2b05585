// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The contract, kept by a microscopic model on the plain operations.

mod adapters;
mod fixtures;
mod hints;
mod inputs;
mod micro;
mod refusals;
mod single;

use std::{cell::Cell, path::PathBuf};

use alice_checkpoint::Checkpoint;
use alice_plugin::{Device, ErrorKind, ModelFiles, NamedTensor, TextChunk, TextEncoderInfo, Uncontrolled};
use serde_json::json;

use self::micro::{Micro, Tensors, answers};
use super::*;
use crate::{
    progress::Progress,
    testing::{Plain, ROOM, numbers},
};

const FIRST: [u32; 5] = [9, 3, 1, 10, 10];
const SECOND: [u32; 5] = [9, 10, 10, 10, 10];
const EVEN: [f32; 5] = [1.0; 5];
const SHAPE: LatentShape = LatentShape { channels: 4, height: 3, width: 5 };

fn backend() -> NetBackend<Plain> {
    let device = Device {
        index: 0,
        name: "this one".to_owned(),
        kind: "cpu".to_owned(),
        memory_total: None,
        memory_free: None,
    };
    let description = Description {
        name: "plain".to_owned(),
        version: "1".to_owned(),
        devices: vec![device],
        dtypes: vec!["f32".to_owned(), "f16".to_owned()],
        families: Vec::new(),
        inputs: Vec::new(),
        score: 1,
        reason: None,
        stand_in: false,
    };
    NetBackend::new(move || description.clone(), |_, _| Ok(Plain))
}

fn request(path: impl Into<PathBuf>) -> LoadRequest {
    let path = path.into();
    let family = Checkpoint::open(&path).map(|checkpoint| checkpoint.family());
    LoadRequest {
        files: ModelFiles::Diffusers { path },
        family: family.unwrap_or(Family::Sd1).to_string(),
        vae: None,
        dtype: "auto".to_owned(),
        device: 0,
    }
}

/// A backend with one model.
struct Loaded {
    backend: NetBackend<Plain>,
    model: ModelHandle,
    info: ModelInfo,
    /// The model's files, where nobody else has them.
    _files: Option<Micro>,
}

impl Loaded {
    fn new() -> Self {
        let micro = Micro::new();
        let loaded = Self::of(&micro);
        Self { _files: Some(micro), ..loaded }
    }

    fn of(micro: &Micro) -> Self {
        let mut backend = backend();
        let (model, info) = backend.load(&request(micro.path()), &Uncontrolled).unwrap();
        Self { backend, model, info, _files: None }
    }

    /// Encodes chunks of the first encoder.
    fn encode(&mut self, chunks: &[(&[u32], &[f32])], clip_skip: u32) -> Result<ConditioningHandle> {
        let chunks: Vec<TextChunk<'_>> =
            chunks.iter().map(|(ids, weights)| TextChunk { encoder: 0, ids, weights }).collect();
        self.encode_chunks(&chunks, clip_skip)
    }

    fn encode_chunks(&mut self, chunks: &[TextChunk<'_>], clip_skip: u32) -> Result<ConditioningHandle> {
        let request = TextRequest { chunks, extra_rows: &[], clip_skip };
        self.backend.encode_text(self.model, &request, &Uncontrolled)
    }

    /// The values of an encoded prompt.
    fn tokens(&mut self, conditioning: ConditioningHandle) -> Vec<f32> {
        self.backend.read_text(conditioning, TextPart::Tokens).unwrap()
    }

    fn denoise(&mut self, rows: &[(&[f32], f32, ConditioningHandle)]) -> Result<Vec<f32>> {
        let rows: Vec<DenoiseRow<'_>> = rows
            .iter()
            .map(|(latent, timestep, conditioning)| DenoiseRow {
                latent,
                timestep: *timestep,
                conditioning: *conditioning,
                extras: &[],
                hints: &[],
            })
            .collect();
        let mut out = vec![0.0; rows.len() * SHAPE.len()];
        self.backend.denoise(self.model, SHAPE, &rows, &mut out, &Uncontrolled)?;
        Ok(out)
    }
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 2e-6, "{what}: value {place} is {found}, expected {expected}");
    }
}

#[test]
fn the_networks_answer_as_diffusers_does() {
    let (mut loaded, answers) = (Loaded::new(), answers());
    let first = loaded.encode(&[(&FIRST, &EVEN)], 0).unwrap();
    assert_close(&loaded.tokens(first), &answers.first, "text encoder");
    let second = loaded.encode(&[(&SECOND, &EVEN)], 1).unwrap();
    assert_close(&loaded.tokens(second), &answers.second_with_clip_skip, "text encoder with clip_skip");

    let latents = numbers(&[2, 4, 3, 5], 1000).to_f32();
    let rows = [(&latents[..60], 999.0, first), (&latents[60..], 37.5, second)];
    assert_close(&loaded.denoise(&rows).unwrap(), &answers.noise, "denoiser");

    let latent = numbers(&[1, 4, 3, 5], 1001).to_f32();
    let mut pixels = vec![0; 6 * 10 * 3];
    let Loaded { mut backend, model, .. } = loaded;
    backend.decode(model, SHAPE, &latent, &DecodeOptions::default(), &mut pixels, &Uncontrolled).unwrap();
    assert_eq!(pixels, answers.pixels, "decoder");

    let drawn = numbers(&[1, 6, 10, 3], 1002).map(|value| ((value + 1.0) * 64.0 * 255.0 / 128.0).floor());
    let drawn: Vec<u8> = drawn.values.iter().map(|value| *value as u8).collect();
    let (mut mean, mut deviation) = ([0.0; 60], [0.0; 60]);
    backend
        .encode_image(
            model,
            SHAPE,
            &drawn,
            &EncodeOptions::default(),
            &mut mean,
            &mut deviation,
            &Uncontrolled,
        )
        .unwrap();
    assert_close(&mean, &answers.mean, "mean of the posterior");
    assert_close(&deviation, &answers.deviation, "deviation of the posterior");
}

#[test]
fn the_daemon_hears_what_the_model_looks_like() {
    let Loaded { mut backend, model, info, .. } = Loaded::new();
    let encoder = TextEncoderInfo { context_length: 5, vocab_size: 11, hidden_size: 6 };
    let weights = info.memory_bytes;
    let expected = ModelInfo {
        latent_channels: 4,
        output_channels: 4,
        latent_scale: 2,
        text_encoders: vec![encoder],
        inputs: Vec::new(),
        dtype: "f32".to_owned(),
        memory_bytes: weights,
    };
    assert_eq!(info, expected);
    assert_eq!(backend.memory().unwrap(), Memory { weights, working: 0 });
    let description = backend.describe().unwrap();
    let families = ["sd1", "sd2", "sdxl", "sdxl_refiner", "controlnet", "t2i_adapter", "upscaler"];
    assert_eq!(description.families, families);
    assert_eq!(description.inputs, ["time_ids", "concat"]);

    let mut request = request(Micro::new().path());
    request.dtype = "f16".to_owned();
    assert!(backend.load(&request, &Uncontrolled).is_err(), "the directory is gone");
    let micro = Micro::new();
    request.files = ModelFiles::Diffusers { path: micro.path().to_owned() };
    let (_, half) = backend.load(&request, &Uncontrolled).unwrap();
    let bytes = (weights + values_in_f32(&micro) * 4) / 2;
    assert_eq!((half.dtype.as_str(), half.memory_bytes), ("f16", bytes));
    backend.unload(model).unwrap();
    assert_eq!(backend.memory().unwrap().weights, bytes);
}

/// Number of weights that keep f32 in a model of any format: the text encoder's and those that the timestep passes.
fn values_in_f32(micro: &Micro) -> u64 {
    let checkpoint = Checkpoint::open(micro.path()).unwrap();
    let count = |component: &str, keeps: fn(&str) -> bool| {
        let tensors = checkpoint.weights(component).unwrap();
        let kept = tensors.names().filter(|name| keeps(name));
        kept.map(|name| tensors.tensor(name).unwrap().shape.iter().product::<usize>() as u64).sum::<u64>()
    };
    count("text_encoder", |_| true) + count("unet", |name| name.contains("time_emb"))
}

#[test]
fn a_row_does_not_depend_on_its_company() {
    let mut loaded = Loaded::new();
    let (first, second) =
        (loaded.encode(&[(&FIRST, &EVEN)], 0).unwrap(), loaded.encode(&[(&SECOND, &EVEN)], 0).unwrap());
    let latents = numbers(&[2, 60], 1).to_f32();
    let rows = [(&latents[..60], 999.0, first), (&latents[60..], 1.5, second), (&latents[..60], 20.0, first)];
    let together = loaded.denoise(&rows).unwrap();
    let alone: Vec<f32> = rows.iter().flat_map(|row| loaded.denoise(&[*row]).unwrap()).collect();
    assert_eq!(together, alone);
}

#[test]
fn both_spellings_of_old_and_new_files_mean_the_same() {
    let with_prefix = |tensors: Tensors| {
        tensors.into_iter().map(|(name, tensor)| (format!("text_model.{name}"), tensor)).collect()
    };
    let with_old_names = |tensors: Tensors| {
        let rename = |name: String| match name.contains(".attentions.") {
            true => name
                .replace("to_q", "query")
                .replace("to_k", "key")
                .replace("to_v", "value")
                .replace("to_out.0", "proj_attn"),
            false => name,
        };
        tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect()
    };
    let micro = Micro::new().with_tensors("text_encoder", with_prefix).with_tensors("vae", with_old_names);
    let mut loaded = Loaded::of(&micro);
    let first = loaded.encode(&[(&FIRST, &EVEN)], 0).unwrap();
    assert_close(&loaded.tokens(first), &answers().first, "text encoder");
    let latent = numbers(&[1, 4, 3, 5], 1001).to_f32();
    let mut pixels = vec![0; 6 * 10 * 3];
    let options = DecodeOptions::default();
    loaded.backend.decode(loaded.model, SHAPE, &latent, &options, &mut pixels, &Uncontrolled).unwrap();
    assert_eq!(pixels, answers().pixels, "decoder");
}

#[test]
fn chunks_are_joined_in_order_and_weighted_each_for_itself() {
    let mut loaded = Loaded::new();
    let (first, second) =
        (loaded.encode(&[(&FIRST, &EVEN)], 0).unwrap(), loaded.encode(&[(&SECOND, &EVEN)], 0).unwrap());
    let joined = loaded.encode(&[(&FIRST, &EVEN), (&SECOND, &EVEN)], 0).unwrap();
    let expected = [loaded.tokens(first), loaded.tokens(second)].concat();
    assert_eq!(loaded.tokens(joined), expected);

    let weights = [1.0, 1.3, 1.0, 1.0, 1.0];
    let weighted = loaded.encode(&[(&FIRST, &weights), (&SECOND, &EVEN)], 0).unwrap();
    let found = loaded.tokens(weighted);
    let mut emphasised = expected[..30].to_vec();
    crate::clip::emphasise(&mut emphasised, &weights);
    assert_eq!(found, [&emphasised, &expected[30..]].concat());
    assert_ne!(found[..30], expected[..30]);
}

/// Counts the blocks that a call runs.
#[derive(Default)]
struct Counting(Cell<u64>);

impl Control for Counting {
    fn progress(&self, done: u64, total: u64) -> Result<()> {
        assert!(done <= total);
        self.0.set(done);
        Ok(())
    }
}

#[test]
fn chunks_that_are_repeated_are_encoded_once() {
    let mut loaded = Loaded::new();
    let weights = [1.0, 1.3, 1.0, 1.0, 1.0];
    let [even, other, weighted] = [(&SECOND, &EVEN), (&FIRST, &EVEN), (&SECOND, &weights)]
        .map(|(ids, weights)| TextChunk { encoder: 0, ids, weights });
    let mut encode = |chunks: &[TextChunk<'_>]| {
        let control = Counting::default();
        let request = TextRequest { chunks, extra_rows: &[], clip_skip: 0 };
        let conditioning = loaded.backend.encode_text(loaded.model, &request, &control).unwrap();
        (loaded.backend.read_text(conditioning, TextPart::Tokens).unwrap(), control.0.get())
    };
    let [alone, first, heavy] = [even, other, weighted].map(|chunk| encode(&[chunk]).0);
    // The encoder has two layers.
    assert_eq!(encode(&[even; 31]), (alone.repeat(31), 2));
    let mixed = [even, other, weighted, even, weighted, other];
    let expected = [&alone, &first, &heavy, &alone, &heavy, &first].map(|tokens| &tokens[..]).concat();
    assert_eq!(encode(&mixed), (expected, 3 * 2));
}

#[test]
fn handles_end_with_their_models() {
    let mut loaded = Loaded::new();
    let (kept, released) =
        (loaded.encode(&[(&FIRST, &EVEN)], 0).unwrap(), loaded.encode(&[(&SECOND, &EVEN)], 0).unwrap());
    assert_eq!(loaded.backend.memory().unwrap().working, 2 * 5 * 6 * 4);
    loaded.backend.release(released).unwrap();
    assert_eq!(loaded.backend.release(released).unwrap_err().kind, ErrorKind::StaleHandle);
    assert_eq!(loaded.backend.memory().unwrap().working, 5 * 6 * 4);
    loaded.backend.unload(loaded.model).unwrap();
    assert_eq!(loaded.backend.release(kept).unwrap_err().kind, ErrorKind::StaleHandle);
    assert_eq!(loaded.backend.memory().unwrap(), Memory::default());
    let latent = [0.0; 60];
    assert_eq!(loaded.denoise(&[(&latent, 1.0, kept)]).unwrap_err().kind, ErrorKind::StaleHandle);
}

/// Says stop at the sign of life number `patience`, and checks that they count upwards.
struct Impatient {
    patience: u64,
    heard: Cell<u64>,
    last: Cell<(u64, u64)>,
}

impl Control for Impatient {
    fn progress(&self, done: u64, total: u64) -> Result<()> {
        assert_eq!(done, self.heard.get(), "signs of life count upwards");
        assert!(done <= total, "{done} of {total}");
        self.last.set((done, total));
        self.heard.set(done + 1);
        if done == self.patience { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// Runs `call` as often as it has blocks, cancelled at another one each time, and once to the end.
fn assert_cancellable(blocks: u64, mut call: impl FnMut(&dyn Control) -> Result<()>) {
    for patience in 0..=blocks {
        let control = Impatient { patience, heard: Cell::default(), last: Cell::default() };
        assert_eq!(call(&control).unwrap_err().kind, ErrorKind::Cancelled, "at block {patience}");
        assert_eq!(control.heard.get(), patience + 1, "nothing runs after a cancel");
    }
    let control = Impatient { patience: u64::MAX, heard: Cell::default(), last: Cell::default() };
    call(&control).unwrap();
    assert_eq!(control.last.get(), (blocks, blocks), "the last sign of life is the end");
}

#[test]
fn every_call_gives_a_sign_of_life_per_block_and_can_be_cancelled_there() {
    let micro = Micro::new();
    let (text, unet, decoder, encoder) = (2, 8, 6, 4);
    assert_cancellable(text + unet + decoder + encoder, |control| {
        backend().load(&request(micro.path()), control).map(drop)
    });
    let mut loaded = Loaded::of(&micro);
    let conditioning = loaded.encode(&[(&FIRST, &EVEN)], 0).unwrap();
    let Loaded { mut backend, model, .. } = loaded;
    assert_cancellable(text, |control| {
        let chunks = [TextChunk { encoder: 0, ids: &FIRST, weights: &EVEN }];
        let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
        backend.encode_text(model, &request, control).map(drop)
    });
    let latents = [0.5; 120];
    assert_cancellable(unet, |control| {
        let row = DenoiseRow { latent: &latents[..60], timestep: 1.0, conditioning, extras: &[], hints: &[] };
        backend.denoise(model, SHAPE, &[row, row], &mut [0.0; 120], control)
    });
    assert_cancellable(2 * decoder, |control| {
        let options = DecodeOptions::default();
        backend.decode(model, SHAPE, &latents, &options, &mut [0; 2 * 180], control)
    });
    assert_cancellable(2 * encoder, |control| {
        let (mut mean, mut deviation) = ([0.0; 120], [0.0; 120]);
        backend.encode_image(
            model,
            SHAPE,
            &[7; 2 * 180],
            &EncodeOptions::default(),
            &mut mean,
            &mut deviation,
            control,
        )
    });
}
