// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The one use case: from a request to pictures. Every dialect and the web form come here.

use std::sync::Arc;
use std::time::Instant;

use alice_diffusion::{Latent, LatentShape, Noise};
use alice_plugin::{ErrorKind, LoadRequest, ModelFiles};
use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::info;

use crate::app::App;
use crate::auth::Actor;
use crate::denoiser::{Denoiser, Prompts, contract_shape, limited};
use crate::draft::{Parameters, Request};
use crate::engine::LoadedModel;
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::metrics::{Ended, Stage};
use crate::models::Model;
use crate::prompts::Encoder;
use crate::{infotext, picture, pictures};

/// A finished picture.
#[derive(Debug)]
pub struct Picture {
    /// What it was made with; `seed` is its own.
    pub parameters: Parameters,
    /// The file.
    pub png: Vec<u8>,
    /// Where it is kept.
    pub kept: Kept,
}

/// What came of a request.
#[derive(Debug)]
pub struct Outcome {
    /// The pictures, by rising seed.
    pub pictures: Vec<Picture>,
    /// The prompt was longer than the model's context, and its end was not seen.
    pub truncated: bool,
    /// Seconds from getting the turn to the last picture.
    pub took_s: f64,
}

/// Waits for its turn, makes the pictures and keeps them as the actor's. Dropping the future ends the work within
/// one step.
///
/// # Errors
/// [`Error::Busy`] at once when the line is full; whatever the backend says; [`Error::Timeout`].
pub async fn run(app: &App, actor: &Actor, request: Request) -> Result<Outcome> {
    let accepted = Instant::now();
    let turn = app.queue.turn().await;
    if matches!(turn, Err(Error::Busy { .. })) {
        app.metrics.refused();
    }
    let _turn = turn?;
    app.metrics.waited(accepted.elapsed());
    let began = Instant::now();
    let outcome = make_all(app, actor, request).await;
    match &outcome {
        Ok(outcome) => app.metrics.ended(Ended::Done, began.elapsed(), outcome.pictures.len() as u64),
        Err(_) => app.metrics.ended(Ended::Failed, began.elapsed(), 0),
    }
    outcome
}

/// All the pictures of a request whose turn it is.
async fn make_all(app: &App, actor: &Actor, request: Request) -> Result<Outcome> {
    let began = Instant::now();
    let model = load(app, &request.model).await?;
    let (prompts, truncated) = encode(app, &model, &request).await?;
    let seeds = (0..u64::from(request.count)).map(|i| request.parameters.seed.wrapping_add(i));
    let account = actor.account();
    let jobs = seeds.map(|seed| make(app, account, &model, &request, &prompts, seed));
    // Side by side only as many as share forward passes: more would wait for each other at every step.
    let rows = 1 + usize::from(prompts.unconditional.is_some());
    let together = (app.config.engine.max_rows.rows() / rows).max(1);
    let pictures = stream::iter(jobs).buffered(together).try_collect::<Vec<_>>().await?;
    let took_s = began.elapsed().as_secs_f64();
    let parameters = &request.parameters;
    info!(
        model = %request.model.id, steps = parameters.steps, scheduler = %parameters.scheduler,
        width = parameters.rendered_width, height = parameters.rendered_height, took_s,
        "Pictures made with `{}`: {}", request.model.id, pictures.len(),
    );
    Ok(Outcome { pictures, truncated, took_s })
}

async fn load(app: &App, model: &Model) -> Result<Arc<LoadedModel>> {
    let files = ModelFiles::Diffusers { path: model.path.clone() };
    let family = model.family.as_str().to_owned();
    let request = LoadRequest { files, family, dtype: "auto".into(), device: 0 };
    let loaded = limited(app.config.generation.request_timeout, app.engine.load(request)).await;
    loaded.map_err(|error| match error {
        Error::Backend(error) if matches!(error.kind, ErrorKind::BadModel | ErrorKind::Unsupported) => {
            Error::Model { id: model.id.clone(), problem: error.message }
        }
        other => other,
    })
}

/// The encoded prompts, and whether the prompt was cut.
async fn encode(app: &App, model: &Arc<LoadedModel>, request: &Request) -> Result<(Prompts, bool)> {
    let parameters = &request.parameters;
    let shape = contract_shape(latent_shape(model, parameters))?;
    let encoder = Encoder {
        engine: &app.engine,
        model,
        tokenizers: request.model.tokenizers(&model.info.text_encoders)?,
        settings: request.model.settings,
        size: (shape.height * model.info.latent_scale, shape.width * model.info.latent_scale),
        limit_s: app.config.generation.request_timeout,
    };
    let (conditional, truncated) = encoder.prompt(&parameters.prompt, parameters.clip_skip).await?;
    // Without guidance the negative prompt has no say, and its half of the work is saved.
    let unconditional = if parameters.guidance().is_used(request.schedule.points().len()) {
        Some(encoder.negative(parameters.negative_prompt.as_deref()).await?)
    } else {
        None
    };
    Ok((Prompts { conditional, unconditional }, truncated))
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
    account: Option<i64>,
    model: &Arc<LoadedModel>,
    request: &Request,
    prompts: &Prompts,
    seed: u64,
) -> Result<Picture> {
    let parameters = Parameters { seed, ..request.parameters.clone() };
    let latent = sample(app, model, request, prompts, &parameters).await?;
    app.metrics.stepped(u64::from(parameters.steps));
    if !latent.values.iter().all(|value| value.is_finite()) {
        let problem = "it produced values that are not numbers".to_owned();
        return Err(Error::Model { id: request.model.id.clone(), problem });
    }
    let shape = contract_shape(latent.shape)?;
    let scale = model.info.latent_scale;
    let rgb = limited(app.config.generation.request_timeout, app.engine.decode(model, shape, latent.values))
        .await?;
    let decoded = Instant::now();
    let text = infotext::write(&parameters, request.schedule.sampler());
    let finish = {
        let (app, parameters) = (app.clone(), parameters.clone());
        move || {
            let rendered = picture::from_rgb(shape.width * scale, shape.height * scale, rgb)?;
            let finished = picture::enlarge(rendered, parameters.width, parameters.height);
            let png = picture::png(&finished, &text)?;
            let kept = app.gallery.keep(&png)?;
            anyhow::Ok((png, kept))
        }
    };
    let (png, kept) = tokio::task::spawn_blocking(finish).await.map_err(anyhow::Error::from)??;
    pictures::register(&app.database, &kept, account, app.clock.now()).await?;
    app.metrics.stage(Stage::Keep, decoded.elapsed());
    Ok(Picture { parameters, png, kept })
}

async fn sample(
    app: &App,
    model: &Arc<LoadedModel>,
    request: &Request,
    prompts: &Prompts,
    parameters: &Parameters,
) -> Result<Latent> {
    let (guidance, limit_s) = (parameters.guidance(), app.config.generation.request_timeout);
    let denoiser = Denoiser::new(&app.engine, model, prompts, guidance, &request.schedule, limit_s);
    let (mut noise, shape) = (Noise::new(parameters.seed), latent_shape(model, parameters));
    request.schedule.sample(&denoiser, &mut noise, shape).await
}
