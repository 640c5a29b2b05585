// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a process of its own costs: the time of one step beside the same step in process.

use std::time::Instant;

use super::*;

/// The median microseconds of a step.
fn median(ready: &mut Ready<'_>, shape: LatentShape, rows: usize) -> f64 {
    let latents: Vec<Vec<f32>> = vec![vec![0.5; shape.len()]; rows];
    let rows: Vec<_> = latents
        .iter()
        .map(|latent| DenoiseRow {
            latent,
            timestep: 9.0,
            conditioning: ready.prompt,
            extras: &[],
            hints: &[],
        })
        .collect();
    let mut out = vec![0.0; rows.len() * shape.len()];
    let mut times: Vec<_> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            ready.backend.denoise(ready.model, shape, &rows, &mut out, &Uncontrolled).unwrap();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[test]
#[ignore = "prints how long calls take here"]
#[allow(clippy::print_stdout)]
fn latency() {
    let (_directory, model) = model();
    let mut plugin = Plugin::open(&plugin("paint")).unwrap().start(&json!({})).unwrap();
    let mut worker = paint(&json!({}));
    let mut inside = ready(&mut plugin, &model.directory);
    let mut outside = ready(&mut worker, &model.directory);
    for (side, rows) in [(16, 1), (16, 8), (64, 1), (64, 8)] {
        let shape = LatentShape { channels: 4, height: side, width: side };
        let (bare, worker) = (median(&mut inside, shape, rows), median(&mut outside, shape, rows));
        println!("{side}x{side}, {rows} rows: {bare:.0} us in process, {worker:.0} us in a worker");
    }
}
