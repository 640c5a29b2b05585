// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Networks that work beside a model: ControlNets and T2I-Adapters, which guide it, and upscalers.

use std::path::{Path, PathBuf};

use alice_checkpoint::Family;
use alice_checkpoint::control::{ControlFile, ControlKind, Needs};
use alice_plugin::{LoadRequest, ModelFiles};

use super::entry::{Entry, entry};
use super::model::Model;
use super::names::Wish;
use super::{files, model};
use crate::engine::Versioned;

/// The family of all upscalers in the plugin contract.
const UPSCALER: &str = "upscaler";

/// A ControlNet or T2I-Adapter on disk.
#[derive(Clone, Debug)]
pub struct ControlEntry {
    /// `controlnet/<name>`.
    pub id: String,
    /// Usually the name of its file without the ending, or of its directory.
    pub name: String,
    /// The file or directory.
    pub path: PathBuf,
    /// Which of the two it is.
    pub kind: ControlKind,
    /// The family of the models that it guides.
    pub family: Family,
    /// The sizes that such a model must have.
    pub needs: Needs,
    /// Seconds since 1970 when it was put here.
    pub created: u64,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// A number that changes whenever its files do.
    pub version: u64,
    /// The same path, or the directory of which the file is a half.
    opened: PathBuf,
    pub(super) root: PathBuf,
    pub(super) wish: Wish,
}

/// A network that makes pictures larger, on disk.
#[derive(Clone, Debug)]
pub struct UpscalerEntry {
    /// `upscaler/<name>`.
    pub id: String,
    /// Usually the file's name without its ending.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// How many times wider and higher it makes a picture.
    pub scale: u32,
    /// Seconds since 1970 when it was put here.
    pub created: u64,
    /// How large the file is.
    pub size_bytes: u64,
    /// A number that changes whenever the file does.
    pub version: u64,
    pub(super) root: PathBuf,
    pub(super) wish: Wish,
}

impl ControlEntry {
    /// Of the file or directory at `path`, opened as `file`, whose files had this `version` before anything of them was
    /// read.
    pub(super) fn new(
        path: &Path,
        file: &ControlFile,
        root: &Path,
        wish: Wish,
        version: u64,
    ) -> anyhow::Result<Self> {
        let name = wish.first().to_owned();
        Ok(Self {
            id: format!("{}/{name}", Self::PREFIX),
            name,
            path: path.to_owned(),
            kind: file.kind(),
            family: file.base(),
            needs: file.needs().clone(),
            created: model::created(&path.metadata()?),
            size_bytes: files::size(path),
            version,
            opened: file.path().to_owned(),
            root: root.to_owned(),
            wish,
        })
    }

    /// Why it cannot guide `model`; nothing when it can. The words go on from "cannot be used: ".
    pub fn misfit(&self, model: &Model) -> Option<String> {
        let unmet = self.needs.unmet_by(&model.trunk)?;
        let (id, own, models) = (&self.id, self.family, model.family);
        Some(match own == models {
            true => format!("`{id}` does not fit `{}`: {unmet}", model.id),
            false => format!("`{id}` is made for models of the kind {own}, not {models}"),
        })
    }

    /// How the engine is asked for it.
    pub fn load_request(&self) -> Versioned<LoadRequest> {
        request(&self.opened, self.kind.as_str(), self.version)
    }
}

impl UpscalerEntry {
    /// Of the file at `path`, which had this `version` before anything of it was read.
    pub(super) fn new(
        path: &Path,
        root: &Path,
        scale: u32,
        wish: Wish,
        version: u64,
    ) -> anyhow::Result<Self> {
        let (name, metadata) = (wish.first().to_owned(), path.metadata()?);
        Ok(Self {
            id: format!("{}/{name}", Self::PREFIX),
            name,
            path: path.to_owned(),
            scale,
            created: model::created(&metadata),
            size_bytes: metadata.len(),
            version,
            root: root.to_owned(),
            wish,
        })
    }

    /// How the engine is asked for it.
    pub fn load_request(&self) -> Versioned<LoadRequest> {
        request(&self.path, UPSCALER, self.version)
    }
}

fn request(path: &Path, family: &str, version: u64) -> Versioned<LoadRequest> {
    let path = path.to_owned();
    let files = if path.is_dir() { ModelFiles::Diffusers { path } } else { ModelFiles::SingleFile { path } };
    let what = LoadRequest { files, family: family.to_owned(), vae: None, dtype: "auto".into(), device: 0 };
    Versioned { what, version }
}

entry!(ControlEntry, "controlnet");

entry!(UpscalerEntry, "upscaler");
