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
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_yaml::Spanned;
use tracing::warn;

use super::defaults::Defaults;
use crate::error::Error;

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

/// Reads the first file of `places` that is there. What is worth a warning goes to the log.
///
/// # Errors
/// A file that cannot be read, or says something wrong: with its path, line and key.
pub(super) fn read(places: &[PathBuf], subject: Subject) -> anyhow::Result<Sidecar> {
    let Some(path) = places.iter().find(|path| fs::symlink_metadata(path).is_ok()) else {
        return Ok(Sidecar::default());
    };
    let text = text(path).with_context(|| format!("its `{}` cannot be used", path.display()))?;
    let (sidecar, warnings) = parse(&text, subject)
        .map_err(|problem| anyhow::anyhow!("{}:{}: {}", path.display(), problem.line, problem.problem))?;
    for warning in warnings {
        warn!("{}:{}: {}", path.display(), warning.line, warning.problem);
    }
    Ok(sidecar)
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

/// The keys of the file in their order.
#[derive(Default)]
struct Document(Vec<(String, Entry)>);

enum Entry {
    /// One value.
    One(Spanned<Value>),
    /// `defaults`.
    Each(Vec<(String, Spanned<Value>)>),
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let entry = match key.as_str() {
                        "defaults" => Entry::Each(map.next_value::<Option<Entries>>()?.unwrap_or_default().0),
                        _ => Entry::One(map.next_value()?),
                    };
                    entries.push((key, entry));
                }
                Ok(Document(entries))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// The keys below `defaults`.
#[derive(Default)]
struct Entries(Vec<(String, Spanned<Value>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("parameters with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Keys)
    }
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
        let checked = Defaults { scheduler: None, ..defaults.clone() }.check();
        checked.map_err(|error| match error {
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
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Read, Problem> {
        parse(text, Subject::Model)
    }

    fn complaint(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    fn warnings(text: &str, subject: Subject) -> Vec<String> {
        let (_, warnings) = parse(text, subject).unwrap();
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_that_can_be_said_is_read() {
        let text = "description: For trees\nfixed_size: true\nvae: vae/better.safetensors\n\
            prediction_type: v_prediction\nzero_snr: true\ntrigger: [oak, ' elm ']\n\
            defaults:\n  steps: 8\n  guidance_scale: 1\n  scheduler: euler\n  width: 768\n  height: 512\n  clip_skip: 1\n";
        let (sidecar, warnings) = read(text).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(sidecar.description.as_deref(), Some("For trees"));
        assert!(sidecar.fixed_size);
        assert_eq!(sidecar.vae.as_deref(), Some("vae/better.safetensors"));
        assert_eq!((sidecar.prediction, sidecar.zero_snr), (Some(Prediction::V), Some(true)));
        assert_eq!(sidecar.trigger, ["oak", "elm"]);
        let defaults = Defaults {
            steps: Some(8),
            guidance_scale: Some(1.0),
            scheduler: Some("euler".into()),
            width: Some(768),
            height: Some(512),
            clip_skip: Some(1),
        };
        assert_eq!(sidecar.defaults, defaults);
    }

    #[test]
    fn nothing_said_is_nothing_meant() {
        for text in ["", "# nothing\n", "~", "defaults:\n", "description: null\nvae: ''\ntrigger:\n"] {
            assert_eq!(read(text).unwrap(), (Sidecar::default(), Vec::new()), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_value_names_line_and_key() {
        for (text, wanted) in [
            ("fixed_size: 3", "line 1: `fixed_size` must be true or false"),
            ("a: 1\ndefaults:\n  steps: 0\n", "line 3: `defaults.steps` must be 1 to 150, not 0"),
            (
                "defaults:\n  width: 4294967288\n",
                "line 2: `defaults.width` must be 64 to 2048, not 4294967288",
            ),
            ("defaults:\n  steps: many\n", "line 2: `defaults.steps` must be a whole number"),
            ("defaults:\n  guidance_scale: .nan\n", "line 2: it cannot be understood"),
            ("defaults:\n  scheduler: quantum\n", "line 2: `defaults.scheduler`"),
            ("vae: [1]\n", "line 1: `vae` must be a path"),
            (
                "prediction_type: velocity\n",
                "line 1: `prediction_type` must be epsilon, v_prediction or sample",
            ),
            ("prediction_type: flow_prediction\n", "line 1: `prediction_type` must be epsilon"),
            ("trigger: {a: 1}\n", "line 1: `trigger` must be text or a list of texts"),
            ("defaults: 5\n", "line 1: it cannot be understood"),
            ("- a list\n", "line 1: it cannot be understood"),
            ("a: [1\n", "it cannot be understood"),
        ] {
            let complaint = complaint(text);
            assert!(complaint.contains(wanted), "{complaint}");
        }
    }

    #[test]
    fn an_unknown_key_is_a_warning_that_names_the_nearest() {
        assert_eq!(
            warnings("descripton: x\ndefaults: {step: 3}\nqqq: 1\n", Subject::Model),
            [
                "line 1: `descripton` is not a known key; did you mean `description`?",
                "line 2: `defaults.step` is not a known key; did you mean `defaults.steps`?",
                "line 3: `qqq` is not a known key",
            ]
        );
    }

    #[test]
    fn keys_of_the_python_alice_and_keys_of_models_beside_loras_are_told_apart() {
        assert_eq!(
            warnings("model_type: qwen\nflags: [--x]\nllm: y.gguf\n", Subject::Model),
            [
                "line 1: `model_type` has no effect in this version",
                "line 2: `flags` has no effect in this version",
                "line 3: `llm` has no effect in this version",
            ]
        );
        assert_eq!(
            warnings("trigger: elm\nvae: x\ndefaults: {steps: 1}\n", Subject::Lora),
            ["line 2: `vae` means nothing for a LoRA", "line 3: `defaults` means nothing for a LoRA"]
        );
    }

    #[test]
    fn the_configuration_of_the_models_makers_says_one_thing() {
        let text = "model:\n  target: ldm.models.diffusion.ddpm.LatentDiffusion\n  params:\n    parameterization: v\n";
        let (sidecar, warnings) = read(text).unwrap();
        assert_eq!((sidecar.prediction, warnings), (Some(Prediction::V), Vec::new()));
    }

    #[test]
    fn what_is_too_large_or_too_deep_is_refused_in_one_line() {
        let laughs = (0..9).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            let list = vec![format!("*a{n}"); 9].join(", ");
            format!("{text}a{}: &a{} [{list}]\n", n + 1, n + 1)
        });
        for text in [
            format!("description: {}", "x".repeat(1001)),
            "x".repeat(70_000),
            format!("description: {}", "[".repeat(10_000)),
            format!("x: {}{}", "[".repeat(30), "]".repeat(30)),
            laughs,
            format!("trigger: [{}]", "a, ".repeat(100)),
        ] {
            let complaint = complaint(&text);
            assert!(complaint.len() < 1000 && !complaint.contains('\n'), "{complaint}");
        }
    }
}
