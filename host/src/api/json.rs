// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! JSON bodies in, with errors that name the field.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// A request's whole body, which the guard has taken in.
pub type Body = axum::body::Bytes;

/// The JSON in a body, whatever its content type says: some clients leave that out.
///
/// # Errors
/// [`Error::Unreadable`] with the field and the place, [`Error::Malformed`] for what is no JSON at all.
pub fn parse<T: DeserializeOwned>(bytes: &Body) -> Result<T> {
    // Read as a structure, a list of the right length would pass as an object.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Error::Malformed("the body is not a JSON object".into()));
    }
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        let (path, cause) = (error.path().to_string(), error.into_inner());
        match path.as_str() {
            "." | "?" => malformed(&cause),
            path => Error::Unreadable { param: path.to_owned(), problem: cause.to_string() },
        }
    })?;
    parser.end().map_err(|cause| malformed(&cause))?;
    Ok(value)
}

/// As [`parse`], where a request without a body leaves everything open.
///
/// # Errors
/// Those of [`parse`].
pub fn parse_optional<T: DeserializeOwned + Default>(bytes: &Body) -> Result<T> {
    if bytes.is_empty() { Ok(T::default()) } else { parse(bytes) }
}

fn malformed(cause: &serde_json::Error) -> Error {
    Error::Malformed(format!("the body is not the JSON that this route takes: {cause}"))
}
