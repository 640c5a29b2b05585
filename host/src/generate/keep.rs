// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From the pixels of a picture to its file and its row.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tracing::{error, warn};

use super::room::{Room, is_large};
use crate::app::App;
use crate::error::{Error, Result};
use crate::gallery::Kept;
use crate::jobs::stored::Stored;
use crate::jobs::{Job, store};
use crate::metrics::Stage;
use crate::picture::{self, Rows};
use crate::pictures::{self, Details};
use crate::task::Task;

/// A picture before it is kept.
pub(super) struct Finished {
    pub(super) rgb: Vec<u8>,
    /// Width and height.
    pub(super) size: (u32, u32),
    /// The same as they are wanted.
    pub(super) wanted: (u32, u32),
    /// The `parameters` text.
    pub(super) text: String,
    /// How it comes to the size wanted.
    pub(super) fit: Fit,
    /// What it holds of the room for large pictures.
    pub(super) room: Room,
}

/// How a picture comes to the size wanted, if it has another.
pub(super) enum Fit {
    /// Never distorted, with its border's colour beside it.
    Framed,
    /// Each side for itself.
    Stretched,
}

/// Says when it is dropped that nobody waits any more.
#[derive(Default)]
struct Waiting {
    gone: Arc<AtomicBool>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// Brings a picture to the size wanted, and keeps it as the one at `place` of its job.
///
/// # Errors
/// [`Error::OverQuota`] when those before it, of this and of other jobs, have filled what its account may have; what disk
/// and database say. Neither file nor row is there then.
pub(super) async fn keep(app: &App, job: &Job, place: u32, finished: Finished) -> Result<()> {
    if let Some(account) = job.account {
        let config = app.clone();
        app.database
            .read(move |connection| pictures::refuse_over_quota(connection, &config.config, account))
            .await?;
    }
    let waiting = Waiting::default();
    let finish = {
        let (app, kept) = (app.clone(), job.planned[place as usize].clone());
        let (number, account, now) = (job.number, job.account, app.clock.now());
        let (stored, family) = (Stored::of(&job.task), family(&app, &job.task));
        let (finish, gone) = (job.finish(now), Arc::clone(&waiting.gone));
        move || {
            let began = Instant::now();
            let Finished { rgb, size, wanted, fit, text, room } = finished;
            let rendered = picture::from_rgb(size.0, size.1, rgb)?;
            let rows = match fit {
                Fit::Framed => Rows::framed(rendered, wanted.0, wanted.1),
                Fit::Stretched => Rows::stretched(rendered, wanted.0, wanted.1),
            };
            // A large one takes seconds, for which nobody who ends a job or the daemon is to wait.
            let stopped = || is_large(wanted) && gone.load(Ordering::Relaxed);
            let mut bytes = 0;
            let written = app.gallery.keep(&kept, |file| {
                picture::write_png(rows, &text, &mut *file, stopped)?;
                bytes = file.metadata()?.len();
                Ok(())
            });
            written.map_err(unless_full)?;
            drop(room);
            let row = kept.clone();
            let details = Details { family, ..Details::of(&stored, place, text, bytes) };
            let write = app.database.write_now(move |transaction| {
                store::add_picture(transaction, (number, place), account, &row, details, finish)
            });
            app.metrics.stage(Stage::Keep, began.elapsed());
            // A file without its row would be nobody's picture.
            write.or_else(|error| app.gallery.remove(&kept).map_err(Error::from).and(Err(error)))
        }
    };
    // On a thread of its own: file and row come together or not at all, also when nobody waits any more. What is not
    // large is kept even then.
    tokio::task::spawn_blocking(finish).await.map_err(anyhow::Error::from)??;
    job.add_kept(place);
    make_small(app, &job.planned[place as usize]);
    Ok(())
}

/// What is said of a picture that cannot be written.
fn unless_full(cause: anyhow::Error) -> Error {
    let full = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
    };
    match cause.chain().any(|error| error.downcast_ref().is_some_and(full)) {
        true => {
            error!("A picture cannot be written: {cause:#}");
            Error::DiskFull
        }
        false => cause.into(),
    }
}

/// Makes the small picture for lists, for which nobody waits.
fn make_small(app: &App, kept: &Kept) {
    let (app, kept) = (app.clone(), kept.clone());
    tokio::spawn(async move {
        if let Err(cause) = app.thumbnails.get(&app.gallery, &kept).await {
            warn!("A picture has no small copy yet: {cause:#}");
        }
    });
}

/// The family of the model that a task's pictures are painted with.
fn family(app: &App, task: &Task) -> Option<String> {
    let of_origin = || {
        let Task::Enlarge(enlargement) = task else { return None };
        app.models.exactly(&enlargement.origin.as_ref()?.painted.as_ref()?.model)
    };
    let model = task.painting().map(|request| Arc::clone(&request.model)).or_else(of_origin);
    model.map(|model| model.family.as_str().to_owned())
}
