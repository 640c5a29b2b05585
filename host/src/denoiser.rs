// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The network as a sampler sees it: one evaluation in the engine, with guidance.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alice_diffusion::guidance::Guidance;
use alice_diffusion::{Denoise, Latent, Point};
use alice_plugin::{ErrorKind, LatentShape};

use crate::engine::{Extra, LoadedModel, Row, RowHint, Seat, Text};
use crate::error::{Error, Result};

/// What steers one request's pictures.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// The prompt.
    pub conditional: Prompt,
    /// The negative prompt, when guidance is on.
    pub unconditional: Option<Prompt>,
    /// The negative prompt with the picture, and how strongly the run follows that, when guidance is on and the model
    /// edits a picture as it is told.
    pub edit: Option<(Prompt, f32)>,
}

impl Prompts {
    /// The same beside another further input, which every row hears.
    #[must_use]
    pub fn with(&self, extra: &Extra) -> Self {
        let with = |prompt: &Prompt| prompt.with(extra);
        Self {
            conditional: with(&self.conditional),
            unconditional: self.unconditional.as_ref().map(with),
            edit: self.edit.as_ref().map(|(prompt, scale)| (with(prompt), *scale)),
        }
    }

    /// The same for a model that edits `picture`, a further input, and is to follow it with this strength: 1 or more,
    /// below which there is no guidance. Without guidance it hears the prompt and the picture.
    ///
    /// Source: diffusers `pipelines/stable_diffusion/pipeline_stable_diffusion_instruct_pix2pix.py`.
    #[must_use]
    pub fn editing(&self, picture: &Extra, strength: f32) -> Self {
        let nothing = Extra { data: vec![0.0; picture.data.len()], ..picture.clone() };
        let guided = self.unconditional.as_ref().filter(|_| strength >= 1.0);
        Self {
            conditional: self.conditional.with(picture),
            unconditional: guided.map(|prompt| prompt.with(&nothing)),
            edit: guided.map(|prompt| (prompt.with(picture), strength)),
        }
    }
}

/// What the network hears of one prompt.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The encoded text.
    pub text: Arc<Text>,
    /// The model's further inputs.
    pub extras: Arc<[Extra]>,
}

/// A network that steers a run by a picture, and in which part of it.
#[derive(Clone, Debug)]
pub struct Steering {
    /// The network, its picture, and how strongly it steers.
    pub hint: RowHint,
    /// The part of the run, from 0 (its beginning) to 1 (its end).
    pub interval: (f64, f64),
}

impl Steering {
    /// Whether it has a say in the step of index `step` (from 0) of `steps`: when all of the step lies in its part.
    ///
    /// Source: diffusers `pipelines/controlnet/pipeline_controlnet.py`, `controlnet_keep`, which counts the evaluations of
    /// samplers with two of them a step.
    fn acts_at(&self, step: usize, steps: usize) -> bool {
        let part = |step: usize| step as f64 / steps as f64;
        part(step) >= self.interval.0 && part(step + 1) <= self.interval.1
    }
}

impl Prompt {
    /// The same beside another further input.
    fn with(&self, extra: &Extra) -> Self {
        let extras = self.extras.iter().chain([extra]).cloned().collect();
        Self { extras, ..self.clone() }
    }
}

/// A model with prompts and guidance, and how far the sampling has come.
pub struct Denoiser<'a> {
    /// At the device.
    pub seat: &'a Seat,
    /// The model.
    pub model: &'a Arc<LoadedModel>,
    /// What it is told.
    pub prompts: &'a Prompts,
    /// How strongly it is told so, and when.
    pub guidance: Guidance,
    /// What steers it beside.
    pub steering: &'a [Steering],
    /// Steps of the whole run.
    pub steps: usize,
    /// Seconds that one evaluation may take.
    pub limit_s: u32,
    /// Steps that are done. Only the sampler's own task writes and reads it.
    pub done: AtomicUsize,
    /// Hears of every step, counted from 1, with the present estimate of the finished latent.
    pub stepped: &'a (dyn Fn(usize, &Latent) + Sync),
}

impl Denoiser<'_> {
    /// What has a say in the present step.
    fn hints(&self) -> Arc<[RowHint]> {
        let step = self.done.load(Ordering::Relaxed);
        let acting = self.steering.iter().filter(|steering| steering.acts_at(step, self.steps));
        acting.map(|steering| steering.hint.clone()).collect()
    }

    /// The negative prompt, if the present step has guidance.
    fn unconditional(&self) -> Option<&Prompt> {
        let step = self.done.load(Ordering::Relaxed);
        self.prompts.unconditional.as_ref().filter(|_| self.guidance.is_used_at(step, self.steps))
    }
}

impl Denoise for Denoiser<'_> {
    type Error = Error;

    async fn denoise(&self, x: &Latent, at: Point) -> Result<Latent> {
        let latent: Arc<[f32]> = x.values.as_slice().into();
        let hints = self.hints();
        let row = |prompt: &Prompt| Row {
            latent: latent.clone(),
            timestep: at.t,
            text: prompt.text.clone(),
            extras: prompt.extras.clone(),
            hints: hints.clone(),
        };
        let mut rows = vec![row(&self.prompts.conditional)];
        let unconditional = self.unconditional();
        let edit = self.prompts.edit.as_ref().filter(|_| unconditional.is_some());
        rows.extend(edit.map(|(prompt, _)| row(prompt)));
        rows.extend(unconditional.map(row));
        let (shape, count) = (contract_shape(x.shape)?, rows.len());
        let answers = limited(self.seat, self.limit_s, self.seat.denoise(self.model, shape, rows)).await?;
        let length = answers.len() / count;
        let answer = |row: usize| &answers[row * length..(row + 1) * length];
        let values = match (count, edit) {
            (1, _) => answers,
            (_, Some((_, strength))) => self.guidance.guide_edit(answer(0), answer(1), answer(2), *strength),
            _ => self.guidance.guide(answer(0), answer(1)),
        };
        if values.len() != x.values.len() {
            // A plugin's word is not taken for it: the samplers rely on answers of their latents' shape.
            let message = "the denoiser does not answer in the shape of the model's latents";
            return Err(alice_plugin::Error::new(ErrorKind::Contract, message).into());
        }
        Ok(Latent { shape: x.shape, values })
    }

    fn stepped(&self, step: usize, _steps: usize, denoised: &Latent) -> Result<()> {
        self.done.store(step, Ordering::Relaxed);
        (self.stepped)(step, denoised);
        Ok(())
    }
}

/// A call of the engine that is given up when the device finishes nothing, for anybody, within `limit_s` seconds: a
/// backend that hangs must not hold a job for ever. Waiting for others is no reason.
pub(crate) async fn limited<T, E>(
    seat: &Seat,
    limit_s: u32,
    call: impl Future<Output = std::result::Result<T, E>>,
) -> Result<T>
where
    Error: From<E>,
{
    let limit = Duration::from_secs(u64::from(limit_s));
    let mut call = pin!(call);
    loop {
        let finished = seat.calls_finished();
        match tokio::time::timeout(limit, &mut call).await {
            Ok(answer) => return Ok(answer?),
            Err(_) if seat.calls_finished() != finished => {}
            Err(_) => return Err(Error::Timeout { limit_s }),
        }
    }
}

/// The sampler's shape in the contract's numbers.
///
/// # Errors
/// For a side that no latent can have.
pub fn contract_shape(shape: alice_diffusion::LatentShape) -> Result<LatentShape> {
    let side =
        |value: usize| u32::try_from(value).map_err(|_| anyhow::anyhow!("a latent with a side of {value}"));
    Ok(LatentShape {
        channels: side(shape.channels)?,
        height: side(shape.height)?,
        width: side(shape.width)?,
    })
}
