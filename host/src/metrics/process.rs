// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What the system says of the memory of a process.

use std::fs;

/// Bytes of this process that are in the machine's memory now. `None` where the system has no `/proc`.
pub fn resident_bytes() -> Option<u64> {
    own_bytes("VmRSS")
}

/// The most that [`resident_bytes`] has been since the process began.
pub fn peak_resident_bytes() -> Option<u64> {
    own_bytes("VmHWM")
}

/// One amount out of `/proc/self/status` (proc(5)), in bytes.
fn own_bytes(field: &str) -> Option<u64> {
    bytes(&fs::read_to_string("/proc/self/status").ok()?, field)
}

fn bytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_by_their_whole_name() {
        let status = "Name:\talice\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(bytes(status, "VmRSS"), Some(1024 * 1024));
        assert_eq!(bytes(status, "VmHWM"), Some(2048 * 1024));
        assert_eq!((bytes(status, "Vm"), bytes(status, "Threads")), (None, None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory() {
        let (now, peak) = (resident_bytes().unwrap(), peak_resident_bytes().unwrap());
        assert!(now > 0 && peak > 0, "{now} {peak}");
    }
}
