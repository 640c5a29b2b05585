// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The room that pictures and models take on the disk, and what is left of it.

use rusqlite::Connection;

use crate::app::App;
use crate::config::gigabytes;
use crate::error::Result;
use crate::pages::bytes::Bytes;
use crate::pictures;

/// What the pictures of one account take.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) pictures: u64,
    pub(super) bytes: Bytes,
    /// What they may take.
    pub(super) quota: Option<Bytes>,
}

/// What everything takes.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) pictures: u64,
    pub(super) bytes: Bytes,
    /// What all pictures may take.
    pub(super) most: Option<Bytes>,
    pub(super) models: Bytes,
    /// What is free where pictures go, if the system says so.
    pub(super) free: Option<Bytes>,
}

impl Own {
    pub(super) fn of(connection: &Connection, app: &App, account: i64) -> Result<Self> {
        let usage = pictures::usage(connection, Some(account))?;
        let quota = pictures::quota(connection, &app.config, Some(account))?;
        Ok(Self { pictures: usage.pictures, bytes: Bytes(usage.bytes), quota: quota.map(Bytes) })
    }
}

impl Room {
    pub(super) fn of(connection: &Connection, app: &App) -> Result<Self> {
        let owners = pictures::usage_by_owner(connection)?;
        let disk = rustix::fs::statvfs(&app.config.storage.images_directory).ok();
        Ok(Self {
            pictures: owners.iter().map(|owner| owner.usage.pictures).sum(),
            bytes: Bytes(owners.iter().map(|owner| owner.usage.bytes).sum()),
            most: app.config.storage.max_storage_gb.map(|count| Bytes(gigabytes(count))),
            models: Bytes(app.models.all().iter().map(|model| model.size_bytes).sum()),
            free: disk.map(|disk| Bytes(disk.f_bavail.saturating_mul(disk.f_frsize))),
        })
    }
}
