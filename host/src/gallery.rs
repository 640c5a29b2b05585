// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Where finished pictures are kept: one PNG file each, under a name that cannot be guessed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The directory of finished pictures.
#[derive(Clone, Debug)]
pub struct Gallery {
    directory: PathBuf,
}

/// A kept picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The file's name: 32 hexadecimal digits and `.png`.
    pub file: String,
}

impl Kept {
    /// The picture called `file`, unless that is no name of ours.
    pub fn named(file: &str) -> Option<Self> {
        is_name(file).then(|| Self { file: file.to_owned() })
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

    /// Keeps a PNG file. After this it survives a power cut: the bytes are on the disk before the name is.
    ///
    /// # Errors
    /// What the disk says; nothing is left behind under the final name.
    pub fn keep(&self, png: &[u8]) -> anyhow::Result<Kept> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        let file = format!("{:032x}.png", u128::from_be_bytes(random));
        let partial = self.directory.join(format!(".{file}.part"));
        let result = self.write(&partial, &self.directory.join(&file), png);
        if result.is_err() {
            // The write has failed already; that its remains cannot be removed is no news.
            let _remains = fs::remove_file(&partial);
        }
        result.with_context(|| format!("cannot keep a picture in {}", self.directory.display()))?;
        Ok(Kept { file })
    }

    /// The PNG file of a picture, or `None` if it is not there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self, kept: &Kept) -> anyhow::Result<Option<Vec<u8>>> {
        match fs::read(self.directory.join(&kept.file)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("cannot read a picture"),
        }
    }

    fn write(&self, partial: &Path, finished: &Path, png: &[u8]) -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial)?;
        file.write_all(png)?;
        file.sync_all()?;
        fs::rename(partial, finished)?;
        File::open(&self.directory)?.sync_all()
    }
}

/// 32 hexadecimal digits and `.png`: no other name is ever opened, so no path can lead elsewhere.
fn is_name(file: &str) -> bool {
    file.strip_suffix(".png").is_some_and(|id| {
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_picture_is_read_back_and_nothing_else_lies_there() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(&directory.path().join("new")).unwrap();
        let kept = gallery.keep(b"picture").unwrap();
        assert_eq!(gallery.read(&kept).unwrap().unwrap(), b"picture");
        assert_eq!(fs::read_dir(directory.path().join("new")).unwrap().count(), 1);
        assert_ne!(gallery.keep(b"picture").unwrap(), kept);
    }

    #[test]
    fn only_our_own_names_are_names() {
        for name in ["secret.png", "../secret.png", "", ".png", "0123456789abcdef0123456789abcdef.png/.."] {
            assert_eq!(Kept::named(name), None, "{name}");
        }
        let name = "0123456789abcdef0123456789abcdef.png";
        assert_eq!(Kept::named(name).unwrap().id(), "0123456789abcdef0123456789abcdef");
    }
}
