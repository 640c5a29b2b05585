// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The one use case: from a job to its pictures. Every dialect and the web form come here, by way of
//! [`crate::jobs`].

use std::sync::Arc;
use std::time::Instant;

use alice_diffusion::{Latent, LatentShape, Noise};
use alice_plugin::{ErrorKind, LoadRequest};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::adapters::Unmatched;
use crate::app::App;
use crate::denoiser::{Denoiser, Prompts, contract_shape, limited};
use crate::draft::{Parameters, Request};
use crate::engine::{Engine, LoadedModel, Seat, Versioned};
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::jobs::{Job, store};
use crate::metrics::Stage;
use crate::models::Model;
use crate::prompts::{Encoder, Words};
use crate::{infotext, picture, sketch};

/// Pictures of one job that are sampled side by side: as many as fill the forward passes of any device. The
/// engine takes them in their order, so more would only hold more latents.
const TOGETHER: usize = 16;

/// A finished picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// What it was made with; `seed` is its own.
    pub parameters: Parameters,
    /// Where it is kept.
    pub kept: Kept,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The pictures, by rising seed.
    pub pictures: Vec<Picture>,
    /// What the client should know of its request.
    pub warnings: Vec<String>,
    /// The parts of its LoRAs that do not suit the model.
    pub unmatched: Unmatched,
    /// Seconds from the job's beginning to its last picture.
    pub took_s: f64,
}

impl Outcome {
    /// The pictures `kept` of a request.
    pub fn new(request: &Request, kept: &[Kept], took_s: f64) -> Self {
        let pictures = (0_u32..).zip(kept);
        let pictures = pictures
            .map(|(place, kept)| Picture { parameters: of_place(request, place), kept: kept.clone() })
            .collect();
        let (warnings, unmatched) = (request.warnings.clone(), request.unmatched.clone());
        Self { pictures, warnings, unmatched, took_s }
    }
}

/// What the picture at `place` is made with.
fn of_place(request: &Request, place: u32) -> Parameters {
    let seed = request.parameters.seed.wrapping_add(place.into());
    Parameters { seed, ..request.parameters.clone() }
}

/// Makes the pictures of `job` that are not there yet, and keeps them. Dropping the future ends the work within
/// one step.
///
/// # Errors
/// Whatever the backend says; [`Error::Timeout`].
pub(crate) async fn run(app: &App, job: &Job) -> Result<Outcome> {
    let began = Instant::now();
    let request = &job.request;
    let wanted = load_request(&request.model);
    let engine = app.engines.pick(&wanted);
    let seat = engine.seat(job.caller.key(), order(job, 0));
    let model = load(app, &seat, &request.model, wanted).await?;
    let prompts = encode(app, &seat, &model, request).await?;
    drop(seat);
    let missing = (0..request.count).filter(|place| !job.made.contains(place));
    let pictures = missing.map(|place| make(app, job, engine, &model, &prompts, place));
    stream::iter(pictures).buffered(TOGETHER).try_collect::<()>().await?;
    Ok(Outcome::new(request, &job.planned, began.elapsed().as_secs_f64()))
}

/// How the engine is asked for `model`.
pub(crate) fn load_request(model: &Model) -> Versioned<LoadRequest> {
    let request = LoadRequest {
        files: model.files.clone(),
        family: model.family.as_str().to_owned(),
        vae: model.vae.clone(),
        dtype: "auto".into(),
        device: 0,
    };
    Versioned { what: request, version: model.version }
}

/// A job's pictures stand in line one after the other, and behind those of its caller's earlier jobs.
fn order(job: &Job, place: u32) -> u64 {
    (job.number.unsigned_abs() << 16) + u64::from(place)
}

async fn load(
    app: &App,
    seat: &Seat,
    model: &Model,
    wanted: Versioned<LoadRequest>,
) -> Result<Arc<LoadedModel>> {
    let loaded = limited(seat, app.config.generation.request_timeout, seat.load(wanted)).await;
    loaded.map_err(|error| unusable(model, error))
}

/// An error of loading a model in the words of the daemon.
pub(crate) fn unusable(model: &Model, error: Error) -> Error {
    match error {
        Error::Backend(error) if matches!(error.kind, ErrorKind::BadModel | ErrorKind::Unsupported) => {
            Error::Model { id: model.id.clone(), problem: error.message }
        }
        other => other,
    }
}

/// The encoded prompts.
async fn encode(app: &App, seat: &Seat, model: &Arc<LoadedModel>, request: &Request) -> Result<Prompts> {
    let parameters = &request.parameters;
    let shape = contract_shape(latent_shape(model, parameters))?;
    let encoder = Encoder {
        seat,
        model,
        tokenizers: request.model.tokenizers(&model.info.text_encoders)?,
        adapters: request.files.adapters(parameters),
        words: &Words::read(&request.files.embeddings).await?,
        settings: request.model.settings,
        size: (shape.height * model.info.latent_scale, shape.width * model.info.latent_scale),
        most_chunks: app.config.limits.prompt_chunks,
        limit_s: app.config.generation.request_timeout,
    };
    // Without guidance the negative prompt has no say, and its half of the work is saved.
    let guided = parameters.guidance().is_used(request.schedule.points().len());
    let negative = guided.then_some(parameters.negative_prompt.as_deref());
    encoder.prompts(&parameters.prompt, negative, parameters.clip_skip).await
}

/// The latent of a picture of the size at which the model renders.
fn latent_shape(model: &LoadedModel, parameters: &Parameters) -> LatentShape {
    let scale = model.info.latent_scale.max(1);
    LatentShape {
        channels: model.info.latent_channels as usize,
        height: parameters.rendered_height.div_ceil(scale) as usize,
        width: parameters.rendered_width.div_ceil(scale) as usize,
    }
}

/// One picture: noise, sampling, decoding, enlarging, keeping.
async fn make(
    app: &App,
    job: &Job,
    engine: &Engine,
    model: &Arc<LoadedModel>,
    prompts: &Prompts,
    place: u32,
) -> Result<()> {
    let parameters = of_place(&job.request, place);
    let seat = engine.seat(job.caller.key(), order(job, place));
    let latent = sample(app, job, engine, &seat, model, prompts, &parameters, place).await?;
    if !latent.values.iter().all(|value| value.is_finite()) {
        let problem = "it produced values that are not numbers".to_owned();
        return Err(Error::Model { id: job.request.model.id.clone(), problem });
    }
    let shape = contract_shape(latent.shape)?;
    let scale = model.info.latent_scale;
    let limit_s = app.config.generation.request_timeout;
    let rgb = limited(&seat, limit_s, seat.decode(model, shape, latent.values)).await?;
    drop(seat);
    let text = infotext::write(&parameters, job.request.schedule.sampler());
    let finish = {
        let (app, kept) = (app.clone(), job.planned[place as usize].clone());
        let (number, account, now) = (job.number, job.account, app.clock.now());
        let finish = job.finish(now);
        move || {
            let began = Instant::now();
            let rendered = picture::from_rgb(shape.width * scale, shape.height * scale, rgb)?;
            let finished = picture::enlarge(rendered, parameters.width, parameters.height);
            let png = picture::png(&finished, &text)?;
            app.gallery.keep(&kept, &png)?;
            let row = kept.clone();
            let write = app.database.write_now(move |transaction| {
                store::add_picture(transaction, number, account, place, &row, finish)
            });
            app.metrics.stage(Stage::Keep, began.elapsed());
            // A file without its row would be nobody's picture.
            write.or_else(|error| app.gallery.remove(&kept).map_err(Error::from).and(Err(error)))
        }
    };
    // On a thread of its own, which ends what it has begun: file and row come together or not at all, also
    // when nobody waits any more.
    tokio::task::spawn_blocking(finish).await.map_err(anyhow::Error::from)??;
    job.add_kept(place);
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "they are what a picture is made of")]
async fn sample(
    app: &App,
    job: &Job,
    engine: &Engine,
    seat: &Seat,
    model: &Arc<LoadedModel>,
    prompts: &Prompts,
    parameters: &Parameters,
    place: u32,
) -> Result<Latent> {
    let schedule = &job.request.schedule;
    let (sketcher, easel) = sketch::ends(job, schedule.points().len());
    let sampled = async {
        let sketcher = sketcher;
        let denoiser = Denoiser {
            seat,
            model,
            prompts,
            guidance: parameters.guidance(),
            steps: schedule.points().len(),
            limit_s: app.config.generation.request_timeout,
            done: 0.into(),
            stepped: &|step, denoised| {
                app.jobs.stepped(job);
                app.metrics.stepped(1);
                sketcher.stepped(step, denoised);
            },
        };
        let (mut noise, shape) = (Noise::new(parameters.seed), latent_shape(model, parameters));
        schedule.sample(&denoiser, &mut noise, shape).await
    };
    // The easel has a seat of its own, as the sampler goes on while it draws.
    let drawn = easel.draw(app, job, place, engine.seat(job.caller.key(), order(job, place)), model);
    let (latent, ()) = tokio::join!(sampled, drawn);
    latent
}
