// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A job as its page shows it: the place of each picture with what is there so far, and what there is to say.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::words::{Now, advice};
use super::{Chosen, REFRESH_S, Seen, address};
use crate::draft::Parameters;
use crate::error::Result;
use crate::gallery::Kept;
use crate::inputs::Inputs;
use crate::jobs::store::{Record, State, Stored};
use crate::jobs::{Job, Progress};
use crate::pages::form::{Ask, Fields};
use crate::pages::{self, Frame, Visit, encoded};

/// The page.
#[derive(Template)]
#[template(path = "job.html")]
struct Page {
    frame: Frame,
    ask: Ask,
    id: String,
    /// The browser's title before the program's name.
    title: String,
    /// What is read aloud when it changes: not every step.
    news: &'static str,
    /// `None` once the job is over.
    now: Option<Now>,
    /// Why there are not all the pictures, and what to do about it.
    end: Option<End>,
    tiles: Vec<Tile>,
    parameters: Vec<(&'static str, String)>,
    /// What there is to know of the request.
    notes: Vec<String>,
    /// Where the button that cancels leads.
    cancel: String,
    refresh_s: u64,
}

/// Why there are not all the pictures.
struct End {
    title: &'static str,
    /// What went wrong, if something did.
    problem: Option<String>,
    advice: String,
}

/// The place of a picture.
struct Tile {
    width: u32,
    height: u32,
    seed: u64,
    /// The page with this picture's seed in its form.
    with_seed: String,
    /// The finished picture.
    picture: Option<String>,
    /// The form that begins with it.
    from_here: String,
    /// An unfinished one.
    preview: Option<String>,
}

/// The page of a job, with what was chosen in its form.
pub(super) fn page(visit: &Visit, seen: &Seen, chosen: &Chosen) -> Result<Response> {
    let page = match seen {
        Seen::Present(job) => present(visit, job, chosen),
        Seen::Past(record, pictures) => past(visit, record, pictures, chosen)?,
    };
    Ok(pages::page(StatusCode::OK, &page))
}

fn present(visit: &Visit, job: &Job, chosen: &Chosen) -> Page {
    let app = &visit.app;
    let progress = job.progress();
    let now = match progress {
        Progress::Queued => Now::waiting(app.jobs.place(job)),
        _ => Now::running(&progress, app.jobs.remaining_s(job)),
    };
    let (id, stored) = (&job.id, Stored::of(&job.request));
    let shown = job.preview().map(|preview| preview.place);
    let tiles = (0..stored.count).map(|place| {
        let preview = (shown == Some(place)).then(|| format!("/jobs/{id}/preview?place={place}"));
        Tile { preview, ..Tile::empty(id, &stored.parameters, place) }
    });
    let waits = matches!(progress, Progress::Queued);
    Page {
        title: now.doing.clone(),
        news: if waits { "Waiting for its turn" } else { "Being painted" },
        now: Some(now),
        tiles: tiles.collect(),
        ..Page::of(visit, id, &stored, chosen)
    }
}

fn past(visit: &Visit, record: &Record, pictures: &[(u32, Kept)], chosen: &Chosen) -> Result<Page> {
    let stored: Stored = serde_json::from_str(&record.request).map_err(anyhow::Error::from)?;
    let (id, parameters) = (&record.id, &stored.parameters);
    let tiles = pictures.iter().map(|(place, kept)| Tile {
        picture: Some(format!("/images/{}", kept.file)),
        from_here: from_here(kept, &stored),
        ..Tile::empty(id, parameters, *place)
    });
    let mut page = Page { tiles: tiles.collect(), ..Page::of(visit, id, &stored, chosen) };
    match record.state {
        // It is not in memory, although it is not over on the disk: it runs again after a restart.
        State::Accepted => page.now = Some(Now::waiting(None)),
        State::Done => {
            page.title.clone_from(&parameters.prompt);
            page.news = if pictures.len() == 1 { "Your picture is ready" } else { "Your pictures are ready" };
            if let Some(took_ms) = record.took_ms {
                page.parameters.push(("Took", format!("{:.1} s", took_ms as f64 / 1000.0)));
            }
        }
        State::Failed | State::Cancelled => {
            let end = End::of(record, pictures.len(), stored.count);
            (page.title, page.news) = (end.title.to_owned(), end.title);
            page.end = Some(end);
        }
    }
    Ok(page)
}

impl Page {
    /// A job of which nothing is known but what it is to do.
    fn of(visit: &Visit, id: &str, stored: &Stored, chosen: &Chosen) -> Self {
        Self {
            frame: visit.frame(),
            ask: Ask::again(&visit.app, Fields::of(stored, chosen, &visit.app)),
            id: id.to_owned(),
            title: "Waiting".into(),
            news: "Waiting for its turn",
            now: None,
            end: None,
            tiles: Vec::new(),
            parameters: named(&stored.parameters),
            notes: stored.warnings.clone(),
            cancel: chosen.behind(&format!("/jobs/{id}/cancel")),
            refresh_s: REFRESH_S,
        }
    }
}

impl Tile {
    /// The place before there is anything to see.
    fn empty(id: &str, parameters: &Parameters, place: u32) -> Self {
        let seed = parameters.seed.wrapping_add(place.into());
        Self {
            width: parameters.width,
            height: parameters.height,
            seed,
            with_seed: address(id, &Chosen { seed: Some(seed), source: None }),
            picture: None,
            from_here: String::new(),
            preview: None,
        }
    }
}

impl End {
    fn of(record: &Record, finished: usize, count: u32) -> Self {
        let (title, problem, advice) = match &record.error {
            Some((code, message)) => ("It failed", Some(pages::capitalized(message)), advice(code)),
            None => (
                "Cancelled",
                None,
                "The form still holds what you asked for: paint it again whenever you like.",
            ),
        };
        let kept = match finished {
            0 => String::new(),
            finished => format!(" {finished} of {count} pictures were finished before that."),
        };
        Self { title, problem, advice: format!("{advice}{kept}") }
    }
}

/// The address of the form that begins with a finished picture.
fn from_here(kept: &Kept, stored: &Stored) -> String {
    let (prompt, model) = (stored.parameters.prompt_with_loras(), &stored.model);
    format!("/?source={}&prompt={}&model={}", kept.file, encoded(&prompt), encoded(model))
}

/// Name and value of what pictures are made with, in the order in which they are shown.
fn named(parameters: &Parameters) -> Vec<(&'static str, String)> {
    let mut named = vec![("Prompt", parameters.prompt_with_loras())];
    named.extend(parameters.negative_prompt.clone().map(|text| ("Negative prompt", text)));
    let mut size = format!("{} × {}", parameters.width, parameters.height);
    if parameters.enlarged() {
        size += &format!(", enlarged from {} × {}", parameters.rendered_width, parameters.rendered_height);
    }
    named.extend([
        ("Model", parameters.model.clone()),
        ("Steps", parameters.steps.to_string()),
        ("Scheduler", parameters.scheduler.clone()),
        ("Guidance", parameters.guidance_scale.to_string()),
        ("Size", size),
    ]);
    let Inputs { start, hires, upscaler, .. } = &parameters.inputs;
    if let Some(start) = start {
        let how = match start.image_guidance_scale {
            Some(scale) => format!("follows it {scale}"),
            None => format!("strength {}", start.strength),
        };
        let part = if start.mask.is_some() { ", masked" } else { "" };
        named.push(("Begun with a picture", format!("{how}{part}")));
    }
    named.extend(hires.as_ref().map(|hires| ("Second run", format!("{} × {}", hires.width, hires.height))));
    named.extend(upscaler.clone().map(|upscaler| ("Upscaler", upscaler)));
    named
}
