// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any text as one of the JSON files of a model whose weights are real: refused with a sentence, or the model
//! runs.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use alice_checkpoint::Checkpoint;
use alice_plugin::{
    Backend, DecodeOptions, DenoiseRow, EncodeOptions, Error, LatentShape, ModelFiles, ModelHandle,
    ModelInfo, NamedTensor, Result, TextChunk, TextPart, TextRequest, Uncontrolled,
};
use tempfile::TempDir;

use super::plain::{is_a_sentence, loaded};

/// The files that a model may have; the first byte of an input says which of them it replaces.
const FILES: [&str; 5] = [
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "model_index.json",
];

thread_local! {
    static COPIES: RefCell<Vec<Copy>> = const { RefCell::new(Vec::new()) };
}

/// A model's directory with files that can be written over, in place of the one that it is a copy of.
struct Copy {
    original: PathBuf,
    place: TempDir,
}

impl Copy {
    fn new(original: &Path) -> Self {
        let place = tempfile::tempdir().expect("there is a place for temporary files");
        copy(original, place.path());
        Self { original: original.to_owned(), place }
    }

    /// Writes over a file's beginning and cuts off the rest: to empty it first would wait for the disk.
    fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.place.path().join(file);
        let mut open = OpenOptions::new().write(true).open(path).expect("the file is part of the copy");
        open.write_all(bytes).expect("a temporary file can be written");
        open.set_len(bytes.len() as u64).expect("a temporary file can be cut");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the fixture is a directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).expect("the copy is empty");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a file of the fixture can be copied");
        }
    }
}

/// Loads the model in the directory `original` with one of its files replaced, and runs it if that works.
pub(crate) fn check(original: &Path, input: &[u8]) {
    let Some((&which, text)) = input.split_first() else { return };
    let present = FILES.iter().filter(|file| original.join(file).exists()).collect::<Vec<_>>();
    let file = present[usize::from(which) % present.len()];
    COPIES.with_borrow_mut(|copies| {
        if !copies.iter().any(|copy| copy.original == original) {
            copies.push(Copy::new(original));
        }
        let copy = copies.iter().find(|copy| copy.original == original).expect("it has just been put there");
        copy.write(file, text);
        if let Err(error) = load_and_run(copy.place.path()) {
            is_a_sentence(&error.message);
        }
        copy.write(file, &fs::read(original.join(file)).expect("the fixture can be read"));
    });
}

fn load_and_run(path: &Path) -> Result<()> {
    let family = Checkpoint::open(path).map(|checkpoint| checkpoint.family());
    let family = family.map_err(|error| Error::bad_model(error.to_string()))?;
    let files = ModelFiles::Diffusers { path: path.to_owned() };
    let (mut backend, model, info) = loaded(files, &family.to_string())?;
    run(&mut backend, model, &info)
}

/// One prompt, one step and one picture.
fn run(backend: &mut impl Backend, model: ModelHandle, info: &ModelInfo) -> Result<()> {
    let ids =
        info.text_encoders.iter().map(|encoder| vec![0; encoder.context_length as usize]).collect::<Vec<_>>();
    let weights = ids.iter().map(|ids| vec![1.0; ids.len()]).collect::<Vec<_>>();
    let chunks = (0..).zip(ids.iter().zip(&weights));
    let chunks =
        chunks.map(|(encoder, (ids, weights))| TextChunk { encoder, ids, weights }).collect::<Vec<_>>();
    let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
    let conditioning = backend.encode_text(model, &request, &Uncontrolled)?;
    backend.read_text(conditioning, TextPart::Tokens)?;

    let shape = LatentShape { channels: info.latent_channels, height: 2, width: 3 };
    let inputs = info.inputs.iter().map(|input| input.shape_for(shape)).collect::<Vec<_>>();
    let values =
        inputs.iter().map(|shape| vec![0.5; shape.iter().product::<u32>() as usize]).collect::<Vec<_>>();
    let extras = info.inputs.iter().zip(inputs.iter().zip(&values));
    let extras = extras
        .map(|(input, (shape, data))| NamedTensor { name: &input.name, shape, data })
        .collect::<Vec<_>>();
    let latent = vec![0.5; shape.len()];
    let row = DenoiseRow { latent: &latent, timestep: 500.5, conditioning, extras: &extras, hints: &[] };
    let answer = LatentShape { channels: info.output_channels, ..shape };
    backend.denoise(model, shape, &[row], &mut vec![0.0; answer.len()], &Uncontrolled)?;

    let cell = info.latent_scale as usize * info.latent_scale as usize * 3;
    let mut picture = vec![0; shape.height as usize * shape.width as usize * cell];
    backend.decode(model, shape, &latent, &DecodeOptions::default(), &mut picture, &Uncontrolled)?;
    let (mut mean, mut deviation) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
    backend.encode_image(
        model,
        shape,
        &picture,
        &EncodeOptions::default(),
        &mut mean,
        &mut deviation,
        &Uncontrolled,
    )
}
