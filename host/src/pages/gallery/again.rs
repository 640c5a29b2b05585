// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What can come of a finished picture: another one with its settings, a larger one, or the form filled in with what
//! made it.

use axum::response::Response;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::viewer;
use crate::adapters::Lora;
use crate::api::{Id, files};
use crate::draft::{Draft, EnlargementWish, Origin, Source};
use crate::error::{Error, Result};
use crate::jobs::store;
use crate::jobs::stored::Stored;
use crate::jobs::{Attendance, Leave, Wish, ask, ask_to_enlarge};
use crate::pages::Visit;
use crate::pages::jobs::{self, Chosen, Offer, offers, origin};
use crate::pages::visit::{Sent, read, to};
use crate::pictures::{self, Details, Mode, Picture};

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

impl Again {
    pub(super) fn of(visit: &Visit, picture: &Picture) -> Self {
        let details = &picture.details;
        Self {
            may_vary: may_vary(details),
            reuse: form(details, &settings(details)),
            edit: form(details, &[("source", picture.kept().file)]),
            upscalers: offers(&visit.app, (details.width, details.height)),
        }
    }
}

/// Whether the row alone says how to make another one.
fn may_vary(details: &Details) -> bool {
    details.mode.is_none_or(|mode| mode == Mode::Words) && !details.prompt.is_empty()
}

/// The address of the form with words and model of a picture, and some more fields.
fn form(details: &Details, more: &[(&str, String)]) -> String {
    let mut query = Serializer::new(String::new());
    let model = details.model.clone().unwrap_or_default();
    let fields = [("prompt", prompt(details)), ("model", model)];
    let said = fields.iter().chain(more).filter(|(_, value)| !value.is_empty());
    format!("/?{}", query.extend_pairs(said).finish())
}

fn settings(details: &Details) -> Vec<(&'static str, String)> {
    let said = |number: Option<String>| number.unwrap_or_default();
    // One that was made larger was painted smaller.
    let size =
        (details.mode != Some(Mode::Enlarged)).then(|| format!("{}x{}", details.width, details.height));
    vec![
        ("negative_prompt", details.negative_prompt.clone()),
        ("size", said(size)),
        ("steps", said(details.steps.map(|steps| steps.to_string()))),
        ("guidance_scale", said(details.guidance.map(|scale| scale.to_string()))),
        ("scheduler", said(details.scheduler.clone())),
        ("seed", said(details.seed.map(|seed| seed.to_string()))),
    ]
}

/// The prompt with the tags of its LoRAs, as it can be asked for again.
pub(super) fn prompt(details: &Details) -> String {
    let words = Some(details.prompt.clone()).filter(|prompt| !prompt.is_empty());
    words.into_iter().chain(details.loras.iter().map(Lora::tag)).collect::<Vec<_>>().join(" ")
}

/// `POST /gallery/{id}/vary`: the same with another seed, and the way to the page where it comes.
pub async fn vary(visit: Visit, Id(id): Id) -> Response {
    let begun = async {
        let Picture { details, .. } = find(&visit, id).await?;
        if !may_vary(&details) {
            return Err(Error::invalid("picture", "cannot be varied: it was not made from words alone"));
        }
        let draft = Draft {
            prompt: prompt(&details),
            model: details.model,
            negative_prompt: Some(details.negative_prompt).filter(|prompt| !prompt.is_empty()),
            steps: details.steps.map(i64::from),
            guidance_scale: details.guidance,
            scheduler: details.scheduler,
            width: Some(details.width.into()),
            height: Some(details.height.into()),
            ..Draft::default()
        };
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
    let plain = Origin { text: picture.details.text.clone(), painted: None };
    let (Some(job), Some(place)) = (picture.job.clone(), picture.place) else { return Ok(plain) };
    let record = visit.app.database.read(move |connection| store::find(connection, &job)).await?;
    let Some(record) = record else { return Ok(plain) };
    let stored: Stored = serde_json::from_str(&record.request).map_err(anyhow::Error::from)?;
    origin(stored, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details() -> Details {
        Details {
            width: 512,
            height: 768,
            prompt: "a fox & a \"hen\"".into(),
            model: Some("sd/alice-emoji".into()),
            steps: Some(20),
            guidance: Some(7.5),
            seed: Some(u64::MAX),
            mode: Some(Mode::Words),
            ..Details::default()
        }
    }

    #[test]
    fn the_form_gets_everything_that_is_known() {
        let details = details();
        let words = "/?prompt=a+fox+%26+a+%22hen%22&model=sd%2Falice-emoji";
        let all = form(&details, &settings(&details));
        let settings = "&size=512x768&steps=20&guidance_scale=7.5&seed=18446744073709551615";
        assert_eq!(all, format!("{words}{settings}"));
    }

    #[test]
    fn only_what_words_alone_have_made_is_varied() {
        assert!(may_vary(&details()));
        for mode in [Mode::Picture, Mode::Enlarged] {
            assert!(!may_vary(&Details { mode: Some(mode), ..details() }));
        }
        assert!(!may_vary(&Details::default()));
    }
}
