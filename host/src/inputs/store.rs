// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The directory of inputs: each is a plain PNG under a name that cannot be guessed, from its request to the end of its
//! job.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use axum::body::Bytes;
use rustix::fs::OFlags;
use tracing::error;

use super::budget::Budget;
use super::disk;
use super::fetch::{Fetcher, Rules};
use super::reader::{Answer, Job, Reader, Whose};
use super::{Input, Lease, Limits, Want};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::worker;

/// The parameter that errors are about until the caller says its real name.
pub(super) const PARAM: &str = "image";
/// The beginning of a PNG: its signature and its header's chunk.
const PNG_HEAD: usize = 26;

/// Where inputs are, and who reads them. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    limits: Limits,
    reader: Reader,
    /// Bytes in memory until they are read, of all requests.
    in_hand: Budget,
    /// Bytes that the directory may have.
    on_disk: u64,
    /// `None`: the operator does not allow it.
    fetcher: Option<Fetcher>,
}

impl Store {
    /// The inputs where the configuration has them, read by processes of `program`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(config: &Config, program: PathBuf) -> anyhow::Result<Self> {
        let limits = &config.limits;
        let at_once = limits.picture_readers.map_or_else(cores, |readers| readers as usize);
        let limits = Limits {
            bytes: limits.input_picture_bytes,
            side: limits.input_picture_side,
            pixels: limits.input_picture_pixels,
        };
        let images = &config.images;
        let in_hand = Budget::new(config.limits.input_bytes_in_hand);
        let fetcher = Fetcher::new(Rules::public(images.allow_http_inputs), limits.bytes, in_hand.clone());
        Self::made(Shared {
            directory: config.storage.inputs_directory.clone(),
            limits,
            reader: Reader::new(program, at_once),
            in_hand,
            on_disk: config.limits.input_bytes_on_disk,
            fetcher: images.allow_url_inputs.then_some(fetcher),
        })
    }

    /// The inputs in `directory`, which is made if it is not there, read by at most `at_once` processes of `program` at
    /// the same time. None is fetched by its address, and only the disk says how many there may be.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(directory: &Path, limits: Limits, program: PathBuf, at_once: usize) -> anyhow::Result<Self> {
        Self::made(Shared {
            directory: directory.to_owned(),
            limits,
            reader: Reader::new(program, at_once),
            in_hand: Budget::new(u64::MAX),
            on_disk: u64::MAX,
            fetcher: None,
        })
    }

    fn made(shared: Shared) -> anyhow::Result<Self> {
        let directory = &shared.directory;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("cannot make the directory of inputs {}", directory.display()))?;
        Ok(Self(Arc::new(shared)))
    }

    /// The bytes that all requests may have in memory until their pictures are read.
    pub(crate) fn in_hand(&self) -> &Budget {
        &self.0.in_hand
    }

    /// What a picture may be.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Reads a picture that a client has sent, and keeps it as a plain PNG. When the last clone of the input is dropped
    /// before a job has taken it over, it is gone again.
    ///
    /// # Errors
    /// [`Error::Invalid`] about `image` says why the picture is not read; [`Error::NoRoom`] that too many are kept.
    /// Everything else is the daemon's fault.
    pub async fn take(&self, bytes: Bytes) -> Result<Input> {
        let place = self.0.reader.place(Whose::Request).await?;
        let store = self.clone();
        let take = move || {
            let _place = place;
            store.0.take(&bytes)
        };
        tokio::task::spawn_blocking(take).await.map_err(|error| Error::Internal(error.into()))?
    }

    /// The file of a picture that a client names by its address, to be read by [`take`](Self::take).
    ///
    /// # Errors
    /// [`Error::Invalid`] about `image`: the operator does not allow it (`images.allow_url_inputs`), or why it does not
    /// come.
    pub async fn fetch(&self, url: &str) -> Result<Bytes> {
        let off =
            "must be the picture itself, as a file or as a data URL: this server fetches none by address";
        let fetcher = self.0.fetcher.as_ref().ok_or_else(|| Error::invalid(PARAM, off))?;
        fetcher.fetch(url).await
    }

    /// What a job needs of an input, as raw bytes: [`Want`] says how many.
    ///
    /// # Errors
    /// [`Error::InputGone`] when the file is not there any more, [`Error::InputUnusable`] when no process makes that of it;
    /// otherwise the daemon's fault.
    pub async fn pixels(&self, input: &Input, want: &Want) -> Result<Vec<u8>> {
        let place = self.0.reader.place(Whose::Job).await?;
        let (store, name, want) = (self.clone(), input.name.clone(), *want);
        let make = move || {
            let _place = place;
            store.0.make(&name, want)
        };
        tokio::task::spawn_blocking(make).await.map_err(|error| Error::Internal(error.into()))?
    }

    /// Whether the files of all these are there.
    ///
    /// # Errors
    /// [`Error::InputGone`] when one is not.
    pub(crate) fn still_there(&self, pictures: &[&Input]) -> Result<()> {
        pictures.iter().try_for_each(|input| self.0.open(&input.name).map(drop))
    }

    /// Removes the files of a job that is over. Its rows are gone by now, so that what cannot be removed goes at the
    /// daemon's next start.
    pub(crate) async fn remove(&self, pictures: &[&Input]) {
        let names: BTreeSet<_> = pictures.iter().map(|input| input.name.clone()).collect();
        if names.is_empty() {
            return;
        }
        let store = self.clone();
        let remove = move || names.iter().try_for_each(|name| gone(&store.0.path(name)?));
        match tokio::task::spawn_blocking(remove).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => error!("Input pictures of a job that is over cannot be removed: {cause:#}"),
            Err(cause) => error!("Input pictures of a job that is over cannot be removed: {cause}"),
        }
    }

    /// Removes what a daemon that went down has left behind: half-written files, and inputs that are not among `needed`.
    /// Other files stay.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn remove_remains(&self, needed: &BTreeSet<String>) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.0.directory)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let is_left = Kept::named(&name).is_some() && !needed.contains(&name);
            if is_left || is_partial(OsStr::new(&name)) {
                gone(&entry.path())?;
            }
        }
        Ok(())
    }
}

impl Shared {
    fn take(&self, bytes: &[u8]) -> Result<Input> {
        if bytes.len() as u64 > self.limits.bytes {
            return Err(self.refused(super::outline::Refusal::Heavy));
        }
        let name = Kept::random()?.file;
        let (path, partial) = (self.path(&name)?, self.directory.join(format!(".{name}.part")));
        let lease = Lease::of(partial.clone());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .with_context(|| format!("cannot keep an input in {}", self.directory.display()))?;
        let job = Job::Take(self.limits);
        disk::check(&self.directory, self.on_disk, job.most_bytes())?;
        let answer =
            self.reader.run(&job, in_memory(bytes)?, file.try_clone().map_err(anyhow::Error::from)?)?;
        let (width, height, has_alpha, tones) = match answer {
            Answer::Taken { width, height, has_alpha, tones } => (width, height, has_alpha, tones),
            Answer::Refused(refusal) => return Err(self.refused(refusal)),
            Answer::Made => {
                return Err(anyhow!("a process that reads a picture answers something else").into());
            }
        };
        self.check(&mut file, width, height, has_alpha, job.most_bytes())?;
        self.settle(&file, &partial, &path).context("cannot keep an input")?;
        drop(lease);
        Ok(Input { name, width, height, has_alpha, tones, lease: Lease::of(path) })
    }

    /// Whether the file that a process has written is what it says. That its pixels can be decoded is for the next
    /// process to find out.
    fn check(
        &self,
        file: &mut File,
        width: u32,
        height: u32,
        has_alpha: bool,
        most: u64,
    ) -> anyhow::Result<()> {
        let mut head = [0; PNG_HEAD];
        file.rewind()?;
        file.read_exact(&mut head).context("a process that reads a picture has written too little")?;
        let colours = if has_alpha { 6 } else { 2 };
        let expected = [
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(),
            &width.to_be_bytes(),
            &height.to_be_bytes(),
            &[8, colours],
        ];
        ensure!(
            head.as_slice() == expected.concat(),
            "a process that reads a picture has written another one"
        );
        ensure!(width > 0 && height > 0 && self.limits.allow(width, height), "a picture grew as it was read");
        ensure!(file.metadata()?.len() <= most, "a process that reads a picture has written too much");
        Ok(())
    }

    /// Gives a file that is written its name. After this it survives a power cut.
    fn settle(&self, file: &File, partial: &Path, path: &Path) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(partial, path)?;
        File::open(&self.directory)?.sync_all()
    }

    fn make(&self, name: &str, want: Want) -> Result<Vec<u8>> {
        let input = self.open(name)?;
        let output = in_memory(&[])?;
        // What was sent in many bytes may be many more as it is kept.
        let bytes = Job::Take(self.limits).most_bytes();
        let job = Job::Make(want, Limits { bytes, ..self.limits });
        let result = output.try_clone().map_err(anyhow::Error::from)?;
        match self.reader.run(&job, input, output)? {
            Answer::Made => {}
            // It was read once; a larger size, or what is done to it, may take more than that did.
            Answer::Refused(refusal) => {
                return Err(Error::InputUnusable { problem: refusal.told(&self.limits) });
            }
            other @ Answer::Taken { .. } => {
                return Err(anyhow!("an input that was kept cannot be read: {other:?}").into());
            }
        }
        let length = result.metadata().map_err(anyhow::Error::from)?.len();
        if length != want.bytes() {
            return Err(anyhow!("a process that reads a picture has written {length} bytes").into());
        }
        let mut pixels = vec![0; usize::try_from(length).map_err(anyhow::Error::from)?];
        result.read_exact_at(&mut pixels, 0).map_err(anyhow::Error::from)?;
        Ok(pixels)
    }

    fn open(&self, name: &str) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        match options.open(self.path(name)?) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::InputGone),
            Err(error) => Err(anyhow::Error::from(error).context("cannot open an input").into()),
        }
    }

    /// Only our own names are ever opened, so no path can lead elsewhere.
    fn path(&self, name: &str) -> anyhow::Result<PathBuf> {
        let kept = Kept::named(name).with_context(|| format!("`{name}` is not the name of an input"))?;
        Ok(self.directory.join(kept.file))
    }

    fn refused(&self, refusal: super::outline::Refusal) -> Error {
        Error::invalid(PARAM, refusal.told(&self.limits))
    }
}

/// Whether a file of this name is an input that is being written.
pub(super) fn is_partial(name: &OsStr) -> bool {
    let inner = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".part"));
    inner.is_some_and(|name| Kept::named(name).is_some())
}

/// Makes sure that no file is at `path`.
fn gone(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A file that lies in no directory and holds `bytes`.
fn in_memory(bytes: &[u8]) -> anyhow::Result<File> {
    let mut file = worker::memory_file()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Cores that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
