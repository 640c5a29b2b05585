// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Where pictures go, how many may stay, and for how long.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Check;

/// Where pictures go, how many may stay, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Directory of the finished pictures.
    pub images_directory: PathBuf,
    /// Directory of small copies of them for lists. It may be deleted at any time.
    pub thumbnails_directory: PathBuf,
    /// Directory of the pictures that came with requests, until their jobs are over.
    pub inputs_directory: PathBuf,
    /// The database: accounts, keys, sessions, and the gallery.
    pub database: PathBuf,
    /// Where the Python ALICE kept `api_keys.json`, which is taken over once.
    pub auth_directory: PathBuf,
    /// Where the Python ALICE kept its list of pictures, which is taken over once.
    pub gallery_file: PathBuf,
    /// Pictures on a page of the gallery; 0: all.
    pub gallery_page_size: u32,
    /// Hours for which a picture is public when nobody says for how long.
    pub public_image_expiration_hours: u32,
    /// What becomes of a picture whose time in public is over.
    pub expired_public: Expired,
    /// Days after which pictures go to the trash, but for favourites and what is public. Unset: they stay.
    pub retention_days: Option<u32>,
    /// Gigabytes that all pictures may have: where they have more, the oldest go to the trash, and from there for
    /// good. Favourites and what is public stay. Unset: as many as the disk takes.
    pub max_storage_gb: Option<f64>,
    /// Days after which a picture in the trash is deleted for good. Unset: when its owner empties the trash.
    pub trash_days: Option<u32>,
    /// Gigabytes that the pictures of one account may have. Whoever has more makes no further ones. Unset: any
    /// number.
    pub quota_gb: Option<f64>,
}

/// What becomes of a picture whose time in public is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expired {
    /// It is private again.
    Unpublish,
    /// It goes to the trash, as the Python ALICE deleted it.
    Delete,
}

/// Most gigabytes that a limit may have: what a disk of exabytes holds still counts in 64 bits.
const MOST_GB: f64 = 1e9;

/// Bytes of so many gigabytes.
pub fn gigabytes(count: f64) -> u64 {
    (count * 1e9) as u64
}

impl Storage {
    /// Holds each value against what it may be.
    pub(super) fn check(&self, check: &mut Check<'_>) {
        let some = |count: Option<f64>| count.is_none_or(|count| count > 0.0 && count <= MOST_GB);
        let days = |days: Option<u32>| days.is_none_or(|days| days >= 1);
        let hours = self.public_image_expiration_hours >= 1;
        check("storage.public_image_expiration_hours", hours, "must be at least 1");
        check("storage.retention_days", days(self.retention_days), "must be at least 1, or null");
        check("storage.trash_days", days(self.trash_days), "must be at least 1, or null");
        check("storage.max_storage_gb", some(self.max_storage_gb), "must be more than 0, or null");
        check("storage.quota_gb", some(self.quota_gb), "must be more than 0, or null");
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            images_directory: PathBuf::from("images"),
            thumbnails_directory: PathBuf::from("thumbnails"),
            inputs_directory: PathBuf::from("inputs"),
            database: PathBuf::from("data/alice.db"),
            auth_directory: PathBuf::from("data/auth"),
            gallery_file: PathBuf::from("data/gallery.json"),
            gallery_page_size: 100,
            public_image_expiration_hours: 168,
            expired_public: Expired::Unpublish,
            retention_days: None,
            max_storage_gb: None,
            trash_days: Some(30),
            quota_gb: None,
        }
    }
}
