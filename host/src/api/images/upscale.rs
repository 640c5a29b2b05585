// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! ALICE's own route beside OpenAI's: `POST /v1/images/upscale`, a picture in, the same picture larger out.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::request::{Kind, ResponseFormat};
use super::{Call, finished, read, stream, streamed};
use crate::api::fields::{self, OneOrSeveral, name_of_picture, one_picture};
use crate::api::multipart::{self, As, Form};
use crate::api::{json, wish};
use crate::app::App;
use crate::auth::Actor;
use crate::draft::{EnlargementWish, Source};
use crate::error::{Error, OpenAi, Result};
use crate::guard::InHand;
use crate::jobs;
use crate::pictures::PrivacyWish;

/// What clients send. Fields that are not named here are ignored.
#[derive(Debug, Deserialize)]
struct UpscaleRequest {
    image: Option<OneOrSeveral>,
    // The names that pictures have elsewhere.
    images: Option<Vec<Source>>,
    input_images: Option<Vec<Source>>,
    input_image_urls: Option<Vec<Source>>,
    /// Id or name, or `lanczos`.
    upscaler: Option<String>,
    scale: Option<f64>,
    response_format: Option<ResponseFormat>,
    output_format: Option<String>,
    stream: Option<bool>,
    /// The job goes on when its client hangs up.
    detach: Option<bool>,
    /// Who is to see the picture: `public` or `private`, and for how long.
    privacy: Option<String>,
    expiration_hours: Option<i64>,
    /// The files of a form.
    #[serde(skip)]
    files: Vec<Bytes>,
}

/// A picture in, the same picture larger out: when it is there, or as the events of an edit, of which the last one
/// brings it.
///
/// Waits for its turn as [`create`](super::create) does. 400 names the bad field.
pub async fn upscale(
    State(app): State<App>,
    actor: Actor,
    uri: Uri,
    headers: HeaderMap,
    in_hand: InHand,
    body: json::Body,
) -> std::result::Result<Response, OpenAi> {
    Ok(Call { app, actor, uri, headers, in_hand }.read_and_enlarge(body).await?)
}

impl Call {
    async fn read_and_enlarge(self, body: json::Body) -> Result<Response> {
        match multipart::boundary(&self.headers)? {
            Some(boundary) => {
                let form = Form::read(body, &boundary, &self.app.config.limits).await?;
                let mark = form.mark();
                self.enlarge(of_form(form)?, &mark).await
            }
            None => {
                let (wire, mark) = read(body, json::parse)?;
                self.enlarge(wire, &mark).await
            }
        }
    }

    /// Has done what `wire` asks for. `mark` is what a repetition of the request has in common with it.
    async fn enlarge(self, wire: UpscaleRequest, mark: &[u8]) -> Result<Response> {
        let Self { app, actor, uri, headers, in_hand } = self;
        let format = wire.response_format.unwrap_or_default();
        let in_stream = wire.stream == Some(true);
        let wish = wish::of(&actor, &uri, &headers, mark, wire.detach == Some(true));
        let wish = if in_stream { streamed(wish, 0) } else { wish };
        let name = wire.name_of_image();
        let asked = async { jobs::ask_to_enlarge(&app, &actor, wire.into_wish()?, wish).await };
        let job = asked.await.map_err(|error| error.renamed(&[("image", name)]))?;
        drop(in_hand);
        if in_stream {
            return Ok(stream::answer(app, job, Kind::Edit));
        }
        Ok(finished(app, actor, headers, job, format).await)
    }
}

/// What a form asks for.
///
/// # Errors
/// Names the field that cannot be read.
fn of_form(mut form: Form) -> Result<UpscaleRequest> {
    let files = form.take_files("image");
    if let Some((name, _)) = form.files.first() {
        return Err(Error::invalid(name, "is a file; the only file may be `image`"));
    }
    let kind = |name: &str| match name {
        "scale" => Some(As::Number),
        "stream" | "detach" => Some(As::Truth),
        shared => fields::kind(shared),
    };
    let wire: UpscaleRequest = json::parse(&form.into_json(kind)?)?;
    Ok(UpscaleRequest { files, ..wire })
}

impl UpscaleRequest {
    /// What the picture is called, or would be.
    fn name_of_image(&self) -> &'static str {
        let fields = [
            ("image", self.image.as_ref().map(|OneOrSeveral(pictures)| pictures.as_slice())),
            ("images", self.images.as_deref()),
            ("input_images", self.input_images.as_deref()),
            ("input_image_urls", self.input_image_urls.as_deref()),
        ];
        name_of_picture(fields, (!self.files.is_empty()).then_some("image"))
    }

    /// The same in ALICE's words.
    fn into_wish(self) -> Result<EnlargementWish> {
        if self.output_format.as_deref().is_some_and(|format| format != "png") {
            return Err(Error::invalid("output_format", "must be `png`: this version writes no other"));
        }
        if self.stream == Some(true) && self.response_format == Some(ResponseFormat::Url) {
            return Err(Error::invalid("response_format", "must be `b64_json` in a stream"));
        }
        let one = self.image.map(|OneOrSeveral(pictures)| pictures);
        let lists = [one, self.images, self.input_images, self.input_image_urls];
        let files = self.files.into_iter().map(Source::File);
        let image = one_picture(lists.into_iter().flatten().flatten().chain(files))?;
        let privacy = PrivacyWish { privacy: self.privacy, expiration_hours: self.expiration_hours };
        Ok(EnlargementWish { image, upscaler: self.upscaler, scale: self.scale, origin: None, privacy })
    }
}
