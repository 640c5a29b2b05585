// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! `GET /guide`: how to ask for pictures, by what the model is, with examples that ALICE has made itself.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::{Frame, Place, Visit, encoded};

/// The page.
#[derive(Template)]
#[template(path = "guide.html")]
struct Page {
    frame: Frame,
    subjects: Vec<Example>,
    seeds: Vec<Example>,
    steps: Vec<Example>,
    guidance: Vec<Example>,
}

/// A picture that the built-in model has made, and the way to make it again.
struct Example {
    picture: String,
    /// What it shows, where the words below it do not say so.
    shows: &'static str,
    /// What is worth knowing of how it was made.
    how: String,
    /// The form, filled in.
    address: String,
}

impl Example {
    /// The picture in the file `name`, made from `prompt` with a setting and its value. `docs/guide.py` makes them.
    fn new(name: &str, prompt: &'static str, setting: Option<(&str, &str, &str)>) -> Self {
        let mut address = format!("/?model=sd%2Falice-emoji&prompt={}", encoded(prompt));
        if let Some((field, _, value)) = setting {
            address += &format!("&{field}={value}");
        }
        if setting.is_none_or(|(field, ..)| field != "seed") {
            address += "&seed=7";
        }
        Self {
            picture: format!("/static/guide-{name}.webp"),
            shows: if setting.is_some() { prompt } else { "" },
            how: setting.map_or_else(|| prompt.to_owned(), |(_, words, value)| format!("{words} {value}")),
            address,
        }
    }
}

/// The page.
pub async fn show(visit: Visit) -> Response {
    let plain = |name, prompt| Example::new(name, prompt, None);
    let page = Page {
        frame: visit.frame().at(Place::Guide),
        subjects: vec![
            plain("apple", "a red apple"),
            plain("fox", "a fox"),
            plain("cake", "a birthday cake"),
            plain("rocket", "flat emoji of a rocket"),
        ],
        seeds: vec![
            Example::new("seed-1", "a flower", Some(("seed", "Seed", "1"))),
            Example::new("seed-2", "a flower", Some(("seed", "Seed", "4"))),
        ],
        steps: vec![
            Example::new("steps-1", "a strawberry", Some(("steps", "Steps", "1"))),
            Example::new("steps-20", "a strawberry", Some(("steps", "Steps", "20"))),
        ],
        guidance: vec![
            Example::new("guidance-1", "an owl", Some(("guidance_scale", "Guidance", "1"))),
            Example::new("guidance-2", "an owl", Some(("guidance_scale", "Guidance", "2.5"))),
            Example::new("guidance-8", "an owl", Some(("guidance_scale", "Guidance", "8"))),
        ],
    };
    super::page(StatusCode::OK, &page)
}
