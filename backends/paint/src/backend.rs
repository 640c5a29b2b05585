// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The contract, call by call.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::path::Path;

use alice_plugin::slots::Slots;
use alice_plugin::{
    Adapter, Backend, ConditioningHandle, Control, DecodeOptions, DenoiseRow, Description, Device,
    EncodeOptions, Error, ErrorKind, Hint, LatentShape, LoadRequest, Memory, ModelHandle, ModelInfo, Result,
    TextRequest, UpscaleOptions, checks,
};
use serde_json::Value;
use tracing::debug;

use crate::faults::{Call, Faults};
use crate::model::{DTYPE, Model, Role};
use crate::options::Options;
use crate::picture::{self, mix};

const MIB: u64 = 1 << 20;
/// How many times larger upscalers make a picture, unless the options say otherwise.
const FACTOR: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");
/// So much of an adapter's file counts: enough to tell two files apart that are called the same.
const HEAD: u64 = 1 << 16;

/// An instance of the stand-in.
#[derive(Debug)]
pub struct Paint {
    options: Options,
    faults: Faults,
    models: Slots<Model>,
    conditionings: Slots<Conditioning>,
}

/// An encoded prompt or hint.
#[derive(Debug)]
struct Conditioning {
    /// The handle of the model that made it.
    model: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Prompt {
        /// Number of tokens.
        length: usize,
        /// Stands for everything that was encoded.
        sum: u64,
    },
    Hint {
        shape: LatentShape,
        /// The latent whose picture the hint is.
        latent: Vec<f32>,
    },
}

impl Conditioning {
    fn bytes(&self) -> u64 {
        let values = match &self.content {
            Content::Prompt { .. } => 0,
            Content::Hint { latent, .. } => size_of_val(latent.as_slice()),
        };
        (size_of::<Self>() + values) as u64
    }
}

impl Paint {
    /// A new instance with [`Options`] as JSON.
    ///
    /// # Errors
    /// `Invalid` for options that do not exist, and whatever they ask for.
    pub fn new(options: &Value) -> Result<Self> {
        let mut options = Options::parse(options)?;
        let mut faults = Faults::new(std::mem::take(&mut options.faults));
        faults.strike(Call::Create)?;
        Ok(Self { options, faults, models: Slots::new("model"), conditionings: Slots::new("conditioning") })
    }

    /// Passes when a latent of `shape`, or a tile of it, makes a picture for which there is memory.
    fn hold_latent(&self, shape: LatentShape, scale: u32, tile: Option<u32>) -> Result<()> {
        checks::tile(tile)?;
        // The pictures are there, so that their sides fit.
        self.options.hold(
            shape.height * scale,
            shape.width * scale,
            tile.map(|side| side.saturating_mul(scale)),
        )
    }

    fn devices(&self) -> u32 {
        self.options.devices.unwrap_or(1)
    }

    fn device(&self, index: u32) -> Device {
        let memory = self.options.memory_mib.map(|mib| mib * MIB);
        Device {
            index,
            name: "stand-in".into(),
            kind: self.options.kind.clone().unwrap_or_else(|| "cpu".into()),
            memory_total: memory,
            memory_free: memory,
        }
    }

    /// The prompt of each row, after a look whether the rows fit the model and each other.
    fn prompts(&self, model: ModelHandle, rows: &[DenoiseRow<'_>]) -> Result<Vec<u64>> {
        let found = rows.iter().map(|row| self.conditionings.get(row.conditioning.0));
        let found = found.collect::<Result<Vec<_>>>()?;
        if found.iter().any(|conditioning| conditioning.model != model.0) {
            return Err(Error::invalid("a row's conditioning was made by another model"));
        }
        let prompt = |conditioning: &&Conditioning| match conditioning.content {
            Content::Prompt { length, sum } => Ok((length, sum)),
            Content::Hint { .. } => Err(Error::invalid("a row's conditioning is a hint")),
        };
        let found = found.iter().map(prompt).collect::<Result<Vec<_>>>()?;
        if found.windows(2).any(|pair| pair[0].0 != pair[1].0) {
            return Err(Error::invalid("the rows' conditionings differ in their number of tokens"));
        }
        Ok(found.into_iter().map(|(_, sum)| sum).collect())
    }

    /// The pictures that guide a row of latents of `shape`, each times its scale; empty without any.
    fn guide(&self, shape: LatentShape, hints: &[Hint]) -> Result<Vec<f32>> {
        let mut guide = Vec::new();
        for hint in hints {
            self.models.get(hint.model.0)?.must_be(Role::Control)?;
            let conditioning = self.conditionings.get(hint.hint.0)?;
            if conditioning.model != hint.model.0 {
                return Err(Error::invalid("a hint was encoded by another model"));
            }
            let Content::Hint { shape: made, latent } = &conditioning.content else {
                return Err(Error::invalid("a hint's handle is that of a prompt"));
            };
            if *made != shape {
                return Err(Error::invalid(format!("a hint for latents of {made:?} is used for {shape:?}")));
            }
            // Exactly nothing, also where it would turn -0 into 0.
            if hint.scale != 0.0 {
                guide.resize(shape.len(), 0.0);
                guide.iter_mut().zip(latent).for_each(|(sum, value)| *sum += hint.scale * value);
            }
        }
        Ok(guide)
    }

    /// The model that makes pictures behind this handle.
    fn pictures(&self, model: ModelHandle) -> Result<&Model> {
        self.models.get(model.0)?.must_be(Role::Pictures)
    }
}

impl Backend for Paint {
    fn describe(&mut self) -> Result<Description> {
        self.faults.strike(Call::Describe)?;
        Ok(Description {
            name: "paint".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            devices: (0..self.devices()).map(|index| self.device(index)).collect(),
            dtypes: vec![DTYPE.into()],
            families: ["sd1", "controlnet", "t2i_adapter", "upscaler"].map(str::to_owned).to_vec(),
            inputs: vec!["time_ids".into(), "concat".into()],
            score: 1,
            reason: None,
            stand_in: true,
        })
    }

    fn load(&mut self, request: &LoadRequest, control: &dyn Control) -> Result<(ModelHandle, ModelInfo)> {
        self.faults.strike(Call::Load)?;
        if request.dtype != "auto" && request.dtype != DTYPE {
            return Err(Error::unsupported(format!("the number format `{}` is not {DTYPE}", request.dtype)));
        }
        if request.device >= self.devices() {
            return Err(Error::invalid(format!("there is no device {}", request.device)));
        }
        // The family is not asked: nothing of the model is run, so a stand-in can stand in for any.
        let mut model = Model::load(request, self.options.factor.unwrap_or(FACTOR).get(), control)?;
        if let Some(mib) = self.options.model_mib {
            model.info.memory_bytes = mib * MIB;
        }
        let used: u64 = self.models.values().map(|model| model.info.memory_bytes).sum();
        if self.options.memory_mib.is_some_and(|mib| used + model.info.memory_bytes > mib * MIB) {
            return Err(Error::new(
                ErrorKind::OutOfMemory,
                "another model does not fit into the memory that was asked for",
            ));
        }
        self.options.pass(self.options.load_ms, control)?;
        debug!(family = request.family, "Pretending to have loaded a model");
        let info = model.info.clone();
        Ok((ModelHandle(self.models.insert(model)), info))
    }

    fn adapt(&mut self, model: ModelHandle, adapters: &[Adapter], control: &dyn Control) -> Result<()> {
        self.faults.strike(Call::Adapt)?;
        self.pictures(model)?;
        let model = self.models.get_mut(model.0)?;
        control.progress(0, adapters.len() as u64)?;
        if let Some(missing) = adapters.iter().find(|adapter| !adapter.path.is_file()) {
            return Err(Error::bad_model(format!("`{}` is not a file", missing.path.display())));
        }
        let mut sum = 0;
        for adapter in adapters {
            let content = head(&adapter.path)
                .map_err(|error| Error::bad_model(format!("`{}`: {error}", adapter.path.display())))?;
            let path = adapter.path.as_os_str().as_encoded_bytes();
            sum = path.iter().chain(&content).fold(sum, |sum, &byte| mix(sum, byte.into()));
            sum = mix(sum, adapter.scale.to_bits().into());
        }
        model.adapters = sum;
        Ok(())
    }

    fn encode_text(
        &mut self,
        model: ModelHandle,
        request: &TextRequest<'_>,
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        self.faults.strike(Call::EncodeText)?;
        checks::text(&self.models.get(model.0)?.info, request)?;
        control.progress(0, 1)?;
        let ids = request.chunks.iter().flat_map(|chunk| chunk.ids).copied();
        let weights = request.chunks.iter().flat_map(|chunk| chunk.weights).map(|weight| weight.to_bits());
        let rows = request.extra_rows.iter().flat_map(|rows| rows.data).map(|value| value.to_bits());
        let prompt = ids.chain(weights).chain(rows).chain([request.clip_skip]);
        let prompt = prompt.fold(0, |sum, value| mix(sum, value.into()));
        let length = request.chunks.iter().map(|chunk| chunk.ids.len()).sum();
        let content = Content::Prompt { length, sum: prompt };
        Ok(ConditioningHandle(self.conditionings.insert(Conditioning { model: model.0, content })))
    }

    fn denoise(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        rows: &[DenoiseRow<'_>],
        out: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        self.faults.strike(Call::Denoise)?;
        let found = self.pictures(model)?;
        let prompts = self.prompts(model, rows)?;
        checks::denoise(&found.info, shape, rows, out)?;
        let guides = rows.iter().map(|row| self.guide(shape, row.hints)).collect::<Result<Vec<_>>>()?;
        if self.options.max_rows.is_some_and(|most| rows.len() > most) {
            let message = format!("{} rows do not fit into the memory that was asked for", rows.len());
            return Err(Error::new(ErrorKind::OutOfMemory, message));
        }
        let lasts = self.options.step_ms + self.options.row_ms * rows.len() as f64;
        self.options.pass(lasts, control)?;
        let answers = out.chunks_exact_mut(shape.len());
        for (((row, prompt), guide), answer) in rows.iter().zip(prompts).zip(guides).zip(answers) {
            let prompt = prompt ^ found.adapters;
            picture::denoise(prompt, &found.schedule, row.timestep, shape, row.latent, &guide, answer);
        }
        Ok(())
    }

    fn decode(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        latents: &[f32],
        // A cell's colour depends on its neighbours only, so tiles change nothing but the memory that is held.
        options: &DecodeOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        self.faults.strike(Call::Decode)?;
        let info = &self.pictures(model)?.info;
        let rows = checks::decode(info, shape, latents, out)?;
        self.hold_latent(shape, info.latent_scale, options.tile)?;
        let pictures = out.chunks_exact_mut(out.len() / rows);
        for (row, (latent, picture)) in latents.chunks_exact(shape.len()).zip(pictures).enumerate() {
            control.progress(row as u64, rows as u64)?;
            picture::decode(shape, latent, picture);
        }
        Ok(())
    }

    fn encode_image(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        options: &EncodeOptions,
        mean: &mut [f32],
        deviation: &mut [f32],
        control: &dyn Control,
    ) -> Result<()> {
        self.faults.strike(Call::EncodeImage)?;
        let info = &self.pictures(model)?.info;
        let rows = checks::encode_image(info, shape, pixels, options, mean, deviation)?;
        self.hold_latent(shape, info.latent_scale, options.tile)?;
        let pictures = pixels.chunks_exact(pixels.len() / rows);
        for (row, (picture, latent)) in pictures.zip(mean.chunks_exact_mut(shape.len())).enumerate() {
            control.progress(row as u64, rows as u64)?;
            picture::encode(shape, options.channels(), picture, latent);
        }
        deviation.fill(0.01);
        Ok(())
    }

    fn encode_hint(
        &mut self,
        model: ModelHandle,
        shape: LatentShape,
        pixels: &[u8],
        control: &dyn Control,
    ) -> Result<ConditioningHandle> {
        self.faults.strike(Call::EncodeHint)?;
        let info = &self.models.get(model.0)?.must_be(Role::Control)?.info;
        checks::encode_hint(info, shape, pixels)?;
        self.hold_latent(shape, info.latent_scale, None)?;
        control.progress(0, 1)?;
        let mut latent = vec![0.0; shape.len()];
        picture::encode(shape, 3, pixels, &mut latent);
        let content = Content::Hint { shape, latent };
        Ok(ConditioningHandle(self.conditionings.insert(Conditioning { model: model.0, content })))
    }

    fn upscale(
        &mut self,
        model: ModelHandle,
        height: u32,
        width: u32,
        pixels: &[u8],
        options: &UpscaleOptions,
        out: &mut [u8],
        control: &dyn Control,
    ) -> Result<()> {
        self.faults.strike(Call::Upscale)?;
        let info = &self.models.get(model.0)?.must_be(Role::Upscaler)?.info;
        checks::upscale(info, height, width, pixels, options, out)?;
        self.options.hold(height, width, options.tile)?;
        self.options.pass(self.options.step_ms, control)?;
        picture::enlarge(width as usize, info.latent_scale as usize, pixels, out);
        Ok(())
    }

    fn release(&mut self, conditioning: ConditioningHandle) -> Result<()> {
        self.faults.strike(Call::Release)?;
        self.conditionings.remove(conditioning.0).map(drop)
    }

    fn unload(&mut self, model: ModelHandle) -> Result<()> {
        self.faults.strike(Call::Unload)?;
        self.models.remove(model.0)?;
        self.conditionings.retain(|conditioning| conditioning.model != model.0);
        Ok(())
    }

    fn memory(&mut self) -> Result<Memory> {
        self.faults.strike(Call::Memory)?;
        Ok(Memory {
            weights: self.models.values().map(|model| model.info.memory_bytes).sum(),
            working: self.conditionings.values().map(Conditioning::bytes).sum(),
        })
    }
}

/// The beginning of a file.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::{Path, PathBuf};

    use alice_plugin::{ModelFiles, TextChunk, Uncontrolled};
    use serde_json::json;

    use super::*;

    const SHAPE: LatentShape = LatentShape { channels: 4, height: 2, width: 2 };

    /// An instance with a model and a prompt.
    fn ready(options: &Value) -> (Paint, ModelHandle, ConditioningHandle) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("model_index.json"), "{}").unwrap();
        let mut paint = Paint::new(options).unwrap();
        let request = LoadRequest {
            files: ModelFiles::Diffusers { path: directory.path().to_owned() },
            family: "a family of the future".into(),
            vae: None,
            dtype: "auto".into(),
            device: 0,
        };
        let (model, info) = paint.load(&request, &Uncontrolled).unwrap();
        let length = info.text_encoders[0].context_length as usize;
        let chunks = [TextChunk { encoder: 0, ids: &vec![1; length], weights: &vec![1.0; length] }];
        let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: 0 };
        let conditioning = paint.encode_text(model, &request, &Uncontrolled).unwrap();
        (paint, model, conditioning)
    }

    fn denoise(
        (paint, model, conditioning): &mut (Paint, ModelHandle, ConditioningHandle),
        rows: usize,
        control: &dyn Control,
    ) -> Result<Vec<f32>> {
        let latent = [0.5; 16];
        let row = DenoiseRow {
            latent: &latent,
            timestep: 9.0,
            conditioning: *conditioning,
            extras: &[],
            hints: &[],
        };
        let mut out = vec![0.0; rows * SHAPE.len()];
        paint.denoise(*model, SHAPE, &vec![row; rows], &mut out, control).map(|()| out)
    }

    #[test]
    fn more_rows_than_it_may_take_run_out_of_memory_and_fewer_still_work() {
        let mut ready = ready(&json!({"max_rows": 2}));
        assert_eq!(denoise(&mut ready, 3, &Uncontrolled).unwrap_err().kind, ErrorKind::OutOfMemory);
        assert!(denoise(&mut ready, 2, &Uncontrolled).is_ok());
    }

    /// A network that stands beside a model, of a file that may hold anything.
    fn beside(paint: &mut Paint, family: &str) -> Result<(ModelHandle, ModelInfo)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = ModelFiles::SingleFile { path: file.path().to_owned() };
        let family = family.to_owned();
        let request = LoadRequest { files, family, vae: None, dtype: "auto".into(), device: 0 };
        paint.load(&request, &Uncontrolled)
    }

    #[test]
    fn hints_move_the_answer_by_their_scales_and_not_at_all_by_none() {
        let (mut paint, model, conditioning) = ready(&json!({}));
        let plain = denoise(&mut (paint, model, conditioning), 1, &Uncontrolled);
        (paint, ..) = ready(&json!({}));
        let (guide, info) = beside(&mut paint, "controlnet").unwrap();
        assert_eq!((info.latent_channels, info.output_channels, info.latent_scale), (4, 0, 8));
        let hint = |paint: &mut Paint, shade| paint.encode_hint(guide, SHAPE, &[shade; 768], &Uncontrolled);
        let (light, dark) = (hint(&mut paint, 250).unwrap(), hint(&mut paint, 3).unwrap());
        let latent = [0.5; 16];
        let row = DenoiseRow { latent: &latent, timestep: 9.0, conditioning, extras: &[], hints: &[] };
        let mut guided = |hints: &[(ConditioningHandle, f32)]| {
            let hint = |&(hint, scale): &(_, f32)| Hint { model: guide, hint, scale };
            let hints: Vec<_> = hints.iter().map(hint).collect();
            let mut out = vec![0.0; SHAPE.len()];
            paint.denoise(model, SHAPE, &[DenoiseRow { hints: &hints, ..row }], &mut out, &Uncontrolled)?;
            Ok(out)
        };
        assert_eq!(guided(&[]), plain);
        assert_eq!(guided(&[(light, 0.0), (dark, 0.0)]), plain);
        let [half, whole] = [0.5, 1.0].map(|scale| guided(&[(light, scale)]).unwrap());
        assert!(half != whole && guided(&[(dark, 0.5)]).unwrap() != half);
        assert_eq!(guided(&[(light, 0.5), (dark, 0.0)]).unwrap(), half);
        assert_eq!(guided(&[(conditioning, 1.0)]).unwrap_err().kind, ErrorKind::Invalid);
        paint.unload(guide).unwrap();
        assert_eq!(paint.release(light).unwrap_err().kind, ErrorKind::StaleHandle);
        assert!(paint.release(conditioning).is_ok());
    }

    #[test]
    fn an_upscaler_repeats_every_pixel_and_holds_no_more_of_them_than_it_may() {
        let mut paint = Paint::new(&json!({"factor": 3, "max_pixels": 4})).unwrap();
        let (model, info) = beside(&mut paint, "upscaler").unwrap();
        assert_eq!((info.latent_channels, info.output_channels, info.latent_scale), (3, 3, 3));
        let mut upscale = |height: u32, width: u32, tile| {
            let pixels: Vec<u8> = (0..height * width * 3).map(|value| value as u8).collect();
            let (options, mut out) = (UpscaleOptions { tile }, vec![0; pixels.len() * 9]);
            paint.upscale(model, height, width, &pixels, &options, &mut out, &Uncontrolled).map(|()| out)
        };
        let out = upscale(1, 2, None).unwrap();
        let line = [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5];
        assert_eq!(out, [line; 3].concat());
        assert_eq!(upscale(2, 3, None).unwrap_err().kind, ErrorKind::OutOfMemory);
        assert_eq!(upscale(2, 3, Some(2)).unwrap().len(), 6 * 9 * 3);
        assert_eq!(upscale(2, 2, Some(0)).unwrap_err().kind, ErrorKind::Invalid);
    }

    #[test]
    fn a_model_is_asked_only_for_what_its_family_does() {
        let (mut paint, model, _) = ready(&json!({}));
        let (guide, _) = beside(&mut paint, "t2i_adapter").unwrap();
        let (upscaler, _) = beside(&mut paint, "upscaler").unwrap();
        let invalid = |result: Result<()>| assert_eq!(result.unwrap_err().kind, ErrorKind::Invalid);
        let (options, mut out, picture) = (UpscaleOptions::default(), [0; 12], [0; 768]);
        for other in [model, guide] {
            invalid(paint.upscale(other, 1, 1, &[0; 3], &options, &mut out, &Uncontrolled));
        }
        for other in [model, upscaler] {
            invalid(paint.encode_hint(other, SHAPE, &picture, &Uncontrolled).map(drop));
        }
        for other in [guide, upscaler] {
            invalid(paint.adapt(other, &[], &Uncontrolled));
            let mut values = [0.0; 16];
            let (decode, mut pixels) = (DecodeOptions::default(), picture);
            invalid(paint.decode(other, SHAPE, &values, &decode, &mut pixels, &Uncontrolled));
            let (encode, mut deviation) = (EncodeOptions::default(), values);
            let control = &Uncontrolled;
            invalid(paint.encode_image(
                other,
                SHAPE,
                &picture,
                &encode,
                &mut values,
                &mut deviation,
                control,
            ));
        }
    }

    #[test]
    fn devices_are_as_they_are_wished_and_models_that_do_not_fit_together_run_out_of_memory() {
        let options = json!({"kind": "cuda", "devices": 2, "memory_mib": 100, "model_mib": 60});
        let (mut paint, model, _) = ready(&options);
        let devices = paint.describe().unwrap().devices;
        let last = devices.last().unwrap();
        assert_eq!((devices.len(), last.index, last.kind.as_str()), (2, 1, "cuda"));
        assert_eq!(last.memory_free, Some(100 << 20));
        assert_eq!(paint.memory().unwrap().weights, 60 << 20);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("model_index.json"), "{}").unwrap();
        let files = ModelFiles::Diffusers { path: directory.path().to_owned() };
        let request = LoadRequest { files, family: "sd1".into(), vae: None, dtype: "auto".into(), device: 1 };
        let error = paint.load(&request, &Uncontrolled).unwrap_err();
        assert_eq!(error.kind, ErrorKind::OutOfMemory);
        paint.unload(model).unwrap();
        assert!(paint.load(&request, &Uncontrolled).is_ok());
    }

    #[test]
    fn a_single_file_stands_for_the_published_model_of_its_family() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let load = |path: &Path, family: &str| {
            let files = ModelFiles::SingleFile { path: path.to_owned() };
            let request =
                LoadRequest { files, family: family.into(), vae: None, dtype: "auto".into(), device: 0 };
            let loaded = Paint::new(&json!({})).unwrap().load(&request, &Uncontrolled);
            loaded.map(|(_, info)| info)
        };
        for (family, widths, sizes) in [
            ("sd1", &[768][..], None),
            ("sd2", &[1024], None),
            ("sdxl", &[768, 1280], Some(6)),
            ("sdxl_refiner", &[1280], Some(5)),
        ] {
            let info = load(file.path(), family).unwrap();
            let found: Vec<_> = info.text_encoders.iter().map(|encoder| encoder.hidden_size).collect();
            assert_eq!((found.as_slice(), info.latent_channels), (widths, 4), "{family}");
            assert_eq!(info.inputs.first().map(|input| input.shape[0]), sizes, "{family}");
        }
        assert_eq!(load(Path::new("/nowhere"), "sd1").unwrap_err().kind, ErrorKind::BadModel);
    }

    #[test]
    fn a_long_step_is_cancelled_while_it_lasts() {
        struct Third(Cell<u32>);
        impl Control for Third {
            fn progress(&self, _done: u64, total: u64) -> Result<()> {
                assert_eq!(total, 3_600_000 + 2 * 7);
                self.0.set(self.0.get() + 1);
                if self.0.get() == 3 { Err(Error::cancelled()) } else { Ok(()) }
            }
        }
        let mut ready = ready(&json!({"step_ms": 3_600_000, "row_ms": 7}));
        let error = denoise(&mut ready, 2, &Third(Cell::new(0))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
    }

    #[test]
    fn adapters_change_the_picture_and_a_missing_one_changes_nothing() {
        let mut ready = ready(&json!({}));
        let plain = denoise(&mut ready, 1, &Uncontrolled).unwrap();
        let mut adapt = |path: &str, scale| {
            let adapters = [Adapter { path: PathBuf::from(path), scale }];
            let result = ready.0.adapt(ready.1, &adapters, &Uncontrolled);
            (result, denoise(&mut ready, 1, &Uncontrolled).unwrap())
        };
        let (result, unchanged) = adapt("/there/is/no/such/file", 1.0);
        assert_eq!((result.unwrap_err().kind, &unchanged), (ErrorKind::BadModel, &plain));
        let (result, strong) = adapt(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), 1.0);
        assert_eq!(result, Ok(()));
        assert_ne!(strong, plain);
        assert_ne!(adapt(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), 0.5).1, strong);
        ready.0.adapt(ready.1, &[], &Uncontrolled).unwrap();
        assert_eq!(denoise(&mut ready, 1, &Uncontrolled).unwrap(), plain);
    }

    #[test]
    fn accidents_happen_at_their_call_and_unknown_ones_are_refused() {
        let mut paint =
            Paint::new(&json!({"faults": [{"call": "memory", "at": 2, "do": "device_lost"}]})).unwrap();
        assert!(paint.memory().is_ok());
        assert_eq!(paint.memory().unwrap_err().kind, ErrorKind::DeviceLost);
        assert!(paint.memory().is_ok());
        for options in [json!({"faults": [{"call": "dance", "do": "panic"}]}), json!({"steps": 1}), json!(3)]
        {
            assert_eq!(Paint::new(&options).unwrap_err().kind, ErrorKind::Invalid, "{options}");
        }
    }
}
