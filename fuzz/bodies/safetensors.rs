// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Any bytes as a safetensors file: refused with a sentence, or every tensor can be read as it is described.

use alice_checkpoint::{Scope, TensorFile, TensorSet};

use self::written::written;

#[path = "written.rs"]
mod written;

/// The longest sentence that refuses a file. A tensor's name may be in it, which the format bounds.
const LONGEST_SENTENCE: usize = 8192;

/// Opens `bytes` as a file and reads all of it.
pub(crate) fn check(bytes: &[u8]) {
    let path = written(bytes);
    let file = match TensorFile::open(&path) {
        Ok(file) => file,
        Err(error) => return is_a_sentence(&error.to_string()),
    };
    let set = TensorSet::of_file(&path).expect("what can be mapped can be listed");
    let mut total = 0;
    for name in file.names() {
        let tensor = file.tensor(name).expect("a listed tensor is there");
        total += tensor.bytes.len() as u64;
        let by_shape = Scope::root(&set).tensor(name, &tensor.shape).expect("it has its own shape");
        assert_eq!(by_shape.bytes, tensor.bytes);
        let values = tensor.shape.iter().product::<usize>();
        match tensor.to_f32() {
            Ok(numbers) => assert_eq!(numbers.len(), values),
            Err(error) => is_a_sentence(&error.to_string()),
        }
    }
    assert_eq!(total, file.bytes(), "the tensors are all there is");
}

/// A refusal is for a log of one line each.
pub(crate) fn is_a_sentence(text: &str) {
    assert!(text.len() <= LONGEST_SENTENCE, "a refusal of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "a control character in {text:?}");
}
