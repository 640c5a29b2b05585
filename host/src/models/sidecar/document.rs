// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The keys and values of a sidecar with their lines, before anything is asked of them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_yaml::Spanned;

/// The keys of the file in their order.
#[derive(Default)]
pub(super) struct Document(pub(super) Vec<(String, Entry)>);

pub(super) enum Entry {
    /// One value.
    One(Spanned<Value>),
    /// `defaults`.
    Each(Vec<(String, Spanned<Value>)>),
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let entry = match key.as_str() {
                        "defaults" => Entry::Each(map.next_value::<Option<Entries>>()?.unwrap_or_default().0),
                        _ => Entry::One(map.next_value()?),
                    };
                    entries.push((key, entry));
                }
                Ok(Document(entries))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// The keys below `defaults`.
#[derive(Default)]
struct Entries(Vec<(String, Spanned<Value>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("parameters with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
