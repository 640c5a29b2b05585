// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What there is to choose from in the form: models with their families, sizes by what models were trained on, LoRAs,
//! samplers and the rest.

use alice_checkpoint::Family;
use alice_diffusion::Sampler;

use super::fields::Fields;
use crate::api::models;
use crate::app::App;
use crate::models::{LoraEntry, Model};
use crate::pages::badge;
use crate::pages::bytes::Bytes;

/// A model of a fixed small size is offered at this multiple of it: pictures one can look at.
pub(super) const ENLARGEMENT: u32 = 4;
/// The size of the picture to begin with, among the sizes.
pub(super) const LIKE_PICTURE: &str = "picture";
/// How the picture comes to another shape.
pub(super) const RESIZE_MODES: &[(&str, &str)] =
    &[("crop", "cut off what stands out"), ("fit", "fill up what is missing"), ("stretch", "stretch")];
/// Where the slider stands at first: where it counts as not moved.
pub(super) const STRENGTH: &str = "0.75";
/// How much larger a second run may be.
const LARGER: &[(&str, &str)] = &[("", "as painted"), ("1.5", "1.5 × larger"), ("2", "2 × larger")];
/// Who may see the pictures: the hours for which everybody may.
const SHARES: &[(&str, &str)] = &[
    ("", "only me"),
    ("24", "everybody, for a day"),
    ("48", "everybody, for 2 days"),
    ("72", "everybody, for 3 days"),
    ("168", "everybody, for a week"),
];
/// Numbers of pictures that fill a grid.
const COUNTS: &[u32] = &[1, 2, 3, 4, 6, 8, 9, 12, 16];

/// One option of a list.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) label: String,
    pub(super) selected: bool,
}

/// A model as the form offers it.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) badge: &'static str,
    /// Size on the disk, and what else is worth knowing.
    pub(super) about: String,
    pub(super) selected: bool,
    /// The sizes that suit it: the label of a [`Shapes`].
    pub(super) shapes: String,
    /// Its family, as LoRAs name theirs.
    pub(super) family: &'static str,
}

/// Sizes that suit models of one kind.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) label: String,
    pub(super) sizes: Vec<Choice>,
}

/// A LoRA as the form offers it.
#[derive(Debug)]
pub(super) struct OfferedLora {
    pub(super) id: String,
    pub(super) name: String,
    /// The badge of the models that it was made for, where its file tells.
    pub(super) badge: Option<&'static str>,
    /// Their family.
    pub(super) family: &'static str,
    /// Whether it suits the chosen model.
    pub(super) suits: bool,
    /// Words that the prompt should have.
    pub(super) trigger: String,
    pub(super) weight: String,
}

/// The models. The chosen one, else the default one, is selected.
pub(super) fn offered_models(app: &App, fields: &Fields) -> Vec<Offered> {
    let default = app.models.default_model();
    let chosen = app.models.find(super::fields::given(&fields.model)).ok().or_else(|| default.clone());
    let offered = |model: &Model| {
        let is_default = default.as_ref().is_some_and(|default| default.id == model.id);
        let mut about = Bytes(model.size_bytes).to_string();
        if is_default {
            about += " · the usual one";
        }
        if model.needs_picture {
            about += " · paints over a picture";
        }
        Offered {
            id: model.id.clone(),
            name: model.name.clone(),
            badge: badge(model.family),
            about,
            selected: chosen.as_ref().is_some_and(|chosen| chosen.id == model.id),
            shapes: shapes_of(model),
            family: model.family.as_str(),
        }
    };
    app.models.all().iter().map(|model| offered(model)).collect()
}

/// What the sizes of a model are called: models with the same name have the same.
fn shapes_of(model: &Model) -> String {
    match model.sidecar.fixed_size {
        true => format!("{}, always {} × {}", badge(model.family), model.native_size, model.native_size),
        false => format!("{}, trained on {}", badge(model.family), model.native_size),
    }
}

/// The sizes for each kind of model that there is.
pub(super) fn shapes(app: &App, fields: &Fields) -> Vec<Shapes> {
    let mut all: Vec<Shapes> = Vec::new();
    for model in app.models.all() {
        let label = shapes_of(&model);
        if all.iter().any(|shapes| shapes.label == label) {
            continue;
        }
        let native = model.native_size;
        let sizes: Vec<(u32, u32, String)> = match model.sidecar.fixed_size {
            true => [ENLARGEMENT, 1, 2 * ENLARGEMENT]
                .map(|times| {
                    let how =
                        if times == 1 { "as painted".to_owned() } else { format!("{times} times larger") };
                    (native * times, native * times, how)
                })
                .to_vec(),
            false => models::sizes(&model)
                .into_iter()
                .map(|(width, height, shape)| (width, height, shape.to_lowercase()))
                .collect(),
        };
        let option = |(width, height, how): (u32, u32, String)| {
            let value = format!("{width}x{height}");
            let selected = value == fields.size;
            Choice { value, label: format!("{width} × {height}, {how}"), selected }
        };
        all.push(Shapes { label, sizes: sizes.into_iter().map(option).collect() });
    }
    all
}

/// The sizes that are no model's: what the model likes best, that of the picture to begin with, and what was chosen
/// before and is in no list.
pub(super) fn other_sizes(fields: &Fields, shapes: &[Shapes]) -> Vec<Choice> {
    let mut sizes = vec![choice("", "what suits the model".into(), &fields.size)];
    let like_picture = fields.size == LIKE_PICTURE || (fields.size.is_empty() && !fields.source.is_empty());
    sizes.push(Choice {
        value: LIKE_PICTURE.to_owned(),
        label: "like the picture to begin with".to_owned(),
        selected: like_picture,
    });
    let listed = shapes.iter().flat_map(|shapes| &shapes.sizes).any(|size| size.selected);
    let sides = fields.size.split_once('x').and_then(|(width, height)| {
        Some((width.trim().parse::<u32>().ok()?, height.trim().parse::<u32>().ok()?))
    });
    if let Some((width, height)) = sides.filter(|_| !listed) {
        let value = format!("{width}x{height}");
        sizes.push(Choice { value, label: format!("{width} × {height}"), selected: true });
    }
    sizes
}

/// The LoRAs: those that suit the chosen model first.
pub(super) fn loras(app: &App, fields: &Fields) -> Vec<OfferedLora> {
    let model = app.models.find(super::fields::given(&fields.model)).ok();
    let offered = |lora: &LoraEntry| OfferedLora {
        id: lora.id.clone(),
        name: lora.name.clone(),
        badge: lora.base.map(badge),
        family: lora.base.map_or("", Family::as_str),
        suits: lora.base.is_none_or(|base| model.as_ref().is_none_or(|model| model.family == base)),
        trigger: lora.trigger.join(", "),
        weight: fields.weight(&lora.id),
    };
    let mut loras: Vec<_> = app.models.loras().iter().map(|lora| offered(lora)).collect();
    loras.sort_by_key(|lora| !lora.suits);
    loras
}

pub(super) fn schedulers(app: &App, chosen: &str) -> Vec<Choice> {
    let models = app.models.all();
    let fits_a_model = |sampler: &Sampler| models.iter().any(|model| sampler.fits(&model.scheduler));
    let named = Sampler::listed().filter(fits_a_model).map(|sampler| {
        let label = match sampler.schedule_label() {
            "Automatic" => sampler.label().to_owned(),
            schedule => format!("{} {schedule}", sampler.label()),
        };
        choice(&sampler.name(), label, chosen)
    });
    let mut all: Vec<_> =
        std::iter::once(choice("", "the model's own".into(), chosen)).chain(named).collect();
    // One with another noise schedule than those of the list, as a picture may carry it.
    if !all.iter().any(|choice| choice.selected)
        && let Ok(other) = chosen.parse::<Sampler>()
    {
        let label = format!("{} {}", other.label(), other.schedule_label());
        all.push(Choice { value: chosen.to_owned(), label, selected: true });
    }
    all
}

pub(super) fn upscalers(app: &App, chosen: &str) -> Vec<Choice> {
    let upscalers = app.models.upscalers();
    let named = upscalers
        .iter()
        .map(|upscaler| choice(&upscaler.id, format!("{} ({} ×)", upscaler.name, upscaler.scale), chosen));
    std::iter::once(choice("", "none".into(), chosen)).chain(named).collect()
}

/// Numbers of pictures.
pub(super) fn counts(chosen: &str) -> Vec<Choice> {
    COUNTS.iter().map(|count| choice(&count.to_string(), count.to_string(), chosen)).collect()
}

/// How much larger a second run may be.
pub(super) fn larger(chosen: &str) -> Vec<Choice> {
    let mut all = listed(LARGER, chosen);
    // As a picture may have been made that carries its settings.
    if !all.iter().any(|choice| choice.selected) && chosen.parse::<f64>().is_ok() {
        all.push(choice(chosen, format!("{chosen} × larger"), chosen));
    }
    all
}

/// How the picture comes to another shape.
pub(super) fn resize_modes(chosen: &str) -> Vec<Choice> {
    listed(RESIZE_MODES, chosen)
}

/// Who may see the pictures.
pub(super) fn shares(chosen: &str) -> Vec<Choice> {
    listed(SHARES, chosen)
}

fn listed(list: &[(&str, &str)], chosen: &str) -> Vec<Choice> {
    list.iter().map(|(value, label)| choice(value, (*label).to_owned(), chosen)).collect()
}

fn choice(value: &str, label: String, chosen: &str) -> Choice {
    Choice { value: value.to_owned(), label, selected: value == chosen }
}
