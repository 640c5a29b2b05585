// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The LoRAs and textual inversions of a request: which files its words mean, and whether these suit its model.
//!
//! What is asked for and is not there is an error, never a picture without it. A LoRA of which only a part suits the
//! model is applied as far as it goes, with a warning. A textual inversion for other text encoders is an ordinary word,
//! with a warning: it may have been meant as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use alice_checkpoint::embedding::Embedding;
use alice_checkpoint::lora::Lora as LoraFile;
use alice_checkpoint::{Checkpoint, Layer};
use alice_diffusion::prompt::{Names, Part, Span, parse};
use alice_plugin::Adapter;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::draft::{Parameters, Request};
use crate::engine::{self, Versioned};
use crate::error::{Error, Result};
use crate::models::{EmbeddingEntry, LoraEntry, Model, Registry};

/// How strongly a LoRA may act, either way: beyond this every picture is noise.
const MOST_SCALE: f64 = 10.0;
/// How many names of a file a warning lists, and how many are told beside it, of all files together.
const LISTED: usize = 3;
const MOST_UNMATCHED: usize = 1000;
/// So much of a name is told: files come from strangers, and no network has longer ones.
const LONGEST_NAME: usize = 200;

/// By the ids of LoRAs, the parts of their files that do not suit the model.
pub type Unmatched = BTreeMap<String, Vec<String>>;

/// A LoRA as a client asks for it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(expecting = "an object with `name` and `scale`")]
pub struct LoraWish {
    /// An id or a name.
    #[serde(alias = "id")]
    pub name: String,
    /// How strongly it acts; 1 when nothing is said.
    #[serde(alias = "weight", default = "one")]
    pub scale: f64,
}

fn one() -> f64 {
    1.0
}

/// A LoRA with which a picture is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Its id.
    pub id: String,
    /// How strongly it acts.
    pub scale: f32,
}

impl Lora {
    /// As it stands in a prompt.
    pub fn tag(&self) -> String {
        let name = self.id.strip_prefix("lora/").unwrap_or(&self.id);
        format!("<lora:{name}:{}>", self.scale)
    }
}

/// The LoRAs that are meant by `wishes`, each with the parameter it stands in. One that is asked for more than once has
/// the sum of its scales.
///
/// # Errors
/// [`Error::Lora`] for one that is not there; too many, and scales out of range.
pub fn chosen(
    models: &Registry,
    config: &Config,
    wishes: impl IntoIterator<Item = (&'static str, LoraWish)>,
) -> Result<Vec<Lora>> {
    let mut sums: Vec<(String, f64, &'static str)> = Vec::new();
    for (count, (param, LoraWish { name, scale })) in wishes.into_iter().enumerate() {
        let most = config.limits.loras;
        if count >= most {
            return Err(Error::invalid(param, format!("names more than {most} LoRAs")));
        }
        let id = models.lora(name.trim()).map_err(|error| error.about(param))?.id.clone();
        let place = sums.iter().position(|(known, ..)| *known == id).unwrap_or_else(|| {
            sums.push((id, 0.0, param));
            sums.len() - 1
        });
        sums[place].1 += scale;
        sums[place].2 = param;
    }
    if let Some((id, _, param)) = sums.iter().find(|(_, sum, _)| !(-MOST_SCALE..=MOST_SCALE).contains(sum)) {
        let problem = format!("gives the LoRA `{id}` a weight beyond -{MOST_SCALE} to {MOST_SCALE}");
        return Err(Error::invalid(param, problem));
    }
    Ok(sums.into_iter().map(|(id, scale, _)| Lora { id, scale: scale as f32 }).collect())
}

/// The textual inversions whose names stand in `texts`, and warnings about those that are there and cannot be used.
///
/// # Errors
/// [`Error::Invalid`] about the text whose syntax cannot be read.
pub fn named(models: &Registry, texts: &[(&str, &str)]) -> Result<(Vec<String>, Vec<String>)> {
    let (known, unusable) = (models.embeddings(), models.unusable_embeddings());
    let usable = known.iter().map(|embedding| embedding.name.as_str());
    let names = Names::new(usable.chain(unusable.iter().map(|(name, _)| name.as_str())));
    let (mut found, mut warnings) = (BTreeMap::new(), BTreeMap::new());
    for (param, text) in texts {
        let parts = parse(text).map_err(|error| Error::invalid(param, error.to_string()))?;
        for part in &parts {
            let Part::Text { text, .. } = part else { continue };
            for span in names.split(text) {
                let Span::Name(number) = span else { continue };
                match known.get(number) {
                    Some(embedding) => drop(found.insert(number, embedding.name.clone())),
                    None => {
                        let (name, problem) = &unusable[number - known.len()];
                        warnings.insert(number, as_words(name, problem));
                    }
                }
            }
        }
    }
    Ok((found.into_values().collect(), warnings.into_values().collect()))
}

/// That the name of an embedding is read as what it says.
fn as_words(name: &str, problem: &str) -> String {
    format!("`{name}` is read as ordinary words and not as an embedding: {problem}")
}

/// The files that a request is made with.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// In the order of [`Parameters::loras`].
    pub loras: Vec<Arc<LoraEntry>>,
    /// In the order of [`Parameters::embeddings`].
    pub embeddings: Vec<Arc<EmbeddingEntry>>,
}

impl Files {
    /// Those of `parameters`, by their exact names: another file of a similar name would make another picture.
    ///
    /// # Errors
    /// [`Error::Lora`] and [`Error::Embedding`] for one that is gone.
    pub fn of(models: &Registry, parameters: &Parameters) -> Result<Self> {
        let lora = |lora: &Lora| {
            let found = models.exactly_lora(&lora.id).filter(|found| found.id == lora.id);
            let problem = || "is no longer there".to_owned();
            let param = || "loras".to_owned();
            found.ok_or_else(|| Error::Lora { param: param(), asked: lora.id.clone(), problem: problem() })
        };
        let embedding = |name: &String| {
            let found = models.embedding(name).filter(|found| found.name == *name);
            found.ok_or_else(|| Error::Embedding { name: name.clone(), problem: "is no longer there".into() })
        };
        Ok(Self {
            loras: parameters.loras.iter().map(lora).collect::<Result<_>>()?,
            embeddings: parameters.embeddings.iter().map(embedding).collect::<Result<_>>()?,
        })
    }

    /// The LoRAs for the engine.
    pub fn adapters(&self, parameters: &Parameters) -> Arc<[Versioned<Adapter>]> {
        let pairs = self.loras.iter().zip(&parameters.loras);
        engine::canonical(pairs.map(|(entry, lora)| Versioned {
            what: Adapter { path: entry.path.clone(), scale: lora.scale },
            version: entry.version,
        }))
    }
}

/// The request, after its LoRAs and textual inversions have been held against its model; with warnings about what does
/// not suit it. Reads the heads of files.
///
/// # Errors
/// [`Error::LoraUnusable`] for a file that is no LoRA, or one of another kind of model.
pub async fn check(request: Request) -> Result<Request> {
    if request.files.loras.is_empty() && request.files.embeddings.is_empty() {
        return Ok(request);
    }
    tokio::task::spawn_blocking(move || held_against_model(request)).await.map_err(anyhow::Error::from)?
}

fn held_against_model(mut request: Request) -> Result<Request> {
    let model = Arc::clone(&request.model);
    let unusable =
        |error: alice_checkpoint::Error| Error::Model { id: model.id.clone(), problem: error.to_string() };
    let (mut warnings, mut unmatched) = (Vec::new(), Unmatched::new());
    if !request.files.loras.is_empty() {
        let layers = model.layers()?;
        for lora in &request.files.loras {
            let Some((warning, mut names)) = check_lora(lora, &model, &layers)? else { continue };
            warnings.push(warning);
            let told: usize = unmatched.values().map(Vec::len).sum();
            names.truncate(MOST_UNMATCHED - told);
            unmatched.insert(lora.id.clone(), names);
        }
    }
    if !request.files.embeddings.is_empty() {
        let encoders = Checkpoint::open(&model.path).and_then(|checkpoint| encoders(&checkpoint));
        let encoders = encoders.map_err(unusable)?;
        let Files { embeddings, .. } = &mut request.files;
        embeddings.retain(|embedding| {
            let problem = misfit(embedding, &encoders);
            warnings.extend(problem.as_ref().map(|problem| as_words(&embedding.name, problem)));
            problem.is_none()
        });
        request.parameters.embeddings = embeddings.iter().map(|embedding| embedding.name.clone()).collect();
    }
    request.warnings.extend(warnings);
    request.unmatched = unmatched;
    Ok(request)
}

/// A warning when only a part of the file suits the model, and the names of the other parts.
fn check_lora(lora: &LoraEntry, model: &Model, layers: &[Layer]) -> Result<Option<(String, Vec<String>)>> {
    let unusable = |problem: String| Error::LoraUnusable { id: lora.id.clone(), problem };
    let file = LoraFile::open(&lora.path).map_err(|error| unusable(error.to_string()))?;
    let fit = file.fit(layers);
    if fit.changes.is_empty() {
        let made_for = file.base().map_or_else(String::new, |base| format!(" ({})", base.as_str()));
        let own = model.family.as_str();
        let problem = format!("it is made for another kind of model{made_for} than `{}` ({own})", model.id);
        return Err(unusable(problem));
    }
    Ok((!fit.unmatched.is_empty()).then(|| {
        let told = |name: &String| name.chars().take(LONGEST_NAME).collect::<String>();
        let names: Vec<_> = fit.unmatched.iter().take(MOST_UNMATCHED).map(told).collect();
        let listed: Vec<_> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
        let more = if fit.unmatched.len() > LISTED { ", ..." } else { "" };
        let (left_out, all) = (fit.unmatched.len(), fit.unmatched.len() + fit.changes.len());
        let warning = format!(
            "of `{}` {left_out} of {all} parts do not suit the model and are left out: {}{more}",
            lora.id,
            listed.join(", ")
        );
        (warning, names)
    }))
}

/// What the daemon must know of a text encoder to tell which vectors it reads.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct EncoderConfig {
    hidden_size: usize,
    max_position_embeddings: usize,
}

impl Default for EncoderConfig {
    /// CLIP's, where a configuration leaves them out.
    fn default() -> Self {
        Self { hidden_size: 512, max_position_embeddings: 77 }
    }
}

fn encoders(checkpoint: &Checkpoint) -> std::result::Result<Vec<EncoderConfig>, alice_checkpoint::Error> {
    checkpoint.text_encoders()?.iter().map(|encoder| checkpoint.config(encoder.component)).collect()
}

/// Why these encoders cannot read the embedding; `None` when they can.
fn misfit(embedding: &EmbeddingEntry, encoders: &[EncoderConfig]) -> Option<String> {
    let widths: Vec<_> = encoders.iter().map(|encoder| encoder.hidden_size).collect();
    let room = encoders.iter().map(|encoder| encoder.max_position_embeddings).min()?.saturating_sub(2);
    let file = match Embedding::open(&embedding.path) {
        Ok(file) => file,
        Err(error) => return Some(error.to_string()),
    };
    if file.count() > room {
        return Some(format!("it has {} vectors, and the model reads {room} tokens at a time", file.count()));
    }
    file.rows(&widths).err().map(|error| error.to_string())
}
