// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A job as its page shows it: the place of each picture with what is there so far, and what there is to say.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::upscale::{Offer, offers};
use super::words::{Now, advice, advice_about_larger};
use super::{Chosen, REFRESH_S, Seen, address};
use crate::draft::{Enlargement, Parameters};
use crate::error::Result;
use crate::gallery::Kept;
use crate::inputs::Inputs;
use crate::jobs::store::{Record, State};
use crate::jobs::stored::Stored;
use crate::jobs::{Job, Progress};
use crate::pages::form::{Ask, Fields};
use crate::pages::{self, Frame, Place, Visit, encoded};

/// The page.
#[derive(Template)]
#[template(path = "job.html")]
struct Page {
    frame: Frame,
    ask: Ask,
    id: String,
    /// The browser's title before the program's name.
    title: String,
    /// What the pictures show, for those who do not see them.
    shows: String,
    /// What is read aloud when it changes: not every step.
    news: &'static str,
    /// The same while the job runs.
    doing: &'static str,
    /// `None` once the job is over.
    now: Option<Now>,
    /// Why there are not all the pictures, and what to do about it.
    end: Option<End>,
    tiles: Vec<Tile>,
    /// What makes these pictures larger.
    upscalers: Vec<Offer>,
    parameters: Vec<(&'static str, String)>,
    /// What there is to know of the request.
    notes: Vec<String>,
    /// Where the button that cancels leads.
    cancel: String,
    refresh_s: u64,
}

/// What is read aloud of a job that waits.
const WAITS: &str = "Waiting for its turn";

/// Why there are not all the pictures.
struct End {
    title: &'static str,
    /// What went wrong, if something did.
    problem: Option<String>,
    advice: String,
}

/// The place of a picture.
struct Tile {
    place: u32,
    width: u32,
    height: u32,
    /// The seed that it was painted with, and the page with it in its form.
    seed: Option<(u64, String)>,
    /// The finished picture.
    picture: Option<String>,
    /// Its page in the gallery.
    page: String,
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
    let (id, stored) = (&job.id, Stored::of(&job.task));
    let shown = job.preview().map(|preview| preview.place);
    let kept = job.kept(0);
    let tiles = (0..stored.count()).map(|place| {
        if kept.contains(&place) {
            return Tile::finished(id, &stored, place, &job.planned[place as usize]);
        }
        let preview = (shown == Some(place)).then(|| format!("/jobs/{id}/preview?place={place}"));
        Tile { preview, ..Tile::empty(id, &stored, place) }
    });
    let waits = matches!(progress, Progress::Queued);
    Page {
        title: now.doing.clone(),
        news: if waits { WAITS } else { doing(&stored) },
        now: Some(now),
        tiles: tiles.collect(),
        // A job makes its own pictures first.
        upscalers: Vec::new(),
        ..Page::of(visit, id, &stored, chosen)
    }
}

fn past(visit: &Visit, record: &Record, pictures: &[(u32, Kept)], chosen: &Chosen) -> Result<Page> {
    let stored: Stored = serde_json::from_str(&record.request).map_err(anyhow::Error::from)?;
    let id = &record.id;
    let tiles = pictures.iter().map(|(place, kept)| Tile::finished(id, &stored, *place, kept));
    let mut page = Page { tiles: tiles.collect(), ..Page::of(visit, id, &stored, chosen) };
    match record.state {
        // It is not in memory, although it is not over on the disk: it runs again after a restart.
        State::Accepted => page.now = Some(Now::waiting(None)),
        State::Done => {
            page.title.clone_from(&page.shows);
            page.news = if pictures.len() == 1 { "Your picture is ready" } else { "Your pictures are ready" };
            if let Some(took_ms) = record.took_ms {
                page.parameters.push(("Took", format!("{:.1} s", took_ms as f64 / 1000.0)));
            }
        }
        State::Failed | State::Cancelled => {
            let end = End::of(record, pictures.len(), &stored);
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
            frame: visit.frame().at(Place::Create),
            ask: Ask::again(&visit.app, &visit.actor, Fields::of(stored, chosen, &visit.app))
                .after_seed(stored.painted().map(|(_, parameters)| parameters.seed)),
            id: id.to_owned(),
            title: "Waiting".into(),
            shows: shows(stored),
            news: WAITS,
            doing: doing(stored),
            now: None,
            end: None,
            tiles: Vec::new(),
            upscalers: offers(&visit.app, stored.size()),
            parameters: named(stored),
            notes: notes(visit, stored),
            cancel: chosen.behind(&format!("/jobs/{id}/cancel")),
            refresh_s: REFRESH_S,
        }
    }
}

impl Tile {
    /// The place with the picture that was kept there.
    fn finished(id: &str, stored: &Stored, place: u32, kept: &Kept) -> Self {
        Self {
            picture: Some(format!("/images/{}", kept.file)),
            page: format!("/gallery/{}", kept.id()),
            from_here: from_here(kept, stored),
            ..Self::empty(id, stored, place)
        }
    }

    /// The place before there is anything to see.
    fn empty(id: &str, stored: &Stored, place: u32) -> Self {
        let (width, height) = stored.size();
        let painted = stored.painted().map(|(_, parameters)| parameters.seed.wrapping_add(place.into()));
        Self {
            place,
            width,
            height,
            seed: painted.map(|seed| (seed, address(id, &Chosen { seed: Some(seed), source: None }))),
            picture: None,
            page: String::new(),
            from_here: String::new(),
            preview: None,
        }
    }
}

impl End {
    fn of(record: &Record, finished: usize, stored: &Stored) -> Self {
        let paints = stored.painting().is_some();
        let (title, problem, advice) = match &record.error {
            Some((code, message)) => {
                let advice = if paints { advice(code) } else { advice_about_larger(code) };
                ("It failed", Some(pages::capitalized(message)), advice)
            }
            None if paints => (
                "Cancelled",
                None,
                "The form still holds what you asked for: paint it again whenever you like.",
            ),
            None => ("Cancelled", None, "The picture itself is as it was: upscale it whenever you like."),
        };
        let count = stored.count();
        let kept = match finished {
            0 => String::new(),
            finished => format!(" {finished} of {count} pictures were finished before that."),
        };
        Self { title, problem, advice: format!("{advice}{kept}") }
    }
}

/// What there is to know of the request.
fn notes(visit: &Visit, stored: &Stored) -> Vec<String> {
    match stored {
        Stored::Paint(painting) => painting.warnings.clone(),
        Stored::Enlarge { enlarge }
            if enlarge.upscaler.is_none() && visit.app.models.upscalers().is_empty() =>
        {
            let note = "Lanczos' filter makes a picture larger and adds no detail. Upscalers add some: their files go \
                        into the directory upscalers of the models.";
            vec![note.to_owned()]
        }
        Stored::Enlarge { .. } => Vec::new(),
    }
}

/// What is done to the pictures while the job runs.
fn doing(stored: &Stored) -> &'static str {
    match stored {
        Stored::Paint(_) => "Being painted",
        Stored::Enlarge { .. } => "Being made larger",
    }
}

/// What the pictures of a job show, as far as that is known.
pub(in crate::pages) fn shows(stored: &Stored) -> String {
    let prompt = stored.painted().map(|(_, parameters)| parameters.prompt.clone());
    prompt.filter(|prompt| !prompt.is_empty()).unwrap_or_else(|| "A picture without words".to_owned())
}

/// The address of the form that begins with a finished picture.
fn from_here(kept: &Kept, stored: &Stored) -> String {
    let mut address = format!("/?source={}", kept.file);
    if let Some((model, parameters)) = stored.painted() {
        let prompt = parameters.prompt_with_loras();
        address += &format!("&prompt={}&model={}", encoded(&prompt), encoded(model));
    }
    address
}

/// Name and value of what is told of a job, in the order in which they are shown.
fn named(stored: &Stored) -> Vec<(&'static str, String)> {
    match stored {
        Stored::Paint(painting) => named_of_painted(&painting.parameters),
        Stored::Enlarge { enlarge } => named_of_enlarged(enlarge),
    }
}

/// That of the picture before, and what was done to it.
fn named_of_enlarged(enlargement: &Enlargement) -> Vec<(&'static str, String)> {
    let Enlargement { input, scale, width, height, .. } = enlargement;
    let painted = enlargement.origin.as_ref().and_then(|origin| origin.painted.as_ref());
    let mut named = painted.map(|painted| named_of_painted(&painted.parameters)).unwrap_or_default();
    named.retain(|(name, _)| *name != SIZE);
    let size = format!("{width} × {height}, from {} × {}", input.width, input.height);
    let means = enlargement.means();
    let means = means.strip_prefix("upscaler/").unwrap_or(means);
    named.extend([("Made larger", format!("{scale} × with {means}")), (SIZE, size)]);
    named
}

/// The name of the size, of which a picture has one.
const SIZE: &str = "Size";

/// Name and value of what pictures are made with, in the order in which they are shown.
fn named_of_painted(parameters: &Parameters) -> Vec<(&'static str, String)> {
    let mut named = vec![("Prompt", parameters.prompt_with_loras())];
    named.extend(parameters.negative_prompt.clone().map(|text| ("Negative prompt", text)));
    let mut size = format!("{} × {}", parameters.width, parameters.height);
    if parameters.enlarged() {
        size += &format!(", enlarged from {} × {}", parameters.rendered_width, parameters.rendered_height);
    }
    named.extend([
        ("Model", parameters.model.clone()),
        ("Steps", parameters.steps.to_string()),
        ("Sampler", parameters.scheduler.clone()),
        ("Guidance", parameters.guidance_scale.to_string()),
        (SIZE, size),
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
