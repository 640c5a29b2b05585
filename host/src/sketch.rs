// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Unfinished pictures: what a sampler expects to arrive at, decoded while it goes on.
//!
//! Partial pictures were asked for with the job: so many, at even distances, in the size of the finished
//! picture. Previews are for whoever looks on: small, the latest only, and never many in a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alice_diffusion::{Latent, LatentShape};
use tokio::sync::mpsc;
use tracing::debug;

use crate::app::App;
use crate::denoiser::{contract_shape, limited};
use crate::engine::{LoadedModel, Seat};
use crate::error::Result;
use crate::generate::Overlay;
use crate::jobs::{Job, Partial, Preview};
use crate::picture;

/// The longest side of a preview in latent cells: 256 pixels of most models. Its decoding costs the device a
/// sixteenth of that of a picture with four times the side.
const PREVIEW_CELLS: usize = 32;
/// The shortest time between the beginnings of two previews of a picture.
const PREVIEW_EVERY: Duration = Duration::from_millis(500);
/// Previews take at most one part in so many of the time in which they are made.
const PREVIEW_SHARE: u32 = 10;

/// The sampler's end: hears of every step, and sends what is to be shown.
#[derive(Debug)]
pub(crate) struct Sketcher<'a> {
    job: &'a Job,
    /// After which steps a partial picture is due, with its index.
    due: Vec<usize>,
    sketches: mpsc::UnboundedSender<Sketch>,
    began: Instant,
    /// Milliseconds after `began` before which no preview is due.
    next_preview_ms: Arc<AtomicU64>,
}

/// The drawing end.
#[derive(Debug)]
pub(crate) struct Easel {
    sketches: mpsc::UnboundedReceiver<Sketch>,
    began: Instant,
    next_preview_ms: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Sketch {
    step: u32,
    /// Which partial picture this is; `None` for a preview.
    partial: Option<u32>,
    latent: Latent,
}

/// Both ends for one picture of `job` that is sampled in `steps` steps.
pub(crate) fn ends(job: &Job, steps: usize) -> (Sketcher<'_>, Easel) {
    let (sender, sketches) = mpsc::unbounded_channel();
    let (began, next_preview_ms) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let due = due(steps, job.partials_wanted);
    let sketcher =
        Sketcher { job, due, sketches: sender, began, next_preview_ms: Arc::clone(&next_preview_ms) };
    (sketcher, Easel { sketches, began, next_preview_ms })
}

/// The steps after which `wanted` partial pictures are due: they part the run evenly, and none is the last.
fn due(steps: usize, wanted: u32) -> Vec<usize> {
    let parts = wanted as usize + 1;
    (1..parts).map(|part| (steps * part / parts).max(1)).collect()
}

impl Sketcher<'_> {
    /// The sampler has done `step` steps, counted from 1, and expects `denoised`.
    pub(crate) fn stepped(&self, step: usize, denoised: &Latent) {
        let step_u32 = u32::try_from(step).unwrap_or(u32::MAX);
        let send = |partial, latent| {
            // The easel is gone only when the whole picture is.
            let _gone = self.sketches.send(Sketch { step: step_u32, partial, latent });
        };
        for (index, due) in (0..).zip(&self.due) {
            if *due == step {
                send(Some(index), denoised.clone());
            }
        }
        let now = millis(self.began.elapsed());
        if self.job.is_looked_at() && now >= self.next_preview_ms.load(Ordering::Relaxed) {
            // Until this one is drawn, and says when the next is due.
            self.next_preview_ms.store(u64::MAX, Ordering::Relaxed);
            send(None, shrunk(denoised));
        }
    }
}

/// Which picture is drawn, and how.
#[derive(Debug)]
pub(crate) struct Drawing<'a> {
    pub(crate) app: &'a App,
    pub(crate) job: &'a Job,
    /// Which of the job's pictures this is.
    pub(crate) place: u32,
    pub(crate) seat: Seat,
    pub(crate) model: &'a Arc<LoadedModel>,
    /// The picture into which partial ones are put.
    pub(crate) overlay: Option<&'a Arc<Overlay>>,
    /// Width and height of partial pictures, where they are those of the finished one.
    pub(crate) finished: Option<(u32, u32)>,
}

impl Easel {
    /// Draws what the sampler sends until it is done. A sketch that cannot be drawn is left out: the finished picture
    /// will tell what is wrong.
    pub(crate) async fn draw(mut self, drawing: Drawing<'_>) {
        while let Some(Sketch { step, partial, latent }) = self.sketches.recv().await {
            if partial.is_none() && self.sketches.is_closed() {
                // The finished picture is about to come, and would wait for this one.
                continue;
            }
            let began = Instant::now();
            let drawn = match partial {
                Some(index) => drawing.partial(index, latent).await,
                None => drawing.preview(step, latent).await,
            };
            if let Err(cause) = drawn {
                debug!("An unfinished picture could not be drawn: {}", cause.cause());
            }
            if partial.is_none() {
                let pause = PREVIEW_EVERY.max(began.elapsed() * PREVIEW_SHARE);
                let next = millis(self.began.elapsed() + pause);
                self.next_preview_ms.store(next, Ordering::Relaxed);
            }
        }
    }
}

impl Drawing<'_> {
    async fn partial(&self, index: u32, latent: Latent) -> Result<()> {
        let png = self.decode(latent, self.finished, self.overlay.cloned()).await?;
        self.job.add_partial(Partial { place: self.place, index, png: png.into() });
        Ok(())
    }

    async fn preview(&self, step: u32, latent: Latent) -> Result<()> {
        let png = self.decode(latent, None, None).await?;
        self.job.show_preview(Preview { place: self.place, step, png });
        Ok(())
    }

    /// The latent as a PNG file, put into a picture and of `size` if these are given.
    async fn decode(
        &self,
        latent: Latent,
        size: Option<(u32, u32)>,
        overlay: Option<Arc<Overlay>>,
    ) -> Result<Vec<u8>> {
        let Self { app, seat, model, .. } = self;
        let shape = contract_shape(latent.shape)?;
        let scale = model.info.latent_scale;
        let limit_s = app.config.generation.request_timeout;
        let rgb = limited(seat, limit_s, seat.preview(model, shape, latent.values)).await?;
        let finish = move || {
            let drawn = (shape.width * scale, shape.height * scale);
            let (rgb, (width, height)) = match overlay {
                Some(overlay) => (overlay.put(rgb, drawn), overlay.size),
                None => (rgb, drawn),
            };
            let rendered = picture::from_rgb(width, height, rgb)?;
            let finished = match size {
                Some((width, height)) => picture::enlarge(rendered, width, height),
                None => rendered,
            };
            picture::png(finished, "")
        };
        Ok(tokio::task::spawn_blocking(finish).await.map_err(anyhow::Error::from)??)
    }
}

/// The latent with squares of cells averaged, so that no side is longer than a preview's.
fn shrunk(latent: &Latent) -> Latent {
    let LatentShape { channels, height, width } = latent.shape;
    let square = height.max(width).div_ceil(PREVIEW_CELLS).max(1);
    let shape = LatentShape { channels, height: height.div_ceil(square), width: width.div_ceil(square) };
    let mut values = Vec::with_capacity(channels * shape.height * shape.width);
    for plane in latent.values.chunks_exact(height * width) {
        for top in (0..height).step_by(square) {
            for left in (0..width).step_by(square) {
                let rows = top..(top + square).min(height);
                let cells =
                    rows.flat_map(|row| &plane[row * width + left..row * width + (left + square).min(width)]);
                let (sum, count) = cells.fold((0.0, 0.0), |(sum, count), cell| (sum + cell, count + 1.0));
                values.push(sum / count);
            }
        }
    }
    Latent { shape, values }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_pictures_part_the_run_evenly_and_none_is_the_last() {
        assert_eq!(due(20, 0), [0_usize; 0]);
        assert_eq!(due(20, 1), [10]);
        assert_eq!(due(20, 3), [5, 10, 15]);
        assert_eq!(due(2, 3), [1, 1, 1], "all are sent, however few steps there are");
    }

    #[test]
    fn a_shrunk_latent_holds_the_averages_of_its_squares_also_at_the_border() {
        let shape = LatentShape { channels: 2, height: 33, width: 2 };
        let values = (0..2 * 33 * 2).map(|i| i as f32).collect();
        let small = shrunk(&Latent { shape, values });
        assert_eq!(small.shape, LatentShape { channels: 2, height: 17, width: 1 });
        assert_eq!(small.values[0], (0.0 + 1.0 + 2.0 + 3.0) / 4.0);
        assert_eq!(small.values[16], (64.0 + 65.0) / 2.0);
        let tiny = Latent { shape: LatentShape { channels: 1, height: 1, width: 2 }, values: vec![1.0, 2.0] };
        assert_eq!(shrunk(&tiny).values, tiny.values);
    }
}
