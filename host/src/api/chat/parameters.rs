// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The parameters of the chat form: those of `sam_config`, and where it is silent those of `metadata`. OpenAI defines the
//! latter as free pairs of texts, so that there every value may be a text, and what cannot be read is somebody else's
//! business: it is left out, with a warning.

use serde::Deserialize;
use serde_json::{Map, Number, Value};

use crate::api::fields::{self, Fields};
use crate::api::json;
use crate::api::multipart::{self, As};
use crate::error::{Error, Result};

/// What cannot be left out of `metadata`: the picture would silently be another one.
const NEEDED: &[&str] =
    &["lora_paths", "lora_scales", "loras", "input_images", "input_image_urls", "mask", "controls", "hires"];
/// Names of the images API that may mean anything in `metadata`.
const NOT_OURS: &[&str] = &["image", "images"];

/// What both say, with warnings about what of `metadata` is left out.
///
/// # Errors
/// A field of `config` that cannot be read, and one of `metadata` that must not be left out.
pub(super) fn read(
    config: Option<Map<String, Value>>,
    metadata: Option<Value>,
) -> Result<(Fields, Vec<String>)> {
    let mut config = config.unwrap_or_default();
    config.retain(|_, value| !value.is_null());
    let (mut said, mut warnings) = (Map::new(), Vec::new());
    for (name, value) in of_metadata(metadata) {
        // Scales belong to the paths beside them.
        let other = if name == "lora_scales" { "lora_paths" } else { &name };
        if config.contains_key(&name) || config.contains_key(other) {
            continue;
        }
        match readable(&name, value) {
            Some(field) => said.extend(field),
            None if NEEDED.contains(&name.as_str()) => {
                return Err(Error::invalid(&name, "cannot be read: it is not of the kind that it should be"));
            }
            None => warnings.push(format!("`{name}` in `metadata` cannot be read and is left out")),
        }
    }
    said.extend(config);
    Ok((json::understood(Value::Object(said))?, warnings))
}

/// The fields of `metadata` that may be ours.
fn of_metadata(metadata: Option<Value>) -> impl Iterator<Item = (String, Value)> {
    let Some(Value::Object(fields)) = metadata else { return Map::new().into_iter() };
    let ours = |name: &str, value: &Value| !NOT_OURS.contains(&name) && !value.is_null();
    fields.into_iter().filter(|(name, value)| ours(name, value)).collect::<Map<_, _>>().into_iter()
}

/// The field as it stands in JSON, if it can be read.
fn readable(name: &str, value: Value) -> Option<Map<String, Value>> {
    let value = match value {
        Value::String(text) => multipart::value(name, text, fields::kind(name)).ok()?,
        other => other,
    };
    let field = Value::Object(Map::from_iter([(name.to_owned(), loosely(name, value))]));
    Fields::deserialize(&field).ok()?;
    match field {
        Value::Object(field) => Some(field),
        _ => None,
    }
}

/// The value of a field with numbers in the place of texts, and lists in that of their only entries.
fn loosely(name: &str, value: Value) -> Value {
    match (name, value) {
        ("lora_scales", Value::Array(scales)) => scales.into_iter().map(number).collect(),
        ("lora_scales", scale) => vec![number(scale)].into(),
        ("loras", Value::Array(loras)) => loras.into_iter().map(with_scale).collect(),
        // A client that has no picture may leave its place empty.
        (_, Value::Array(mut texts)) if fields::kind(name) == Some(As::List) => {
            texts.retain(|text| text != "");
            texts.into()
        }
        (_, number @ Value::Number(_)) => whole(number),
        (_, other) => other,
    }
}

/// A LoRA whose scale may be a text.
fn with_scale(mut lora: Value) -> Value {
    for name in ["scale", "weight"] {
        if let Some(scale) = lora.get_mut(name) {
            *scale = number(scale.take());
        }
    }
    lora
}

/// The number that a text is.
fn number(value: Value) -> Value {
    match value.as_str().map(|text| text.trim().parse::<Number>()) {
        Some(Ok(number)) => Value::Number(number),
        _ => value,
    }
}

/// A whole number also where it was written with a point.
fn whole(number: Value) -> Value {
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() < 9e15 => (value as i64).into(),
        _ => number,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(config: Value, metadata: Value) -> (crate::draft::Draft, Vec<String>) {
        let (fields, warnings) = read(config.as_object().cloned(), Some(metadata)).unwrap();
        (fields.into_draft([]).unwrap(), warnings)
    }

    #[test]
    fn metadata_speaks_where_the_configuration_is_silent_and_may_speak_in_texts() {
        let config = json!({"steps": 4, "seed": null, "lora_paths": ["a"]});
        let metadata = json!({
            "steps": "9", "seed": "7", "strength": 1, "width": 64.0, "hires": "{\"scale\": 2}", "only_masked": "True",
            "lora_scales": "[\"0.5\"]", "input_images": ["", "aGk="], "guidance_interval": "[0, 0.5]", "image": 5,
        });
        let (draft, warnings) = draft(config, metadata);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!((draft.steps, draft.seed, draft.width), (Some(4), Some(7), Some(64)));
        assert_eq!((draft.wishes.strength, draft.wishes.only_masked), (Some(1.0), Some(true)));
        assert_eq!(draft.guidance_interval, Some([0.0, 0.5]));
        assert_eq!(draft.wishes.hires.unwrap().scale, Some(2.0));
        assert_eq!(draft.loras[0].scale, 1.0, "the scale is another list's");
        assert!(draft.image.is_some());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let (draft, warnings) =
            draft(json!({}), json!({"strength": "much", "steps": [], "mood": "calm", "seed": 1}));
        assert_eq!((draft.wishes.strength, draft.steps, draft.seed), (None, None, Some(1)));
        let told = [
            "`steps` in `metadata` cannot be read and is left out",
            "`strength` in `metadata` cannot be read and is left out",
        ];
        assert_eq!(warnings, told);
        for field in NEEDED {
            let refused = read(None, Some(json!({*field: 7.5}))).map(|_| ());
            // The only one that may be a number.
            assert_eq!(refused.is_ok(), *field == "lora_scales", "{field}");
            if let Err(refused) = refused {
                assert!(refused.to_string().starts_with(&format!("`{field}` cannot be read")), "{refused}");
            }
        }
    }
}
