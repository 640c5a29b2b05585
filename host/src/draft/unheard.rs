// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What a client has asked for to no effect. That is no error, because clients send their usual settings along with
//! everything, but it is told: somebody may wait for what does not come.

use super::Pictures;
use super::wishes::{FEWEST_STEPS, Wishes};
use crate::inputs::Input;
use crate::models::{Model, Takes};

/// The parameters among `wishes` that do nothing for a request with these pictures, as warnings. `steps` are those
/// that its client has asked for.
pub(super) fn unheard(
    wishes: &Wishes,
    model: &Model,
    pictures: &Pictures<Input>,
    steps: Option<i64>,
) -> Vec<String> {
    let mut unheard = match (&pictures.image, &pictures.mask) {
        (None, _) => {
            let of_picture = [
                ("strength", wishes.strength.is_some()),
                ("resize_mode", wishes.resize_mode.is_some()),
                ("image_guidance_scale", wishes.image_guidance_scale.is_some()),
            ];
            without("there is no picture to begin with", of_picture.into_iter().chain(of_mask(wishes)))
        }
        (Some(_), None) => without("there is no `mask`", of_mask(wishes)),
        (Some(_), Some(_)) if wishes.only_masked == Some(true) => {
            let reason = "of the picture only the masked region is rendered";
            without(reason, [("resize_mode", wishes.resize_mode.is_some())])
        }
        (Some(_), Some(_)) => without(
            "it is for `only_masked`",
            [("only_masked_padding", wishes.only_masked_padding.is_some())],
        ),
    };
    if pictures.image.is_some() {
        unheard.extend(by_model(wishes, model));
    }
    unheard.extend(too_few(wishes, model, pictures, steps));
    unheard
}

/// Those that are about a mask, and whether they ask for anything.
fn of_mask(wishes: &Wishes) -> [(&'static str, bool); 4] {
    [
        ("mask_blur", wishes.mask_blur.is_some()),
        ("mask_invert", wishes.mask_invert == Some(true)),
        ("only_masked", wishes.only_masked == Some(true)),
        ("only_masked_padding", wishes.only_masked_padding.is_some()),
    ]
}

/// Those that mean nothing to the model.
fn by_model(wishes: &Wishes, model: &Model) -> Vec<String> {
    let name = &model.name;
    match model.takes {
        Takes::Picture => {
            let reason = format!("`{name}` sees the picture at every step and begins with noise alone");
            without(&reason, [("strength", wishes.strength.is_some())])
        }
        _ => {
            let reason = format!("`{name}` does not change pictures as it is told");
            without(&reason, [("image_guidance_scale", wishes.image_guidance_scale.is_some())])
        }
    }
}

/// Numbers of steps of which a usual strength would leave none.
fn too_few(wishes: &Wishes, model: &Model, pictures: &Pictures<Input>, steps: Option<i64>) -> Vec<String> {
    let first = steps.filter(|_| wishes.is_usual(model, pictures));
    let second = wishes.hires.as_ref().filter(|hires| hires.strength.is_none());
    // Where nobody says how many, they are the first run's.
    let second = second.and_then(|hires| hires.steps.or(steps));
    let asked = [("steps", first, "strength"), ("hires.steps", second, "hires.strength")];
    let raised =
        asked.into_iter().filter(|(_, steps, _)| steps.is_some_and(|steps| steps < FEWEST_STEPS.into()));
    let told = |(param, _, strength)| {
        format!("`{param}` is {FEWEST_STEPS}: of fewer, no step is left where `{strength}` is not said")
    };
    raised.map(told).collect()
}

/// Warnings about those parameters that were given.
fn without<'a>(reason: &str, parameters: impl IntoIterator<Item = (&'a str, bool)>) -> Vec<String> {
    let given = parameters.into_iter().filter(|(_, given)| *given);
    given.map(|(param, _)| format!("`{param}` has no effect: {reason}")).collect()
}
