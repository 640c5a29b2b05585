// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! This machine's processor, as backends for it describe their only device.

use std::fs;

use crate::Device;

/// The device number 0 of a backend that computes on the processor: its model name and main memory, as far as
/// `/proc` tells them.
pub fn device() -> Device {
    Device {
        index: 0,
        name: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "CPU".to_owned()),
        kind: "cpu".to_owned(),
        memory_total: memory("MemTotal"),
        memory_free: memory("MemAvailable"),
    }
}

/// A line of `/proc/meminfo`, in bytes.
fn memory(name: &str) -> Option<u64> {
    let kib: u64 = field("/proc/meminfo", name)?.strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The value of the first line `name: value`; `None` where there is no such file.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}
