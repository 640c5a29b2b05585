// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What can come of a finished picture: another one with its settings, a larger one, or the form filled in with what
//! made it.

use axum::response::Response;
use serde::Deserialize;

use super::viewer;
use crate::adapters::Lora;
use crate::api::{Id, files};
use crate::draft::{EnlargementWish, Origin, Source};
use crate::error::{Error, Result};
use crate::infotext::{self, Parsed};
use crate::jobs::store;
use crate::jobs::stored::Stored;
use crate::jobs::{Attendance, Leave, Wish, ask, ask_to_enlarge};
use crate::pages::Visit;
use crate::pages::form::Fields;
use crate::pages::jobs::{self, Chosen, Offer, offers, origin};
use crate::pages::visit::{Sent, read, to};
use crate::pictures::{self, Details, Picture};

/// The ways on from a picture.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) may_vary: bool,
    /// The form with its settings.
    pub(super) reuse: String,
    /// The form that begins with it.
    pub(super) edit: String,
    pub(super) upscalers: Vec<Offer>,
}

/// What is known of how a picture was made.
enum Made {
    /// All of it, and which of its job's pictures it is.
    By(Box<Stored>, u32),
    /// What its file says.
    As(Parsed),
}

impl Again {
    /// # Errors
    /// When the database fails.
    pub(super) async fn of(visit: &Visit, picture: &Picture) -> Result<Self> {
        let details = &picture.details;
        Ok(Self {
            may_vary: Made::of(visit, picture).await?.may_vary(),
            // By its number: the words may be longer than an address may be.
            reuse: format!("/?from={}", picture.id),
            edit: format!("/?source={}&from={}", picture.kept().file, picture.id),
            upscalers: offers(&visit.app, (details.width, details.height)),
        })
    }
}

impl Made {
    async fn of(visit: &Visit, picture: &Picture) -> Result<Self> {
        let said = || Self::As(infotext::read(&picture.details.text));
        let (Some(job), Some(place)) = (picture.job.clone(), picture.place) else { return Ok(said()) };
        let record = visit.app.database.read(move |connection| store::find(connection, &job)).await?;
        let Some(record) = record else { return Ok(said()) };
        let stored = serde_json::from_str(&record.request).map_err(anyhow::Error::from)?;
        Ok(Self::By(stored, place))
    }

    /// Whether the form alone can say how to make another one: it was made from words, and nothing steered or enlarged it
    /// that the form does not know.
    fn may_vary(&self) -> bool {
        match self {
            Self::By(stored, _) => stored.painting().is_some_and(|painting| {
                let inputs = &painting.parameters.inputs;
                inputs.start.is_none() && inputs.controls.is_empty()
            }),
            Self::As(parsed) => {
                let unusual = ["Hires", "ControlNet", "Denoising", "Image CFG", "Postprocess", "Mask"];
                let is_unusual =
                    |(name, _): &(String, String)| unusual.iter().any(|word| name.starts_with(word));
                !parsed.prompt.is_empty() && !parsed.pairs.iter().any(is_unusual)
            }
        }
    }

    /// The form with everything that made it, and what of that is not here.
    fn fields(&self, visit: &Visit) -> (Fields, Vec<String>) {
        match self {
            Self::By(stored, place) => {
                let painted = stored.painted().map(|(_, parameters)| parameters.seed);
                let of_job = stored.seed(*place).or(painted);
                let chosen = Chosen { seed: of_job, ..Chosen::default() };
                (Fields::of(stored, &chosen, &visit.app), Vec::new())
            }
            Self::As(parsed) => Fields::restored(parsed, &visit.app),
        }
    }
}

/// The form with the settings of the picture `id`, and what of them is not here.
///
/// # Errors
/// [`Error::NotFound`] if the visitor may not see it; when the database fails.
pub(in crate::pages) async fn settings_of(visit: &Visit, id: String) -> Result<(Fields, Vec<String>)> {
    let picture = find(visit, id).await?;
    Ok(Made::of(visit, &picture).await?.fields(visit))
}

/// The prompt with the tags of its LoRAs, as it can be asked for again.
pub(super) fn prompt(details: &Details) -> String {
    let words = Some(details.prompt.clone()).filter(|prompt| !prompt.is_empty());
    words.into_iter().chain(details.loras.iter().map(Lora::tag)).collect::<Vec<_>>().join(" ")
}

/// `POST /gallery/{id}/vary`: the same with another seed, and the way to the page where it comes.
pub async fn vary(visit: Visit, Id(id): Id) -> Response {
    let begun = async {
        let made = Made::of(&visit, &find(&visit, id).await?).await?;
        if !made.may_vary() {
            return Err(Error::invalid("picture", "cannot be varied: it was not made from words alone"));
        }
        let draft = made.fields(&visit).0.varied(&visit.app)?;
        ask(&visit.app, &visit.actor, draft, 1, Wish::plain(Leave::GoOn)).await
    };
    answer(&visit, begun.await)
}

/// What was chosen.
#[derive(Debug, Deserialize)]
pub struct Choice {
    #[serde(default)]
    upscaler: String,
}

/// `POST /gallery/{id}/upscale`: the way to the page of the job that makes the picture larger.
pub async fn upscale(visit: Visit, Id(id): Id, form: Sent<Choice>) -> Response {
    let begun = async {
        let Choice { upscaler } = read(form)?;
        let picture = find(&visit, id).await?;
        let origin = origin_of(&visit, &picture).await?;
        let file = files::as_input(&visit.app, &picture.kept()).await?;
        let asked = EnlargementWish {
            image: Some(Source::File(file)),
            upscaler: Some(upscaler),
            scale: None,
            origin: Some(origin),
            ..EnlargementWish::default()
        };
        ask_to_enlarge(&visit.app, &visit.actor, asked, Wish::plain(Leave::GoOn)).await
    };
    let begun = begun.await.map_err(|error| error.renamed(&[("image", "picture")]));
    answer(&visit, begun)
}

fn answer(visit: &Visit, begun: Result<Attendance>) -> Response {
    visit.answer(begun.map(|job| to(&jobs::address(&job.id, &Chosen::default()))))
}

async fn find(visit: &Visit, id: String) -> Result<Picture> {
    let viewer = viewer(visit);
    visit.app.database.read(move |connection| pictures::find(connection, &viewer, &id)).await
}

/// What is known of a picture: all of it while its job is, else what its file says.
async fn origin_of(visit: &Visit, picture: &Picture) -> Result<Origin> {
    match Made::of(visit, picture).await? {
        Made::By(stored, place) => origin(*stored, place),
        Made::As(_) => Ok(Origin { text: picture.details.text.clone(), painted: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_form_can_say_is_varied() {
        let may_vary = |text: &str| Made::As(infotext::read(text)).may_vary();
        assert!(may_vary("a fox\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1"));
        for more in
            ["Hires resize: 64x64", "ControlNet 0: x", "Denoising strength: 0.5", "Postprocess upscaler: x"]
        {
            assert!(!may_vary(&format!("a fox\nSteps: 20, Sampler: Euler, Seed: 1, {more}")), "{more}");
        }
        assert!(!may_vary(""));
    }
}
