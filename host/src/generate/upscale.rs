// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A job that makes a picture larger: the upscaler as far as it goes, Lanczos' filter for the rest.

use super::enlarge::{Larger, enlarged};
use super::keep::{Finished, Fit, keep};
use super::{order, unusable};
use crate::app::App;
use crate::denoiser::limited;
use crate::draft::Enlargement;
use crate::error::Result;
use crate::infotext;
use crate::inputs::{ResizeMode, Want};
use crate::jobs::Job;
use crate::models::UpscalerEntry;

/// Makes the picture of `job`, unless it is there already.
///
/// # Errors
/// Whatever the backend says; [`Timeout`](crate::error::Error::Timeout), [`InputGone`](crate::error::Error::InputGone)
/// and [`ModelGone`](crate::error::Error::ModelGone).
pub(super) async fn run(app: &App, job: &Job, enlargement: &Enlargement) -> Result<()> {
    if job.made.contains(&0) {
        return Ok(());
    }
    let network = enlargement.network(&app.models)?;
    let size = (enlargement.input.width, enlargement.input.height);
    let given = app.rooms.take_given(size).await;
    let want = Want::Rgb { width: size.0, height: size.1, mode: ResizeMode::Stretch, part: None };
    let rgb = app.inputs.pixels(&enlargement.input, &want).await?;
    let Larger { rgb, size, room } = match &network {
        Some(entry) => {
            let larger = upscaled(app, job, entry, rgb, size).await?;
            drop(given);
            larger
        }
        None => Larger { rgb, size, room: given },
    };
    let wanted = (enlargement.width, enlargement.height);
    if network.is_none() {
        app.jobs.stepped(job);
    }
    let text = infotext::write_enlarged(enlargement);
    // A side may be rounded, and nothing beside it is to be filled up.
    keep(app, job, 0, Finished { rgb, size, room, wanted, fit: Fit::Stretched, text }).await
}

/// The picture as the upscaler `entry` makes it.
async fn upscaled(
    app: &App,
    job: &Job,
    entry: &UpscalerEntry,
    rgb: Vec<u8>,
    size: (u32, u32),
) -> Result<Larger> {
    let wanted = entry.load_request();
    let engine = app.engines.pick(&wanted, &[]);
    let seat = engine.seat(job.caller.key(), order(job, 0));
    let limit_s = app.config.generation.request_timeout;
    let loaded = limited(&seat, limit_s, seat.load(wanted)).await;
    let upscaler = loaded.map_err(|error| unusable(&entry.id, error))?;
    enlarged(&app.rooms, &seat, &upscaler, limit_s, rgb, size, &|| app.jobs.stepped(job)).await
}
