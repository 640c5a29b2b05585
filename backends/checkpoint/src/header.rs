// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The header of a safetensors file: eight bytes of length, then JSON that says where each tensor lies.
//!
//! The `safetensors` crate knows number formats and checks that the tensors tile the data exactly, each as
//! long as its shape says. Added here are limits on what a header may make us allocate, and the refusal of
//! a name that appears twice (the crate would keep the last and say nothing).

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use self::notes::Notes;
use crate::error::sentence;

pub(crate) mod notes;

/// The largest header accepted. `MAX_TENSORS` entries of 200 bytes need 13 MiB; the longest headers seen
/// are a few MiB of training notes. Parsing needs at most some ten times as much memory.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// The largest image models have some 3000 tensors, their adapters some 10000.
const MAX_TENSORS: usize = 1 << 16;
/// A convolution over video has five dimensions; nothing known has more.
const MAX_RANK: usize = 8;
/// The longest names in use have about 150 bytes.
const MAX_NAME_BYTES: usize = 512;

/// Bytes of the length in front of the JSON.
const LENGTH_BYTES: usize = 8;
/// As many bytes as it takes to see what a file is that is no safetensors file.
const BEGINNING_BYTES: u64 = 512;

/// A header that has been checked against the file it came from.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// What is known of each tensor, by name; offsets count from `data_start` and lie within the file.
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors' data begins in the file.
    pub(crate) data_start: usize,
    /// The short ones of the notes (`__metadata__`) that the file's maker left.
    pub(crate) notes: BTreeMap<String, String>,
}

/// Why a file is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is of a format that can carry a program; the text names the format.
    Unsafe(&'static str),
    /// Anything else that is wrong, in words.
    Damaged(String),
    /// It is something else altogether: a sentence that says what.
    Foreign(&'static str),
}

/// Reads and checks the header of `file`, which has `length` bytes; the data behind it stays where it is.
///
/// # Errors
/// What the operating system says; the inner ones are the file's own.
pub(crate) fn read(mut file: impl Read, length: u64) -> io::Result<Result<Header, Refusal>> {
    let mut beginning = Vec::new();
    file.by_ref().take(BEGINNING_BYTES).read_to_end(&mut beginning)?;
    if let Some(claimed) = claimed_length(&beginning).filter(|claimed| *claimed <= MAX_HEADER_BYTES) {
        let rest = (LENGTH_BYTES as u64 + claimed).saturating_sub(beginning.len() as u64);
        file.take(rest).read_to_end(&mut beginning)?;
    }
    Ok(parse(&beginning, length))
}

/// Checks the header of a file of `length` bytes that begins with `beginning`, which holds the header if there is
/// one.
pub(crate) fn parse(beginning: &[u8], length: u64) -> Result<Header, Refusal> {
    // What a refused file is instead is only looked at afterwards: a sound file may begin with any bytes.
    let parsed = parse_safetensors(beginning, length);
    parsed.map_err(|reason| what_else(beginning).unwrap_or(Refusal::Damaged(reason)))
}

fn parse_safetensors(beginning: &[u8], length: u64) -> Result<Header, String> {
    let (json, data_start) = split_json(beginning)?;
    let Entries { tensors, notes } =
        serde_json::from_slice(json).map_err(|e| format!("its header is wrong: {}", sentence(e)))?;
    if let Some((name, info)) = tensors.iter().find(|(_, info)| info.shape.len() > MAX_RANK) {
        return Err(format!("tensor {name:?} has {} dimensions", info.shape.len()));
    }
    let mut in_file_order: Vec<_> = tensors.clone().into_iter().collect();
    in_file_order.sort_by_key(|(_, info)| info.data_offsets);
    let metadata =
        Metadata::new(None, in_file_order).map_err(|e| format!("its tensors do not fit: {}", sentence(e)))?;
    let (stated, present) = (metadata.data_len() as u64, length.saturating_sub(data_start as u64));
    if stated != present {
        return Err(format!("its header speaks of {stated} bytes of data, {present} are there"));
    }
    Ok(Header { tensors, data_start, notes })
}

/// The header's length, as the file's first bytes claim it.
fn claimed_length(beginning: &[u8]) -> Option<u64> {
    beginning.first_chunk::<LENGTH_BYTES>().map(|length| u64::from_le_bytes(*length))
}

/// The header's JSON, and where it ends.
fn split_json(beginning: &[u8]) -> Result<(&[u8], usize), String> {
    let length = claimed_length(beginning).ok_or("it is shorter than eight bytes")?;
    if length > MAX_HEADER_BYTES {
        return Err(format!("its header claims {length} bytes, more than the {MAX_HEADER_BYTES} allowed"));
    }
    let length = usize::try_from(length).expect("the limit fits into every usize");
    let json = beginning.get(LENGTH_BYTES..LENGTH_BYTES + length).ok_or("it ends within its header")?;
    Ok((json, LENGTH_BYTES + length))
}

/// What a file that is no safetensors file looks like, if that is worth telling.
fn what_else(beginning: &[u8]) -> Option<Refusal> {
    match beginning {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Refusal::Unsafe("a zip archive, as PyTorch keeps pickles in")),
        // The opcode PROTO with a protocol number, the first bytes of every pickle since protocol 2.
        [0x80, 2..=5, ..] => Some(Refusal::Unsafe("a pickle")),
        [b'G', b'G', b'U', b'F', ..] => {
            Some(Refusal::Foreign("it is a GGUF file, a format that is not read here"))
        }
        _ if beginning.get(257..262) == Some(b"ustar") => {
            Some(Refusal::Unsafe("a tar archive, as old PyTorch kept pickles in"))
        }
        _ if beginning.starts_with(b"version https://git-lfs") => {
            let what = "it is a Git LFS pointer, not the file it points to (`git lfs pull` fetches that)";
            Some(Refusal::Foreign(what))
        }
        _ if beginning.trim_ascii_start().starts_with(b"<") => {
            Some(Refusal::Foreign("it is a web page, perhaps one that asks to log in, and not the file"))
        }
        _ => None,
    }
}

/// The header's JSON object, within the limits and with distinct names.
struct Entries {
    tensors: BTreeMap<String, TensorInfo>,
    notes: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut tensors, mut notes) = (BTreeMap::new(), BTreeMap::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                notes = map.next_value::<Notes>()?.0;
                continue;
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(A::Error::custom(format!("a tensor's name has {} bytes", name.len())));
            }
            if tensors.len() == MAX_TENSORS {
                return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            let info = map.next_value()?;
            if tensors.contains_key(&name) {
                return Err(A::Error::custom(format!("two tensors are named {name:?}")));
            }
            tensors.insert(name, info);
        }
        Ok(Entries { tensors, notes })
    }
}

#[cfg(test)]
mod tests;
