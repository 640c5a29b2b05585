// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whatever is the file of a ControlNet or T2I-Adapter.
#![no_main]

#[path = "../bodies/control.rs"]
mod body;
#[path = "../bodies/plain.rs"]
mod plain;
#[path = "../bodies/written.rs"]
mod written;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::check(input));
