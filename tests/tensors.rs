// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Safetensors files as plain bytes, for tests that take files apart and put others together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use alice_checkpoint::TensorFile;
use serde_json::{Value, json};

/// Tensors without meaning but for their names: the network predicts the velocity, and was trained down to no signal.
pub(crate) const MARKS: [&str; 2] = ["v_pred", "ztsnr"];
/// The file among the fixtures that is not kept, because it is another one without its marks.
pub(crate) const UNMARKED: (&str, &str) = ("file-sd2-eps", "file-sd2-v");

/// Words of CLIP's vocabulary.
const WORDS: u64 = 49_408;

/// One tensor, with its values as they lie in the file.
#[derive(Clone)]
pub(crate) struct RawTensor {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
}

/// The tensors of a file by name.
pub(crate) type RawTensors = BTreeMap<String, RawTensor>;

/// Reads a file that is known to be whole.
pub(crate) fn read(path: &Path) -> RawTensors {
    let file = fs::read(path).unwrap();
    let (length, rest) = file.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    tensors
        .map(|(name, entry)| {
            let numbers = |key: &str| -> Vec<u64> { serde_json::from_value(entry[key].clone()).unwrap() };
            let offsets = numbers("data_offsets");
            let bytes = data[offsets[0] as usize..offsets[1] as usize].to_vec();
            let dtype = entry["dtype"].as_str().unwrap().to_owned();
            (name, RawTensor { dtype, shape: numbers("shape"), bytes })
        })
        .collect()
}

/// Writes tensors, those of the largest numbers first so that each lies where its numbers may.
pub(crate) fn write(path: &Path, tensors: &RawTensors) {
    let width = |tensor: &RawTensor| match tensor.dtype.as_str() {
        "F64" | "I64" => 0,
        "F32" => 1,
        "F16" | "BF16" => 2,
        _ => 3,
    };
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(name, tensor)| (width(tensor), *name));
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, tensor) in &order {
        let begin = end;
        end += tensor.bytes.len();
        let entry = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, end]});
        header.insert((*name).clone(), entry);
    }
    let mut header = Value::from(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    for (_, tensor) in order {
        file.extend_from_slice(&tensor.bytes);
    }
    fs::write(path, file).unwrap();
}

/// The single file called `name` among the `fixtures` as it should be: what is kept of its table of words is the
/// beginning, which is repeated.
pub(crate) fn whole(fixtures: &Path, name: &str) -> RawTensors {
    let is_unmarked = name == UNMARKED.0;
    let kept = if is_unmarked { UNMARKED.1 } else { name };
    let mut tensors = read(&fixtures.join(format!("files/{kept}.safetensors")));
    if is_unmarked {
        MARKS.iter().for_each(|mark| drop(tensors.remove(*mark).unwrap()));
    }
    for (name, table) in &mut tensors {
        if name.ends_with("token_embedding.weight") {
            let row = table.bytes.len() / table.shape[0] as usize;
            let bytes = table.bytes.iter().copied().cycle().take(row * WORDS as usize).collect();
            (table.shape[0], table.bytes) = (WORDS, bytes);
        }
    }
    tensors
}

/// The tensors of the file at `path` with all numbers that are not whole in f32.
pub(crate) fn widened(path: &Path) -> RawTensors {
    let file = TensorFile::open(path).unwrap();
    let mut tensors = read(path);
    for (name, tensor) in tensors.iter_mut().filter(|(_, tensor)| !tensor.dtype.starts_with('I')) {
        *tensor = of_f32(&tensor.shape, &file.tensor(name).unwrap().to_f32().unwrap());
    }
    tensors
}

/// A tensor in f32.
pub(crate) fn of_f32(shape: &[u64], values: &[f32]) -> RawTensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    RawTensor { dtype: "F32".into(), shape: shape.to_vec(), bytes }
}

/// Divides the weights in `directory` among two files and an index, as diffusers does with large ones.
pub(crate) fn shard(directory: &Path, stem: &str) {
    let whole = directory.join(format!("{stem}.safetensors"));
    let mut shards = [RawTensors::new(), RawTensors::new()];
    for (index, (name, tensor)) in read(&whole).into_iter().enumerate() {
        shards[index % 2].insert(name, tensor);
    }
    fs::remove_file(whole).unwrap();
    let mut map = serde_json::Map::new();
    for (index, tensors) in shards.iter().enumerate() {
        let file = format!("{stem}-{:05}-of-00002.safetensors", index + 1);
        map.extend(tensors.keys().map(|name| (name.clone(), file.clone().into())));
        write(&directory.join(file), tensors);
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    fs::write(directory.join(format!("{stem}.safetensors.index.json")), index.to_string()).unwrap();
}

/// Calls the weights in `directory` a variant, as diffusers does with those in f16.
pub(crate) fn call_variant(directory: &Path, stem: &str) {
    let path = |name: String| directory.join(name);
    fs::rename(path(format!("{stem}.safetensors")), path(format!("{stem}.fp16.safetensors"))).unwrap();
}
