// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A model on the backend `cpu` behind the engine, and full runs on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alice::config::MaxRows;
use alice::conformance::reference::{Reference, Run};
use alice::denoiser::{Denoiser, Prompts, contract_shape};
use alice::engine::{self, Engine, Instance, LoadedModel};
use alice::models::{parse_scheduler, read_tokenizers};
use alice::prompts::{Encoder, Words};
use alice_checkpoint::diffusers::Settings;
use alice_checkpoint::{Checkpoint, Family, Layout};
use alice_diffusion::guidance::Guidance;
use alice_diffusion::{ClipTokenizer, LatentShape, Noise, Sampler, Schedule};
use alice_plugin::load::Plugin;
use alice_plugin::{LoadRequest, ModelFiles};
use serde_json::{Value, json};

use super::company::{MostTimesteps, Observed};
use crate::harness::{plugin, source};

/// Everything that a run needs: the model on the backend `cpu`, and its files.
pub(crate) struct Bench {
    pub(crate) reference: Reference,
    /// One for each of the model's text encoders.
    pub(crate) tokenizers: Vec<ClipTokenizer>,
    pub(crate) family: Family,
    settings: Settings,
    pub(crate) engine: Engine,
    pub(crate) model: Arc<LoadedModel>,
    /// The model's own scheduler file.
    scheduler: Value,
    most_timesteps: MostTimesteps,
}

/// How far a run is from its reference.
pub(crate) struct Distance {
    /// Largest absolute difference of the final latent's values.
    pub(crate) latents: f32,
    /// Peak signal-to-noise ratio of the picture in dB.
    pub(crate) picture_db: f64,
}

impl Bench {
    /// The model in the directory `model` with the references called `name`. A forward pass holds up to
    /// `max_rows` rows, or one evaluation.
    pub(crate) async fn new(name: &str, model: PathBuf, max_rows: u32) -> Self {
        Self::with_vae(name, model, None, max_rows).await
    }

    /// The same with the autoencoder in the directory `vae` in the place of its own.
    pub(crate) async fn with_vae(name: &str, model: PathBuf, vae: Option<PathBuf>, max_rows: u32) -> Self {
        // A second thread costs these small networks more than it brings.
        Self::computing(name, model, vae, max_rows, "f32", json!({"threads": 1})).await
    }

    /// The same in the number format `dtype`, by a backend with these `options`.
    pub(crate) async fn computing(
        name: &str,
        model: PathBuf,
        vae: Option<PathBuf>,
        max_rows: u32,
        dtype: &str,
        options: Value,
    ) -> Self {
        let library = Plugin::open(&plugin("cpu")).unwrap();
        let most_timesteps = MostTimesteps::default();
        let observer = most_timesteps.clone();
        let start = move || {
            let (inner, most_timesteps) = (library.start(&options)?, observer.clone());
            Ok(Box::new(Observed { inner, most_timesteps }) as Box<dyn Instance>)
        };
        let max_rows = MaxRows::Rows(max_rows);
        let settings = engine::Settings { max_rows, ..Default::default() };
        let engine = Engine::start(Box::new(start), settings, Arc::default()).unwrap();
        let checkpoint = Checkpoint::open(&model).unwrap();
        let scheduler = serde_json::from_slice(&checkpoint.scheduler_config().unwrap()).unwrap();
        let reference = Reference::open(&source("tests/fixtures"), name, model.clone()).unwrap();
        let files = match checkpoint.layout() {
            Layout::Directory => ModelFiles::Diffusers { path: model },
            Layout::SingleFile => ModelFiles::SingleFile { path: model },
        };
        let (family, settings) = (checkpoint.family(), checkpoint.settings().unwrap());
        let request = LoadRequest { files, family: family.to_string(), vae, dtype: dtype.into(), device: 0 };
        let model = engine.seat(0, 0).load(request).await.unwrap();
        let tokenizers = read_tokenizers(&checkpoint, &model.info.text_encoders).unwrap();
        Self { reference, tokenizers, family, settings, engine, model, scheduler, most_timesteps }
    }

    /// One of the small random models.
    pub(crate) async fn tiny(name: &str, max_rows: u32) -> Self {
        Self::new(name, source("tests/fixtures").join(name), max_rows).await
    }

    /// The model that comes with the program.
    pub(crate) async fn emoji() -> Self {
        Self::new("alice-emoji", source("models/alice-emoji"), 1).await
    }

    /// The scheduler file of `run`: the model's own, unless the run has another.
    pub(crate) fn scheduler(&self, run: &Run) -> Value {
        run.scheduler.clone().unwrap_or_else(|| self.scheduler.clone())
    }

    /// The steps of `sampler` for `run` with this scheduler file.
    pub(crate) fn schedule(
        &self,
        run: &Run,
        sampler: Sampler,
        scheduler: &Value,
    ) -> alice_diffusion::Result<Schedule> {
        let config = parse_scheduler(&scheduler.to_string(), self.family).unwrap();
        Schedule::new(sampler, &config, run.steps)
    }

    /// The final latent and the picture of `run` along these steps.
    pub(crate) async fn paint_along(&self, run: &Run, schedule: &Schedule) -> (Vec<f32>, Vec<u8>) {
        let (seat, model) = (self.engine.seat(0, 0), &self.model);
        let guidance =
            Guidance { scale: run.guidance, rescale: run.guidance_rescale, interval: run.guidance_interval };
        let prompts = self.prompts(run, guidance.is_used(run.steps)).await;
        let denoiser = Denoiser {
            seat: &seat,
            model,
            prompts: &prompts,
            guidance,
            steering: &[],
            steps: schedule.points().len(),
            limit_s: 600,
            done: 0.into(),
            stepped: &|_, _| {},
        };
        let scale = model.info.latent_scale;
        let shape = LatentShape {
            channels: model.info.latent_channels as usize,
            height: (run.height / scale) as usize,
            width: (run.width / scale) as usize,
        };
        let latent = schedule.sample(&denoiser, &mut Noise::new(run.seed), shape).await.unwrap();
        let shape = contract_shape(latent.shape).unwrap();
        let picture = seat.decode(model, shape, latent.values.clone()).await.unwrap();
        (latent.values, picture)
    }

    /// The final latent and the picture of `run` with this sampler and this scheduler file.
    pub(crate) async fn paint_with(
        &self,
        run: &Run,
        sampler: Sampler,
        scheduler: &Value,
    ) -> (Vec<f32>, Vec<u8>) {
        self.paint_along(run, &self.schedule(run, sampler, scheduler).unwrap()).await
    }

    /// How far `run` is from its reference.
    pub(crate) async fn compare(&self, run: &Run) -> Distance {
        let sampler = run.sampler.parse().unwrap();
        let (latent, picture) = self.paint_with(run, sampler, &self.scheduler(run)).await;
        let expected = self.reference.numbers(&format!("run.{}.latents", run.name)).unwrap();
        Distance {
            latents: largest_difference(&latent, &expected),
            picture_db: self.picture_db(run, &picture),
        }
    }

    /// How far every run is, one after the other.
    pub(crate) async fn compare_all(&self) -> Vec<(&Run, Distance)> {
        let mut distances = Vec::new();
        for run in &self.reference.cases.runs {
            distances.push((run, self.compare(run).await));
        }
        distances
    }

    /// How far a third of the runs are, of every kind, all at once so that they meet in the engine's mailbox.
    pub(crate) async fn compare_together(&self) -> Vec<(&Run, Distance)> {
        let some = self.reference.cases.runs.iter().step_by(3);
        futures::future::join_all(some.map(async |run| (run, self.compare(run).await))).await
    }

    /// How near `picture` comes to the reference of `run`, in dB.
    pub(crate) fn picture_db(&self, run: &Run, picture: &[u8]) -> f64 {
        psnr(picture, &self.reference.pixels(&format!("run.{}.pixels", run.name)).unwrap())
    }

    /// The most different timesteps that have shared a forward pass.
    pub(crate) fn most_timesteps(&self) -> usize {
        self.most_timesteps.load(Ordering::Relaxed)
    }

    pub(crate) async fn prompts(&self, run: &Run, guided: bool) -> Prompts {
        let seat = self.engine.seat(0, 0);
        let encoder = Encoder {
            seat: &seat,
            model: &self.model,
            tokenizers: &self.tokenizers,
            adapters: Arc::default(),
            words: &Words::default(),
            settings: self.settings,
            size: (run.height, run.width),
            most_chunks: 1,
            limit_s: 600,
        };
        let negative = guided.then_some(run.negative_prompt.as_deref());
        encoder.prompts(&run.prompt, negative, run.clip_skip).await.unwrap()
    }
}

/// The largest absolute difference; infinite if a value is no number.
pub(crate) fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    let differences = one.iter().zip(other).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst, next| if next.is_nan() { f32::INFINITY } else { worst.max(next) })
}

/// Peak signal-to-noise ratio of two pictures in dB; infinite if they are equal.
pub(crate) fn psnr(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let squares: f64 = one.iter().zip(other).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    -10.0 * (squares / one.len() as f64 / (255.0 * 255.0)).log10()
}
