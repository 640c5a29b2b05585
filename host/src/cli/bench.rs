// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `alice bench`: how fast a backend is here, and what the daemon adds to it.
//!
//! First the backend alone, loaded into this process and called directly; then the same picture by HTTP from a
//! daemon of its own: this program, on a free port, with an empty directory of data. One after the other, so that
//! the device never holds the model twice.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::ExitCode;

use alice_plugin::Description;
use alice_plugin::load::Plugin;
use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use self::bare::Bare;
use self::daemon::Daemon;
use self::report::Report;
use crate::backends;
use crate::config::{Config, Models};
use crate::draft::{Draft, Pictures, Request};
use crate::metrics::process;
use crate::models::{Model, Registry};

mod bare;
mod daemon;
mod report;

/// What the pictures show.
const PROMPT: &str = "a red apple on a wooden table";

/// What `alice bench` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A backend's name or a library's path. Without it: the one that would serve.
    #[arg(long, value_name = "NAME or PATH")]
    backend: Option<String>,
    /// A model's id, or a directory in the diffusers layout. Without it: the default model.
    #[arg(long, value_name = "ID or PATH")]
    model: Option<String>,
    /// Pixels of the picture. Without it: the model's own size.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size)]
    size: Option<(i64, i64)>,
    /// Rows in one forward pass of the denoiser, each of which is measured.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4", value_parser = clap::value_parser!(u32).range(1..=1024))]
    rows: Vec<u32>,
    /// The number format, one of those that the backend names. `auto` is what the daemon uses.
    #[arg(long, default_value = "auto")]
    dtype: String,
    /// Steps of the picture.
    #[arg(long, default_value_t = 20)]
    steps: u32,
    /// How often each thing is measured, after one time that does not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeats: u32,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Width and height out of `WIDTHxHEIGHT`.
fn size(text: &str) -> Result<(i64, i64), String> {
    let sides =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.ok_or_else(|| "it is not of the form 512x768".to_owned())
}

/// Measures and prints.
///
/// # Errors
/// What cannot be measured, before anything is printed.
pub(super) fn run(mut config: Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let directory = TempDir::new().context("no temporary directory (`TMPDIR`)")?;
    if let Some(backend) = &arguments.backend {
        config.generation.backend.clone_from(backend);
    }
    let request = request(&mut config, arguments, directory.path())?;
    let Opened { plugin, options, description } = open(&config)?;
    check_dtype(&description, &arguments.dtype)?;
    config.generation.backend = plugin.path().display().to_string();

    let mut bare = Bare::load(&plugin, &options, &request, &arguments.dtype)?;
    let encode_text_s = bare.encode_text(arguments.repeats)?;
    let denoise = bare.denoise(&arguments.rows, arguments.repeats)?;
    let decode_s = bare.decode(arguments.repeats)?;
    let step_s = match denoise.get(&1) {
        Some(one) => one.median_s,
        None => bare.denoise_rows(1, arguments.repeats)?.median_s,
    };
    let bare_s = encode_text_s + f64::from(request.parameters.steps) * step_s + decode_s;
    let (load_s, model) = (bare.load_s, bare.info.clone());
    drop(bare);
    let peak = process::peak_resident_bytes();

    // The daemon takes the format of the backend's choice, so only that can be compared.
    let comparable = arguments.dtype == "auto" || description.dtypes.len() == 1;
    let request_s = if comparable {
        let runtime = tokio::runtime::Runtime::new()?;
        Some(runtime.block_on(request_time(config, directory.path(), &request, arguments.repeats))?)
    } else {
        None
    };
    let report = Report {
        alice: env!("CARGO_PKG_VERSION"),
        device: description.devices.first().map(|device| device.name.clone()),
        backend: description.name,
        backend_version: description.version,
        model: request.model.id.clone(),
        dtype: model.dtype,
        width: request.parameters.rendered_width,
        height: request.parameters.rendered_height,
        steps: request.parameters.steps,
        repeats: arguments.repeats,
        load_s,
        encode_text_s,
        denoise,
        decode_s,
        bare_s,
        request_s,
        host_overhead: request_s.map(|request_s| request_s / bare_s - 1.0),
        peak_mib: peak.map(mebibytes),
        weights_mib: mebibytes(model.memory_bytes),
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{report}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The picture to measure with, checked like everybody's: one row in each pass, one pass in each step.
fn request(config: &mut Config, arguments: &Arguments, directory: &Path) -> anyhow::Result<Request> {
    let mut model = arguments.model.clone();
    if let Some(path) = model.as_deref().map(Path::new).filter(|path| path.exists()) {
        let name = place(path, &directory.join("models"))?;
        config.models = Models { directory: directory.join("models"), ..Models::default() };
        model = Some(format!("sd/{name}"));
    }
    let registry = Registry::discover(&config.models)?;
    let draft = Draft {
        model,
        prompt: PROMPT.to_owned(),
        steps: Some(arguments.steps.into()),
        guidance_scale: Some(1.0),
        scheduler: Some("euler".to_owned()),
        width: arguments.size.map(|(width, _)| width),
        height: arguments.size.map(|(_, height)| height),
        seed: Some(1),
        ..Draft::default()
    };
    Ok(draft.resolve(&registry, config, 1, &Pictures::default())?)
}

/// Makes the model at `path` one of `models`, and gives its name.
fn place(path: &Path, models: &Path) -> anyhow::Result<String> {
    let path = path.canonicalize()?;
    let model = Model::at(&path).with_context(|| format!("`{}` is no model", path.display()))?;
    std::fs::create_dir(models)?;
    std::os::unix::fs::symlink(&path, models.join(path.file_name().unwrap_or_default()))?;
    Ok(model.name)
}

/// A backend's library, which is about to be measured.
struct Opened {
    plugin: Plugin,
    options: Value,
    description: Description,
}

/// The backend that would serve.
fn open(config: &Config) -> anyhow::Result<Opened> {
    let chosen = backends::choose(config)?;
    let options = backends::options(&chosen.path, &config.generation);
    // Its own process, which has answered, ends with `chosen`: this one measures.
    Ok(Opened { plugin: Plugin::open(&chosen.path)?, options, description: chosen.description })
}

fn check_dtype(description: &Description, asked: &str) -> anyhow::Result<()> {
    let known = asked == "auto" || description.dtypes.iter().any(|dtype| dtype == asked);
    let (name, all) = (&description.name, description.dtypes.join(", "));
    anyhow::ensure!(known, "the backend `{name}` does not compute in `{asked}`; it offers: {all}");
    Ok(())
}

/// Median seconds from sending a request to having the whole answer.
async fn request_time(
    config: Config,
    directory: &Path,
    request: &Request,
    repeats: u32,
) -> anyhow::Result<f64> {
    let daemon = Daemon::start(config, directory)?;
    // The first one loads the model.
    daemon.request(request).await?;
    let mut times = Vec::new();
    for _ in 0..repeats {
        times.push(daemon.request(request).await?.as_secs_f64());
    }
    Ok(report::Times::of(times).median_s)
}
