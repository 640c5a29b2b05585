// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Which addresses and names are the public network's. Pure.
//!
//! Source: IANA's registries of special-purpose addresses (IPv4, IPv6) and of special-use names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to anybody on the public network, and to nobody in particular: not to this machine, its
/// networks or their infrastructure, whatever its spelling hides.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |network: [u8; 4], bits: u32| {
        address.to_bits() >> (32 - bits) == Ipv4Addr::from(network).to_bits() >> (32 - bits)
    };
    let special = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 31, 196, 0], 24),
        ([192, 52, 193, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([192, 175, 48, 0], 24),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        // Multicast, reserved, broadcast.
        ([224, 0, 0, 0], 3),
    ];
    !special.into_iter().any(|(network, bits)| within(network, bits))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |network: [u16; 3], bits: u32| {
        let [first, second, third] = network;
        let network = Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0);
        address.to_bits() >> (128 - bits) == network.to_bits() >> (128 - bits)
    };
    // Everything that is assigned to anybody is in here. So what is local, mapped or translated is not.
    let global = within([0x2000, 0, 0], 3);
    let special = [
        // The protocols' own, Teredo among them, in which an IPv4 address may hide.
        ([0x2001, 0, 0], 23),
        ([0x2001, 0xdb8, 0], 32),
        // An IPv4 address of any kind stands in it.
        ([0x2002, 0, 0], 16),
        ([0x2620, 0x4f, 0x8000], 48),
        ([0x3fff, 0, 0], 20),
    ];
    let [_, _, _, _, scope, protocol, ..] = address.segments();
    // So does one in an ISATAP address.
    let isatap = scope & 0xfdff == 0 && protocol == 0x5efe;
    global && !isatap && !special.into_iter().any(|(network, bits)| within(network, bits))
}

/// Ends of names that no public name has.
const LOCAL_ENDS: &[&str] = &[
    "alt",
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "test",
];

/// Whether a name may be asked of the public name servers: it has a dot, and does not end as local ones do.
pub(super) fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match name.rsplit_once('.') {
        Some((rest, end)) => !rest.is_empty() && !LOCAL_ENDS.contains(&end),
        None => false,
    }
}
