// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A job that makes a picture larger: the upscaler as far as it goes, Lanczos' filter for the rest.

use super::enlarge::{Larger, enlarged};
use super::keep::{Finished, Fit, keep};
use super::room::Room;
use super::{order, unusable};
use crate::app::App;
use crate::denoiser::limited;
use crate::draft::Enlargement;
use crate::error::{Error, Result};
use crate::infotext;
use crate::inputs::{ResizeMode, Want};
use crate::jobs::Job;

/// Makes the picture of `job`, unless it is there already.
///
/// # Errors
/// Whatever the backend says; [`Error::Timeout`]; [`Error::InputGone`]; [`Error::ModelGone`].
pub(super) async fn run(app: &App, job: &Job, enlargement: &Enlargement) -> Result<()> {
    if job.made.contains(&0) {
        return Ok(());
    }
    let size = (enlargement.input.width, enlargement.input.height);
    let want = Want::Rgb { width: size.0, height: size.1, mode: ResizeMode::Stretch, part: None };
    let rgb = app.inputs.pixels(&enlargement.input, &want).await?;
    let Larger { rgb, size, room } = match &enlargement.upscaler {
        Some(id) => upscaled(app, job, id, rgb, size).await?,
        None => Larger { rgb, size, room: Room::default() },
    };
    let wanted = (enlargement.width, enlargement.height);
    if enlargement.upscaler.is_none() {
        app.jobs.stepped(job);
    }
    let text = infotext::write_enlarged(enlargement);
    // A side may be rounded, and nothing beside it is to be filled up.
    keep(app, job, 0, Finished { rgb, size, room, wanted, fit: Fit::Stretched, text }).await
}

/// The picture as the upscaler `id` makes it.
async fn upscaled(app: &App, job: &Job, id: &str, rgb: Vec<u8>, size: (u32, u32)) -> Result<Larger> {
    let entry = app.models.exactly_upscaler(id).ok_or_else(|| Error::ModelGone { id: id.to_owned() })?;
    let wanted = entry.load_request();
    let engine = app.engines.pick(&wanted, &[]);
    let seat = engine.seat(job.caller.key(), order(job, 0));
    let limit_s = app.config.generation.request_timeout;
    let loaded = limited(&seat, limit_s, seat.load_all(vec![wanted])).await;
    let upscaler = loaded.map_err(|error| unusable(id, error))?.remove(0);
    enlarged(&app.rooms, &seat, &upscaler, limit_s, rgb, size, &|| app.jobs.stepped(job)).await
}
