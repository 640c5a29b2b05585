// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! A finished picture made larger: what there is to choose from beside it, and the job that comes of the choice.

use alice_diffusion::Sampler;
use axum::response::Response;
use serde::Deserialize;

use super::{Chosen, Seen, address, find};
use crate::api::{Id, files};
use crate::app::App;
use crate::draft::{
    EnlargementWish, LANCZOS, LANCZOS_SCALE, MOST_UPSCALED, Origin, Painted, Parameters, Source,
};
use crate::error::{Error, Result};
use crate::infotext;
use crate::jobs::stored::Stored;
use crate::jobs::{Leave, Wish, ask_to_enlarge};
use crate::pages::Visit;
use crate::pages::visit::{Sent, read, to};
use crate::pictures::PrivacyWish;

/// What makes a picture larger, beside the picture.
#[derive(Debug)]
pub(in crate::pages) struct Offer {
    /// An upscaler's id, or the filter's name.
    pub(in crate::pages) id: String,
    pub(in crate::pages) name: String,
    /// How many times as wide and high the picture becomes.
    pub(in crate::pages) scale: u32,
}

/// What may make a picture of this size larger: the upscalers, the filter where there are none, and nothing where it
/// would be too large.
pub(in crate::pages) fn offers(app: &App, (width, height): (u32, u32)) -> Vec<Offer> {
    let upscalers = app.models.upscalers();
    let mut offers: Vec<_> = upscalers
        .iter()
        .map(|entry| Offer { id: entry.id.clone(), name: entry.name.clone(), scale: entry.scale })
        .collect();
    if offers.is_empty() {
        offers.push(Offer { id: LANCZOS.to_owned(), name: "Lanczos".to_owned(), scale: LANCZOS_SCALE });
    }
    offers.retain(|offer| width.max(height).saturating_mul(offer.scale) <= MOST_UPSCALED);
    offers
}

/// What was chosen.
#[derive(Debug, Deserialize)]
pub struct Fields {
    /// The place of the picture in its job.
    place: u32,
    #[serde(default)]
    upscaler: String,
}

/// `POST /jobs/{id}/upscale`: the way to the page of the job that makes the picture larger.
pub async fn upscale(visit: Visit, Id(id): Id, form: Sent<Fields>) -> Response {
    let begun = begin(&visit, &id, form).await;
    visit.answer(begun.map(|address| to(&address)).map_err(|error| error.renamed(&[("image", "picture")])))
}

async fn begin(visit: &Visit, id: &str, form: Sent<Fields>) -> Result<String> {
    let fields = read(form)?;
    let Seen::Past(record, pictures) = find(visit, id).await? else { return Err(Error::NotFound) };
    let (_, kept) = pictures.iter().find(|(place, _)| *place == fields.place).ok_or(Error::NotFound)?;
    let stored: Stored = serde_json::from_str(&record.request).map_err(anyhow::Error::from)?;
    let file = files::as_input(&visit.app, kept).await?;
    let asked = EnlargementWish {
        image: Some(Source::File(file)),
        upscaler: Some(fields.upscaler),
        scale: None,
        origin: Some(origin(stored, fields.place)?),
        privacy: PrivacyWish::default(),
    };
    let job = ask_to_enlarge(&visit.app, &visit.actor, asked, Wish::plain(Leave::GoOn)).await?;
    Ok(address(&job.id, &Chosen::default()))
}

/// What is known of the picture at `place` of a job.
///
/// # Errors
/// A row that cannot be read.
pub(in crate::pages) fn origin(stored: Stored, place: u32) -> Result<Origin> {
    match stored {
        Stored::Paint(painting) => {
            let seed = painting.parameters.seed.wrapping_add(place.into());
            let parameters = Parameters { seed, ..painting.parameters };
            let sampler: Sampler = parameters.scheduler.parse().map_err(anyhow::Error::from)?;
            let text = infotext::write(&parameters, sampler);
            Ok(Origin { text, painted: Some(Painted { model: painting.model, parameters }) })
        }
        Stored::Enlarge { enlarge } => {
            let text = infotext::write_enlarged(&enlarge);
            Ok(Origin { text, painted: enlarge.origin.and_then(|origin| origin.painted) })
        }
    }
}
