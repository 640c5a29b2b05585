// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! How fast work is done here, by what was done of late: the source of every time that clients are told.

use std::time::{Duration, Instant};

use crate::draft::{Enlargement, Request};
use crate::task::Task;

/// What was done this long ago counts half.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// A gap between two steps in which nothing was measured counts at most so much: the device rested.
const LONGEST_GAP: Duration = Duration::from_secs(120);

/// Work and the time it took, both fading.
#[derive(Debug, Default)]
pub(super) struct Pace {
    work: f64,
    seconds: f64,
    last: Option<Instant>,
}

impl Pace {
    /// The device begins to work after a rest.
    pub(super) fn begin(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// The device has nothing to do.
    pub(super) fn rest(&mut self) {
        self.last = None;
    }

    /// So much work was done since the last call.
    pub(super) fn add(&mut self, work: f64, now: Instant) {
        let Some(last) = self.last.replace(now) else { return };
        let gap = now.saturating_duration_since(last).min(LONGEST_GAP).as_secs_f64();
        let fade = 0.5_f64.powf(gap / HALF_LIFE.as_secs_f64());
        self.work = self.work * fade + work;
        self.seconds = self.seconds * fade + gap;
    }

    /// Seconds that so much work takes; `None` before anything was measured.
    pub(super) fn seconds_for(&self, work: f64) -> Option<f64> {
        (self.work > 0.0 && self.seconds > 0.0).then(|| work * self.seconds / self.work)
    }
}

/// How many times as much work a pixel is that an upscaler sees as one of a picture in a forward pass. By the
/// multiplications in both: some 18 million a pixel in ESRGAN's network, and 1.3 million in Stable Diffusion 1's at 512 x
/// 512.
const UPSCALED_PIXEL: f64 = 14.0;

/// The work of one step of one picture.
pub(super) fn step_work(task: &Task) -> f64 {
    match task {
        Task::Paint(request) => painting_work(request),
        Task::Enlarge(enlargement) => enlarging_work(enlargement),
    }
}

/// That of a tile, as if all were of one size. Lanczos' filter is no work for a device.
fn enlarging_work(enlargement: &Enlargement) -> f64 {
    if enlargement.upscaler.is_none() {
        return 0.0;
    }
    let pixels = f64::from(enlargement.input.width) * f64::from(enlargement.input.height);
    UPSCALED_PIXEL * pixels / f64::from(enlargement.steps().max(1))
}

/// That of a sampler's step: its latent's rows and cells, as the time of a forward pass grows about with both. Of a
/// picture that is made in two runs, the mean of all steps.
fn painting_work(request: &Request) -> f64 {
    let parameters = &request.parameters;
    let steps = request.schedule.points().len();
    let rows = if parameters.guidance().is_used(steps) { 2.0 } else { 1.0 };
    let pixels = |width: u32, height: u32| f64::from(width) * f64::from(height);
    let first = pixels(parameters.rendered_width, parameters.rendered_height);
    let second = parameters.inputs.hires.as_ref().map_or(first, |hires| pixels(hires.width, hires.height));
    let share = steps as f64 / request.steps().max(1) as f64;
    rows * (share * first + (1.0 - share) * second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_the_work_over_the_time_it_took_and_rests_do_not_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert_eq!(pace.seconds_for(1.0), None);
        pace.begin(at(0));
        pace.add(10.0, at(1));
        pace.rest();
        pace.begin(at(500));
        pace.add(10.0, at(501));
        let seconds = pace.seconds_for(20.0).unwrap();
        assert!((seconds - 2.0).abs() < 1e-9, "{seconds}");
    }

    #[test]
    fn what_was_long_ago_counts_little() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.begin(start);
        pace.add(1.0, start + Duration::from_secs(100));
        (1..=100).for_each(|i| pace.add(1.0, start + Duration::from_secs(100 + 10 * i)));
        let seconds = pace.seconds_for(1.0).unwrap();
        assert!((seconds - 10.0).abs() < 0.1, "{seconds}");
    }
}
