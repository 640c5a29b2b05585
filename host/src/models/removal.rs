// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Deleting a model, or what works beside one: its own files, and the directory that they leave behind when nothing else is in it.
//! Beside a model in one file that may be one hidden file, as in the Python ALICE. What lies outside the configured
//! directory is never deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alice_plugin::LoadRequest;
use anyhow::Context;
use tracing::{info, warn};

use super::Model;
use super::registry::Turn;
use super::scan::built_in;
use crate::app::App;
use crate::auth::Actor;
use crate::auth::audit::{self, Author};
use crate::error::{Error, Result};
use crate::jobs::Job;
use crate::residence;
use crate::task::Task;

/// Deletes the model with exactly this id or name from the disk, for `actor`. Gives its id. What has begun is
/// brought to its end also when nobody waits any more.
///
/// # Errors
/// [`Error::NoModel`]; [`Error::Forbidden`] for the built-in one; [`Error::Conflict`] for one that jobs or the
/// configuration need, and for one that lies elsewhere.
pub async fn delete_model(app: App, actor: &Actor, asked: String) -> Result<String> {
    let author = Author::from(actor);
    let work = async move {
        let id = model(&app, &asked).await?;
        note(&app, author, "model.delete", &id).await?;
        Ok(id)
    };
    tokio::spawn(work).await.map_err(anyhow::Error::from)?
}

/// Deletes the LoRA with exactly this id or name from the disk, for `actor`. Gives its id.
///
/// # Errors
/// [`Error::NoLora`]; [`Error::Conflict`] for one that jobs need, and for one that lies elsewhere.
pub async fn delete_lora(app: App, actor: &Actor, asked: String) -> Result<String> {
    let author = Author::from(actor);
    let work = async move {
        let id = lora(&app, &asked).await?;
        note(&app, author, "lora.delete", &id).await?;
        Ok(id)
    };
    tokio::spawn(work).await.map_err(anyhow::Error::from)?
}

/// Deletes the ControlNet or T2I-Adapter with exactly this id or name from the disk, for `actor`. Gives its id.
///
/// # Errors
/// [`Error::NoCompanion`]; [`Error::Conflict`] for one that jobs need, and for one that lies elsewhere.
pub async fn delete_control(app: App, actor: &Actor, asked: String) -> Result<String> {
    let author = Author::from(actor);
    let work = async move {
        let turn = app.models.turn().await;
        let found = app.models.exactly_control(&asked);
        let control = found.ok_or(Error::NoCompanion { kind: "ControlNet", asked })?;
        let needs = |task: &Task| {
            let mut controls =
                task.painting().into_iter().flat_map(|request| &request.parameters.inputs.controls);
            controls.any(|needed| needed.model == control.id)
        };
        let request = control.load_request().what;
        companion(&app, turn, &control.id, &control.path, &control.root, &request, needs).await?;
        note(&app, author, "controlnet.delete", &control.id).await?;
        Ok(control.id.clone())
    };
    tokio::spawn(work).await.map_err(anyhow::Error::from)?
}

/// Deletes the upscaler with exactly this id or name from the disk, for `actor`. Gives its id.
///
/// # Errors
/// [`Error::NoCompanion`]; [`Error::Conflict`] for one that jobs need, and for one that lies elsewhere.
pub async fn delete_upscaler(app: App, actor: &Actor, asked: String) -> Result<String> {
    let author = Author::from(actor);
    let work = async move {
        let turn = app.models.turn().await;
        let found = app.models.exactly_upscaler(&asked);
        let upscaler = found.ok_or(Error::NoCompanion { kind: "upscaler", asked })?;
        let needs = |task: &Task| task.upscalers().into_iter().any(|needed| *needed == upscaler.id);
        let request = upscaler.load_request().what;
        companion(&app, turn, &upscaler.id, &upscaler.path, &upscaler.root, &request, needs).await?;
        note(&app, author, "upscaler.delete", &upscaler.id).await?;
        Ok(upscaler.id.clone())
    };
    tokio::spawn(work).await.map_err(anyhow::Error::from)?
}

/// Deletes what lies at `path`, unless a job `needs` it or pictures are being made with it.
async fn companion(
    app: &App,
    turn: Turn,
    id: &str,
    path: &Path,
    root: &Path,
    request: &LoadRequest,
    needs: impl Fn(&Task) -> bool,
) -> Result<()> {
    let doomed = Doomed::new(app, path, root).await?;
    let withdrawn = turn.withdraw(|other| other == path);
    let freed = match app.jobs.present().iter().any(|job| needs(&job.task)) {
        true => Err(Error::Conflict(format!("jobs need `{id}`; it can go when they are done"))),
        false => residence::unload_network(app, id, request).await,
    };
    if let Err(error) = freed {
        turn.put_back(withdrawn);
        return Err(error);
    }
    doomed.delete(app, turn, Beside::Nothing).await?;
    info!(id, "`{id}` was deleted: {}", path.display());
    Ok(())
}

async fn note(app: &App, author: Author, act: &'static str, id: &str) -> Result<()> {
    let (id, now) = (id.to_owned(), app.clock.now());
    app.database.write(move |transaction| audit::note(transaction, &author, act, &id, now)).await
}

async fn model(app: &App, asked: &str) -> Result<String> {
    // Held to the end, so that nobody finds the model again meanwhile.
    let turn = app.models.turn().await;
    let Some(model) = app.models.exactly(asked) else {
        // A word that means it less exactly must not delete it.
        let available = app.models.all().iter().map(|model| model.id.clone()).collect::<Vec<_>>().join(", ");
        return Err(Error::NoModel { asked: asked.to_owned(), available });
    };
    let doomed = Doomed::new(app, &model.path, &model.root).await?;
    for (key, names) in [
        ("models.default_model", app.config.models.default_model.as_slice()),
        ("models.pinned", app.config.models.pinned.as_slice()),
    ] {
        let is_named = |name: &String| app.models.find(Some(name)).is_ok_and(|named| named.id == model.id);
        if names.iter().any(is_named) {
            let message =
                format!("`{}` is named in `{key}` of the configuration; take it out there first", model.id);
            return Err(Error::Conflict(message));
        }
    }
    let mut others = app.models.all().into_iter().filter(|other| other.path != model.path);
    if let Some(other) = others.find(|other| doomed.brings_vae_of(other)) {
        let message = format!("`{}` uses its autoencoder; give it another one first", other.id);
        return Err(Error::Conflict(message));
    }
    let withdrawn = turn.withdraw(|path| path == model.path);
    let jobs = app.jobs.present();
    let mut of_jobs = jobs.iter().filter_map(|job| job.task.painting()).map(|request| &request.model);
    let freed = match of_jobs.any(|needed| needed.path == model.path || doomed.brings_vae_of(needed)) {
        true => Err(Error::Conflict(format!("jobs need `{}`; it can go when they are done", model.id))),
        false => residence::unload_model(app, &model).await,
    };
    if let Err(error) = freed {
        turn.put_back(withdrawn);
        return Err(error);
    }
    doomed.delete(app, turn, Beside::OneHiddenFile).await?;
    info!(model.id = %model.id, "`{}` was deleted: {}", model.id, model.path.display());
    Ok(model.id.clone())
}

async fn lora(app: &App, asked: &str) -> Result<String> {
    let turn = app.models.turn().await;
    let lora = app.models.exactly_lora(asked).ok_or_else(|| Error::NoLora { asked: asked.to_owned() })?;
    let doomed = Doomed::new(app, &lora.path, &lora.root).await?;
    let withdrawn = turn.withdraw(|path| path == lora.path);
    let needs = |job: &Arc<Job>| {
        let mut loras = job.task.painting().into_iter().flat_map(|request| &request.files.loras);
        loras.any(|needed| needed.path == lora.path)
    };
    if app.jobs.present().iter().any(needs) {
        turn.put_back(withdrawn);
        return Err(Error::Conflict(format!("jobs need `{}`; it can go when they are done", lora.id)));
    }
    doomed.delete(app, turn, Beside::Nothing).await?;
    info!(lora.id = %lora.id, "`{}` was deleted: {}", lora.id, lora.path.display());
    Ok(lora.id.clone())
}

/// Something that may be deleted.
#[derive(Debug)]
struct Doomed {
    path: PathBuf,
    /// The same, when all links to its directory are followed.
    real: PathBuf,
    directory: PathBuf,
}

/// What else may lie in a directory that goes with the last file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    OneHiddenFile,
}

impl Doomed {
    /// What lies at `path`, found in the directory of models `root`.
    async fn new(app: &App, path: &Path, root: &Path) -> Result<Self> {
        let directory = app.config.models.directory.clone();
        if root != directory {
            return Err(Error::Forbidden(BUILT_IN));
        }
        let path = path.to_owned();
        blocking(move || {
            let real = may_go(&path, &directory, &built_in())?;
            Ok(Self { path, real, directory })
        })
        .await
    }

    /// Whether a model has its autoencoder out of this.
    fn brings_vae_of(&self, model: &Model) -> bool {
        let Some(vae) = &model.vae else { return false };
        vae.starts_with(&self.path) || vae.canonicalize().is_ok_and(|vae| vae.starts_with(&self.real))
    }

    /// Deletes it, and looks at what is left.
    async fn delete(self, app: &App, turn: Turn, beside: Beside) -> Result<()> {
        let gone = blocking(move || Ok(delete(&self.path, &self.directory, beside)?)).await;
        turn.look().await?;
        residence::offer(app, &app.models.turn().await);
        gone
    }
}

/// Why the built-in model stays.
const BUILT_IN: &str = "the built-in model is part of the program and cannot be deleted";

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(anyhow::Error::from)?
}

/// Where what lies at `path` really is, if it may be deleted: it is in `directory`, also when all links are followed,
/// and is no directory `built_in` or in one.
fn may_go(path: &Path, directory: &Path, built_in: &[PathBuf]) -> Result<PathBuf> {
    let real = |path: &Path| path.canonicalize().with_context(|| format!("cannot find `{}`", path.display()));
    let (directory, parent) = (real(directory)?, real(path.parent().unwrap_or(path))?);
    if !parent.starts_with(&directory) {
        let message = "it lies outside of `models.directory`, behind a link or above it; delete it there";
        return Err(Error::Conflict(message.to_owned()));
    }
    // Of a link only the link goes, wherever it leads.
    let is_link = path.symlink_metadata().map_err(anyhow::Error::from)?.is_symlink();
    let place = parent.join(path.file_name().unwrap_or_default());
    let mut built_in = built_in.iter().filter_map(|root| root.canonicalize().ok());
    if !is_link && built_in.any(|root| place.starts_with(root)) {
        return Err(Error::Forbidden(BUILT_IN));
    }
    Ok(place)
}

/// Deletes what lies at `path`: a link itself and not what it leads to, a directory with everything in it. Of a file
/// its directory goes too when nothing is left but what may be `beside` it; `directory` stays, also those for what is no
/// model in it, and links.
fn delete(path: &Path, directory: &Path, beside: Beside) -> anyhow::Result<()> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_dir() {
        return delete_directory(path, directory)
            .with_context(|| format!("cannot delete all of `{}`", path.display()));
    }
    fs::remove_file(path).with_context(|| format!("cannot delete `{}`", path.display()))?;
    let stays = |parent: &Path| {
        ["", "loras", "embeddings", "controlnets", "upscalers"]
            .iter()
            .any(|own| parent == directory.join(own))
    };
    let goes = |parent: &&Path| !stays(parent) && !parent.is_symlink();
    let Some(parent) = path.parent().filter(goes) else { return Ok(()) };
    let left: Vec<_> = fs::read_dir(parent)?.take(2).collect::<std::io::Result<_>>()?;
    let is_hidden = |entry: &fs::DirEntry| {
        entry.file_name().as_encoded_bytes().starts_with(b".")
            && entry.file_type().is_ok_and(|kind| !kind.is_dir())
    };
    match left.as_slice() {
        [] => {}
        [entry] if beside == Beside::OneHiddenFile && is_hidden(entry) => fs::remove_file(entry.path())?,
        _ => return Ok(()),
    }
    // Others may have put something there: then it stays.
    drop(fs::remove_dir(parent));
    Ok(())
}

/// Where directories go before their files are deleted one by one, in the directory of models. A look for models passes
/// over hidden names.
const LEAVING: &str = ".deleted";

/// Deletes a directory. It is moved away first, so that a daemon that dies meanwhile leaves no half of a model.
fn delete_directory(path: &Path, directory: &Path) -> std::io::Result<()> {
    // Nothing else is being deleted: this holds the turn.
    finish(directory);
    let leaving = directory.join(LEAVING);
    fs::create_dir_all(&leaving)?;
    let moved = leaving.join(path.file_name().unwrap_or_default());
    let gone = match fs::rename(path, &moved) {
        Ok(()) => fs::remove_dir_all(&moved),
        // It lies on another disk.
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => fs::remove_dir_all(path),
        Err(error) => Err(error),
    };
    // What could not be deleted stays in it.
    drop(fs::remove_dir(&leaving));
    gone
}

/// Ends what was begun to be deleted in the directory of models, by a daemon that died or without success.
pub fn finish(directory: &Path) {
    let leaving = directory.join(LEAVING);
    let gone = match fs::remove_dir_all(&leaving) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if let Err(error) = gone {
        warn!("Cannot delete `{}`, which nobody needs: {error}", leaving.display());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with these files, which hold one byte each.
    fn directory(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        root
    }

    fn files(root: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_goes_alone_and_its_empty_directory_with_it() {
        let root = directory(&[
            "a.safetensors",
            "a.yaml",
            "sub/b.safetensors",
            "sub/.note",
            "two/c.sft",
            "two/c.yaml",
        ]);
        let root = root.path();
        delete(&root.join("a.safetensors"), root, Beside::OneHiddenFile).unwrap();
        assert_eq!(files(root), ["a.yaml", "sub", "two"], "the sidecar stays");
        delete(&root.join("sub/b.safetensors"), root, Beside::OneHiddenFile).unwrap();
        assert_eq!(files(root), ["a.yaml", "two"]);
        delete(&root.join("two/c.sft"), root, Beside::OneHiddenFile).unwrap();
        assert_eq!(files(&root.join("two")), ["c.yaml"]);
        fs::remove_file(root.join("a.yaml")).unwrap();
        fs::remove_dir_all(root.join("two")).unwrap();
        fs::write(root.join("last.sft"), "").unwrap();
        delete(&root.join("last.sft"), root, Beside::OneHiddenFile).unwrap();
        assert!(root.is_dir(), "the directory of models stays");
    }

    #[test]
    fn beside_a_lora_nothing_goes_and_the_directories_for_such_things_stay() {
        let root = directory(&[
            "loras/a.sft",
            "loras/.note",
            "loras/sub/b.sft",
            "loras/sub/.note",
            "loras/two/c.sft",
        ]);
        let root = root.path();
        for lora in ["sub/b.sft", "two/c.sft"] {
            delete(&root.join("loras").join(lora), root, Beside::Nothing).unwrap();
        }
        assert_eq!(files(&root.join("loras")), [".note", "a.sft", "sub"]);
        assert_eq!(files(&root.join("loras/sub")), [".note"], "it is not ours");
        for (file, beside) in [("a.sft", Beside::Nothing), ("model.sft", Beside::OneHiddenFile)] {
            let file = root.join("loras").join(file);
            fs::write(&file, "x").unwrap();
            fs::remove_dir_all(root.join("loras/sub")).ok();
            delete(&file, root, beside).unwrap();
            assert_eq!(files(&root.join("loras")), [".note"]);
        }
        fs::remove_file(root.join("loras/.note")).unwrap();
        fs::write(root.join("loras/last.sft"), "x").unwrap();
        delete(&root.join("loras/last.sft"), root, Beside::Nothing).unwrap();
        assert!(root.join("loras").is_dir());
    }

    #[test]
    fn links_go_and_what_they_lead_to_stays() {
        let (elsewhere, root) = (directory(&["model/unet/x", "file"]), directory(&["dir/model_index.json"]));
        let root = root.path();
        symlink(elsewhere.path().join("model"), root.join("linked")).unwrap();
        symlink(elsewhere.path().join("file"), root.join("file.safetensors")).unwrap();
        symlink(elsewhere.path().join("model"), root.join("dir/inside")).unwrap();
        for name in ["linked", "file.safetensors", "dir"] {
            may_go(&root.join(name), root, &[]).unwrap();
            delete(&root.join(name), root, Beside::OneHiddenFile).unwrap();
        }
        assert_eq!(files(root), Vec::<String>::new());
        assert!(elsewhere.path().join("model/unet/x").exists() && elsewhere.path().join("file").exists());
    }

    #[test]
    fn a_directory_goes_at_one_stroke_and_with_it_what_was_left_of_others() {
        let root = directory(&["a/b/model/model_index.json", ".deleted/model/unet/x"]);
        let root = root.path();
        delete(&root.join("a/b/model"), root, Beside::Nothing).unwrap();
        assert_eq!((files(root), files(&root.join("a/b"))), (vec!["a".to_owned()], Vec::new()));
        fs::create_dir_all(root.join(".deleted/other/unet")).unwrap();
        finish(root);
        finish(root);
        assert_eq!(files(root), ["a"]);
        fs::write(root.join(".deleted"), "somebody else's").unwrap();
        fs::create_dir(root.join("model")).unwrap();
        delete(&root.join("model"), root, Beside::Nothing).unwrap_err();
        assert_eq!(files(root), [".deleted", "a", "model"], "it is whole or gone");
    }

    #[test]
    fn what_lies_behind_a_link_is_not_ours_to_delete() {
        let (elsewhere, root) = (directory(&["x.safetensors"]), directory(&["y"]));
        symlink(elsewhere.path(), root.path().join("nas")).unwrap();
        let refused = may_go(&root.path().join("nas/x.safetensors"), root.path(), &[]).unwrap_err();
        assert!(matches!(refused, Error::Conflict(_)), "{refused}");
        let refused = may_go(root.path(), root.path(), &[]).unwrap_err();
        assert!(matches!(refused, Error::Conflict(_)), "the directory of models itself: {refused}");
    }

    #[test]
    fn the_built_in_model_stays_but_a_link_to_it_may_go() {
        let (shipped, root) = (directory(&["emoji/model_index.json"]), directory(&["y"]));
        let built_in = [shipped.path().to_owned()];
        let refused = may_go(&shipped.path().join("emoji"), shipped.path(), &built_in).unwrap_err();
        assert!(matches!(refused, Error::Forbidden(_)), "{refused}");
        symlink(shipped.path().join("emoji"), root.path().join("emoji")).unwrap();
        may_go(&root.path().join("emoji"), root.path(), &built_in).unwrap();
    }
}
