// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Full runs that begin with a picture, keep a part of it or edit it, against diffusers. `tests/fixtures/picture_runs.py` makes
//! the references.

use std::collections::BTreeMap;

use alice::conformance::reference::Run;
use alice::denoiser::{Denoiser, Steering, contract_shape};
use alice::engine::{HintPicture, RowHint};
use alice::generate::canvas::{self, Canvas, Original};
use alice::models::parse_scheduler;
use alice_checkpoint::Checkpoint;
use alice_diffusion::guidance::Guidance;
use alice_diffusion::{LatentShape, Noise, Schedule};
use alice_plugin::{LoadRequest, ModelFiles};
use serde_json::Value;

use super::bench::{Bench, Distance, largest_difference};
use super::{assert_right, assert_wrong, row};
use crate::harness::source;

const MODELS: [&str; 6] = ["sd1-eps", "sd1-inpaint", "sd1-pix2pix", "sdxl", "sdxl-refiner", "sdxl-inpaint"];
/// What the runs are about.
const FEATURES: [&str; 7] =
    ["img2img", "inpaint", "edit", "control", "control img2img", "control inpaint", "adapter"];
/// The autoencoder of another model for the one whose own has nothing to scale.
const OTHER_VAE: (&str, &str) = ("sd1-pix2pix", "sd1-eps/vae");

/// Everything that a run begins with.
struct Beginnings {
    bench: Bench,
    latent_scaling: f32,
}

impl Beginnings {
    async fn of(model: &str) -> Self {
        let fixtures = source("tests/fixtures");
        let vae = (model == OTHER_VAE.0).then(|| fixtures.join(OTHER_VAE.1));
        let directory = fixtures.join(model);
        let mut checkpoint = Checkpoint::open(&directory).unwrap();
        if let Some(vae) = &vae {
            checkpoint = checkpoint.with_vae(vae).unwrap();
        }
        let config: Value = checkpoint.config("vae").unwrap();
        let latent_scaling = config["scaling_factor"].as_f64().unwrap() as f32;
        let bench = Bench::with_vae(&format!("pictures-{model}"), directory, vae, 16).await;
        Self { bench, latent_scaling }
    }

    fn runs(&self, features: &[&str]) -> Vec<&Run> {
        self.bench
            .reference
            .cases
            .runs
            .iter()
            .filter(|run| features.contains(&run.feature.as_str()))
            .collect()
    }

    fn input(&self, kind: &str, (width, height): (u32, u32)) -> Vec<u8> {
        self.bench.reference.pixels(&format!("{kind}.{width}x{height}")).unwrap()
    }

    /// The final latent and the picture of a run.
    async fn paint(&self, run: &Run) -> (Vec<f32>, Vec<u8>) {
        let (bench, model) = (&self.bench, &self.bench.model);
        let seat = bench.engine.seat(0, 0);
        let config = parse_scheduler(&bench.scheduler(run).to_string(), bench.family).unwrap();
        let schedule =
            Schedule::from_strength(run.sampler.parse().unwrap(), &config, run.steps, run.strength).unwrap();
        let guidance = Guidance { scale: run.guidance, rescale: 0.0, interval: (0.0, 1.0) };
        let prompts = bench.prompts(run, guidance.is_used(run.steps)).await;
        let scale = model.info.latent_scale;
        let shape = LatentShape {
            channels: model.info.latent_channels as usize,
            height: (run.height / scale) as usize,
            width: (run.width / scale) as usize,
        };
        let mut noise = Noise::new(run.seed);
        let beginning = match run.feature.as_str() {
            "control" | "adapter" => {
                canvas::from_noise(model, &schedule, &mut noise, shape, &prompts).unwrap()
            }
            feature => {
                let size = (run.width, run.height);
                let rgb = self.input("start", size);
                let mask = feature.ends_with("inpaint").then(|| self.input("mask", size));
                let original = Original {
                    rgb: &rgb,
                    mask: mask.as_deref(),
                    strength: run.strength,
                    image_guidance_scale: run.image_guidance_scale.unwrap_or(1.0),
                    latent_scaling: self.latent_scaling,
                };
                let canvas = Canvas::new(&seat, model, 600, shape, original).await.unwrap();
                canvas.begin(&schedule, &mut noise, &prompts)
            }
        };
        let denoiser = Denoiser {
            seat: &seat,
            model,
            prompts: &beginning.prompts,
            guidance,
            steering: &self.steering(run, shape).await,
            steps: schedule.points().len(),
            limit_s: 600,
            done: 0.into(),
            stepped: &|_, _| {},
        };
        let latent =
            schedule.walk(&denoiser, &mut noise, beginning.first, beginning.kept.as_ref()).await.unwrap();
        let picture =
            seat.decode(model, contract_shape(shape).unwrap(), latent.values.clone()).await.unwrap();
        (latent.values, picture)
    }

    /// What steers a run.
    async fn steering(&self, run: &Run, shape: LatentShape) -> Vec<Steering> {
        let mut steering = Vec::new();
        for (index, control) in run.controls.iter().enumerate() {
            let path = source("tests/fixtures/controls").join(&control.name);
            let family = if control.name.starts_with("t2i") { "t2i_adapter" } else { "controlnet" };
            let (files, dtype) = (ModelFiles::Diffusers { path }, "f32".to_owned());
            let request = LoadRequest { files, family: family.to_owned(), vae: None, dtype, device: 0 };
            let model = self.bench.engine.seat(0, 0).load(request).await.unwrap();
            let side = |cells: usize| cells as u32 * model.info.latent_scale;
            let (width, height) = (side(shape.width), side(shape.height));
            let mut rgb = self.input("hint", (width, height));
            if index > 0 {
                // Each network sees something else.
                let rows = rgb.chunks_exact_mut(width as usize * 3);
                rows.for_each(|row| {
                    let pixels: Vec<[u8; 3]> = row.as_chunks().0.iter().rev().copied().collect();
                    row.copy_from_slice(pixels.as_flattened());
                });
            }
            let picture = HintPicture::new(width, height, rgb).into();
            let hint = RowHint { model, picture, scale: control.strength };
            steering.push(Steering { hint, interval: (control.start, control.end) });
        }
        steering
    }

    async fn compare(&self, run: &Run) -> Distance {
        let (latent, picture) = self.paint(run).await;
        let expected = self.bench.reference.numbers(&format!("run.{}.latents", run.name)).unwrap();
        Distance {
            latents: largest_difference(&latent, &expected),
            picture_db: self.bench.picture_db(run, &picture),
        }
    }
}

/// Compares all runs about one of `features`, and returns how many there were.
async fn compare(features: &[&str]) -> usize {
    let mut count = 0;
    for name in MODELS {
        let beginnings = Beginnings::of(name).await;
        for run in beginnings.runs(features) {
            assert_right(name, &[(run, beginnings.compare(run).await)]);
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn runs_that_begin_with_a_picture_give_what_diffusers_gives() {
    assert!(compare(&["img2img"]).await >= 18);
}

#[tokio::test]
async fn inpainting_gives_what_diffusers_gives_with_both_kinds_of_network() {
    assert!(compare(&["inpaint"]).await >= 21);
}

#[tokio::test]
async fn edits_as_they_are_told_are_those_of_diffusers() {
    assert!(compare(&["edit"]).await >= 4);
}

#[tokio::test]
async fn control_nets_and_adapters_steer_as_they_do_in_diffusers() {
    let features = ["control", "control img2img", "control inpaint", "adapter"];
    assert!(compare(&features).await >= 16);
}

#[tokio::test]
async fn the_references_tell_their_neighbours_apart() {
    for name in MODELS {
        let beginnings = Beginnings::of(name).await;
        for run in &beginnings.bench.reference.cases.runs {
            assert!(!run.neighbours_db.is_empty());
            for (what, db) in &run.neighbours_db {
                assert_wrong(name, run, what, *db);
            }
        }
    }
}

#[tokio::test]
async fn another_strength_another_mask_and_another_guidance_fail_by_15_db() {
    for name in MODELS {
        let beginnings = Beginnings::of(name).await;
        for run in beginnings.runs(&["img2img", "inpaint", "edit"]).into_iter().step_by(4) {
            let step = 1.0 / run.steps as f64;
            let mut wrong = vec![("another seed", Run { seed: run.seed + 1, ..run.clone() })];
            if run.strength < 1.0 {
                wrong.push(("a step later", Run { strength: run.strength - step, ..run.clone() }));
            }
            if run.feature == "inpaint" {
                wrong.push(("no mask", Run { feature: "img2img".into(), ..run.clone() }));
            }
            if let Some(scale) = run.image_guidance_scale.filter(|_| run.guidance > 1.0) {
                let image_guidance_scale = Some(scale * 1.25);
                wrong.push(("more of the picture", Run { image_guidance_scale, ..run.clone() }));
            }
            for (what, wrong) in wrong {
                let (_, picture) = beginnings.paint(&wrong).await;
                assert_wrong(name, run, what, beginnings.bench.picture_db(run, &picture));
            }
        }
    }
}

#[tokio::test]
#[ignore = "prints the table of docs/PARITY.md"]
#[allow(clippy::print_stdout)]
async fn table() {
    println!(
        "| model | sampler | feature | runs | latents, max abs | picture, dB | nearest wrong neighbour, dB |"
    );
    println!("|---|---|---|---|---|---|---|");
    for name in MODELS {
        let beginnings = Beginnings::of(name).await;
        // Runs of one sampler about one thing share a row.
        let mut rows: BTreeMap<(usize, &str), Vec<(&Run, Distance)>> = BTreeMap::new();
        let runs = beginnings.runs(&FEATURES);
        for run in &runs {
            let is_first = |other: &&Run| (&other.sampler, &other.feature) == (&run.sampler, &run.feature);
            let place = runs.iter().position(is_first).unwrap();
            let distance = beginnings.compare(run).await;
            rows.entry((place, run.sampler.as_str())).or_default().push((run, distance));
        }
        for ((place, sampler), of_row) in rows {
            println!("{}", row(name, sampler, &runs[place].feature, &of_row));
        }
    }
}
