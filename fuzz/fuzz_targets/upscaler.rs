// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Whatever is the file of an upscaler.
#![no_main]

#[path = "../bodies/upscaler.rs"]
mod body;
#[path = "../bodies/plain.rs"]
mod plain;
#[path = "../bodies/written.rs"]
mod written;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::check(input));
