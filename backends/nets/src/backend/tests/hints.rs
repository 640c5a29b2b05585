// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the contract says of networks beside a model: handles, lengths, memory and signs of life. What they answer is
//! tested where they run fast enough, in `alice-backend-cpu`.

use alice_plugin::{Hint, UpscaleOptions};

use super::{fixtures::Fixture, *};

const SIDES: LatentShape = LatentShape { channels: 4, height: 2, width: 4 };

fn beside(name: &str) -> PathBuf {
    Fixture::directory(name)
}

fn load(backend: &mut NetBackend<Plain>, name: &str, family: &str) -> Result<(ModelHandle, ModelInfo)> {
    let path = beside(name);
    let files = match path.is_dir() {
        true => ModelFiles::Diffusers { path },
        false => ModelFiles::SingleFile { path },
    };
    let (family, dtype) = (family.to_owned(), "auto".to_owned());
    backend.load(&LoadRequest { files, family, vae: None, dtype, device: 0 }, &Uncontrolled)
}

/// A model, a prompt of it, and a ControlNet with a hint of it.
struct Guided {
    loaded: Loaded,
    prompt: ConditioningHandle,
    network: ModelHandle,
    hint: ConditioningHandle,
}

impl Guided {
    fn new() -> Self {
        let mut loaded = Fixture::new("sdxl").loaded;
        let chunks = [0, 1].map(|encoder| TextChunk { encoder, ids: &[3; 20], weights: &[1.0; 20] });
        let prompt = loaded.encode_chunks(&chunks, 0).unwrap();
        let (network, info) = load(&mut loaded.backend, "controls/controlnet-sdxl", "controlnet").unwrap();
        assert_eq!((info.latent_channels, info.output_channels, info.latent_scale), (4, 0, 4));
        let hint = loaded.backend.encode_hint(network, SIDES, &[9; 8 * 16 * 3], &Uncontrolled).unwrap();
        Self { loaded, prompt, network, hint }
    }

    fn denoise(&mut self, rows: &[&[Hint]], control: &dyn Control) -> Result<Vec<f32>> {
        let (latent, sizes) = ([0.5; 32], [64.0; 6]);
        let extras = [NamedTensor { name: TIME_IDS, shape: &[6], data: &sizes }];
        let row = |hints| DenoiseRow {
            latent: &latent,
            timestep: 500.0,
            conditioning: self.prompt,
            extras: &extras,
            hints,
        };
        let rows: Vec<_> = rows.iter().map(|hints| row(*hints)).collect();
        let mut out = vec![0.0; 32 * rows.len()];
        self.loaded.backend.denoise(self.loaded.model, SIDES, &rows, &mut out, control)?;
        Ok(out)
    }

    fn hint(&self) -> Hint {
        Hint { model: self.network, hint: self.hint, scale: 1.0 }
    }

    #[track_caller]
    fn refused(&mut self, rows: &[&[Hint]], says: &str) {
        let error = self.denoise(rows, &Uncontrolled).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains(says), "{error} does not say {says}");
    }
}

#[test]
fn hints_change_the_answer_and_only_that_of_their_row() {
    let mut guided = Guided::new();
    let hint = guided.hint();
    let plain = guided.denoise(&[&[]], &Uncontrolled).unwrap();
    let steered = guided.denoise(&[&[hint]], &Uncontrolled).unwrap();
    assert_ne!(plain, steered);
    let silent = Hint { scale: 0.0, ..hint };
    let both = guided.denoise(&[&[silent], &[hint]], &Uncontrolled).unwrap();
    assert_eq!(both, [plain, steered].concat());
}

#[test]
fn hints_that_do_not_fit_are_invalid() {
    let mut guided = Guided::new();
    let hint = guided.hint();
    guided.refused(&[&[hint], &[]], "same networks");
    guided.refused(&[&[hint; 17]], "16 are the most");
    guided.refused(&[&[Hint { scale: f32::NAN, ..hint }]], "NaN");
    guided.refused(&[&[Hint { hint: guided.prompt, ..hint }]], "another network");
    guided.refused(&[&[Hint { model: guided.loaded.model, ..hint }]], "not of a ControlNet");
    let other = LatentShape { height: 3, ..SIDES };
    let Guided { loaded, network, .. } = &mut guided;
    let taller = loaded.backend.encode_hint(*network, other, &[9; 12 * 16 * 3], &Uncontrolled).unwrap();
    guided.refused(&[&[Hint { hint: taller, ..hint }]], "for latents of");
    // Another network of the same kind has not encoded it.
    let (twin, _) = load(&mut guided.loaded.backend, "controls/controlnet-sdxl", "controlnet").unwrap();
    guided.refused(&[&[Hint { model: twin, ..hint }]], "another network");
    let (half, info) = {
        let path = beside("controls/controlnet-sdxl");
        let (family, dtype) = ("controlnet".to_owned(), "f16".to_owned());
        let files = ModelFiles::Diffusers { path };
        let request = LoadRequest { files, family, vae: None, dtype, device: 0 };
        guided.loaded.backend.load(&request, &Uncontrolled).unwrap()
    };
    assert_eq!(info.dtype, "f16");
    let hint = guided.loaded.backend.encode_hint(half, SIDES, &[9; 8 * 16 * 3], &Uncontrolled).unwrap();
    guided.refused(&[&[Hint { model: half, hint, scale: 1.0 }]], "number format");
}

#[test]
fn handles_of_another_kind_are_invalid() {
    let Guided { loaded: Loaded { mut backend, model, .. }, prompt, network, hint } = Guided::new();
    let (upscaler, info) = load(&mut backend, "upscalers/real-x2.safetensors", "upscaler").unwrap();
    assert_eq!((info.latent_channels, info.output_channels, info.latent_scale), (3, 3, 2));
    let invalid = |result: Result<()>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains("the handle is that of"), "{error}");
    };
    let options = UpscaleOptions::default();
    for handle in [model, network] {
        invalid(backend.upscale(handle, 1, 1, &[0; 3], &options, &mut [0; 12], &Uncontrolled));
    }
    for handle in [model, upscaler] {
        invalid(backend.encode_hint(handle, SIDES, &[9; 384], &Uncontrolled).map(drop));
    }
    for handle in [network, upscaler] {
        invalid(backend.decode(handle, SIDES, &[], &DecodeOptions::default(), &mut [], &Uncontrolled));
        invalid(backend.adapt(handle, &[], &Uncontrolled));
        let row = DenoiseRow { latent: &[], timestep: 0.0, conditioning: prompt, extras: &[], hints: &[] };
        invalid(backend.denoise(handle, SIDES, &[row], &mut [], &Uncontrolled));
    }
    invalid(backend.read_text(hint, TextPart::Tokens).map(drop));
    assert_eq!(backend.release(hint), Ok(()));
}

#[test]
fn hints_are_counted_and_end_with_their_network() {
    let mut guided = Guided::new();
    let backend = &mut guided.loaded.backend;
    let before = backend.memory().unwrap();
    // A prompt of 20 tokens of 56 values, and an image of 16 channels.
    assert_eq!(before.working, 4 * (20 * 56 + 16 * 2 * 4));
    backend.unload(guided.network).unwrap();
    let after = backend.memory().unwrap();
    assert!(after.weights < before.weights);
    assert_eq!(after.working, 4 * 20 * 56);
    assert_eq!(backend.release(guided.hint).unwrap_err().kind, ErrorKind::StaleHandle);
    let hint = guided.hint();
    assert_eq!(guided.denoise(&[&[hint]], &Uncontrolled).unwrap_err().kind, ErrorKind::StaleHandle);
}

#[test]
fn pictures_that_do_not_fit_a_network_are_invalid() {
    let mut backend = backend();
    let (xl, info) = load(&mut backend, "controls/t2i-full-sdxl", "t2i_adapter").unwrap();
    assert_eq!((info.latent_channels, info.output_channels, info.latent_scale), (4, 0, 4));
    let (upscaler, _) = load(&mut backend, "upscalers/old-x2.safetensors", "upscaler").unwrap();
    let refused = |result: Result<()>, says: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains(says), "{error} does not say {says}");
    };
    for (shape, pixels, says) in [
        (SIDES, 8 * 16 * 3 - 1, "bytes in the picture"),
        (LatentShape { channels: 3, ..SIDES }, 8 * 16 * 3, "channels"),
        (LatentShape { height: 0, ..SIDES }, 0, "side"),
        // Its first image is half as large as the latent.
        (LatentShape { height: 3, ..SIDES }, 12 * 16 * 3, "multiples of 8"),
    ] {
        refused(backend.encode_hint(xl, shape, &vec![9; pixels], &Uncontrolled).map(drop), says);
    }
    for (sides, pixels, tile, out, says) in [
        ([2, 3], 18, None, 71, "bytes of room"),
        ([2, 3], 17, None, 72, "bytes in the picture"),
        ([0, 3], 0, None, 0, "side"),
        ([1, 20_000], 60_000, None, 240_000, "side"),
        ([2, 3], 18, Some(0), 72, "tile"),
    ] {
        let (options, [height, width]) = (UpscaleOptions { tile }, sides);
        let (pixels, mut out) = (vec![9; pixels], vec![0; out]);
        refused(backend.upscale(upscaler, height, width, &pixels, &options, &mut out, &Uncontrolled), says);
    }
}

#[test]
fn files_of_another_kind_and_autoencoders_for_them_are_refused() {
    let mut backend = backend();
    for (name, family, says) in [
        ("controls/controlnet-sdxl", "t2i_adapter", "controlnet"),
        ("controls/t2i-full-sdxl", "controlnet", "t2i_adapter"),
        ("upscalers/real-x2.safetensors", "controlnet", "upscalers/real-x2"),
        ("controls-sdxl.safetensors", "upscaler", "controls-sdxl"),
        ("controls/controlnet-sdxl", "sdxl", "controlnet-sdxl"),
    ] {
        let error = load(&mut backend, name, family).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadModel, "{name}: {error}");
        assert!(error.message.contains(says), "{error} does not say {says}");
    }
    let path = beside("controls/controlnet-sdxl");
    let request = LoadRequest {
        files: ModelFiles::Diffusers { path: path.clone() },
        family: "controlnet".to_owned(),
        vae: Some(path),
        dtype: "auto".to_owned(),
        device: 0,
    };
    assert_eq!(backend.load(&request, &Uncontrolled).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn every_block_beside_a_model_is_a_sign_of_life() {
    let loads = [
        ("controls/controlnet-sdxl", "controlnet", 2 + 5),
        ("controls/t2i-full-sdxl", "t2i_adapter", 8),
        ("upscalers/real-x4.safetensors", "upscaler", 2 + 2),
    ];
    for (name, family, blocks) in loads {
        let path = beside(name);
        let files = match path.is_dir() {
            true => ModelFiles::Diffusers { path },
            false => ModelFiles::SingleFile { path },
        };
        let (family, dtype) = (family.to_owned(), "auto".to_owned());
        let request = LoadRequest { files, family, vae: None, dtype, device: 0 };
        assert_cancellable(blocks, |control| backend().load(&request, control).map(drop));
    }
    let mut guided = Guided::new();
    let hint = guided.hint();
    // The denoiser has 3 stages on its way down, 2 in the middle and 6 on its way up; the ControlNet runs 5 of its own.
    assert_cancellable(11 + 5, |control| guided.denoise(&[&[hint]], control).map(drop));
    assert_cancellable(11, |control| guided.denoise(&[&[Hint { scale: 0.0, ..hint }]], control).map(drop));
    let Guided { loaded: Loaded { mut backend, .. }, network, .. } = guided;
    assert_cancellable(2, |control| backend.encode_hint(network, SIDES, &[9; 384], control).map(drop));
    let (adapter, _) = load(&mut backend, "controls/t2i-full-sdxl", "t2i_adapter").unwrap();
    assert_cancellable(8, |control| backend.encode_hint(adapter, SIDES, &[9; 384], control).map(drop));
    let (upscaler, _) = load(&mut backend, "upscalers/old-x2.safetensors", "upscaler").unwrap();
    // Two tiles of a residual block and a doubling each.
    assert_cancellable(2 * 2, |control| {
        let options = UpscaleOptions { tile: Some(4) };
        backend.upscale(upscaler, 2, 6, &[9; 36], &options, &mut [0; 144], control)
    });
}
