// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! JSON bodies in, with errors that name the field.

use serde::de::DeserializeOwned;
use serde_json::Value;

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
            path => Error::Unreadable { param: path.to_owned(), problem: plain(&cause) },
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

/// As [`parse`], for a value that was read already.
///
/// # Errors
/// [`Error::Unreadable`] with the field.
pub fn understood<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let param = error.path().to_string();
        Error::Unreadable { param, problem: plain(error.inner()) }
    })
}

fn malformed(cause: &serde_json::Error) -> Error {
    Error::Malformed(format!("the body is not the JSON that this route takes: {}", plain(cause)))
}

/// What Rust calls things, and JSON's words for them.
const WORDS: &[(&str, &str)] = &[
    ("i64", "a whole number"),
    ("i128", "a whole number"),
    ("u32", "a whole number"),
    ("u64", "a whole number"),
    ("f64", "a number"),
    ("a sequence", "a list"),
    ("a map", "an object"),
    ("an array of length", "a list of length"),
];

/// An error in the words of people who write JSON.
fn plain(cause: &serde_json::Error) -> String {
    let said = cause.to_string();
    // What was expected stands behind what the client has sent, which may hold the same words.
    let Some((found, expected)) = said.rsplit_once(", expected ") else { return said };
    let word = WORDS.iter().find_map(|(rust, json)| Some((json, expected.strip_prefix(rust)?)));
    match word {
        Some((json, rest)) => format!("{found}, expected {json}{rest}"),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_was_expected_is_said_in_jsons_words() {
        let said = |json: &str| match parse::<BTreeMap<String, (i64, f64)>>(&json.to_owned().into()) {
            Err(Error::Unreadable { param, problem }) => format!("{param}: {problem}"),
            other => panic!("{other:?}"),
        };
        let cases = [
            (
                r#"{"a": ["i64, expected f64", 1]}"#,
                "a[0]: invalid type: string \"i64, expected f64\", expected a whole number",
            ),
            (r#"{"a": [1, null]}"#, "a[1]: invalid type: null, expected a number"),
        ];
        for (json, wanted) in cases {
            let got = said(json);
            assert!(got.starts_with(wanted), "{got}");
        }
    }
}
