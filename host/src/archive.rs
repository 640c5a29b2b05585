// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Many pictures as one zip, written while it is read: nothing of it lies on the disk, and no more than a few pieces are in
//! memory, however many pictures there are. They are stored as they are, since a PNG does not become smaller.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use tokio::sync::{Semaphore, mpsc};
use tracing::{error, warn};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gallery::{Gallery, Kept};

/// Bytes that are handed over at once.
const PIECE: usize = 128 << 10;
/// Pieces that wait for a slow reader.
const PIECES: usize = 4;
/// From this many bytes on an entry needs the long form of its length, with room for what surrounds it.
const LONG: u64 = u32::MAX as u64 - (1 << 20);

/// One picture of an archive.
#[derive(Clone, Debug)]
pub struct Source {
    /// The entry's name, without a path.
    pub name: String,
    /// When it was made.
    pub made: Timestamp,
    /// The picture.
    pub kept: Kept,
}

/// Archives that are written at the same time: each holds a thread for as long as its reader takes.
const MOST: usize = 16;
/// Those that may still begin.
static ROOM: Semaphore = Semaphore::const_new(MOST);
/// Seconds after which one that found no room may be asked for again.
const AGAIN_S: u64 = 30;

/// The archive of these pictures as the body of an answer. One whose file has gone meanwhile is left out. An archive that
/// cannot be finished breaks off, so that nobody takes it for whole.
///
/// # Errors
/// [`Error::NotFound`] for an archive of nothing; [`Error::Busy`] when too many are being written.
pub fn stream(gallery: Gallery, sources: Vec<Source>) -> Result<Body> {
    if sources.is_empty() {
        return Err(Error::NotFound);
    }
    let room = ROOM.try_acquire().map_err(|_| Error::Busy { retry_after_s: AGAIN_S })?;
    let sources = told_apart(sources);
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _room = room;
        let pieces = BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        if let Err(cause) = write(&gallery, &sources, pieces) {
            if sender.is_closed() {
                return; // Its reader has gone.
            }
            error!("An archive of {} pictures could not be written: {cause:#}", sources.len());
            // There is somebody to tell as long as the channel is open.
            let _told = sender.blocking_send(Err(io::Error::other("the archive could not be finished")));
        }
    });
    let next = |mut receiver: mpsc::Receiver<io::Result<Bytes>>| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    };
    // Whoever wraps the body may ask once more after its end.
    Ok(Body::from_stream(stream::unfold(receiver, next).fuse()))
}

/// The answer that is this archive.
///
/// # Errors
/// Those of [`stream()`].
pub fn answer(app: &App, sources: Vec<Source>) -> Result<Response> {
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"alice-pictures.zip\""),
    ];
    Ok((headers, stream(app.gallery.clone(), sources)?).into_response())
}

/// The same, each picture once and no two with one name, which no archive could hold.
fn told_apart(sources: Vec<Source>) -> Vec<Source> {
    let (mut seen, mut names) = (HashSet::new(), HashSet::new());
    let once = sources.into_iter().filter(|source| seen.insert(source.kept.file.clone()));
    let named = once.map(|source| {
        let (stem, ending) = source.name.rsplit_once('.').unwrap_or((&source.name, ""));
        let others = (2..).map(|number| format!("{stem}-{number}.{ending}"));
        let free = std::iter::once(source.name.clone()).chain(others).find(|name| !names.contains(name));
        let name = free.expect("there is always a higher number");
        names.insert(name.clone());
        Source { name, ..source }
    });
    named.collect()
}

/// Hands bytes over to whoever reads the answer, and waits when they are slow.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(gallery: &Gallery, sources: &[Source], to: impl Write) -> anyhow::Result<()> {
    let mut archive = ZipWriter::new_stream(to);
    for source in sources {
        match gallery.find(&source.kept)? {
            Some((file, length)) => add(&mut archive, source, file, length)?,
            None => warn!("A picture that was to go into an archive has no file"),
        }
    }
    archive.finish()?.into_inner().flush()?;
    Ok(())
}

fn add<W: Write>(
    archive: &mut ZipWriter<zip::write::StreamWriter<W>>,
    source: &Source,
    mut file: File,
    length: u64,
) -> anyhow::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(moment(source.made))
        .large_file(length >= LONG);
    archive.start_file(source.name.as_str(), options)?;
    io::copy(&mut file, archive)?;
    Ok(())
}

/// The time as zip writes it: no earlier than 1980, in steps of two seconds.
fn moment(at: Timestamp) -> DateTime {
    let parts = time::OffsetDateTime::from_unix_timestamp(at).ok().and_then(|at| {
        let year = u16::try_from(at.year()).ok()?;
        DateTime::from_date_and_time(year, at.month().into(), at.day(), at.hour(), at.minute(), at.second())
            .ok()
    });
    parts.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    fn kept(gallery: &Gallery, bytes: &[u8]) -> Kept {
        let kept = Kept::random().unwrap();
        gallery.keep(&kept, |file| Ok(file.write_all(bytes)?)).unwrap();
        kept
    }

    #[tokio::test]
    async fn what_comes_out_is_a_zip_of_the_pictures_that_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(directory.path()).unwrap();
        let large = vec![7; 3 * PIECE + 1];
        let source = |name: &str, kept| Source { name: name.into(), made: 1_800_000_000, kept };
        let sources = vec![
            source("a fox.png", kept(&gallery, b"fox")),
            source("gone.png", Kept::random().unwrap()),
            source("りんご.png", kept(&gallery, &large)),
            source("a fox.png", kept(&gallery, b"another fox")),
        ];
        let sources = [sources.clone(), sources].concat();
        let bytes = stream(gallery, sources).unwrap().collect().await.unwrap().to_bytes();
        let mut archive = zip::ZipArchive::new(io::Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 3);
        let mut content = |name: &str| {
            let mut content = Vec::new();
            let mut entry = archive.by_name(name).unwrap();
            entry.read_to_end(&mut content).unwrap();
            (content, entry.last_modified().unwrap().year())
        };
        assert_eq!(content("a fox.png"), (b"fox".to_vec(), 2027));
        assert!(content("りんご.png").0 == large);
        assert_eq!(content("a fox-2.png").0, b"another fox");
    }

    #[tokio::test]
    async fn an_archive_of_nothing_is_none_and_too_many_at_once_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(directory.path()).unwrap();
        assert!(matches!(stream(gallery.clone(), Vec::new()), Err(Error::NotFound)));
        let kept = kept(&gallery, &vec![7; 20 * PIECE]);
        let sources = vec![Source { name: "large.png".into(), made: 0, kept }];
        // Nobody reads them, so none of them ends.
        let bodies: Vec<_> = (0..=MOST).map(|_| stream(gallery.clone(), sources.clone())).collect();
        assert!(matches!(bodies.last(), Some(Err(Error::Busy { .. }))));
    }

    #[tokio::test]
    async fn a_reader_who_leaves_ends_the_writing() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(directory.path()).unwrap();
        let kept = kept(&gallery, &vec![7; 20 * PIECE]);
        let sources = vec![Source { name: "large.png".into(), made: 0, kept }];
        let (sender, mut receiver) = mpsc::channel(1);
        let writing = tokio::task::spawn_blocking(move || write(&gallery, &sources, Pieces(sender)));
        assert!(receiver.recv().await.is_some());
        drop(receiver);
        assert!(writing.await.unwrap().is_err());
    }
}
