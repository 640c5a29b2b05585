// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any bytes as a form with files: refused with a sentence, or its parts are pieces of the body within the limits, and
//! its texts become JSON.

use alice::api::multipart::{As, Form, boundary};
use alice::config::Limits;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use futures::FutureExt;

/// Bytes that a text may have here: few, so that a small input reaches the limit.
const TEXT_BYTES: usize = 64;
/// The one text that may be there several times.
const LIST: &str = "input_images";

/// The first line is the body's content type, and the rest the body.
pub(crate) fn check(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let Ok(kind) = HeaderValue::from_bytes(&input[..end]) else { return };
    let body = Bytes::copy_from_slice(input.get(end + 1..).unwrap_or_default());
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
    let boundary = match boundary(&headers) {
        Ok(Some(boundary)) => boundary,
        Ok(None) => return,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    let limits = Limits { body_bytes: TEXT_BYTES, ..Limits::default() };
    let read = Form::read(body.clone(), &boundary, &limits).now_or_never();
    match read.expect("all of the body is there") {
        Ok(form) => check_form(form, &body),
        Err(error) => is_a_sentence(&error.to_string()),
    }
}

fn check_form(mut form: Form, body: &[u8]) {
    assert_eq!(form.mark(), form.mark());
    let texts = form.texts.iter().map(|(_, text)| text.len());
    let files = form.files.iter().map(|(_, file)| file.len());
    assert!(texts.chain(files).sum::<usize>() <= body.len(), "the parts are no more than the body");
    assert!(form.texts.iter().all(|(_, text)| text.len() <= TEXT_BYTES));
    let (all, images) = (form.files.len(), form.take_files("image").len());
    assert_eq!(form.files.len() + images, all);
    let kind = |name: &str| match name.len() % 5 {
        _ if name == LIST => Some(As::List),
        0 => Some(As::Number),
        1 => Some(As::Truth),
        2 => Some(As::Json),
        3 => Some(As::Word),
        _ => None,
    };
    match form.into_json(kind) {
        Ok(json) => assert!(json.starts_with(b"{") && json.ends_with(b"}")),
        Err(error) => is_a_sentence(&error.to_string()),
    }
}

/// A refusal is for a client, in a line.
fn is_a_sentence(text: &str) {
    assert!(!text.is_empty() && text.len() < 1024, "a refusal of {} bytes", text.len());
}
