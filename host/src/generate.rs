// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The one use case: from a job to its pictures. Every dialect and the web form come here, by way of
//! [`crate::jobs`].
//!
//! ```text
//! generate.rs            a job's models, prompts and pictures; each picture from its first step to its file
//!   generate/upscale.rs  a job that makes a picture larger
//!   generate/gather.rs   the picture to begin with and its mask, in the pixels that are rendered
//!   generate/company.rs  the networks beside the model: those that steer, those that enlarge
//!   generate/steer.rs    the pictures that steer, as those networks see them
//!   generate/canvas.rs   the same as the model sees it, and what a run begins with
//!   generate/work.rs     a picture's runs: the first, and the second on the enlarged one
//!   generate/keep.rs     from the pixels of a picture to its file and its row
//!   generate/enlarge.rs  a picture made larger, tile by tile
//!   generate/room.rs     how many large pictures may be in memory at once
//!   generate/overlay.rs  pure  the masked region, and putting back what is not masked
//! ```

use std::sync::Arc;
use std::time::Instant;

use alice_diffusion::Schedule;
use alice_plugin::{ErrorKind, LoadRequest};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::app::App;
use crate::denoiser::{Prompts, contract_shape, limited};
use crate::draft::{Parameters, Request};
use crate::engine::{LoadedModel, NotLoaded, Seat, Versioned};
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::infotext;
use crate::inputs::{self, Start};
use crate::jobs::Job;
use crate::models::Model;
use crate::prompts::{Encoder, Words};
use crate::task::Task;

pub mod canvas;
mod company;
pub mod enlarge;
mod gather;
mod keep;
mod overlay;
pub mod room;
mod steer;
mod upscale;
mod work;

use self::canvas::{Canvas, Original};
use self::company::Company;
use self::enlarge::Larger;
use self::gather::{Gathered, gather};
use self::keep::{Finished, Fit, keep};
pub(crate) use self::overlay::Overlay;
use self::room::Room;
use self::work::{Work, latent_shape, pixels};

/// Pictures of one job that are sampled side by side: as many as fill the forward passes of any device. The
/// engine takes them in their order, so more would only hold more latents.
const TOGETHER: usize = 16;

/// What came of a job.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its pictures, by their places.
    pub kept: Vec<Kept>,
    /// Seconds from the job's beginning to its last picture.
    pub took_s: f64,
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
/// Whatever the backend says; [`Error::Timeout`]; [`Error::InputGone`].
pub(crate) async fn run(app: &App, job: &Job) -> Result<Outcome> {
    let began = Instant::now();
    match &job.task {
        Task::Paint(request) => paint(app, job, request).await?,
        Task::Enlarge(enlargement) => upscale::run(app, job, enlargement).await?,
    }
    Ok(Outcome { kept: job.planned.clone(), took_s: began.elapsed().as_secs_f64() })
}

async fn paint(app: &App, job: &Job, request: &Request) -> Result<()> {
    let work = prepare(app, job, request).await?;
    let missing = (0..request.count).filter(|place| !job.made.contains(place));
    let pictures = missing.map(|place| make(&work, place));
    stream::iter(pictures).buffered(TOGETHER).try_collect().await
}

/// What all pictures of a job need: the models, the encoded prompts, and the picture to begin with.
async fn prepare<'a>(app: &'a App, job: &'a Job, request: &'a Request) -> Result<Work<'a>> {
    let inputs = &request.parameters.inputs;
    let company = Company::of(&app.models, inputs)?;
    let engine = app.engines.pick(&load_request(&request.model), &company.wanted());
    let seat = engine.seat(job.caller.key(), order(job, 0));
    let mut loaded = load(app, &seat, &request.model, &company).await?;
    let (model, beside) = (loaded.remove(0), loaded);
    let (networks, enlargers) = company.seated(&beside);
    let prompts = encode(app, &seat, &model, request).await?;
    let (canvas, overlay) = match &inputs.start {
        Some(start) => look(app, &seat, &model, request, start).await?,
        None => (None, None),
    };
    // What steers a region is cut like it.
    let of_region = inputs.start.as_ref().is_some_and(|start| start.region().is_some());
    let part = overlay.as_ref().filter(|_| of_region).map(|overlay| overlay.part());
    let rendered = (request.parameters.rendered_width, request.parameters.rendered_height);
    let shape = latent_shape(&model, rendered);
    let steering = steer::steering(&app.inputs, &inputs.controls, &networks, shape, part).await?;
    let steering_again = match &inputs.hires {
        Some(hires) => {
            let shape = latent_shape(&model, (hires.width, hires.height));
            steer::steering(&app.inputs, &inputs.controls, &networks, shape, None).await?
        }
        None => Vec::new(),
    };
    Ok(Work {
        app,
        job,
        request,
        engine,
        model,
        enlargers,
        prompts,
        steering,
        steering_again,
        canvas,
        overlay,
    })
}

/// The use of the model and of what is beside it, in this order.
///
/// # Errors
/// As [`Seat::load_all`]; names the one that cannot be used.
async fn load(app: &App, seat: &Seat, model: &Model, company: &Company) -> Result<Vec<Arc<LoadedModel>>> {
    let all = [load_request(model)].into_iter().chain(company.wanted()).collect();
    let named = |NotLoaded { place, error }: NotLoaded| {
        let beside = place.and_then(|place| company.id(place.checked_sub(1)?));
        unusable(beside.unwrap_or(&model.id), error.into())
    };
    let load = async { seat.load_all(all).await.map_err(named) };
    limited(seat, app.config.generation.request_timeout, load).await
}

/// The picture to begin with as the model sees it, and where what is painted goes.
async fn look(
    app: &App,
    seat: &Seat,
    model: &Arc<LoadedModel>,
    request: &Request,
    start: &Start,
) -> Result<(Option<Canvas>, Option<Arc<Overlay>>)> {
    let parameters = &request.parameters;
    let shape = latent_shape(model, (parameters.rendered_width, parameters.rendered_height));
    let Gathered { rgb, mask, overlay } = gather(&app.inputs, start, pixels(model, shape)).await?;
    let original = Original {
        rgb: &rgb,
        mask: mask.as_deref(),
        strength: start.strength,
        image_guidance_scale: start
            .image_guidance_scale
            .unwrap_or(inputs::DEFAULT_IMAGE_GUIDANCE_SCALE as f32),
        latent_scaling: latent_scaling(&request.model).await?,
    };
    let limit_s = app.config.generation.request_timeout;
    let canvas = Canvas::new(seat, model, limit_s, shape, original).await?;
    Ok((Some(canvas), overlay.map(Arc::new)))
}

/// What the latents of the model's autoencoder are multiplied with.
async fn latent_scaling(model: &Arc<Model>) -> Result<f32> {
    let model = Arc::clone(model);
    tokio::task::spawn_blocking(move || model.latent_scaling()).await.map_err(anyhow::Error::from)?
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

/// An error of loading the model or the network `id` in the words of the daemon.
pub(crate) fn unusable(id: &str, error: Error) -> Error {
    match error {
        Error::Backend(error) if matches!(error.kind, ErrorKind::BadModel | ErrorKind::Unsupported) => {
            Error::Model { id: id.to_owned(), problem: error.message }
        }
        other => other,
    }
}

/// The encoded prompts.
async fn encode(app: &App, seat: &Seat, model: &Arc<LoadedModel>, request: &Request) -> Result<Prompts> {
    let parameters = &request.parameters;
    let rendered = (parameters.rendered_width, parameters.rendered_height);
    let (width, height) = pixels(model, latent_shape(model, rendered));
    let encoder = Encoder {
        seat,
        model,
        tokenizers: request.model.tokenizers(&model.info.text_encoders)?,
        adapters: request.files.adapters(parameters),
        words: &Words::read(&request.files.embeddings).await?,
        settings: request.model.settings,
        size: (height, width),
        most_chunks: app.config.limits.prompt_chunks,
        limit_s: app.config.generation.request_timeout,
    };
    // Without guidance the negative prompt has no say, and its half of the work is saved.
    let runs = [Some(&request.schedule), request.second.as_ref()];
    let guided = |run: &Schedule| parameters.guidance().is_used(run.points().len());
    let negative = runs.into_iter().flatten().any(guided).then_some(parameters.negative_prompt.as_deref());
    encoder.prompts(&parameters.prompt, negative, parameters.clip_skip).await
}

/// One picture: its runs, decoding, enlarging, keeping.
async fn make(work: &Work<'_>, place: u32) -> Result<()> {
    let (job, model) = (work.job, &work.model);
    let (parameters, order) = (of_place(work.request, place), order(job, place));
    let seat = work.engine.seat(job.caller.key(), order);
    let latent = work.sample(&seat, &parameters, place, order).await?;
    let size = pixels(model, latent.shape);
    let shape = contract_shape(latent.shape)?;
    let rgb = limited(&seat, work.limit_s(), seat.decode(model, shape, latent.values)).await?;
    let (rgb, size) = put_back(work, rgb, size).await?;
    let Larger { rgb, size, room } = match &work.enlargers.finally {
        Some(upscaler) => work.upscaled(&seat, upscaler, rgb, size).await?,
        None => Larger { rgb, size, room: Room::default() },
    };
    drop(seat);
    let text = infotext::write(&parameters, work.request.schedule.sampler());
    let wanted = (parameters.width, parameters.height);
    keep(work.app, job, place, Finished { rgb, size, room, wanted, fit: Fit::Framed, text }).await
}

/// The picture with what its mask does not cover put back, and its size.
async fn put_back(work: &Work<'_>, rgb: Vec<u8>, size: (u32, u32)) -> Result<(Vec<u8>, (u32, u32))> {
    let Some(overlay) = work.overlay.clone() else { return Ok((rgb, size)) };
    let put = move || (overlay.put(rgb, size), overlay.size);
    Ok(tokio::task::spawn_blocking(put).await.map_err(anyhow::Error::from)?)
}
