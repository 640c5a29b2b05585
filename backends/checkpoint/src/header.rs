// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The header of a safetensors file: eight bytes of length, then JSON that says where each tensor lies.
//!
//! The `safetensors` crate knows number formats and checks that the tensors tile the data exactly, each as
//! long as its shape says. Added here are limits on what a header may make us allocate, and the refusal of
//! a name that appears twice (the crate would keep the last and say nothing).

use std::{collections::BTreeMap, fmt};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::error::sentence;

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

/// A header that has been checked against the file it came from.
#[derive(Debug)]
pub(crate) struct Header {
    /// What is known of each tensor, by name; offsets count from `data_start` and lie within the file.
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors' data begins in the file.
    pub(crate) data_start: usize,
}

/// Why a file is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is of a format that can carry a program; the text names the format.
    Unsafe(&'static str),
    /// Anything else that is wrong, in words.
    Damaged(String),
}

/// Reads and checks the header of a whole file.
pub(crate) fn parse(file: &[u8]) -> Result<Header, Refusal> {
    // What a refused file is instead is only looked at afterwards: a sound file may begin with any bytes.
    parse_safetensors(file).map_err(|reason| what_else(file).unwrap_or(Refusal::Damaged(reason)))
}

fn parse_safetensors(file: &[u8]) -> Result<Header, String> {
    let (json, data_start) = split_json(file)?;
    let Entries(tensors) =
        serde_json::from_slice(json).map_err(|e| format!("its header is wrong: {}", sentence(e)))?;
    if let Some((name, info)) = tensors.iter().find(|(_, info)| info.shape.len() > MAX_RANK) {
        return Err(format!("tensor {name:?} has {} dimensions", info.shape.len()));
    }
    let mut in_file_order: Vec<_> = tensors.clone().into_iter().collect();
    in_file_order.sort_by_key(|(_, info)| info.data_offsets);
    let metadata =
        Metadata::new(None, in_file_order).map_err(|e| format!("its tensors do not fit: {}", sentence(e)))?;
    let (stated, present) = (metadata.data_len(), file.len() - data_start);
    if stated != present {
        return Err(format!("its header speaks of {stated} bytes of data, {present} are there"));
    }
    Ok(Header { tensors, data_start })
}

/// The header's JSON, and where it ends.
fn split_json(file: &[u8]) -> Result<(&[u8], usize), String> {
    let (length, rest) = file.split_first_chunk::<LENGTH_BYTES>().ok_or("it is shorter than eight bytes")?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(format!("its header claims {length} bytes, more than the {MAX_HEADER_BYTES} allowed"));
    }
    let length = usize::try_from(length).expect("the limit fits into every usize");
    let json = rest.get(..length).ok_or("it ends within its header")?;
    Ok((json, LENGTH_BYTES + length))
}

/// What a file that is no safetensors file looks like, if that is worth telling.
fn what_else(file: &[u8]) -> Option<Refusal> {
    match file {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Refusal::Unsafe("a zip archive, as PyTorch keeps pickles in")),
        // The opcode PROTO with a protocol number, the first bytes of every pickle since protocol 2.
        [0x80, 2..=5, ..] => Some(Refusal::Unsafe("a pickle")),
        _ if file.get(257..262) == Some(b"ustar") => {
            Some(Refusal::Unsafe("a tar archive, as old PyTorch kept pickles in"))
        }
        _ if file.starts_with(b"version https://git-lfs") => {
            let reason = "it is a Git LFS pointer, not the file it points to (`git lfs pull` fetches that)";
            Some(Refusal::Damaged(reason.to_owned()))
        }
        _ => None,
    }
}

/// The header's JSON object without its free text, within the limits and with distinct names.
struct Entries(BTreeMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor).map(Entries)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = BTreeMap<String, TensorInfo>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
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
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests;
