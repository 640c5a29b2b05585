# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Brownian motion over the noise level, as src/brownian.rs has it, written again in numpy.

k-diffusion takes its noise from any function of two noise levels: with this one it can be held against ALICE.
Random numbers: Salmon et al. 2011, doi:10.1145/2063384.2063405, Philox4x32-10.
"""

import numpy as np

DEPTH = 16
# What tells this use of a seed from any other.
STREAM = 1
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def philox(counter, key):
    """Ten rounds on arrays of four 32-bit words, kept in 64 bits."""
    a, b, c, d = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        first, second = a * np.uint64(MULTIPLIERS[0]), c * np.uint64(MULTIPLIERS[1])
        a, b, c, d = (
            (second >> SHIFT) ^ b ^ np.uint64(k0),
            second & LOW,
            (first >> SHIFT) ^ d ^ np.uint64(k1),
            first & LOW,
        )
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return a, b, c, d


def normals(seed, node, count):
    """Standard normal numbers of one node of the tree."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    same = np.zeros_like(blocks)
    counter = (blocks, same + np.uint64(node), same + np.uint64(STREAM), same)
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    uniform = [((word >> np.uint64(8)).astype(np.float32) + np.float32(0.5)) / np.float32(2**24) for word in words]
    pairs = []
    for distance, angle in ((uniform[0], uniform[1]), (uniform[2], uniform[3])):
        radius = np.sqrt(np.float32(-2) * np.log(distance))
        theta = np.float32(2 * np.pi) * angle
        pairs += [radius * np.cos(theta), radius * np.sin(theta)]
    return np.stack(pairs, axis=1).ravel()[:count].astype(np.float64)


class BrownianTree:
    """One path for each value of a latent of `shape`, from noise level 0 to `highest_sigma`."""

    def __init__(self, seed, shape, highest_sigma):
        self.seed, self.shape, self.highest = seed, tuple(shape), float(highest_sigma)
        self.count = int(np.prod(self.shape))

    def at(self, sigma):
        """The path's value at a noise level."""
        place = (float(sigma) / self.highest) ** (1 / 3)
        low, high = 0.0, 1.0
        below = np.zeros(self.count)
        above = normals(self.seed, 0, self.count) * self.highest**0.5
        node = 1
        for _ in range(DEPTH):
            middle = (low + high) / 2
            s_low, s_middle, s_high = (self.highest * u**3 for u in (low, middle, high))
            share = (s_middle - s_low) / (s_high - s_low)
            deviation = ((s_middle - s_low) * (s_high - s_middle) / (s_high - s_low)) ** 0.5
            between = below + share * (above - below) + deviation * normals(self.seed, node, self.count)
            if place < middle:
                high, above, node = middle, between, 2 * node
            else:
                low, below, node = middle, between, 2 * node + 1
        s_low, s_high = self.highest * low**3, self.highest * high**3
        share = min(max((float(sigma) - s_low) / (s_high - s_low), 0.0), 1.0)
        return below + share * (above - below)

    def noise(self, sigma, sigma_next):
        """Standard normal noise for a step, as k-diffusion's noise samplers give it: float32 of `shape`."""
        step = self.at(sigma_next) - self.at(sigma)
        return (step / abs(float(sigma_next) - float(sigma)) ** 0.5).astype(np.float32).reshape(self.shape)
