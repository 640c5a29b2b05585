// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The keys of a JSON object as Python writes it, read one by one so that an error names the key.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::shortened;
use crate::{Error, Result};

/// A parsed file. A key with the value null counts as absent.
pub(super) struct Keys(Map<String, Value>);

impl Keys {
    pub(super) fn parse(text: &str) -> Result<Self> {
        match serde_json::from_str(&with_quoted_infinities(text)) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(Error::SchedulerConfigFile("is no JSON object".to_owned())),
            Err(error) => Err(Error::SchedulerConfigFile(error.to_string())),
        }
    }

    /// The value of `key`.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|problem| error(key, value, problem.to_string()))
    }

    /// A whole number within `range`.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_u64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(error(key, value, format!("must be {} to {}", range.start(), range.end()))),
        }
    }

    /// A number between 0 and 1, both excluded.
    pub(super) fn fraction(&self, key: &'static str) -> Result<Option<f64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_f64().filter(|number| *number > 0.0 && *number < 1.0) {
            Some(number) => Ok(Some(number)),
            None => Err(error(key, value, "must be above 0 and below 1".to_owned())),
        }
    }

    /// A number above 0 that single precision can hold.
    pub(super) fn positive(&self, key: &'static str) -> Result<Option<f64>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_f64().filter(|number| (1e-6..=1e6).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(error(key, value, "must be between 0.000001 and 1000000".to_owned())),
        }
    }

    /// One of some words.
    pub(super) fn one_of(&self, key: &'static str, words: &[&str]) -> Result<Option<String>> {
        match self.get::<String>(key)? {
            Some(word) if !words.contains(&word.as_str()) => {
                Err(error(key, &Value::String(word), format!("known are {}", words.join(", "))))
            }
            word => Ok(word),
        }
    }

    /// Refuses any value of `key` but `only`.
    pub(super) fn must_be(&self, key: &'static str, only: &str) -> Result<()> {
        let Some(value) = self.value(key) else { return Ok(()) };
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if text == only {
            return Ok(());
        }
        Err(error(key, value, format!("only {only} is supported")))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }
}

/// An error about a value; the problem's text may repeat the value, which may be as long as the file.
fn error(key: &'static str, value: &Value, problem: String) -> Error {
    Error::SchedulerConfig {
        key,
        value: shortened(&value.to_string(), 80),
        problem: shortened(&problem, 600),
    }
}

/// Puts quotes around the numbers that Python writes and JSON does not know, outside of strings: diffusers
/// saves the default of `lambda_min_clipped` as a bare `-Infinity`.
fn with_quoted_infinities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_string = false;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| rest.starts_with(word));
        let taken = match word {
            Some(word) if !in_string => {
                out.extend(["\"", word, "\""]);
                word.len()
            }
            // What a backslash protects does not end the string.
            _ if in_string && next == '\\' => {
                let escaped = rest.chars().take(2).map(char::len_utf8).sum();
                out.push_str(&rest[..escaped]);
                escaped
            }
            _ => {
                in_string ^= next == '"';
                out.push(next);
                next.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}
