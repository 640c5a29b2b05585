// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Small changes to real files, the same ones in each run: what the tests on stable have in place of a fuzzer.

use serde_json::Value;

/// Numbers without a pattern, from a seed (xorshift, Marsaglia 2003).
pub(crate) struct Chance(u64);

impl Chance {
    /// The numbers of this seed, which must not be 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which must not be 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits are the weakest.
        ((self.0 >> 11) % limit as u64) as usize
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }
}

/// What stands where a reader expects something else.
const PIECES: &[&str] = &[
    "",
    "0",
    "-1",
    "1e400",
    "18446744073709551616",
    "4294967295",
    "null",
    "true",
    "\"\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud800",
    "\n",
    " ",
    "\u{feff}",
    "é",
    "\u{301}",
    "\0",
    "</w>",
    "<|endoftext|>",
    "__metadata__",
];

/// `file` with one to four changes: bits turned, pieces cut out, doubled or put in, the end missing.
#[allow(dead_code, reason = "each test takes what its file is made of")]
pub(crate) fn bytes(chance: &mut Chance, file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(file.len() + 1);
        let end = (at + chance.below(24)).min(file.len());
        match chance.below(6) {
            0 if at < file.len() => file[at] ^= 1 << chance.below(8),
            1 if at < file.len() => file[at] = chance.pick(&[0, 0x7f, 0x80, 0xc0, 0xff]),
            2 => drop(file.drain(at..end)),
            3 => {
                let piece = file[at..end].to_vec();
                let to = chance.below(file.len() + 1);
                drop(file.splice(to..to, piece));
            }
            4 => drop(file.splice(at..end, chance.pick(PIECES).bytes())),
            _ if chance.below(8) == 0 => file.truncate(at),
            _ => drop(file.splice(at..at, chance.pick(PIECES).bytes())),
        }
    }
    file
}

/// Values that are of the wrong kind, at the edge of their kind, or far beyond it.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "2",
    "3",
    "7",
    "8",
    "64",
    "-1",
    "0.5",
    "1e-300",
    "1e300",
    "65536",
    "4294967296",
    "9007199254740993",
    "18446744073709551615",
    "-9223372036854775808",
    "\"\"",
    "\"x\"",
    "[]",
    "[0]",
    "[1,1,1,1]",
    "[8,8]",
    "[[]]",
    "{}",
    "{\"x\":0}",
];

/// The JSON text with one to three of its values replaced, left out or doubled.
#[allow(dead_code, reason = "each test takes what its file is made of")]
pub(crate) fn json(chance: &mut Chance, text: &str) -> String {
    let mut root: Value = serde_json::from_str(text).expect("the files to change are JSON");
    for _ in 0..=chance.below(3) {
        change(chance, &mut root);
    }
    root.to_string()
}

/// Walks down to a value by chance and changes it.
fn change(chance: &mut Chance, value: &mut Value) {
    let deeper = chance.below(4) > 0;
    match value {
        Value::Object(entries) if deeper && !entries.is_empty() => {
            let key = entries.keys().nth(chance.below(entries.len())).expect("the number is below").clone();
            if chance.below(8) == 0 {
                entries.remove(&key);
            } else if let Some(inner) = entries.get_mut(&key) {
                change(chance, inner);
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = chance.below(items.len());
            match chance.below(6) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => change(chance, &mut items[at]),
            }
        }
        Value::Number(number) if chance.below(2) == 0 => {
            // A number that is nearly right goes further into the program than one that is absurd.
            let near =
                number.as_f64().unwrap_or(0.0) * chance.pick(&[-1.0, 0.5, 2.0, 3.0]) + chance.below(2) as f64;
            *value = match near.fract() == 0.0 {
                true => Value::from(near as i64),
                false => Value::from(near),
            };
        }
        _ => *value = serde_json::from_str(chance.pick(VALUES)).expect("the values are JSON"),
    }
}
