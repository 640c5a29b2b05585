// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Deleting a model, or what works beside one, for an administrator: whether anybody needs it, and the way off the lists,
//! the devices and the disk.

use std::path::{Path, PathBuf};

use alice_plugin::LoadRequest;
use tracing::info;

use super::registry::Turn;
use super::scan::built_in;
use super::{Model, Registry};
use crate::app::App;
use crate::auth::Actor;
use crate::auth::audit::{self, Author};
use crate::error::{Error, Result};
use crate::generate::load_request;
use crate::residence;
use crate::task::Task;

mod disk;

pub use disk::finish;

use disk::Beside;

/// What can be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A LoRA.
    Lora,
    /// A ControlNet or T2I-Adapter.
    Control,
    /// A network that makes pictures larger.
    Upscaler,
}

/// Deletes what has exactly this id or name from the disk, for `actor`. Gives its id. What has begun is brought to its
/// end also when nobody waits any more.
///
/// # Errors
/// [`Error::NoModel`], [`Error::NoLora`], [`Error::NoCompanion`]; [`Error::Forbidden`] for the built-in model;
/// [`Error::Conflict`] for what jobs, the configuration or another model need, and for what lies elsewhere.
pub async fn delete(app: App, actor: &Actor, kind: Kind, asked: String) -> Result<String> {
    let author = Author::from(actor);
    let work = async move {
        // Held to the end, so that nobody finds it again meanwhile.
        let turn = app.models.turn().await;
        let found = kind.find(&app.models, asked)?;
        let place = Place::of(&app, &found).await?;
        if kind == Kind::Model {
            found.is_dispensable(&app, &place)?;
        }
        let withdrawn = turn.withdraw(|path| path == found.path);
        if let Err(error) = free(&app, kind, &found, &place).await {
            turn.put_back(withdrawn);
            return Err(error);
        }
        place.delete(&app, turn, kind.beside()).await?;
        let Found { id, path, .. } = found;
        info!(id, "`{id}` was deleted: {}", path.display());
        let (deleted, now) = (id.clone(), app.clock.now());
        app.database
            .write(move |transaction| audit::note(transaction, &author, kind.act(), &deleted, now))
            .await?;
        Ok(id)
    };
    tokio::spawn(work).await.map_err(anyhow::Error::from)?
}

/// Something that may be deleted.
#[derive(Debug)]
struct Found {
    id: String,
    path: PathBuf,
    /// The directory of models in which it was found.
    root: PathBuf,
    /// How the engine is asked for it; it never is for a LoRA alone.
    request: Option<LoadRequest>,
}

impl Kind {
    /// What is called so. A word that means it less exactly must not delete it.
    fn find(self, models: &Registry, asked: String) -> Result<Found> {
        let found = |id: &str, path: &Path, root: &Path, request| Found {
            id: id.to_owned(),
            path: path.to_owned(),
            root: root.to_owned(),
            request,
        };
        match self {
            Self::Model => {
                let model = models.exactly(&asked).ok_or_else(|| {
                    let ids = models.all().iter().map(|model| model.id.clone()).collect::<Vec<_>>();
                    Error::NoModel { asked, available: ids.join(", ") }
                })?;
                Ok(found(&model.id, &model.path, &model.root, Some(load_request(&model).what)))
            }
            Self::Lora => {
                let lora = models.exactly_lora(&asked).ok_or(Error::NoLora { asked })?;
                Ok(found(&lora.id, &lora.path, &lora.root, None))
            }
            Self::Control => {
                let control = models.exactly_control(&asked);
                let control = control.ok_or(Error::NoCompanion { kind: "ControlNet", asked })?;
                Ok(found(&control.id, &control.path, &control.root, Some(control.load_request().what)))
            }
            Self::Upscaler => {
                let upscaler = models.exactly_upscaler(&asked);
                let upscaler = upscaler.ok_or(Error::NoCompanion { kind: "upscaler", asked })?;
                Ok(found(&upscaler.id, &upscaler.path, &upscaler.root, Some(upscaler.load_request().what)))
            }
        }
    }

    /// Whether `task` cannot be done without it.
    fn is_needed(self, task: &Task, found: &Found, place: &Place) -> bool {
        let painting = task.painting();
        match self {
            Self::Model => painting.is_some_and(|request| {
                request.model.path == found.path || place.brings_vae_of(&request.model)
            }),
            Self::Lora => {
                painting.is_some_and(|request| request.files.loras.iter().any(|lora| lora.path == found.path))
            }
            Self::Control => painting.is_some_and(|request| {
                request.parameters.inputs.controls.iter().any(|control| control.model == found.id)
            }),
            Self::Upscaler => task.upscalers().into_iter().any(|upscaler| *upscaler == found.id),
        }
    }

    /// What may go with it.
    fn beside(self) -> Beside {
        if self == Self::Model { Beside::OneHiddenFile } else { Beside::Nothing }
    }

    /// What the audit calls it.
    fn act(self) -> &'static str {
        match self {
            Self::Model => "model.delete",
            Self::Lora => "lora.delete",
            Self::Control => "controlnet.delete",
            Self::Upscaler => "upscaler.delete",
        }
    }
}

impl Found {
    /// Whether neither the configuration nor another model names the model.
    fn is_dispensable(&self, app: &App, place: &Place) -> Result<()> {
        let default = app.models.default_name();
        for (key, names) in [
            ("models.default_model", default.as_slice()),
            ("models.pinned", app.config.models.pinned.as_slice()),
        ] {
            let is_named = |name: &String| app.models.find(Some(name)).is_ok_and(|named| named.id == self.id);
            if names.iter().any(is_named) {
                let message = format!(
                    "`{}` is named in `{key}` of the configuration; take it out there first",
                    self.id
                );
                return Err(Error::Conflict(message));
            }
        }
        let mut others = app.models.all().into_iter().filter(|other| other.path != self.path);
        match others.find(|other| place.brings_vae_of(other)) {
            Some(other) => {
                let message = format!("`{}` uses its autoencoder; give it another one first", other.id);
                Err(Error::Conflict(message))
            }
            None => Ok(()),
        }
    }
}

/// Takes it off the devices, unless a job needs it or pictures are being made with it.
async fn free(app: &App, kind: Kind, found: &Found, place: &Place) -> Result<()> {
    let id = &found.id;
    if app.jobs.present().iter().any(|job| kind.is_needed(&job.task, found, place)) {
        return Err(Error::Conflict(format!("jobs need `{id}`; it can go when they are done")));
    }
    match &found.request {
        Some(request) => residence::unload_network(app, id, request).await,
        None => Ok(()),
    }
}

/// Where something lies that may be deleted.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// The same, when all links to its directory are followed.
    real: PathBuf,
    directory: PathBuf,
}

impl Place {
    async fn of(app: &App, found: &Found) -> Result<Self> {
        let directory = app.config.models.directory.clone();
        if found.root != directory {
            return Err(Error::Forbidden(disk::BUILT_IN));
        }
        let path = found.path.clone();
        blocking(move || {
            let real = disk::may_go(&path, &directory, &built_in())?;
            Ok(Self { path, real, directory })
        })
        .await
    }

    /// Whether a model has its autoencoder out of this.
    fn brings_vae_of(&self, model: &Model) -> bool {
        let Some(vae) = &model.vae else { return false };
        vae.starts_with(&self.path) || vae.canonicalize().is_ok_and(|vae| vae.starts_with(&self.real))
    }

    /// Deletes what is there, and looks at what is left.
    async fn delete(self, app: &App, turn: Turn, beside: Beside) -> Result<()> {
        let gone = blocking(move || Ok(disk::delete(&self.path, &self.directory, beside)?)).await;
        turn.look().await?;
        residence::offer(app, &app.models.turn().await);
        gone
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(anyhow::Error::from)?
}
