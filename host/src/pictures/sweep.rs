// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Files go when their rows are gone. The row goes first: a daemon that dies in between removes the file in its next life,
//! and no row is ever without its file.

use tracing::{debug, warn};

use crate::app::App;
use crate::error::Result;
use crate::gallery::Kept;

/// Removes the files of pictures whose rows are gone.
///
/// # Errors
/// When the database fails. A file that cannot be removed is tried again another time.
pub async fn sweep(app: &App) -> Result<()> {
    let sql = "SELECT id FROM removed_pictures";
    let ids = app.database.read(move |connection| super::ids(connection, sql)).await?;
    if ids.is_empty() {
        return Ok(());
    }
    let (gallery, thumbnails, gone) = (app.gallery.clone(), app.thumbnails.clone(), ids);
    let remove = move || {
        let remove = |id: &String| {
            let kept = Kept::with_id(id);
            // In this order: who makes a small picture just now looks afterwards whether the picture is still there.
            gallery.remove(&kept).and_then(|()| thumbnails.remove(&kept))
        };
        let (removed, failed): (Vec<_>, Vec<_>) = gone.into_iter().partition(|id| match remove(id) {
            Ok(()) => true,
            Err(cause) => {
                debug!("A file stays for another time: {cause:#}");
                false
            }
        });
        if !failed.is_empty() {
            warn!("{} files of deleted pictures cannot be removed; they are tried again later", failed.len());
        }
        removed
    };
    let removed = tokio::task::spawn_blocking(remove).await.map_err(anyhow::Error::from)?;
    app.database
        .write(move |transaction| {
            let sql = "DELETE FROM removed_pictures WHERE id IN (SELECT value FROM json_each(?1))";
            transaction.execute(sql, [super::as_json(&removed)])?;
            Ok(())
        })
        .await
}
