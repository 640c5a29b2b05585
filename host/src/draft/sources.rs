// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The pictures of a request as clients hand them over, until they are read and kept.

use axum::body::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::SIDES;
use super::controls::control_param;
use crate::app::App;
use crate::error::Result;
use crate::inputs::{self, Input, Tones};

/// A picture as a client handed it over. Nothing has looked into it.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Written")]
pub enum Source {
    /// A file.
    File(Bytes),
    /// base64, or a data URL.
    Text(String),
    /// Where it is to be had.
    Address(String),
}

/// How a picture may stand in JSON: as a text, or as OpenAI has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected base64, a data URL, or an object with `image_url`")]
enum Written {
    Text(String),
    Reference { image_url: Option<Address>, url: Option<String>, file_id: Option<IgnoredAny> },
}

/// An address, alone or as in OpenAI's chat messages.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an address, or an object with `url`")]
enum Address {
    Text(String),
    Object { url: String },
}

/// The pictures of a request.
#[derive(Clone, Debug)]
pub struct Pictures<T> {
    /// The picture to begin with.
    pub image: Option<T>,
    /// What of it is painted anew.
    pub mask: Option<T>,
    /// Those that steer, by their places.
    pub controls: Vec<T>,
}

impl Source {
    /// What a client means by this text: an address, or the picture itself.
    pub fn of(text: String) -> Self {
        let begins = |with: &str| text.get(..with.len()).is_some_and(|text| text.eq_ignore_ascii_case(with));
        if begins("http://") || begins("https://") { Self::Address(text) } else { Self::Text(text) }
    }

    async fn bytes(self, app: &App) -> Result<Bytes> {
        match self {
            Self::File(bytes) => Ok(bytes),
            Self::Text(text) => inputs::from_text(&text),
            Self::Address(address) => app.inputs.fetch(&address).await,
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Pictures are nobody's business.
        formatter.write_str("Source")
    }
}

impl TryFrom<Written> for Source {
    type Error = &'static str;

    fn try_from(written: Written) -> std::result::Result<Self, Self::Error> {
        match written {
            Written::Text(text)
            | Written::Reference {
                image_url: Some(Address::Text(text) | Address::Object { url: text }),
                ..
            }
            | Written::Reference { url: Some(text), .. } => Ok(Self::of(text)),
            Written::Reference { file_id: Some(_), .. } => Err(
                "`file_id` names a file that only OpenAI has: send the picture as a data URL in `image_url`",
            ),
            Written::Reference { .. } => Err("expected `image_url`"),
        }
    }
}

impl<T> Default for Pictures<T> {
    fn default() -> Self {
        Self { image: None, mask: None, controls: Vec::new() }
    }
}

impl<T> Pictures<T> {
    /// How many there are.
    pub fn count(&self) -> usize {
        usize::from(self.image.is_some()) + usize::from(self.mask.is_some()) + self.controls.len()
    }
}

impl Pictures<Source> {
    /// What stands for them as long as nobody has looked into them.
    pub(super) fn stand_ins(&self) -> Pictures<Input> {
        let (width, height) = (*SIDES.start(), *SIDES.start());
        // One that is whatever a mask may be.
        let tones = Tones { transparent: false, white: true, black: true };
        let stand_in = |_: &Source| Input { width, height, tones, ..Input::default() };
        Pictures {
            image: self.image.as_ref().map(stand_in),
            mask: self.mask.as_ref().map(stand_in),
            controls: self.controls.iter().map(stand_in).collect(),
        }
    }

    /// Reads and keeps all of them.
    pub(super) async fn take_in(self, app: &App) -> Result<Pictures<Input>> {
        let mut taken = Pictures::default();
        if let Some(source) = self.image {
            taken.image = Some(take(app, source, "image").await?);
        }
        if let Some(source) = self.mask {
            taken.mask = Some(take(app, source, "mask").await?);
        }
        for (place, source) in self.controls.into_iter().enumerate() {
            taken.controls.push(take(app, source, &control_param(place, "image")).await?);
        }
        Ok(taken)
    }
}

/// Reads and keeps the picture that stands in `param`.
async fn take(app: &App, source: Source, param: &str) -> Result<Input> {
    let taken = async { app.inputs.take(source.bytes(app).await?).await };
    taken.await.map_err(|error| error.renamed(&[("image", param)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_in_json_as_texts_or_as_openai_has_them() {
        let read = |json: &str| serde_json::from_str::<Source>(json);
        for json in [
            "\"aGk=\"",
            "{\"image_url\": \"data:,\"}",
            "{\"image_url\": {\"url\": \"aGk=\"}}",
            "{\"url\": \"aGk=\"}",
        ] {
            assert!(matches!(read(json), Ok(Source::Text(_))), "{json}");
        }
        let address = read("{\"image_url\": \"HTTPS://example.com/a.png\"}");
        assert!(matches!(address, Ok(Source::Address(_))));
        assert!(read("{\"file_id\": \"file-1\"}").unwrap_err().to_string().contains("only OpenAI has"));
        for json in ["{}", "7", "[]", "{\"image_url\": 7}"] {
            read(json).unwrap_err();
        }
    }
}
