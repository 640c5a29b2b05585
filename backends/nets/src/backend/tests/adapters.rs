// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model with adapters answers like one whose files hold their sum, and like itself when they are gone.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use super::*;

const PROJECTION: &str = "down_blocks.0.attentions.0.proj_in";
const CONVOLUTION: &str = "up_blocks.1.resnets.1.conv2";
const QUERY: &str = "encoder.layers.0.self_attn.q_proj";

/// What a file does to a layer: its network, its path, rows and columns of its weight, and a seed.
type Pair = (&'static str, &'static str, usize, usize, u64);

/// Files that share one layer and differ in the others.
const INK: [Pair; 3] =
    [("unet", PROJECTION, 4, 4, 1), ("unet", CONVOLUTION, 4, 36, 2), ("text_encoder", QUERY, 6, 6, 3)];
const OIL: [Pair; 2] = [
    ("unet", PROJECTION, 4, 4, 4),
    ("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0", 8, 8, 5),
];

/// Multiples of a sixteenth, of which products and some sums are exact.
fn factors(count: usize, seed: u64) -> Vec<f32> {
    numbers(&[1, count], seed).map(|value| (value * 16.0).round() / 16.0).to_f32()
}

/// The two matrices of a change of rank 1.
fn matrices(&(_, _, rows, columns, seed): &Pair) -> (Vec<f32>, Vec<f32>) {
    (factors(rows, 100 + seed), factors(columns, 200 + seed))
}

/// Writes a file in PEFT's spelling.
fn lora(path: &Path, pairs: &[Pair], spoil: bool) -> PathBuf {
    let mut tensors = Tensors::new();
    for pair in pairs {
        let (component, module, rows, columns, _) = *pair;
        let (up, mut down) = matrices(pair);
        if spoil && module == pairs.last().unwrap().1 {
            down[0] = f32::NAN;
        }
        let convolution = module == CONVOLUTION;
        let (down_shape, up_shape) = match convolution {
            true => (vec![1, columns / 9, 3, 3], vec![rows, 1, 1, 1]),
            false => (vec![1, columns], vec![rows, 1]),
        };
        tensors.insert(format!("{component}.{module}.lora_A.weight"), (down_shape, down));
        tensors.insert(format!("{component}.{module}.lora_B.weight"), (up_shape, up));
    }
    micro::write(path, &tensors);
    path.to_owned()
}

/// Two files in a directory of their own.
fn files() -> (TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let ink = lora(&directory.path().join("ink.safetensors"), &INK, false);
    let oil = lora(&directory.path().join("oil.safetensors"), &OIL, false);
    (directory, ink, oil)
}

/// The tensors of `component` after these changes with their scales.
fn changed(component: &'static str, changes: &[(&[Pair], f32)]) -> impl FnOnce(Tensors) -> Tensors {
    let changes: Vec<(Pair, f32)> =
        changes.iter().flat_map(|(pairs, scale)| pairs.iter().map(|pair| (*pair, *scale))).collect();
    move |mut tensors| {
        for (pair, scale) in changes.iter().filter(|(pair, _)| pair.0 == component) {
            let (up, down) = matrices(pair);
            let weight = &mut tensors.get_mut(&format!("{}.weight", pair.1)).unwrap().1;
            for (value, product) in
                weight.iter_mut().zip(up.iter().flat_map(|up| down.iter().map(move |down| up * down)))
            {
                *value += scale * product;
            }
        }
        tensors
    }
}

fn adapter(path: &Path, scale: f32) -> Adapter {
    Adapter { path: path.to_owned(), scale }
}

impl Loaded {
    fn adapt(&mut self, adapters: &[Adapter]) -> Result<()> {
        self.backend.adapt(self.model, adapters, &Uncontrolled)
    }

    /// A prompt's tokens and the denoiser's answer to it.
    fn answer(&mut self) -> (Vec<f32>, Vec<f32>) {
        let conditioning = self.encode(&[(&FIRST, &EVEN)], 0).unwrap();
        let latent = numbers(&[60], 7).to_f32();
        (self.tokens(conditioning), self.denoise(&[(&latent, 321.5, conditioning)]).unwrap())
    }
}

#[test]
fn a_model_answers_as_if_the_adapters_were_in_its_files_and_as_before_without_them() {
    let (_directory, ink, oil) = files();
    let mut loaded = Loaded::new();
    let plain = loaded.answer();
    let with = |changes: &[(&[Pair], f32)]| {
        let micro = Micro::new().with_tensors("unet", changed("unet", changes));
        Loaded::of(&micro.with_tensors("text_encoder", changed("text_encoder", changes))).answer()
    };
    loaded.adapt(&[adapter(&ink, 0.75)]).unwrap();
    let inked = loaded.answer();
    assert_eq!(inked, with(&[(&INK, 0.75)]));
    assert!(inked.0 != plain.0 && inked.1 != plain.1);
    // More, less, negative, and the same file twice.
    loaded.adapt(&[adapter(&ink, 0.75), adapter(&oil, -1.5)]).unwrap();
    let both = loaded.answer();
    assert_eq!(both, with(&[(&INK, 0.75), (&OIL, -1.5)]));
    loaded.adapt(&[adapter(&oil, 0.5), adapter(&oil, 0.25)]).unwrap();
    assert_eq!(loaded.answer(), with(&[(&OIL, 0.25), (&OIL, 0.5)]));
    loaded.adapt(&[adapter(&oil, -1.5), adapter(&ink, 0.75)]).unwrap();
    assert_eq!(loaded.answer(), both, "the order in which they are named is nothing");
    loaded.adapt(&[adapter(&oil, 0.0)]).unwrap();
    assert_eq!(loaded.answer(), plain);
    loaded.adapt(&[adapter(&ink, 0.75)]).unwrap();
    loaded.adapt(&[]).unwrap();
    assert_eq!(loaded.answer(), plain);
    assert_eq!(loaded.answer(), Loaded::new().answer());
}

#[test]
fn only_layers_that_something_else_acts_on_are_built() {
    let (_directory, ink, oil) = files();
    let mut loaded = Loaded::new();
    let mut built = |adapters: &[Adapter]| {
        let control = Counting::default();
        loaded.backend.adapt(loaded.model, adapters, &control).unwrap();
        control.0.get()
    };
    let (ink, oil) = (|scale| adapter(&ink, scale), |scale| adapter(&oil, scale));
    assert_eq!(built(&[]), 0);
    assert_eq!(built(&[ink(1.0)]), 3);
    assert_eq!(built(&[ink(1.0)]), 0, "the same again");
    assert_eq!(built(&[ink(1.0), oil(0.0)]), 0);
    assert_eq!(
        built(&[oil(1.0), ink(1.0)]),
        2,
        "the layer that both change, and the one that only it changes"
    );
    assert_eq!(built(&[oil(1.0)]), 3);
    assert_eq!(built(&[oil(-1.0)]), 2);
    assert_eq!(built(&[]), 2);
}

#[test]
fn a_file_that_fails_leaves_the_model_as_it_was() {
    let (directory, ink, oil) = files();
    let spoiled = lora(&directory.path().join("spoiled.safetensors"), &INK, true);
    let mut loaded = Loaded::new();
    loaded.adapt(&[adapter(&oil, 1.0)]).unwrap();
    let before = loaded.answer();
    for bad in [&spoiled, &directory.path().join("nothing.safetensors")] {
        let error = loaded.adapt(&[adapter(&ink, 1.0), adapter(bad, 1.0)]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadModel);
        assert_eq!(loaded.answer(), before);
    }
    // The files in force are not needed any more for the way back.
    fs::remove_file(&oil).unwrap();
    assert_eq!(loaded.adapt(&[adapter(&spoiled, 1.0)]).unwrap_err().kind, ErrorKind::BadModel);
    assert_eq!(loaded.answer(), before);
}

#[test]
fn a_model_that_is_not_as_it_was_says_so_and_can_be_adapted_again() {
    let (directory, ink, oil) = files();
    let [projection, convolution, query] = INK;
    let spoiled =
        lora(&directory.path().join("spoiled.safetensors"), &[query, projection, convolution], true);
    let mut loaded = Loaded::new();
    loaded.adapt(&[adapter(&ink, 1.0)]).unwrap();
    let with_ink = loaded.answer();
    loaded.adapt(&[adapter(&oil, 1.0)]).unwrap();
    let before = loaded.answer();
    // Three layers are built, the convolution behind them cannot be, and the way back builds three again.
    let change = |loaded: &mut Loaded, room| {
        ROOM.set(room);
        let error = loaded.adapt(&[adapter(&spoiled, 1.0)]).unwrap_err();
        ROOM.set(usize::MAX);
        error.kind
    };
    assert_eq!(change(&mut loaded, 6), ErrorKind::BadModel);
    assert_eq!(loaded.answer(), before);
    assert_eq!(change(&mut loaded, 0), ErrorKind::OutOfMemory);
    assert_eq!(loaded.answer(), before);
    for room in 1..6 {
        assert_eq!(change(&mut loaded, room), ErrorKind::Internal, "room for {room}");
        assert_eq!(loaded.encode(&[(&FIRST, &EVEN)], 0).unwrap_err().kind, ErrorKind::Internal);
        let again = if room % 2 == 0 { &oil } else { &ink };
        loaded.adapt(&[adapter(again, 1.0)]).unwrap();
        assert_eq!(&loaded.answer(), if room % 2 == 0 { &before } else { &with_ink });
        loaded.adapt(&[adapter(&oil, 1.0)]).unwrap();
    }
    // A change that fails as well may have built all layers as they were.
    assert_eq!(change(&mut loaded, 3), ErrorKind::Internal);
    assert_eq!(change(&mut loaded, usize::MAX), ErrorKind::BadModel);
    assert_eq!(loaded.answer(), before);
}

#[test]
fn a_model_whose_file_is_replaced_while_it_is_loaded_is_not_mixed_with_the_new_one() {
    /// Puts another file of the denoiser in its place when everything is loaded.
    struct Replacing<'a>(&'a Path);

    impl Control for Replacing<'_> {
        fn progress(&self, done: u64, total: u64) -> Result<()> {
            if done == total {
                let bytes = fs::read(self.0).unwrap();
                fs::remove_file(self.0).unwrap();
                fs::write(self.0, bytes).unwrap();
                let later = SystemTime::now() + Duration::from_secs(60);
                fs::File::options().write(true).open(self.0).unwrap().set_modified(later).unwrap();
            }
            Ok(())
        }
    }

    let (_directory, ink, _) = files();
    let (micro, mut backend) = (Micro::new(), backend());
    let control = Replacing(&micro.path().join("unet/model.safetensors"));
    let (model, _) = backend.load(&request(micro.path()), &control).unwrap();
    let error = backend.adapt(model, &[adapter(&ink, 1.0)], &Uncontrolled).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadModel);
    assert!(error.message.contains("load it again"), "{error}");
}

#[test]
fn an_adaptation_can_be_cancelled_at_every_layer_and_has_not_happened_then() {
    let (_directory, ink, oil) = files();
    let mut loaded = Loaded::new();
    loaded.adapt(&[adapter(&oil, 1.0)]).unwrap();
    let before = loaded.answer();
    for patience in 0..=4 {
        let control = Impatient { patience, heard: Cell::default(), last: Cell::default() };
        let error = loaded.backend.adapt(loaded.model, &[adapter(&ink, 1.0)], &control).unwrap_err();
        assert_eq!((error.kind, control.heard.get()), (ErrorKind::Cancelled, patience + 1));
        assert_eq!(loaded.answer(), before);
    }
    assert_cancellable(4, |control| loaded.backend.adapt(loaded.model, &[adapter(&ink, 1.0)], control));
}

#[test]
fn a_file_that_was_replaced_is_another_adapter() {
    let (_directory, ink, _) = files();
    let mut loaded = Loaded::new();
    let plain = loaded.answer();
    loaded.adapt(&[adapter(&ink, 1.0)]).unwrap();
    let first = loaded.answer();
    lora(&ink, &INK[..1], false);
    loaded.adapt(&[adapter(&ink, 1.0)]).unwrap();
    let second = loaded.answer();
    assert!(second != first && second != plain);
}

#[test]
fn a_model_whose_files_were_replaced_is_not_mixed_with_them() {
    let (_directory, ink, _) = files();
    let micro = Micro::new();
    let mut loaded = Loaded::of(&micro);
    let before = loaded.answer();
    let weights = micro.path().join("unet/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::remove_file(&weights).unwrap();
    fs::write(&weights, bytes).unwrap();
    let error = loaded.adapt(&[adapter(&ink, 1.0)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadModel);
    assert!(error.message.contains("load it again"), "{error}");
    assert_eq!(loaded.answer(), before);
}

#[test]
fn a_learned_word_is_read_like_a_token_of_its_vector() {
    let table = micro::tensors("text_encoder").remove("embeddings.token_embedding.weight").unwrap().1;
    let mut loaded = Loaded::new();
    let mut encode = |ids: &[&[u32; 5]], rows: &[f32]| {
        let chunks: Vec<_> =
            ids.iter().map(|ids| TextChunk { encoder: 0, ids: *ids, weights: &EVEN }).collect();
        let shape = [(rows.len() / 6) as u32, 6];
        let extra = [NamedTensor { name: "rows.0", shape: &shape, data: rows }];
        let request = TextRequest {
            chunks: &chunks,
            extra_rows: if rows.is_empty() { &[] } else { &extra },
            clip_skip: 0,
        };
        let conditioning = loaded.backend.encode_text(loaded.model, &request, &Uncontrolled).unwrap();
        loaded.backend.read_text(conditioning, TextPart::Tokens).unwrap()
    };
    let row = |token: usize| &table[6 * token..][..6];
    let plain = encode(&[&FIRST, &[9, 7, 2, 10, 10]], &[]);
    // 11 is the first learned vector, 12 the second.
    assert_eq!(encode(&[&[9, 11, 1, 10, 10], &[9, 7, 12, 10, 10]], &[row(3), row(2)].concat()), plain);
    let other = encode(&[&[9, 11, 1, 10, 10], &[9, 7, 12, 10, 10]], &[row(3), row(4)].concat());
    assert_eq!(other[..30], plain[..30]);
    assert_ne!(other[30..], plain[30..]);
}
