// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The free text of a header. It can be anything, so what is not a short note is passed over.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most notes that are kept; training programs write some hundred.
const MAX_NOTES: usize = 1024;
/// The longest note that is kept. What is asked for are single words, but for one.
const MAX_NOTE_BYTES: usize = 1024;
/// The note that is kept whole: the settings of an adapter, which change what its tensors mean.
pub(crate) const SETTINGS: &str = "lora_adapter_metadata";

/// The short notes by their names.
pub(super) struct Notes(pub(super) BTreeMap<String, String>);

/// A value of any kind: its text if it is one.
struct Note(Option<String>);

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NotesVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoteVisitor).map(Self)
    }
}

struct NotesVisitor;
struct NoteVisitor;

/// The kinds of value that say nothing here.
macro_rules! nothing {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        })*

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

impl<'de> Visitor<'de> for NotesVisitor {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("notes")
    }

    nothing!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut notes = BTreeMap::new();
        while let Some((name, Note(text))) = map.next_entry::<String, Note>()? {
            let kept = |text: &String| {
                let short = name.len().max(text.len()) <= MAX_NOTE_BYTES && notes.len() < MAX_NOTES;
                short || name == SETTINGS
            };
            if let Some(text) = text.filter(kept) {
                notes.insert(name, text);
            }
        }
        Ok(notes)
    }
}

impl<'de> Visitor<'de> for NoteVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a note")
    }

    nothing!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
