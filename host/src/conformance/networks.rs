// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Level B: the numbers that a backend's networks answer, against diffusers' on small random models.
//!
//! An encoded prompt stays on the device and is read back only from a backend that offers it. The text
//! encoders are also seen through the denoiser, whose reference answers depend on them strongly.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use alice_checkpoint::Checkpoint;
use alice_plugin::load::{Plugin, PluginBackend};
use alice_plugin::{
    Backend, ConditioningHandle, DecodeOptions, DenoiseRow, EncodeOptions, ErrorKind, LatentShape,
    LoadRequest, ModelHandle, ModelInfo, TextChunk, TextPart, TextRequest, Uncontrolled,
};
use anyhow::Context;
use serde_json::Value;

use super::bench::{self, Input};
use super::reference::{self, Batch, Denoise, Reference, Row, Text};
use super::{Check, Level, Outcome};

/// The most that a number in f32 may be away from the reference.
const TOLERANCE: f32 = 1e-3;
/// The most that a byte of a picture may be away: a value on a rounding boundary may fall on either side.
const PIXEL_TOLERANCE: u8 = 1;

/// Runs every check of level B on the models in `fixtures`.
///
/// # Errors
/// When the plugin does not start or the fixtures are not there.
pub fn run(path: &Path, options: &Value, fixtures: &Path) -> anyhow::Result<Vec<Check>> {
    let plugin = Plugin::open(path)?;
    let mut checks = Vec::new();
    for name in reference::MODELS {
        let reference = Reference::open(fixtures, name, fixtures.join(name))?;
        let mut backend = plugin.start(options)?;
        let family = Checkpoint::open(&reference.model)?.family().as_str();
        let description = backend.describe()?;
        if !description.stand_in && !description.families.iter().any(|known| known == family) {
            let reason = format!("it does not load models of the family {family}");
            checks.push(whole(name, Outcome::Skipped(reason)));
            continue;
        }
        let mut subject = match Subject::load(backend, family, &reference) {
            Ok(subject) => subject,
            Err(error) => {
                checks.push(whole(name, Outcome::Failed(format!("{error:#}"))));
                continue;
            }
        };
        for text in &reference.cases.texts {
            for part in [TextPart::Tokens, TextPart::Pooled] {
                checks.extend(subject.check_text(text, part));
            }
        }
        for case in &reference.cases.denoise {
            checks.push(subject.check("denoise", &case.name, |subject| subject.denoise(case)));
            checks.push(subject.check("rows alone", &case.name, |subject| subject.denoise_alone(case)));
        }
        for case in &reference.cases.decode {
            checks.push(subject.check("decode", &case.name, |subject| subject.decode(case)));
        }
        for case in &reference.cases.encode {
            checks.push(subject.check("encode", &case.name, |subject| subject.encode(case)));
        }
    }
    Ok(checks)
}

/// The one check of a model that is not loaded.
fn whole(model: &str, outcome: Outcome) -> Check {
    Check { level: Level::Networks, name: format!("{model} is diffusers'").into(), measured: None, outcome }
}

/// How far an answer is from the reference.
#[derive(Clone, Copy, Debug)]
struct Distance {
    /// Largest absolute difference.
    worst: f32,
    /// The most that it may be.
    allowed: f32,
    /// Cosine of the angle between both.
    cosine: f64,
}

/// A loaded model and its references.
struct Subject<'a> {
    backend: PluginBackend,
    model: ModelHandle,
    info: ModelInfo,
    texts: BTreeMap<&'a str, ConditioningHandle>,
    reference: &'a Reference,
}

impl<'a> Subject<'a> {
    /// Loads the model and encodes every prompt.
    fn load(mut backend: PluginBackend, family: &str, reference: &'a Reference) -> anyhow::Result<Self> {
        let files = bench::files(&reference.model);
        let request = LoadRequest { files, family: family.into(), vae: None, dtype: "f32".into(), device: 0 };
        let (model, info) = backend.load(&request, &Uncontrolled)?;
        let mut texts = BTreeMap::new();
        for text in &reference.cases.texts {
            texts.insert(text.name.as_str(), encode(&mut backend, model, text)?);
        }
        Ok(Self { backend, model, info, texts, reference })
    }

    /// The check of one part of an encoded prompt; none where the reference has no such part.
    fn check_text(&mut self, text: &Text, part: TextPart) -> Option<Check> {
        let reference = format!("text.{}.{}", text.name, part.name());
        if !self.reference.contains(&reference) {
            return None;
        }
        let conditioning = self.texts[text.name.as_str()];
        let found = self.backend.read_text(conditioning, part);
        let unsupported = found.as_ref().is_err_and(|error| error.kind == ErrorKind::Unsupported);
        let mut check = self.check(part.name(), &text.name, |subject| {
            Ok(distance(&found?, &subject.reference.numbers(&reference)?))
        });
        if unsupported {
            check.outcome = Outcome::Skipped("it does not read prompts back".into());
        }
        Some(check)
    }

    /// One check, from what `measure` finds.
    fn check(
        &mut self,
        network: &str,
        case: &str,
        measure: impl FnOnce(&mut Self) -> anyhow::Result<Distance>,
    ) -> Check {
        let name = format!("{} {network} {case} is diffusers'", self.reference.name).into();
        let (measured, outcome) = match measure(self) {
            Err(error) => (None, Outcome::Failed(format!("{error:#}"))),
            Ok(Distance { worst, allowed, cosine }) => {
                let measured = format!("max abs {worst:.1e}, 1 - cosine {:.1e}", 1.0 - cosine);
                // A comparison with NaN is false, so that NaN fails.
                let outcome = match worst <= allowed {
                    true => Outcome::Passed,
                    false => Outcome::Failed(format!("{measured}; {allowed:.0e} is allowed")),
                };
                (Some(measured), outcome)
            }
        };
        Check { level: Level::Networks, name, measured, outcome }
    }

    /// All rows in one call.
    fn denoise(&mut self, case: &Denoise) -> anyhow::Result<Distance> {
        let latents = self.reference.numbers(&format!("denoise.{}.latents", case.name))?;
        let answers = self.evaluate(case, 0..case.rows.len(), &latents)?;
        Ok(distance(&answers, &self.reference.numbers(&format!("denoise.{}.answers", case.name))?))
    }

    /// Every row in a call of its own.
    fn denoise_alone(&mut self, case: &Denoise) -> anyhow::Result<Distance> {
        let latents = self.reference.numbers(&format!("denoise.{}.latents", case.name))?;
        let mut answers = Vec::new();
        for row in 0..case.rows.len() {
            answers.extend(self.evaluate(case, row..row + 1, &latents)?);
        }
        Ok(distance(&answers, &self.reference.numbers(&format!("denoise.{}.answers", case.name))?))
    }

    fn evaluate(&mut self, case: &Denoise, rows: Range<usize>, latents: &[f32]) -> anyhow::Result<Vec<f32>> {
        let shape = self.shape(case.height, case.width);
        let inputs = self.inputs(case)?;
        let extras: Vec<Vec<_>> =
            inputs.iter().map(|of_row| of_row.iter().map(Input::as_tensor).collect()).collect();
        let rows: Vec<_> = rows
            .map(|index| DenoiseRow {
                latent: &latents[index * shape.len()..][..shape.len()],
                timestep: case.rows[index].timestep,
                conditioning: self.texts[case.rows[index].text.as_str()],
                extras: &extras[index],
                hints: &[],
            })
            .collect();
        let answer = LatentShape { channels: self.info.output_channels, ..shape };
        let mut out = vec![0.0; rows.len() * answer.len()];
        self.backend.denoise(self.model, shape, &rows, &mut out, &Uncontrolled)?;
        Ok(out)
    }

    /// The further inputs of each row that the model has declared.
    fn inputs(&self, case: &Denoise) -> anyhow::Result<Vec<Vec<Input>>> {
        let shape = self.shape(case.height, case.width);
        let tensor = format!("denoise.{}.concat", case.name);
        let concat = match self.reference.contains(&tensor) {
            true => self.reference.numbers(&tensor)?,
            false => Vec::new(),
        };
        let concat_of = |index: usize| {
            let length = concat.len() / case.rows.len();
            concat[index * length..][..length].to_vec()
        };
        let values = |name: &str, index: usize, row: &Row| match name {
            "time_ids" => Some(row.time_ids.clone()),
            "concat" => Some(concat_of(index)),
            _ => None,
        };
        let of_row = |(index, row): (usize, &Row)| {
            let inputs = self.info.inputs.iter().map(|input| {
                let values = values(&input.name, index, row).context("it asks for an unknown input")?;
                Ok(Input { name: input.name.clone(), shape: input.shape_for(shape), values })
            });
            inputs.collect()
        };
        case.rows.iter().enumerate().map(of_row).collect()
    }

    /// Pictures come back as bytes, so they are compared as bytes.
    fn decode(&mut self, case: &Batch) -> anyhow::Result<Distance> {
        let shape = self.shape(case.height, case.width);
        let latents = self.reference.numbers(&format!("decode.{}.latents", case.name))?;
        let pictures = self.reference.numbers(&format!("decode.{}.pictures", case.name))?;
        let mut out = vec![0; pictures.len()];
        let options = DecodeOptions::default();
        self.backend.decode(self.model, shape, &latents, &options, &mut out, &Uncontrolled)?;
        let expected = bytes(&pictures, case.rows);
        let out: Vec<f32> = out.into_iter().map(f32::from).collect();
        Ok(Distance { allowed: f32::from(PIXEL_TOLERANCE), ..distance(&out, &expected) })
    }

    /// Mean and deviation together.
    fn encode(&mut self, case: &Batch) -> anyhow::Result<Distance> {
        let shape = self.shape(case.height, case.width);
        let pixels = self.reference.pixels(&format!("encode.{}.pixels", case.name))?;
        let (mut mean, mut deviation) =
            (vec![0.0; case.rows * shape.len()], vec![0.0; case.rows * shape.len()]);
        self.backend.encode_image(
            self.model,
            shape,
            &pixels,
            &EncodeOptions::default(),
            &mut mean,
            &mut deviation,
            &Uncontrolled,
        )?;
        let mut expected = self.reference.numbers(&format!("encode.{}.mean", case.name))?;
        expected.extend(self.reference.numbers(&format!("encode.{}.deviation", case.name))?);
        mean.extend(deviation);
        Ok(distance(&mean, &expected))
    }

    fn shape(&self, height: u32, width: u32) -> LatentShape {
        LatentShape { channels: self.info.latent_channels, height, width }
    }
}

/// Encodes a prompt: every chunk of every encoder.
fn encode(
    backend: &mut PluginBackend,
    model: ModelHandle,
    text: &Text,
) -> alice_plugin::Result<ConditioningHandle> {
    let longest = text.ids.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let weights = vec![text.weight; longest];
    let mut chunks = Vec::new();
    for (encoder, of_encoder) in (0u32..).zip(&text.ids) {
        let chunk = |ids| TextChunk { encoder, ids, weights: &weights[..ids.len()] };
        chunks.extend(of_encoder.iter().map(|ids: &Vec<u32>| chunk(ids)));
    }
    let request = TextRequest { chunks: &chunks, extra_rows: &[], clip_skip: text.clip_skip };
    backend.encode_text(model, &request, &Uncontrolled)
}

/// How far `answer` is from `expected`; infinitely far if it has another length or holds NaN.
fn distance(answer: &[f32], expected: &[f32]) -> Distance {
    let mut worst = if answer.len() == expected.len() { 0.0_f32 } else { f32::INFINITY };
    let (mut dot, mut one, mut other) = (0.0, 0.0, 0.0);
    for (a, b) in answer.iter().zip(expected) {
        let difference = (a - b).abs();
        worst = if difference.is_nan() { f32::INFINITY } else { worst.max(difference) };
        let (a, b) = (f64::from(*a), f64::from(*b));
        (dot, one, other) = (dot + a * b, one + a * a, other + b * b);
    }
    Distance { worst, allowed: TOLERANCE, cosine: dot / (one * other).sqrt() }
}

/// Pictures `[rows, 3, height, width]` in 0..1 as bytes `[rows, height, width, 3]`, rounded as diffusers does.
fn bytes(pictures: &[f32], rows: usize) -> Vec<f32> {
    let pixels = pictures.len() / rows / 3;
    let at = |row: usize, pixel: usize, channel: usize| pictures[(row * 3 + channel) * pixels + pixel];
    let every =
        (0..rows).flat_map(|row| (0..pixels).flat_map(move |pixel| (0..3).map(move |c| (row, pixel, c))));
    every.map(|(row, pixel, channel)| (at(row, pixel, channel) * 255.0).round_ties_even()).collect()
}
