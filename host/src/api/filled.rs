// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! JSON that holds finished pictures in base64. It is written with the names of their files where the pictures are to
//! be; what is in the files is read and encoded as the client takes it. So a picture is never in memory as a whole,
//! however large it is and however many clients are answered.

use std::io;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::files;
use crate::error::{Error, Result};
use crate::gallery::{Gallery, Kept};

/// An answer with its pictures.
#[derive(Debug)]
pub(super) struct Filled {
    gallery: Gallery,
    parts: Vec<Part>,
    /// Bytes of all parts.
    length: u64,
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Picture(Kept),
}

impl Filled {
    /// `answer` with these pictures in the places of the names of their files, which stand in it in this order. Nothing
    /// that a client wrote may stand before the last of them: it might be a name too.
    ///
    /// # Errors
    /// [`Error::NotFound`] if one of the pictures is gone; what the disk says.
    pub(super) async fn new(gallery: &Gallery, answer: &impl Serialize, pictures: Vec<Kept>) -> Result<Self> {
        let json = serde_json::to_string(answer).map_err(anyhow::Error::from)?;
        let parts = split(&json, &pictures)?;
        let files = gallery.clone();
        let encoded = move || pictures.iter().map(|kept| encoded_length(&files, kept)).sum::<Result<u64>>();
        let encoded = tokio::task::spawn_blocking(encoded).await.map_err(anyhow::Error::from)??;
        let texts = parts.iter().map(|part| match part {
            Part::Text(text) => text.len() as u64,
            Part::Picture(_) => 0,
        });
        let length = encoded + texts.sum::<u64>();
        Ok(Self { gallery: gallery.clone(), parts, length })
    }

    /// The bytes of the answer, which end early if a picture cannot be read any more.
    pub(super) fn into_body(self) -> Body {
        let Self { gallery, parts, .. } = self;
        let bodies = stream::iter(parts).map(move |part| match part {
            Part::Text(text) => Body::from(text),
            Part::Picture(kept) => encoded(gallery.clone(), kept),
        });
        Body::from_stream(bodies.flat_map(Body::into_data_stream))
    }
}

impl IntoResponse for Filled {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::CONTENT_LENGTH, self.length.to_string()),
        ];
        (headers, self.into_body()).into_response()
    }
}

/// The text around the pictures, and the pictures.
fn split(json: &str, pictures: &[Kept]) -> Result<Vec<Part>> {
    let (mut parts, mut rest) = (Vec::new(), json);
    for kept in pictures {
        let around = rest.split_once(kept.file.as_str());
        let (before, after) =
            around.ok_or_else(|| anyhow::anyhow!("an answer has no place for its picture"))?;
        parts.extend([Part::Text(before.to_owned()), Part::Picture(kept.clone())]);
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// Bytes of a picture in base64.
fn encoded_length(gallery: &Gallery, kept: &Kept) -> Result<u64> {
    let (_, length) = gallery.find(kept)?.ok_or(Error::NotFound)?;
    Ok(length.div_ceil(3) * 4)
}

/// A picture in base64. Its file is opened when its turn has come: a client that is slow with the one before it holds
/// no more than one.
fn encoded(gallery: Gallery, kept: Kept) -> Body {
    let file = async move {
        let (file, _) = files::open(&gallery, &kept).await.map_err(io::Error::other)?;
        Ok::<_, io::Error>(file)
    };
    let pieces = stream::once(file).map_ok(files::pieces).try_flatten();
    Body::from_stream(pieces.map_ok(|piece| BASE64_STANDARD.encode(piece)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::body::Bytes;
    use serde_json::{Value, json};

    use super::*;

    /// Pictures of so many bytes, no two of the same content.
    fn kept(gallery: &Gallery, lengths: &[usize]) -> (Vec<Kept>, Vec<Vec<u8>>) {
        let content = |length: usize| (0..length).map(|at| (at * at / 7 + length) as u8).collect::<Vec<_>>();
        let keep = |length: &usize| {
            let (kept, content) = (Kept::random().unwrap(), content(*length));
            gallery.keep(&kept, |file| Ok(file.write_all(&content)?)).unwrap();
            (kept, content)
        };
        lengths.iter().map(keep).unzip()
    }

    #[tokio::test]
    async fn pictures_of_any_length_are_told_whole_and_never_in_memory_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(directory.path()).unwrap();
        let (pictures, contents) = kept(&gallery, &[3_000_001, files::PIECE, 2 * files::PIECE + 2, 1, 0]);
        let names: Vec<_> = pictures.iter().map(|kept| &kept.file).collect();
        let answer = json!({"a": names, "b": {"prompt": names[0]}});
        let response = Filled::new(&gallery, &answer, pictures.clone()).await.unwrap().into_response();
        let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let told: Vec<Bytes> = response.into_body().into_data_stream().try_collect().await.unwrap();
        assert!(told.iter().all(|piece| piece.len() <= files::PIECE / 3 * 4));
        let told = told.concat();
        assert_eq!(told.len(), length);
        let told: Value = serde_json::from_slice(&told).unwrap();
        for (place, content) in contents.iter().enumerate() {
            let picture = BASE64_STANDARD.decode(told["a"][place].as_str().unwrap()).unwrap();
            assert!(picture == *content, "picture {place} is another one");
        }
        assert_eq!(told["b"], answer["b"], "what only has the name of a picture stays");
    }

    #[tokio::test]
    async fn a_picture_that_is_gone_is_an_error_before_anything_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let gallery = Gallery::open(directory.path()).unwrap();
        let (mut pictures, _) = kept(&gallery, &[5]);
        pictures.push(Kept::random().unwrap());
        let names: Vec<_> = pictures.iter().map(|kept| &kept.file).collect();
        let error = Filled::new(&gallery, &names, pictures.clone()).await.unwrap_err();
        assert!(matches!(error, Error::NotFound), "{error}");
    }
}
