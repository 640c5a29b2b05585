// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What its owner says about a model or a LoRA: a small YAML file beside it.
//!
//! Such files are copied from strangers together with the models, so they are read within bounds, and nothing in
//! them but `vae` names another file.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use alice_diffusion::{Prediction, Sampler};
use anyhow::Context;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_yaml::Spanned;

use self::document::{Document, Entry};
use super::defaults::Defaults;
use crate::error::Error;

mod document;

/// The largest file that is read.
pub(super) const MAX_BYTES: u64 = 64 << 10;
/// Collections inside each other in the file; its own keys need two.
const MAX_DEPTH: usize = 16;
/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 1000;
/// Trigger words, and bytes of each.
const MAX_TRIGGERS: usize = 64;
const MAX_TRIGGER_BYTES: usize = 200;
/// Keys of the file.
const KEYS: [&str; 7] =
    ["description", "defaults", "fixed_size", "vae", "prediction_type", "zero_snr", "trigger"];
/// Keys that say something of a LoRA.
const KEYS_OF_LORAS: [&str; 2] = ["description", "trigger"];
/// Keys below `defaults`.
const DEFAULTS: [&str; 6] = ["steps", "guidance_scale", "scheduler", "width", "height", "clip_skip"];
/// Keys of the Python ALICE, whose programs they steer are not here.
const WITHOUT_EFFECT: [&str; 7] =
    ["model_type", "flags", "llm", "llm_vision", "clip_vision", "clip_l", "t5xxl"];

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sidecar {
    /// One sentence for people.
    pub description: Option<String>,
    /// Parameters that a request leaves out.
    pub defaults: Defaults,
    /// The model knows one size only: it renders in that and the picture is enlarged to the size asked for.
    pub fixed_size: bool,
    /// The autoencoder to use instead of the model's own: a path, not yet looked for.
    pub vae: Option<String>,
    /// What the network predicts, where its files do not say so or are wrong.
    pub prediction: Option<Prediction>,
    /// Whether the model was trained down to the last timestep, at which nothing but noise is left.
    pub zero_snr: Option<bool>,
    /// Words that a prompt should have for it to be seen.
    pub trigger: Vec<String>,
}

/// What the file is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A model.
    Model,
    /// A LoRA.
    Lora,
}

/// A file that says something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; 0 where no line can be named.
    pub line: u64,
    /// What is wrong, with the key.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.problem),
            line => write!(f, "line {line}: {}", self.problem),
        }
    }
}

/// What was read, and what is worth a warning.
pub type Read = (Sidecar, Vec<Problem>);

/// Reads the text of a sidecar.
///
/// # Errors
/// The first value that cannot be used, with its line and key.
pub fn parse(text: &str, subject: Subject) -> Result<Read, Problem> {
    if text.len() as u64 > MAX_BYTES {
        return Err(Problem { line: 0, problem: format!("it has more than {MAX_BYTES} bytes") });
    }
    let document: Option<Document> =
        serde_yaml::from_str_with_options(text, options()).map_err(|error| not_yaml(&error))?;
    let mut reader = Reader { subject, sidecar: Sidecar::default(), warnings: Vec::new() };
    for (key, value) in document.unwrap_or_default().0 {
        reader.take(&key, value)?;
    }
    Ok((reader.sidecar, reader.warnings))
}

/// Where the sidecar of a model in a directory of its own may lie, the first that is there counts.
pub(super) fn in_directory(directory: &Path) -> Vec<PathBuf> {
    ["model_config.yaml", "model_config.yml"].map(|name| directory.join(name)).into()
}

/// The same for the file at `path`.
pub(super) fn beside(path: &Path) -> Vec<PathBuf> {
    ["yaml", "yml"].map(|ending| path.with_extension(ending)).into()
}

/// Reads the first file of `places` that is there. With it comes what is worth a warning, ready for the log.
///
/// # Errors
/// A file that cannot be read, or says something wrong: with its path, line and key.
pub(super) fn read(places: &[PathBuf], subject: Subject) -> anyhow::Result<(Sidecar, Vec<String>)> {
    let Some(path) = places.iter().find(|path| fs::symlink_metadata(path).is_ok()) else {
        return Ok((Sidecar::default(), Vec::new()));
    };
    let text = text(path).with_context(|| format!("its `{}` cannot be used", path.display()))?;
    let placed = |Problem { line, problem }: Problem| match line {
        0 => format!("{}: {problem}", path.display()),
        line => format!("{}:{line}: {problem}", path.display()),
    };
    let (sidecar, warnings) = parse(&text, subject).map_err(|problem| anyhow::anyhow!(placed(problem)))?;
    Ok((sidecar, warnings.into_iter().map(placed).collect()))
}

/// The content of a file, which must be a small one.
fn text(path: &Path) -> anyhow::Result<String> {
    // Asked before opening: to open a pipe would wait for its writer.
    anyhow::ensure!(fs::metadata(path)?.is_file(), "it is not a regular file");
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("it is not UTF-8"))
}

/// Stricter than the reader's own, which suit files a thousand times as large.
fn options() -> serde_yaml::Options {
    let mut options = serde_yaml::Options::default();
    if let Some(budget) = &mut options.budget {
        budget.max_depth = MAX_DEPTH;
        budget.max_nodes = 10_000;
        budget.max_events = 20_000;
        budget.max_aliases = 100;
        budget.max_documents = 1;
    }
    options
}

fn not_yaml(error: &serde_yaml::Error) -> Problem {
    let line = error.location().map_or(0, |location| location.line());
    // The reader's sentence may repeat the file's own words, at any length.
    let said = error.without_snippet().to_string();
    Problem { line, problem: format!("it cannot be understood: {}", shown(&said, 300)) }
}

/// Text out of a file, fit for one line of a log.
fn shown(text: &str, most: usize) -> String {
    text.chars().take(most).map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

/// A value, its key and its line.
struct Said<'a> {
    key: &'a str,
    line: u64,
    value: Value,
}

impl Said<'_> {
    fn wrong(&self, what: impl fmt::Display) -> Problem {
        Problem { line: self.line, problem: format!("`{}` {what}", self.key) }
    }

    /// The value as what it must be; `null` is left open.
    fn as_a<T: DeserializeOwned>(&self, what: &str) -> Result<Option<T>, Problem> {
        serde_json::from_value(self.value.clone()).map_err(|_| self.wrong(format_args!("must be {what}")))
    }
}

struct Reader {
    subject: Subject,
    sidecar: Sidecar,
    warnings: Vec<Problem>,
}

impl Reader {
    fn take(&mut self, key: &str, entry: Entry) -> Result<(), Problem> {
        let known: &[&str] = if self.subject == Subject::Lora { &KEYS_OF_LORAS } else { &KEYS };
        let value = match entry {
            Entry::Each(entries) => {
                if !known.contains(&"defaults") {
                    let line = entries.first().map_or(0, |(_, value)| value.referenced.line());
                    self.warn(line, "`defaults` means nothing for a LoRA".to_owned());
                    return Ok(());
                }
                return entries.into_iter().try_for_each(|(key, value)| self.take_default(&key, value));
            }
            Entry::One(value) => value,
        };
        let said = Said { key, line: value.referenced.line(), value: value.value };
        if !known.contains(&key) {
            self.take_unknown(&said, known);
            return Ok(());
        }
        let sidecar = &mut self.sidecar;
        match key {
            "description" => {
                sidecar.description = said.as_a::<String>("text")?;
                let length = sidecar.description.as_ref().map_or(0, |text| text.chars().count());
                if length > MAX_DESCRIPTION {
                    let most = format!("must have at most {MAX_DESCRIPTION} characters, not {length}");
                    return Err(said.wrong(most));
                }
            }
            "fixed_size" => sidecar.fixed_size = said.as_a("true or false")?.unwrap_or_default(),
            "vae" => sidecar.vae = said.as_a::<String>("a path")?.filter(|path| !path.trim().is_empty()),
            "prediction_type" => sidecar.prediction = prediction(&said)?,
            "zero_snr" => sidecar.zero_snr = said.as_a("true or false")?,
            _ => sidecar.trigger = triggers(&said)?,
        }
        Ok(())
    }

    fn take_default(&mut self, key: &str, value: Spanned<Value>) -> Result<(), Problem> {
        let full = format!("defaults.{key}");
        let said = Said { key: &full, line: value.referenced.line(), value: value.value };
        let defaults = &mut self.sidecar.defaults;
        match key {
            "steps" => defaults.steps = said.as_a("a whole number")?,
            "guidance_scale" => defaults.guidance_scale = said.as_a("a number")?,
            "scheduler" => defaults.scheduler = said.as_a("the name of a scheduler")?,
            "width" => defaults.width = said.as_a("a whole number")?,
            "height" => defaults.height = said.as_a("a whole number")?,
            "clip_skip" => defaults.clip_skip = said.as_a("a whole number")?,
            _ => {
                let problem = unknown(&full, &DEFAULTS.map(|known| format!("defaults.{known}")));
                self.warn(said.line, problem);
                return Ok(());
            }
        }
        defaults.check().map_err(|error| match error {
            Error::OutOfRange { range, .. } => said.wrong(format_args!("must be {range}")),
            other => said.wrong(other),
        })?;
        match defaults.scheduler.as_ref().map(|name| name.parse::<Sampler>()) {
            Some(Err(error)) => Err(said.wrong(shown(&error.to_string(), 500))),
            _ => Ok(()),
        }
    }

    fn take_unknown(&mut self, said: &Said<'_>, known: &[&str]) {
        // The configuration that the makers of Stable Diffusion put beside their files has one key, and in it
        // the one thing that the files themselves do not say.
        if said.key == "model" && said.value.get("params").is_some() {
            let parameterization = said.value.pointer("/params/parameterization").and_then(Value::as_str);
            if self.subject == Subject::Model && parameterization == Some("v") {
                self.sidecar.prediction.get_or_insert(Prediction::V);
            }
            return;
        }
        let problem = if WITHOUT_EFFECT.contains(&said.key) {
            format!("`{}` has no effect in this version", said.key)
        } else if KEYS.contains(&said.key) {
            format!("`{}` means nothing for a LoRA", said.key)
        } else {
            unknown(said.key, known)
        };
        self.warn(said.line, problem);
    }

    fn warn(&mut self, line: u64, problem: String) {
        self.warnings.push(Problem { line, problem });
    }
}

fn prediction(said: &Said<'_>) -> Result<Option<Prediction>, Problem> {
    let what = "epsilon, v_prediction or sample";
    let prediction = said.as_a::<Prediction>(what)?;
    match prediction {
        Some(Prediction::Flow) => Err(said.wrong(format_args!("must be {what}"))),
        other => Ok(other),
    }
}

/// One word, or a list of them.
fn triggers(said: &Said<'_>) -> Result<Vec<String>, Problem> {
    let what = "text or a list of texts";
    let words = match &said.value {
        Value::String(word) => vec![word.clone()],
        _ => said.as_a::<Vec<String>>(what)?.unwrap_or_default(),
    };
    if words.len() > MAX_TRIGGERS || words.iter().any(|word| word.len() > MAX_TRIGGER_BYTES) {
        let most = format!("must be at most {MAX_TRIGGERS} texts of {MAX_TRIGGER_BYTES} bytes");
        return Err(said.wrong(most));
    }
    Ok(words.into_iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect())
}

/// The warning about a key that is not one of ours.
fn unknown(key: &str, known: &[impl AsRef<str>]) -> String {
    let known = known.iter().map(AsRef::as_ref);
    let likeness = |known: &&str| strsim::normalized_damerau_levenshtein(key, known);
    let nearest = known.filter(|known| likeness(known) > 0.6);
    let nearest = nearest.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let key = shown(key, 100);
    match nearest {
        Some(nearest) => format!("`{key}` is not a known key; did you mean `{nearest}`?"),
        None => format!("`{key}` is not a known key"),
    }
}

#[cfg(test)]
mod tests;
