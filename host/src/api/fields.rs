// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The fields that all dialects share: how a picture is made, and the pictures that it is made of. The images API has them
//! beside its own, the chat form in an object of their own.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::multipart::As;
use crate::adapters::LoraWish;
use crate::draft::{ControlWish, Draft, HiresWish, Source, Wishes};
use crate::error::{Error, Result};
use crate::inputs::ResizeMode;
use crate::pictures::PrivacyWish;

/// What clients may say; what they leave out is open. Other fields are not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Fields {
    negative_prompt: Option<String>,
    steps: Option<i64>,
    guidance_scale: Option<f64>,
    scheduler: Option<String>,
    clip_skip: Option<i64>,
    guidance_rescale: Option<f64>,
    guidance_interval: Option<[f64; 2]>,
    pub(super) width: Option<i64>,
    pub(super) height: Option<i64>,
    seed: Option<Wide>,
    num_images: Option<i64>,
    loras: Option<Vec<LoraWish>>,
    /// The same in two lists, before `loras`: ids or names, which are no paths.
    lora_paths: Option<Vec<String>>,
    /// By the places of `lora_paths`; 1 where there is none.
    lora_scales: Option<Vec<f64>>,
    /// The picture to begin with, by any of its names: that of OpenAI's forms, its edits in JSON, and the Python ALICE's.
    image: Option<OneOrSeveral>,
    images: Option<Vec<Source>>,
    input_images: Option<Vec<Source>>,
    input_image_urls: Option<Vec<Source>>,
    /// What of it is painted anew.
    pub(super) mask: Option<Source>,
    strength: Option<f64>,
    resize_mode: Option<ResizeMode>,
    mask_blur: Option<f64>,
    mask_invert: Option<bool>,
    only_masked: Option<bool>,
    only_masked_padding: Option<i64>,
    image_guidance_scale: Option<f64>,
    pub(super) controls: Option<Vec<ControlWish>>,
    hires: Option<HiresWish>,
    upscaler: Option<String>,
    /// Who is to see the pictures: `public` or `private`, and for how long.
    privacy: Option<String>,
    expiration_hours: Option<i64>,
}

/// How the field `name` stands in JSON, where a client has written it as a text; as that text if there is no answer.
pub(super) fn kind(name: &str) -> Option<As> {
    match name {
        "steps"
        | "guidance_scale"
        | "clip_skip"
        | "guidance_rescale"
        | "width"
        | "height"
        | "seed"
        | "num_images"
        | "strength"
        | "mask_blur"
        | "only_masked_padding"
        | "image_guidance_scale"
        | "expiration_hours" => Some(As::Number),
        "mask_invert" | "only_masked" => Some(As::Truth),
        "guidance_interval" | "loras" | "lora_scales" | "controls" | "hires" => Some(As::Json),
        "image" | "images" | "input_images" | "input_image_urls" | "lora_paths" => Some(As::List),
        "mask" | "resize_mode" | "scheduler" | "upscaler" | "privacy" => Some(As::Word),
        _ => None,
    }
}

impl Fields {
    /// Our names of parameters, and what this request calls them. A picture to begin with may stand `elsewhere`, in none
    /// of the fields.
    pub(super) fn names(&self, elsewhere: Option<&'static str>) -> [(&'static str, &'static str); 2] {
        let loras = if self.lora_paths.is_some() { "lora_paths" } else { "loras" };
        let fields = [
            ("input_images", self.input_images.as_deref()),
            ("input_image_urls", self.input_image_urls.as_deref()),
            ("images", self.images.as_deref()),
            ("image", self.image.as_ref().map(|OneOrSeveral(pictures)| pictures.as_slice())),
        ];
        [("loras", loras), ("image", name_of_picture(fields, elsewhere))]
    }

    /// The draft of a request with these fields, without model and prompt. `beside` are pictures to begin with that
    /// stand elsewhere in the request.
    ///
    /// # Errors
    /// Names the first field that is too long.
    pub(super) fn into_draft(mut self, beside: impl IntoIterator<Item = Source>) -> Result<Draft> {
        let (image, loras) = (self.take_image(beside)?, self.take_loras()?);
        Ok(Draft {
            negative_prompt: self.negative_prompt,
            steps: self.steps,
            guidance_scale: self.guidance_scale,
            scheduler: self.scheduler,
            clip_skip: self.clip_skip,
            guidance_rescale: self.guidance_rescale,
            guidance_interval: self.guidance_interval,
            width: self.width,
            height: self.height,
            seed: self.seed.map(|Wide(seed)| seed),
            count: self.num_images,
            loras,
            image,
            mask: self.mask,
            wishes: Wishes {
                strength: self.strength,
                resize_mode: self.resize_mode,
                mask_blur: self.mask_blur,
                mask_invert: self.mask_invert,
                only_masked: self.only_masked,
                only_masked_padding: self.only_masked_padding,
                image_guidance_scale: self.image_guidance_scale,
                controls: self.controls.unwrap_or_default(),
                hires: self.hires,
                upscaler: self.upscaler,
                wordless: false,
            },
            privacy: PrivacyWish { privacy: self.privacy, expiration_hours: self.expiration_hours },
            ..Draft::default()
        })
    }

    fn take_image(&mut self, beside: impl IntoIterator<Item = Source>) -> Result<Option<Source>> {
        let one = self.image.take().map(|OneOrSeveral(pictures)| pictures);
        let lists = [self.input_images.take(), self.input_image_urls.take(), self.images.take(), one];
        one_picture(lists.into_iter().flatten().flatten().chain(beside))
    }

    fn take_loras(&mut self) -> Result<Vec<LoraWish>> {
        let paths = self.lora_paths.take().unwrap_or_default();
        let scales = self.lora_scales.take().unwrap_or_default();
        if scales.len() > paths.len() {
            return Err(Error::out_of_range("lora_scales", "no longer than `lora_paths`"));
        }
        let scales = scales.into_iter().chain(std::iter::repeat(1.0));
        let wishes = paths.into_iter().zip(scales).map(|(name, scale)| LoraWish { name, scale });
        Ok(wishes.chain(self.loras.take().unwrap_or_default()).collect())
    }
}

/// What a request calls its picture: the first of `fields` that holds one, else the place `elsewhere` in which it may
/// stand, else the first that is there, and holds none.
pub(super) fn name_of_picture(
    fields: [(&'static str, Option<&[Source]>); 4],
    elsewhere: Option<&'static str>,
) -> &'static str {
    let first = |is_it: fn(&[Source]) -> bool| {
        fields.iter().find(|(_, pictures)| pictures.is_some_and(is_it)).map(|(name, _)| *name)
    };
    let holding = first(|pictures| !pictures.is_empty());
    holding.or(elsewhere).or_else(|| first(|_| true)).unwrap_or("image")
}

/// The only one of `pictures`, if there is one.
///
/// # Errors
/// Names `image` when there are several: a picture that silently lacks some of what it was to be made of would be worse.
pub(super) fn one_picture(pictures: impl IntoIterator<Item = Source>) -> Result<Option<Source>> {
    let mut pictures = pictures.into_iter();
    let first = pictures.next();
    match pictures.count() {
        0 => Ok(first),
        more => {
            let problem = format!("holds {} pictures, and one can be taken", more + 1);
            Err(Error::invalid("image", problem))
        }
    }
}

/// A whole number that may be larger than the others.
#[derive(Debug)]
struct Wide(i128);

impl<'de> Deserialize<'de> for Wide {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Digits)
    }
}

/// Asked for such a number, the parser takes its digits alone and finds what follows them, as in `1.5`, in its way.
struct Digits;

impl Visitor<'_> for Digits {
    type Value = Wide;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> std::result::Result<Wide, E> {
        Ok(Wide(number.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> std::result::Result<Wide, E> {
        Ok(Wide(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> std::result::Result<Wide, E> {
        // So the parser hands over what 64 bits do not hold: it is known to be too large, however large it is.
        if number.fract() == 0.0 && number.abs() >= 2_f64.powi(63) {
            return Ok(Wide(number as i128));
        }
        Err(E::invalid_type(Unexpected::Float(number), &self))
    }
}

/// A picture, or a list of them.
#[derive(Debug)]
pub(super) struct OneOrSeveral(pub(super) Vec<Source>);

impl<'de> Deserialize<'de> for OneOrSeveral {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Pictures)
    }
}

/// Tells the two apart by what they begin with, so that what is wrong with a picture is said in the words for pictures.
struct Pictures;

impl<'de> Visitor<'de> for Pictures {
    type Value = OneOrSeveral;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("base64, a data URL, an object with `image_url`, or a list of such")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<OneOrSeveral, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> std::result::Result<OneOrSeveral, E> {
        Ok(OneOrSeveral(vec![Source::of(text)]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<OneOrSeveral, A::Error> {
        let picture = Source::deserialize(MapAccessDeserializer::new(map));
        picture.map(|picture| OneOrSeveral(vec![picture]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> std::result::Result<OneOrSeveral, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(OneOrSeveral)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_called_by_the_field_that_holds_it_and_not_by_one_that_is_empty() {
        let name = |json: &str, elsewhere| {
            let fields: Fields = serde_json::from_str(json).unwrap();
            fields.names(elsewhere)[1].1
        };
        assert_eq!(name(r#"{"input_images": [], "image": "aGk="}"#, None), "image");
        assert_eq!(name(r#"{"input_images": ["aGk="], "image": "aGk="}"#, None), "input_images");
        assert_eq!(name(r#"{"input_images": []}"#, None), "input_images");
        assert_eq!(name(r#"{"input_images": []}"#, Some("messages")), "messages");
        assert_eq!(name("{}", None), "image");
    }
}
