// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! From the pixels of a picture to its file and its row.

use std::time::Instant;

use crate::app::App;
use crate::error::{Error, Result};
use crate::jobs::{Job, store};
use crate::metrics::Stage;
use crate::picture;

/// A picture before it is kept.
pub(super) struct Finished {
    pub(super) rgb: Vec<u8>,
    /// Width and height.
    pub(super) size: (u32, u32),
    /// The same as they are wanted.
    pub(super) wanted: (u32, u32),
    /// The `parameters` text.
    pub(super) text: String,
}

/// Brings a picture to the size wanted, and keeps it as the one at `place` of its job.
///
/// # Errors
/// What disk and database say. Neither file nor row is there then.
pub(super) async fn keep(app: &App, job: &Job, place: u32, finished: Finished) -> Result<()> {
    let finish = {
        let (app, kept) = (app.clone(), job.planned[place as usize].clone());
        let (number, account, now) = (job.number, job.account, app.clock.now());
        let finish = job.finish(now);
        move || {
            let began = Instant::now();
            let Finished { rgb, size, wanted, text } = finished;
            let rendered = picture::from_rgb(size.0, size.1, rgb)?;
            let picture = picture::enlarge(rendered, wanted.0, wanted.1);
            let png = picture::png(&picture, &text)?;
            app.gallery.keep(&kept, &png)?;
            let row = kept.clone();
            let write = app.database.write_now(move |transaction| {
                store::add_picture(transaction, number, account, place, &row, finish)
            });
            app.metrics.stage(Stage::Keep, began.elapsed());
            // A file without its row would be nobody's picture.
            write.or_else(|error| app.gallery.remove(&kept).map_err(Error::from).and(Err(error)))
        }
    };
    // On a thread of its own, which ends what it has begun: file and row come together or not at all, also
    // when nobody waits any more.
    tokio::task::spawn_blocking(finish).await.map_err(anyhow::Error::from)??;
    job.add_kept(place);
    Ok(())
}
