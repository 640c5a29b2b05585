// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! JSON bodies in, with errors that name the field.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::error::{Error, Result};

/// A request's body as it came in, or why it did not.
pub type Body = std::result::Result<Bytes, BytesRejection>;

/// The JSON in a body, whatever its content type says: some clients leave that out.
///
/// # Errors
/// [`Error::TooLarge`], or [`Error::Malformed`] with the field and the place.
pub fn parse<T: DeserializeOwned>(app: &App, body: Body) -> Result<T> {
    let bytes = body.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Error::TooLarge { limit: app.config.limits.body_bytes }
        }
        _ => Error::Malformed("the request's body ended early".into()),
    })?;
    // Read as a structure, a list of the right length would pass as an object.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Error::Malformed("the body is not a JSON object".into()));
    }
    let mut parser = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        let (path, cause) = (error.path().to_string(), error.into_inner());
        match path.as_str() {
            "." | "?" => malformed(&cause),
            path => Error::Malformed(format!("`{path}` cannot be used: {cause}")),
        }
    })?;
    parser.end().map_err(|cause| malformed(&cause))?;
    Ok(value)
}

fn malformed(cause: &serde_json::Error) -> Error {
    Error::Malformed(format!("the body is not the JSON that this route takes: {cause}"))
}
