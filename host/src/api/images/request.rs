// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What clients of OpenAI's image API send, with ALICE's parameters beside OpenAI's: the same fields for a picture from
//! text, from a picture, and for a variation of one.

use std::borrow::Cow;

use axum::body::Bytes;
use serde::Deserialize;

use crate::api::fields::Fields;
use crate::api::json;
use crate::draft::{ControlWish, Draft, Source, Wishes, control_param, whole};
use crate::error::{Error, Result};

/// Most unfinished pictures of each picture that can be asked for.
const MAX_PARTIALS: u32 = 3;

/// Which of the three routes a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From text, and with ALICE's fields from a picture too.
    Generation,
    /// From a picture, as a text says.
    Edit,
    /// From a picture alone.
    Variation,
}

/// What clients send. Fields that are not named here are ignored, as OpenAI ignores `user`.
#[derive(Debug, Deserialize)]
pub(super) struct ImageRequest {
    #[serde(default)]
    prompt: String,
    model: Option<String>,
    n: Option<i64>,
    size: Option<String>,
    pub(super) response_format: Option<ResponseFormat>,
    output_format: Option<String>,
    background: Option<String>,
    stream: Option<bool>,
    partial_images: Option<i64>,
    /// The job goes on when its client hangs up.
    pub(super) detach: Option<bool>,
    /// What this API has in common with the chat form.
    #[serde(skip)]
    fields: Fields,
    /// The files of a form, which are no JSON.
    #[serde(skip)]
    files: Files,
}

/// The pictures that came as files of a form.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// `image` and `image[]`.
    pub(super) images: Vec<Bytes>,
    /// `mask`.
    pub(super) mask: Option<Bytes>,
    /// `control_image` and `control_image[]`: for the entries of `controls` without a picture, in their order.
    pub(super) controls: Vec<Bytes>,
}

/// How pictures come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ResponseFormat {
    /// In the answer itself: the default, because many clients cannot fetch a URL of this server.
    #[default]
    B64Json,
    /// As an address on this server.
    Url,
}

impl ImageRequest {
    /// Reads the JSON in a body.
    ///
    /// # Errors
    /// Those of [`json::parse`].
    pub(super) fn read(body: &json::Body) -> Result<Self> {
        let own: Self = json::parse(body)?;
        // Read twice: flattened into one, errors would lose the way to their field and seeds half of their digits.
        Ok(Self { fields: json::parse(body)?, ..own })
    }

    /// The same with the files of a form.
    pub(super) fn with(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// Our names of parameters, and what this request calls them.
    pub(super) fn names(&self) -> Vec<(Cow<'static, str>, &'static str)> {
        let file = (!self.files.images.is_empty()).then_some("image");
        let mut names = self.fields.names(file).to_vec();
        if self.n.is_some() {
            names.push(("num_images", "n"));
        }
        // What is said as a number wins, and is wrong by its own name.
        if self.size.is_some() {
            let sides = [("width", self.fields.width), ("height", self.fields.height)];
            let of_size = sides.into_iter().filter(|(_, number)| number.is_none());
            names.extend(of_size.map(|(side, _)| (side, "size")));
        }
        let names = names.into_iter().map(|(ours, theirs)| (Cow::from(ours), theirs));
        names.chain(self.names_of_control_files()).collect()
    }

    /// The pictures of those of `controls` that have theirs as a file.
    fn names_of_control_files(&self) -> impl Iterator<Item = (Cow<'static, str>, &'static str)> {
        let controls = self.fields.controls.iter().flatten().enumerate();
        let without = controls.filter(|(_, control)| control.image.is_none());
        let with_file = without.zip(&self.files.controls);
        with_file.map(|((place, _), _)| (control_param(place, "image").into(), "control_image"))
    }

    /// For a stream, the number of unfinished pictures that it brings of each picture; what is said about
    /// those without a stream is only checked.
    pub(super) fn partials(&self) -> Result<Option<u32>> {
        let partials = whole("partial_images", self.partial_images, 0..=MAX_PARTIALS)?.unwrap_or(0);
        let stream = self.stream == Some(true);
        let url = self.response_format == Some(ResponseFormat::Url);
        refuse(stream && url, "response_format", "must be `b64_json` in a stream")?;
        Ok(stream.then_some(partials))
    }

    /// The same in ALICE's words.
    pub(super) fn into_draft(mut self, kind: Kind) -> Result<Draft> {
        let png = self.output_format.as_deref().is_none_or(|format| format == "png");
        refuse(!png, "output_format", "must be `png`: this version writes no other")?;
        let transparent = self.background.as_deref() == Some("transparent");
        refuse(transparent, "background", "cannot be `transparent`: the models paint a background")?;
        let (width, height) = self.size.as_deref().map_or(Ok((None, None)), sides)?;
        let controls = with_files(self.fields.controls.take().unwrap_or_default(), self.files.controls)?;
        self.fields.controls = Some(controls);
        let two = self.files.mask.is_some() && self.fields.mask.is_some();
        refuse(two, "mask", "holds 2 pictures, a file and a text, and may hold one")?;
        self.fields.mask = self.files.mask.map(Source::File).or(self.fields.mask);
        let draft = self.fields.into_draft(self.files.images.into_iter().map(Source::File))?;
        refuse(draft.image.is_none() && kind != Kind::Generation, "image", "must be given")?;
        Ok(Draft {
            model: self.model,
            prompt: self.prompt,
            width: draft.width.or(width),
            height: draft.height.or(height),
            count: self.n.or(draft.count),
            wishes: Wishes { wordless: kind == Kind::Variation, ..draft.wishes },
            ..draft
        })
    }
}

/// Gives those of `controls` that lack a picture the next of `files`.
fn with_files(mut controls: Vec<ControlWish>, files: Vec<Bytes>) -> Result<Vec<ControlWish>> {
    let mut files = files.into_iter().map(Source::File);
    for control in controls.iter_mut().filter(|control| control.image.is_none()) {
        control.image = files.next();
    }
    let left = files.next().is_some();
    refuse(left, "control_image", "holds more pictures than `controls` has entries without one")?;
    Ok(controls)
}

fn refuse(bad: bool, param: &str, problem: &str) -> Result<()> {
    if bad { Err(Error::invalid(param, problem)) } else { Ok(()) }
}

/// Width and height of `WxH`, or neither.
fn sides(size: &str) -> Result<(Option<i64>, Option<i64>)> {
    if matches!(size, "auto" | "") {
        return Ok((None, None));
    }
    let sides =
        size.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height) =
        sides.ok_or_else(|| Error::invalid("size", "must be `auto` or `<width>x<height>` in pixels"))?;
    Ok((Some(width), Some(height)))
}
