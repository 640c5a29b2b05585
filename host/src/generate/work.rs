// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What all pictures of a job have in common, and the runs of one of them.

use std::sync::Arc;

use alice_diffusion::{Interpolation, Latent, LatentShape, Noise, Posterior, Schedule};

use super::canvas::{self, Beginning, Canvas};
use super::enlarge::{self, Larger};
use super::overlay::Overlay;
use super::room::Room;
use crate::app::App;
use crate::denoiser::{Denoiser, Prompts, Steering, contract_shape, limited};
use crate::draft::{Parameters, Request};
use crate::engine::{Engine, LoadedModel, Pixels, Seat};
use crate::error::{Error, Result};
use crate::inputs::{Enlarger, Hires, shape};
use crate::jobs::Job;
use crate::sketch::{self, Drawing, Sketcher};

/// Everything that a job's pictures are made with, ready to be used.
pub(super) struct Work<'a> {
    pub(super) app: &'a App,
    pub(super) job: &'a Job,
    pub(super) request: &'a Request,
    pub(super) engine: &'a Engine,
    pub(super) model: Arc<LoadedModel>,
    /// What makes pictures larger between the two runs, and at the end.
    pub(super) enlargers: Enlargers,
    pub(super) prompts: Prompts,
    /// What steers the first run, and the second one.
    pub(super) steering: Vec<Steering>,
    pub(super) steering_again: Vec<Steering>,
    /// The picture to begin with.
    pub(super) canvas: Option<Canvas>,
    /// The picture into which the painted ones are put.
    pub(super) overlay: Option<Arc<Overlay>>,
}

/// Upscalers on the device.
pub(super) struct Enlargers {
    pub(super) between: Option<Arc<LoadedModel>>,
    pub(super) finally: Option<Arc<LoadedModel>>,
}

/// The latent of a picture of so many pixels.
pub(super) fn latent_shape(model: &LoadedModel, (width, height): (u32, u32)) -> LatentShape {
    let scale = model.info.latent_scale.max(1);
    LatentShape {
        channels: model.info.latent_channels as usize,
        height: height.div_ceil(scale) as usize,
        width: width.div_ceil(scale) as usize,
    }
}

/// Width and height in pixels of the picture that a latent stands for.
pub(super) fn pixels(model: &LoadedModel, shape: LatentShape) -> (u32, u32) {
    let side =
        |cells: usize| u32::try_from(cells).unwrap_or(u32::MAX).saturating_mul(model.info.latent_scale);
    (side(shape.width), side(shape.height))
}

/// One of a picture's runs.
struct Leg<'a> {
    schedule: &'a Schedule,
    steering: &'a [Steering],
    /// Steps that were done earlier.
    before: usize,
}

impl Work<'_> {
    /// Seconds that one call may take.
    pub(super) fn limit_s(&self) -> u32 {
        self.app.config.generation.request_timeout
    }

    /// The finished latent of one picture; whoever looks on sees it grow.
    pub(super) async fn sample(
        &self,
        seat: &Seat,
        parameters: &Parameters,
        place: u32,
        order: u64,
    ) -> Result<Latent> {
        let Self { app, job, request, engine, model, .. } = self;
        let (sketcher, easel) = sketch::ends(job, request.steps());
        let sampled = async {
            let sketcher = sketcher;
            let latent = self.first(seat, parameters, &sketcher).await?;
            match (&request.second, &parameters.inputs.hires) {
                (Some(schedule), Some(hires)) => {
                    self.second(seat, parameters, schedule, hires, latent, &sketcher).await
                }
                _ => Ok(latent),
            }
        };
        // The easel has a seat of its own, as the sampler goes on while it draws.
        let drawing = Drawing {
            app,
            job,
            place,
            seat: engine.seat(job.caller.key(), order),
            model,
            overlay: self.overlay.as_ref(),
            // What an upscaler adds comes with the finished picture alone.
            finished: parameters.inputs.upscaler.is_none().then_some((parameters.width, parameters.height)),
        };
        let drawn = easel.draw(drawing);
        let (latent, ()) = tokio::join!(sampled, drawn);
        latent
    }

    async fn first(&self, seat: &Seat, parameters: &Parameters, sketcher: &Sketcher<'_>) -> Result<Latent> {
        let schedule = &self.request.schedule;
        let mut noise = Noise::new(parameters.seed);
        let rendered = (parameters.rendered_width, parameters.rendered_height);
        let shape = latent_shape(&self.model, rendered);
        let beginning = match &self.canvas {
            Some(canvas) => canvas.begin(schedule, &mut noise, &self.prompts),
            None => canvas::from_noise(&self.model, schedule, &mut noise, shape, &self.prompts)?,
        };
        let leg = Leg { schedule, steering: &self.steering, before: 0 };
        self.walk(seat, parameters, leg, beginning, &mut noise, sketcher).await
    }

    /// A second run on the enlarged picture. Its noise begins with the seed again, as if the enlarged picture had been
    /// sent as one to begin with.
    async fn second(
        &self,
        seat: &Seat,
        parameters: &Parameters,
        schedule: &Schedule,
        hires: &Hires,
        latent: Latent,
        sketcher: &Sketcher<'_>,
    ) -> Result<Latent> {
        let mut noise = Noise::new(parameters.seed);
        let shape = latent_shape(&self.model, (hires.width, hires.height));
        let (width, height) = pixels(&self.model, shape);
        let picture = match hires.enlarger {
            Enlarger::Latent => latent.resized(shape.height, shape.width, Interpolation::Nearest),
            Enlarger::LatentBicubic => latent.resized(shape.height, shape.width, Interpolation::Bicubic),
            Enlarger::Lanczos | Enlarger::Model(_) => {
                self.look_again(seat, latent, shape).await?.draw(&mut noise)
            }
        };
        let first = schedule.begin_with_picture(&picture, &noise.latent(shape));
        let prompts = self.prompts.sized(&self.model.info, (height, width))?;
        let beginning = Beginning { first, kept: None, prompts };
        let before = self.request.schedule.points().len();
        let leg = Leg { schedule, steering: &self.steering_again, before };
        self.walk(seat, parameters, leg, beginning, &mut noise, sketcher).await
    }

    /// What the model sees in the picture of `latent`, enlarged so that its latent has this shape.
    async fn look_again(&self, seat: &Seat, latent: Latent, shape: LatentShape) -> Result<Posterior> {
        let (old, new) = (pixels(&self.model, latent.shape), pixels(&self.model, shape));
        let contract = contract_shape(latent.shape)?;
        let rgb = limited(seat, self.limit_s(), seat.decode(&self.model, contract, latent.values)).await?;
        let Larger { rgb, size, room } = match &self.enlargers.between {
            Some(upscaler) => self.upscaled(seat, upscaler, rgb, old).await?,
            None => Larger { rgb, size: old, room: Room::default() },
        };
        let resize = move || {
            let resized = if size == new { rgb } else { shape::resized_rgb(&rgb, size, new) };
            drop(room);
            resized
        };
        let rgb = tokio::task::spawn_blocking(resize).await.map_err(anyhow::Error::from)?;
        let encoded = seat.encode_image(&self.model, contract_shape(shape)?, Pixels::Rgb(rgb));
        let (mean, deviation) = limited(seat, self.limit_s(), encoded).await?;
        Ok(Posterior { mean: Latent { shape, values: mean }, deviation: Latent { shape, values: deviation } })
    }

    /// A picture of so many pixels, made larger.
    pub(super) async fn upscaled(
        &self,
        seat: &Seat,
        upscaler: &Arc<LoadedModel>,
        rgb: Vec<u8>,
        size: (u32, u32),
    ) -> Result<Larger> {
        enlarge::enlarged(&self.app.rooms, seat, upscaler, self.limit_s(), rgb, size, &|| ()).await
    }

    /// Goes along one of the picture's runs from its beginning.
    async fn walk(
        &self,
        seat: &Seat,
        parameters: &Parameters,
        leg: Leg<'_>,
        beginning: Beginning,
        noise: &mut Noise,
        sketcher: &Sketcher<'_>,
    ) -> Result<Latent> {
        let Leg { schedule, steering, before } = leg;
        let Beginning { first, kept, prompts } = beginning;
        let denoiser = Denoiser {
            seat,
            model: &self.model,
            prompts: &prompts,
            guidance: parameters.guidance(),
            steering,
            steps: schedule.points().len(),
            limit_s: self.limit_s(),
            done: 0.into(),
            stepped: &|step, denoised| {
                self.app.jobs.stepped(self.job);
                self.app.metrics.stepped(1);
                sketcher.stepped(before + step, denoised);
            },
        };
        let latent = schedule.walk(&denoiser, noise, first, kept.as_ref()).await?;
        if !latent.values.iter().all(|value| value.is_finite()) {
            let problem = "it produced values that are not numbers".to_owned();
            return Err(Error::Model { id: self.request.model.id.clone(), problem });
        }
        Ok(latent)
    }
}
