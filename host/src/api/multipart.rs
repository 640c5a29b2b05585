// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Forms with files (`multipart/form-data`, RFC 7578). The guard has taken in the whole body; here it is taken apart,
//! and its texts become the JSON that the same route takes.

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use futures::stream;
use multer::{Constraints, Multipart, SizeLimit};
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::config::Limits;
use crate::error::{Error, Result};

/// Most parts of a form: 16 pictures, as many that steer, and every parameter there is.
const MOST_PARTS: usize = 96;
/// Most bytes of a part's name.
const LONGEST_NAME: usize = 128;
/// Bytes in which the body is handed to the parser, which would otherwise copy it whole.
const PIECE: usize = 64 << 10;

/// The parts of a form.
#[derive(Debug, Default)]
pub struct Form {
    /// Those that are text, by their names without brackets.
    pub texts: Vec<(String, String)>,
    /// Those that are files, with their names without brackets. Fields of a form in which no file was chosen are not
    /// among them.
    pub files: Vec<(String, Bytes)>,
}

/// How a text of a form stands in the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// As a number.
    Number,
    /// As `true` or `false`.
    Truth,
    /// As the JSON that it is.
    Json,
    /// As the text that it is, unless that is empty.
    Word,
    /// In a list of texts; the list itself as JSON, too.
    List,
}

/// The boundary between the parts, if the headers say that the body is such a form.
///
/// # Errors
/// When they say so and name no boundary.
pub fn boundary(headers: &HeaderMap) -> Result<Option<String>> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.trim_start().to_ascii_lowercase().starts_with("multipart/");
    let unreadable = |error: multer::Error| Error::Malformed(format!("the form cannot be read: {error}"));
    is_form.then(|| multer::parse_boundary(kind).map_err(unreadable)).transpose()
}

impl Form {
    /// Takes `body` apart.
    ///
    /// # Errors
    /// A body that is no such form, too many parts, a text that is too long or no UTF-8, and a text that is there
    /// twice.
    pub async fn read(body: Bytes, boundary: &str, limits: &Limits) -> Result<Self> {
        let size = SizeLimit::new().per_field(limits.picture_body_bytes as u64);
        let pieces = (0..body.len()).step_by(PIECE);
        let pieces: Vec<_> =
            pieces.map(|at| Ok::<_, multer::Error>(body.slice(at..body.len().min(at + PIECE)))).collect();
        drop(body);
        let constraints = Constraints::new().size_limit(size);
        let mut parts = Multipart::with_constraints(stream::iter(pieces), boundary, constraints);
        let mut form = Self::default();
        let mut count = 0;
        while let Some(part) = parts.next_field().await.map_err(unreadable)? {
            count += 1;
            if count > MOST_PARTS {
                return Err(Error::Malformed(format!("the form has more than {MOST_PARTS} parts")));
            }
            form.add(part, limits).await?;
        }
        Ok(form)
    }

    async fn add(&mut self, part: multer::Field<'_>, limits: &Limits) -> Result<()> {
        let name = part.name().unwrap_or_default();
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(Error::Malformed(
                "the form has a part without a name, or with too long a one".into(),
            ));
        }
        // How SDKs and PHP say that there may be several.
        let name = name.trim_end_matches("[]").to_owned();
        let file = part.file_name().map(str::to_owned);
        let bytes = part.bytes().await.map_err(unreadable)?;
        match file {
            // So a browser sends a field in which nothing was chosen.
            Some(file) if file.is_empty() && bytes.is_empty() => Ok(()),
            Some(_) => {
                self.files.push((name, bytes));
                Ok(())
            }
            None if bytes.len() > limits.body_bytes => {
                let problem =
                    format!("is longer than the {} bytes of a text (`limits.body_bytes`)", limits.body_bytes);
                Err(Error::invalid(&name, problem))
            }
            None => {
                let text = String::from_utf8(bytes.into());
                let text = text.map_err(|_| Error::invalid(&name, "is neither text nor a file"))?;
                self.texts.push((name, text));
                Ok(())
            }
        }
    }

    /// Marks the form, however its parts are separated: SDKs choose another boundary for each try.
    pub fn mark(&self) -> [u8; 32] {
        let texts = self.texts.iter().map(|(name, text)| (name, text.as_bytes()));
        let files = self.files.iter().map(|(name, file)| (name, file.as_ref()));
        let mut hash = Sha256::new();
        for (name, bytes) in texts.chain(files) {
            // With its length each stays what it is beside the next.
            hash.update(format!("{} {name} {}\n", name.len(), bytes.len()));
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    /// Takes out the files of this name.
    pub fn take_files(&mut self, name: &str) -> Vec<Bytes> {
        let (taken, left) = std::mem::take(&mut self.files).into_iter().partition(|(other, _)| other == name);
        self.files = left;
        let taken: Vec<(String, Bytes)> = taken;
        taken.into_iter().map(|(_, file)| file).collect()
    }

    /// The texts as a JSON object, in which `kind` says how a text stands, else as text. What stands in a list may be
    /// there more than once.
    ///
    /// # Errors
    /// A text that is there twice, and one that is to be JSON and is not.
    pub fn into_json(self, kind: impl Fn(&str) -> Option<As>) -> Result<Bytes> {
        let mut object = Map::new();
        for (name, text) in self.texts {
            let kind = kind(&name);
            let value = value(&name, text, kind)?;
            match (object.get_mut(&name), value) {
                (None, value) => drop(object.insert(name, value)),
                (Some(Value::Array(list)), Value::Array(more)) if kind == Some(As::List) => list.extend(more),
                _ => return Err(Error::invalid(&name, "is in the form more than once")),
            }
        }
        Ok(serde_json::to_vec(&object).map_err(anyhow::Error::from)?.into())
    }
}

/// The text of the field `name` as `kind` says. An empty one that is no text is as if it were not there. What is not of
/// its kind stays text, so that whoever reads the JSON can say what is wrong with it.
///
/// # Errors
/// A text that is to be JSON and is not.
pub(super) fn value(name: &str, text: String, kind: Option<As>) -> Result<Value> {
    let Some(kind) = kind else { return Ok(Value::String(text)) };
    let bare = text.trim();
    let json = || {
        serde_json::from_str(bare)
            .map_err(|error| Error::invalid(name, format!("is not the JSON that it should be: {error}")))
    };
    Ok(match kind {
        As::List if bare.starts_with('[') => json()?,
        As::List if bare.is_empty() => Value::Array(Vec::new()),
        As::List => Value::Array(vec![Value::String(text)]),
        _ if bare.is_empty() => Value::Null,
        As::Number => bare.parse::<Number>().map_or_else(|_| Value::String(text.clone()), Value::Number),
        As::Truth if ["true", "1", "on"].iter().any(|word| bare.eq_ignore_ascii_case(word)) => {
            Value::Bool(true)
        }
        As::Truth if ["false", "0", "off"].iter().any(|word| bare.eq_ignore_ascii_case(word)) => {
            Value::Bool(false)
        }
        As::Truth | As::Word => Value::String(text),
        As::Json => json()?,
    })
}

fn unreadable(error: multer::Error) -> Error {
    Error::Malformed(format!("the form cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: fn() -> Limits = Limits::default;

    async fn read(body: &str) -> Result<Form> {
        Form::read(Bytes::from(body.to_owned()), "cut", &LIMITS()).await
    }

    fn part(head: &str, body: &str) -> String {
        format!("--cut\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n")
    }

    #[tokio::test]
    async fn texts_and_files_are_told_apart_and_brackets_mean_nothing() {
        let body = [
            part("name=\"prompt\"", "a fox\r\nin snow"),
            part("name=\"image[]\"; filename=\"a.png\"", "one"),
            part("name=\"image[]\"; filename=\"b.png\"", "two"),
            part("name=\"mask\"; filename=\"\"", ""),
            "--cut--\r\n".to_owned(),
        ];
        let mut form = read(&body.concat()).await.unwrap();
        assert_eq!(form.texts, [("prompt".to_owned(), "a fox\r\nin snow".to_owned())]);
        assert_eq!(form.take_files("image"), ["one", "two"]);
        assert!(form.files.is_empty(), "no file was chosen for the mask");
    }

    #[tokio::test]
    async fn a_form_is_the_same_whatever_separates_its_parts() {
        let one = read(&(part("name=\"a\"", "1") + "--cut--")).await.unwrap();
        let body = "--other\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--other--";
        let same = Form::read(body.into(), "other", &LIMITS()).await.unwrap();
        assert_eq!(one.mark(), same.mark());
        for other in [part("name=\"a\"", "2"), part("name=\"b\"", "1"), part("name=\"a1\"", "")] {
            assert_ne!(read(&(other + "--cut--")).await.unwrap().mark(), one.mark());
        }
    }

    #[tokio::test]
    async fn what_is_no_form_is_refused() {
        let many = part("name=\"a\"", "1").repeat(MOST_PARTS + 1) + "--cut--";
        let long = part(&format!("name=\"{}\"", "x".repeat(LONGEST_NAME + 1)), "1") + "--cut--";
        let text = part("name=\"a\"", &"x".repeat(LIMITS().body_bytes + 1)) + "--cut--";
        let unnamed = part("filename=\"a.png\"", "1") + "--cut--";
        for body in ["", "{}", "--cut\r\n", &part("name=\"a\"", "1"), &many, &long, &text, &unnamed] {
            read(body).await.unwrap_err();
        }
    }

    #[test]
    fn texts_become_the_json_that_the_route_takes() {
        let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let texts = vec![
            text("n", "2"),
            text("seed", "18446744073709551615"),
            text("steps", "many"),
            text("width", " "),
            text("stream", "True"),
            text("loras", "[{\"name\": \"x\"}]"),
            text("prompt", ""),
            text("input_images", "a"),
            text("input_images", " [\"b\", \"c\"]"),
            text("images", ""),
        ];
        let form = Form { texts, files: Vec::new() };
        let kind = |name: &str| match name {
            "n" | "seed" | "steps" | "width" => Some(As::Number),
            "stream" => Some(As::Truth),
            "loras" => Some(As::Json),
            "input_images" | "images" => Some(As::List),
            _ => None,
        };
        let json: Value = serde_json::from_slice(&form.into_json(kind).unwrap()).unwrap();
        let expected = serde_json::json!({
            "n": 2, "seed": 18_446_744_073_709_551_615_u64, "steps": "many", "width": null, "stream": true,
            "loras": [{"name": "x"}], "prompt": "", "input_images": ["a", "b", "c"],
            "images": [],
        });
        assert_eq!(json, expected);
        let twice = Form { texts: vec![text("n", "1"), text("n", "2")], files: Vec::new() };
        twice.into_json(|_| None).unwrap_err();
    }

    #[test]
    fn only_forms_have_a_boundary() {
        let of = |kind: &'static str| {
            boundary(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]))
        };
        assert_eq!(of("multipart/form-data; boundary=cut").unwrap().as_deref(), Some("cut"));
        assert_eq!(of("Multipart/Form-Data; boundary=\"c u t\"").unwrap().as_deref(), Some("c u t"));
        assert_eq!(of("application/json").unwrap(), None);
        assert_eq!(boundary(&HeaderMap::new()).unwrap(), None);
        of("multipart/form-data").unwrap_err();
    }
}
