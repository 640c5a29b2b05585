// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! The Mersenne Twister, the source of random bits behind torch's generator on the CPU.
//!
//! Source: Matsumoto and Nishimura 1998, doi:10.1145/272991.272995, in the 32-bit version of 2002.

/// Words of state.
const WORDS: usize = 624;
/// Distance between the two words that are mixed into a new one.
const SHIFT: usize = 397;

#[derive(Clone, Debug)]
pub(super) struct Mt19937 {
    state: [u32; WORDS],
    /// The next word to give out; [`WORDS`] when the state must be renewed first.
    position: usize,
}

impl Mt19937 {
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [seed; WORDS];
        for index in 1..WORDS {
            let before = state[index - 1];
            state[index] = 1_812_433_253u32.wrapping_mul(before ^ before >> 30).wrapping_add(index as u32);
        }
        Self { state, position: WORDS }
    }

    /// The next 32 bits.
    pub(super) fn next(&mut self) -> u32 {
        if self.position == WORDS {
            self.renew();
        }
        let mut word = self.state[self.position];
        self.position += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    fn renew(&mut self) {
        for index in 0..WORDS {
            let joined = self.state[index] & 0x8000_0000 | self.state[(index + 1) % WORDS] & 0x7fff_ffff;
            let twisted = if joined & 1 == 0 { joined >> 1 } else { joined >> 1 ^ 0x9908_b0df };
            self.state[index] = self.state[(index + SHIFT) % WORDS] ^ twisted;
        }
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_thousandth_word_of_the_default_seed_is_the_one_in_the_cpp_standard() {
        // ISO C++ [rand.predef]: the 10000th value of a default-constructed std::mt19937, whose seed is 5489.
        let mut bits = Mt19937::new(5489);
        let last = (0..10_000).map(|_| bits.next()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}
