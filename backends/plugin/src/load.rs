// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The daemon's half: a plugin library behind [`Backend`](crate::Backend).
//!
//! A library is opened once and never closed: its threads, its thread-local destructors and its device's
//! runtime may outlive every instance. Opening one runs its code, so only directories that the operator
//! trusts are searched.

mod backend;
mod callbacks;
mod descriptors;
mod logs;
#[cfg(test)]
#[cfg(feature = "export")]
mod tests;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use serde_json::Value;

pub use backend::PluginBackend;
pub use descriptors::close_inherited;
pub use logs::log;

use crate::abi::read::read;
use crate::abi::{self, ABI_MAJOR, ABI_MINOR, Entry, Table};
use crate::{Error, ErrorKind, Result};

const PREFIX: &str = "libalice_backend_";

/// An opened plugin library that keeps the contract as far as can be seen without starting it.
#[derive(Clone, Debug)]
pub struct Plugin {
    path: PathBuf,
    table: Table,
}

impl Plugin {
    /// Opens the library at `path` and checks its table.
    ///
    /// # Errors
    /// `Contract`, with a sentence that names the file and why it is no plugin for this program.
    pub fn open(path: &Path) -> Result<Self> {
        // Absolute, because the system's loader looks for a bare file name in places of its own. Links are
        // not followed: the backend is known by the name under which it was installed.
        let path = std::path::absolute(path).map_err(|error| refused(path, error))?;
        let entry = entry(&path)?;
        // SAFETY: as `entry` says, and the library stays.
        let table = unsafe { entry() };
        // SAFETY: what an `Entry` returns is null or such a table, and its library is never closed.
        unsafe { Self::from_table(path, table) }
    }

    /// # Safety
    /// `table` is null or points to a table whose functions are what [`Table`] says until the process ends.
    unsafe fn from_table(path: PathBuf, table: *const Table) -> Result<Self> {
        if table.is_null() || !table.is_aligned() {
            return Err(refused(&path, "its entry gave no table"));
        }
        // SAFETY: size and versions are the first eight bytes of a table in every version.
        let [_, _, major, minor] = unsafe { table.cast::<[u16; 4]>().read() };
        if major != ABI_MAJOR {
            let ours = format!("this program {ABI_MAJOR}.{ABI_MINOR}");
            let reason = format!("it speaks version {major}.{minor} of the plugin contract, {ours}");
            return Err(refused(&path, reason));
        }
        // SAFETY: the caller's promise.
        let table = unsafe { read(table) }.map_err(|error| refused(&path, error))?;
        if let Some(name) = missing(&table) {
            return Err(refused(&path, format!("its table lacks `{name}`")));
        }
        Ok(Self { path, table })
    }

    /// The library's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Major and minor version of the contract that the plugin speaks.
    pub fn abi(&self) -> (u16, u16) {
        (self.table.abi_major, self.table.abi_minor)
    }

    /// Starts an instance with `options`, a JSON object of the backend's own making.
    ///
    /// # Errors
    /// What the plugin answers; `Contract` when it says that it works and gives no instance.
    pub fn start(&self, options: &Value) -> Result<PluginBackend> {
        PluginBackend::start(self.table, options)
    }
}

/// The name of a required function that the table lacks.
fn missing(table: &Table) -> Option<&'static str> {
    let required = [
        ("create", table.create.is_some()),
        ("destroy", table.destroy.is_some()),
        ("describe", table.describe.is_some()),
        ("load", table.load.is_some()),
        ("encode_text", table.encode_text.is_some()),
        ("denoise", table.denoise.is_some()),
        ("decode", table.decode.is_some()),
        ("release", table.release.is_some()),
        ("unload", table.unload.is_some()),
        ("memory", table.memory.is_some()),
    ];
    required.into_iter().find(|(_, present)| !present).map(|(name, _)| name)
}

/// Loads the library for the rest of the process and looks its entry up.
fn entry(path: &Path) -> Result<Entry> {
    // SAFETY: this runs the library's initialisers. The file lies where the operator wants plugins to be
    // found, which makes it as trusted as this program.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| {
        // The error itself only says that it was `dlopen` that failed; the system's reason is its source.
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        refused(path, format!("it cannot be loaded: {reason}"))
    })?;
    // SAFETY: the contract gives this name to an `Entry` and to nothing else.
    let symbol = unsafe { library.get::<Option<Entry>>(abi::ENTRY_SYMBOL) };
    let entry = symbol.ok().and_then(|symbol| *symbol);
    std::mem::forget(library);
    entry.ok_or_else(|| refused(path, format!("it is no plugin: it does not export `{}`", abi::ENTRY_SYMBOL)))
}

fn refused(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Contract, format!("`{}`: {reason}", path.display()))
}

/// The plugins in `directories`, sorted by name. Of two with the same name the one in the earlier
/// directory is taken. Directories that cannot be read are passed over.
pub fn find(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for directory in directories {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::debug!("No plugins from `{}`: {error}", directory.display());
                continue;
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            // Opening a pipe or a device of such a name could wait for ever.
            if let Some(name) = backend_name(&path).filter(|_| path.is_file()) {
                found.entry(name).or_insert(path);
            }
        }
    }
    found.into_values().collect()
}

/// The backend's name out of the library's file name: `candle-cpu` for `libalice_backend_candle_cpu.so`
/// (`.dylib` on macOS). Names have hyphens where file names have underscores.
pub fn backend_name(path: &Path) -> Option<String> {
    let name =
        path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(std::env::consts::DLL_SUFFIX)?;
    (!name.is_empty()).then(|| name.replace('_', "-"))
}
