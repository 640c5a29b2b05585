// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Files go when their rows are gone. The row goes first: a daemon that dies in between removes the file in its next life,
//! and no row is ever without its file.

use crate::app::App;
use crate::error::Result;
use crate::gallery::Kept;

/// Removes the files of pictures whose rows are gone.
///
/// # Errors
/// What disk and database say; what is left is removed another time.
pub async fn sweep(app: &App) -> Result<()> {
    let sql = "SELECT id FROM removed_pictures";
    let ids = app.database.read(move |connection| super::ids(connection, sql)).await?;
    if ids.is_empty() {
        return Ok(());
    }
    let (gallery, thumbnails, gone) = (app.gallery.clone(), app.thumbnails.clone(), ids.clone());
    let remove = move || {
        gone.iter().map(|id| Kept::with_id(id)).try_for_each(|kept| {
            // In this order: who makes a small picture just now looks afterwards whether the picture is still there.
            gallery.remove(&kept)?;
            thumbnails.remove(&kept)
        })
    };
    tokio::task::spawn_blocking(remove).await.map_err(anyhow::Error::from)??;
    app.database
        .write(move |transaction| {
            let sql = "DELETE FROM removed_pictures WHERE id IN (SELECT value FROM json_each(?1))";
            transaction.execute(sql, [super::as_json(&ids)])?;
            Ok(())
        })
        .await
}
