// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the rows of an earlier version lack: it stands in the requests of their jobs, or else in their files.

use std::io::BufReader;

use alice_diffusion::Sampler;
use alice_diffusion::prompt::{tidied, without_loras};
use rusqlite::{Connection, params};
use tracing::{error, info};

use super::{Details, Mode, add};
use crate::adapters::Lora;
use crate::app::App;
use crate::error::Result;
use crate::gallery::Kept;
use crate::infotext::{self, Head, Parsed};
use crate::jobs::stored::Stored;

/// Rows that are filled in at once.
const AT_ONCE: u32 = 200;

/// A row that lacks something.
struct Older {
    id: String,
    place: Option<u32>,
    /// What its job was to do.
    request: Option<String>,
}

/// Fills in what older rows lack. A picture whose file is not there is left for another time.
pub async fn describe_older(app: &App) {
    match fill(app).await {
        Ok(0) => {}
        Ok(count) => info!(count, "Older pictures described for the gallery: {count}"),
        Err(cause) => error!("Older pictures cannot be described for the gallery: {}", cause.cause()),
    }
}

async fn fill(app: &App) -> Result<usize> {
    let (mut count, mut last) = (0, String::new());
    loop {
        let after = last.clone();
        let older = app.database.read(move |connection| some(connection, &after)).await?;
        let Some(newest) = older.last() else { return Ok(count) };
        last.clone_from(&newest.id);
        let shared = app.clone();
        let look = move || {
            let described = older.into_iter().filter_map(|older| Some((details(&shared, &older)?, older.id)));
            described.collect::<Vec<_>>()
        };
        let described = tokio::task::spawn_blocking(look).await.map_err(anyhow::Error::from)?;
        count += described.len();
        app.database
            .write(move |transaction| {
                described.iter().try_for_each(|(details, id)| add::describe(transaction, id, details))
            })
            .await?;
    }
}

fn some(connection: &Connection, after: &str) -> Result<Vec<Older>> {
    let sql = "SELECT pictures.id, pictures.place, jobs.request FROM pictures \
               LEFT JOIN jobs ON jobs.number = pictures.job \
               WHERE described = 0 AND pictures.id > ?1 ORDER BY pictures.id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let older = statement.query_map(params![after, AT_ONCE], |row| {
        Ok(Older { id: row.get(0)?, place: row.get(1)?, request: row.get(2)? })
    })?;
    Ok(older.collect::<rusqlite::Result<_>>()?)
}

/// What is known of a picture; nothing if its file cannot be read.
fn details(app: &App, older: &Older) -> Option<Details> {
    let (file, bytes) = app.gallery.find(&Kept::with_id(&older.id)).ok().flatten()?;
    let head = infotext::head(BufReader::new(file))?;
    let stored = older.request.as_deref().and_then(|request| serde_json::from_str::<Stored>(request).ok());
    let mut details = match stored {
        Some(stored) => {
            let text = head.text.clone().unwrap_or_default();
            Details::of(&stored, older.place.unwrap_or(0), text, bytes)
        }
        None => of_text(head.text.clone().unwrap_or_default()),
    };
    let named = details.model.as_deref().or(details.model_name.as_deref());
    let model = named.and_then(|name| app.models.exactly(name));
    if let Some(model) = model {
        details.family = Some(model.family.as_str().to_owned());
        details.model.get_or_insert_with(|| model.id.clone());
    }
    let Head { width, height, .. } = head;
    Some(Details { width, height, bytes, ..details })
}

/// What the `parameters` text says of its picture.
pub(super) fn of_text(text: String) -> Details {
    if text.is_empty() {
        return Details::default();
    }
    let parsed = infotext::read(&text);
    let mode = mode(&parsed);
    let scheduler = parsed.sampler.map(Sampler::name).or(parsed.unknown_sampler);
    // A tag that cannot be read stays where it stands.
    let (prompt, loras) = match without_loras(&parsed.prompt) {
        Ok((bare, loras)) if !loras.is_empty() => (tidied(&bare), loras),
        _ => (parsed.prompt, Vec::new()),
    };
    let loras = loras.into_iter().map(|tag| Lora { id: tag.name, scale: tag.scale as f32 });
    Details {
        prompt,
        negative_prompt: parsed.negative_prompt.unwrap_or_default(),
        model_name: parsed.model,
        steps: parsed.steps,
        guidance: parsed.guidance_scale,
        scheduler,
        seed: parsed.seed,
        loras: loras.collect(),
        mode: Some(mode),
        text,
        ..Details::default()
    }
}

fn mode(parsed: &Parsed) -> Mode {
    if parsed.value("Postprocess upscale by").is_some() {
        return Mode::Enlarged;
    }
    let began = parsed.strength.is_some() && parsed.value("Hires resize").is_none();
    if began || parsed.value("Image CFG scale").is_some() { Mode::Picture } else { Mode::Words }
}
