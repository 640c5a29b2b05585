// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Where finished pictures are kept: one PNG file each, under a name that cannot be guessed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

mod thumbnails;

pub use thumbnails::Thumbnails;

/// What stands around the name of a file that is being written.
const PARTIAL_PREFIX: &str = ".";
const PARTIAL_SUFFIX: &str = ".part";

/// Hexadecimal digits of our names, and of those that the Python ALICE gave.
const DIGITS: usize = 32;
const EARLIER_DIGITS: usize = 12;

/// The directory of finished pictures.
#[derive(Clone, Debug)]
pub struct Gallery {
    directory: PathBuf,
}

/// A kept picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The file's name: 32 hexadecimal digits and `.png`; of a picture of the Python ALICE 12 of them, and `_` with a
    /// number where one request had several.
    pub file: String,
}

impl Kept {
    /// The picture called `file`, unless that is no name of ours.
    pub fn named(file: &str) -> Option<Self> {
        is_name(file).then(|| Self { file: file.to_owned() })
    }

    /// The picture with this id, which comes from our own database.
    pub fn with_id(id: &str) -> Self {
        Self { file: format!("{id}.png") }
    }

    /// A name for a new picture, which nobody can guess.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> crate::error::Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        Ok(Self::with_id(&format!("{:032x}", u128::from_be_bytes(random))))
    }

    /// Its id: the file's name without the ending.
    pub fn id(&self) -> &str {
        self.file.trim_end_matches(".png")
    }
}

impl Gallery {
    /// The pictures in `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("cannot make the directory of pictures {}", directory.display()))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// Keeps the PNG file that `write` writes as `kept`, in the place of an earlier one. After this it survives a power
    /// cut: the bytes are on the disk before the name is.
    ///
    /// # Errors
    /// What `write` and the disk say; nothing is left behind under the final name.
    pub fn keep(
        &self,
        kept: &Kept,
        write: impl FnOnce(&mut File) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let file = &kept.file;
        let partial = self.directory.join(format!("{PARTIAL_PREFIX}{file}{PARTIAL_SUFFIX}"));
        let result = self.write(&partial, &self.directory.join(file), write);
        if result.is_err() {
            // The write has failed already; that its remains cannot be removed is no news.
            let _remains = fs::remove_file(&partial);
        }
        result.with_context(|| format!("cannot keep a picture in {}", self.directory.display()))
    }

    /// Removes the file of a picture; one that is not there is as good as removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(&self, kept: &Kept) -> anyhow::Result<()> {
        gone(&self.directory.join(&kept.file))
    }

    /// Removes what a daemon that went down has left behind: half-written files, and the files in `left_over`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove_remains(&self, left_over: &[Kept]) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let file = name
                .to_str()
                .and_then(|name| name.strip_prefix(PARTIAL_PREFIX)?.strip_suffix(PARTIAL_SUFFIX));
            if file.is_some_and(is_name) {
                gone(&entry.path())?;
            }
        }
        left_over.iter().try_for_each(|kept| self.remove(kept))
    }

    /// Whether the file of a picture is there.
    pub fn has(&self, kept: &Kept) -> bool {
        self.directory.join(&kept.file).is_file()
    }

    /// The PNG file of a picture, open to be read, and how many bytes it has, or `None` if it is not there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn find(&self, kept: &Kept) -> anyhow::Result<Option<(File, u64)>> {
        opened(&self.directory.join(&kept.file)).context("cannot read a picture")
    }

    fn write(
        &self,
        partial: &Path,
        finished: &Path,
        write: impl FnOnce(&mut File) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(partial)?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(partial, finished)?;
        Ok(File::open(&self.directory)?.sync_all()?)
    }
}

/// The file at `path`, open to be read, and how many bytes it has, or `None` if it is not there.
fn opened(path: &Path) -> std::io::Result<Option<(File, u64)>> {
    match File::open(path).and_then(|file| file.metadata().map(|data| (file, data.len()))) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes sure that no file is at `path`.
fn gone(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Our names and those of the Python ALICE: no other name is ever opened, so no path can lead elsewhere.
fn is_name(file: &str) -> bool {
    let is_hex = |id: &str| id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let is_number =
        |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    file.strip_suffix(".png").is_some_and(|id| match id.split_once('_') {
        Some((id, number)) => id.len() == EARLIER_DIGITS && is_hex(id) && is_number(number),
        None => matches!(id.len(), DIGITS | EARLIER_DIGITS) && is_hex(id),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// A way to write these bytes.
    fn writes(bytes: &[u8]) -> impl FnOnce(&mut File) -> anyhow::Result<()> {
        |file| Ok(file.write_all(bytes)?)
    }

    /// What is in the file of a picture.
    fn read(gallery: &Gallery, kept: &Kept) -> Option<Vec<u8>> {
        let (mut file, length) = gallery.find(kept).unwrap()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, length);
        Some(bytes)
    }

    #[test]
    fn a_picture_that_cannot_be_written_leaves_the_earlier_one_and_no_remains() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(directory.path()).unwrap();
        let kept = Kept::random().unwrap();
        gallery.keep(&kept, writes(b"picture")).unwrap();
        let half = |file: &mut File| {
            file.write_all(b"half")?;
            anyhow::bail!("nobody wants it")
        };
        gallery.keep(&kept, half).unwrap_err();
        assert_eq!(read(&gallery, &kept).unwrap(), b"picture");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_kept_picture_is_read_back_and_nothing_else_lies_there() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(&directory.path().join("new")).unwrap();
        let kept = Kept::random().unwrap();
        gallery.keep(&kept, writes(b"picture")).unwrap();
        gallery.keep(&kept, writes(b"the picture again")).unwrap();
        assert_eq!(read(&gallery, &kept).unwrap(), b"the picture again");
        assert_eq!(fs::read_dir(directory.path().join("new")).unwrap().count(), 1);
        assert_ne!(Kept::random().unwrap(), kept);
    }

    #[test]
    fn the_remains_of_an_earlier_life_go_and_everything_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(directory.path()).unwrap();
        let (finished, left_over) = (Kept::random().unwrap(), Kept::random().unwrap());
        gallery.keep(&finished, writes(b"finished")).unwrap();
        gallery.keep(&left_over, writes(b"left over")).unwrap();
        let half = directory.path().join(format!(".{}.part", Kept::random().unwrap().file));
        let others = [".notes.part", "holiday.png", ".0123.png.part"].map(|name| directory.path().join(name));
        others.iter().chain([&half]).for_each(|path| fs::write(path, "x").unwrap());
        gallery.remove_remains(&[left_over.clone(), Kept::random().unwrap()]).unwrap();
        assert!(!half.exists() && read(&gallery, &left_over).is_none());
        assert!(read(&gallery, &finished).is_some() && others.iter().all(|path| path.exists()));
    }

    #[test]
    fn only_our_own_names_are_names() {
        for name in [
            "secret.png",
            "../secret.png",
            "",
            ".png",
            "0123456789abcdef0123456789abcdef.png/..",
            "0123456789abcdef0123456789abcdef_1.png",
            "0123456789ab_.png",
            "0123456789ab_12345.png",
            "0123456789ab_x.png",
            "0123456789abc.png",
        ] {
            assert_eq!(Kept::named(name), None, "{name}");
        }
        let name = "0123456789abcdef0123456789abcdef.png";
        assert_eq!(Kept::named(name).unwrap().id(), "0123456789abcdef0123456789abcdef");
        assert_eq!(Kept::named("0123456789ab.png").unwrap().id(), "0123456789ab");
        assert_eq!(Kept::named("0123456789ab_99.png").unwrap().id(), "0123456789ab_99");
    }
}
