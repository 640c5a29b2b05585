// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Numbers of bytes as people say them.

use std::fmt;

/// A number of bytes: `640 KB`, `1.9 GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "KB")];
        let Some((unit, name)) = units.into_iter().find(|(unit, _)| self.0 >= *unit) else {
            return write!(f, "{} bytes", self.0);
        };
        let count = self.0 as f64 / unit as f64;
        // Two digits say enough of any size.
        if count < 10.0 { write!(f, "{count:.1} {name}") } else { write!(f, "{count:.0} {name}") }
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        let told = [0, 999, 1000, 9_960_000, 14_400_000, 1_900_000_000, 2_000_000_000_000]
            .map(|n| Bytes(n).to_string());
        assert_eq!(told, ["0 bytes", "999 bytes", "1.0 KB", "10.0 MB", "14 MB", "1.9 GB", "2.0 TB"]);
    }
}
