// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The one use case: from a request to pictures. Every dialect and the web form come here.

use std::sync::Arc;
use std::time::Instant;

use alice_diffusion::{Latent, Noise, Schedule, guidance};
use alice_plugin::{ErrorKind, LoadRequest, ModelFiles};
use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::info;

use crate::app::App;
use crate::denoiser::{Denoiser, Prompts, contract_shape, limited};
use crate::draft::{Parameters, Request};
use crate::engine::{Chunk, LoadedModel};
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::models::Model;
use crate::{infotext, picture};

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

/// Waits for its turn, makes the pictures and keeps them. Dropping the future ends the work within one step.
///
/// # Errors
/// [`Error::Busy`] at once when the line is full; whatever the backend says; [`Error::Timeout`].
pub async fn run(app: &App, request: Request) -> Result<Outcome> {
    let _turn = app.queue.turn().await?;
    let began = Instant::now();
    let model = load(app, &request.model).await?;
    let (prompts, truncated) = encode(app, &model, &request).await?;
    let seeds = (0..u64::from(request.count)).map(|i| request.parameters.seed.wrapping_add(i));
    let jobs = seeds.map(|seed| make(app, &model, &request, &prompts, seed));
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
    let unusable = |problem: &str| Error::Model { id: request.model.id.clone(), problem: problem.to_owned() };
    let encoder = model.info.text_encoders.first().ok_or_else(|| unusable("it has no text encoder"))?;
    let tokenizer = request.model.tokenizer(encoder.context_length as usize)?;
    if tokenizer.vocab_size() > encoder.vocab_size as usize {
        return Err(unusable("its tokenizer has more tokens than its text encoder"));
    }
    let limit_s = app.config.generation.request_timeout;
    let encode = async |text: &str| {
        let window = tokenizer.window(text);
        let chunk = Chunk { encoder: 0, weights: vec![1.0; window.ids.len()], ids: window.ids };
        let conditioning = limited(limit_s, app.engine.encode(model, vec![chunk])).await?;
        Result::Ok((conditioning, window.truncated))
    };
    let (conditional, truncated) = encode(&parameters.prompt).await?;
    // Without guidance the negative prompt has no say, and its half of the work is saved.
    let unconditional = if guidance::is_used(parameters.guidance_scale) {
        Some(encode(parameters.negative_prompt.as_deref().unwrap_or("")).await?.0)
    } else {
        None
    };
    Ok((Prompts { conditional, unconditional }, truncated))
}

/// One picture: noise, sampling, decoding, enlarging, keeping.
async fn make(
    app: &App,
    model: &Arc<LoadedModel>,
    request: &Request,
    prompts: &Prompts,
    seed: u64,
) -> Result<Picture> {
    let parameters = Parameters { seed, ..request.parameters.clone() };
    let latent = sample(app, model, request, prompts, &parameters).await?;
    if !latent.values.iter().all(|value| value.is_finite()) {
        let problem = "it produced values that are not numbers".to_owned();
        return Err(Error::Model { id: request.model.id.clone(), problem });
    }
    let shape = contract_shape(latent.shape)?;
    let scale = model.info.latent_scale;
    let rgb = limited(app.config.generation.request_timeout, app.engine.decode(model, shape, latent.values))
        .await?;
    let text = infotext::write(&parameters, request.sampler);
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
    Ok(Picture { parameters, png, kept })
}

async fn sample(
    app: &App,
    model: &Arc<LoadedModel>,
    request: &Request,
    prompts: &Prompts,
    parameters: &Parameters,
) -> Result<Latent> {
    let scale = model.info.latent_scale.max(1);
    let shape = alice_diffusion::LatentShape {
        channels: model.info.latent_channels as usize,
        height: parameters.rendered_height.div_ceil(scale) as usize,
        width: parameters.rendered_width.div_ceil(scale) as usize,
    };
    let schedule = Schedule::new(request.sampler, &request.model.scheduler, parameters.steps as usize)
        .map_err(|error| Error::invalid("scheduler", format!("cannot sample this model: {error}")))?;
    let denoiser = Denoiser {
        engine: &app.engine,
        model,
        prompts,
        guidance_scale: parameters.guidance_scale,
        limit_s: app.config.generation.request_timeout,
    };
    schedule.sample(&denoiser, &mut Noise::new(parameters.seed), shape).await
}
