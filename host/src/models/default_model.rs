// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Choosing the model that a request without a name means, for an administrator: here and in the configuration's file,
//! so that it stays so.

use std::sync::Arc;

use tracing::info;

use super::Model;
use crate::app::App;
use crate::auth::Actor;
use crate::auth::audit::{self, Author};
use crate::config::change;
use crate::error::{Error, Result};
use crate::prompts::NEEDS_PICTURE;

/// Makes the model of exactly this id or name the default one. What has begun is brought to its end also when nobody
/// waits any more.
///
/// # Errors
/// [`Error::NoModel`]; [`Error::Conflict`] for a model that cannot paint from words alone, and when the file cannot be
/// changed: then nothing is.
pub async fn make(app: App, actor: &Actor, asked: String) -> Result<Arc<Model>> {
    let author = Author::from(actor);
    let work = async move {
        // Held to the end: nobody looks again, or deletes the model, meanwhile.
        let turn = app.models.turn().await;
        let model = app.models.exactly(&asked).ok_or_else(|| Error::NoModel {
            asked,
            available: app.models.all().iter().map(|model| model.id.clone()).collect::<Vec<_>>().join(", "),
        })?;
        if model.needs_picture {
            return Err(Error::Conflict(format!("`{}` {NEEDS_PICTURE}", model.id)));
        }
        write_down(&app, &model).await?;
        turn.set_default(&model);
        info!(id = model.id, "`{}` is the default model from now on", model.id);
        let (id, now) = (model.id.clone(), app.clock.now());
        app.database
            .write(move |transaction| audit::note(transaction, &author, "model.default", &id, now))
            .await?;
        Ok(model)
    };
    tokio::spawn(work).await.map_err(anyhow::Error::from)?
}

/// Writes it into the configuration's file.
async fn write_down(app: &App, model: &Model) -> Result<()> {
    let id = model.id.clone();
    let advice = format!("write `default_model: {id}` into its section `models` and start ALICE again");
    let Some(path) = app.config.file.clone() else {
        return Err(Error::Conflict(format!("this server has no configuration file; {advice}")));
    };
    let shown = path.display().to_string();
    let changed = tokio::task::spawn_blocking(move || change::set_default_model(&path, &id)).await;
    changed
        .map_err(anyhow::Error::from)?
        .map_err(|error| Error::Conflict(format!("the configuration {shown} {error}; {advice}")))
}
