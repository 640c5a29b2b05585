# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""The training data on the training device, and the random draws from them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor


@dataclass
class Data:
    """What `prep.py` made, on the training device."""

    images: Tensor  # uint8 [n, 3, 128, 128]
    tokens: Tensor  # int64 [n, captions, 24]
    vae_weight: Tensor  # [n]
    subject_weight: Tensor  # [n]
    vocabulary: int

    @classmethod
    def load(cls, file, device: torch.device) -> "Data":
        with np.load(file) as arrays:
            return cls(
                images=torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().to(device),
                tokens=torch.from_numpy(arrays["tokens"].astype(np.int64)).to(device),
                vae_weight=torch.from_numpy(arrays["vae_weight"]).to(device),
                subject_weight=torch.from_numpy(arrays["subject_weight"]).to(device),
                vocabulary=int(arrays["vocabulary"]),
            )


def to_unit(images: Tensor) -> Tensor:
    """uint8 0..255 to float -1..1."""
    return images.float() / 127.5 - 1


def decibels(square: float) -> float:
    """Peak signal to noise ratio for a mean squared error between pictures in -1..1."""
    return 10 * math.log10(4 / square)


def draw(weights: Tensor, count: int, random: Generator) -> Tensor:
    return torch.multinomial(weights, count, replacement=True, generator=random)


def uniform(count: int, random: Generator) -> Tensor:
    return torch.rand(count, generator=random, device=random.device)


def random_captions(data: Data, rows: Tensor, random: Generator) -> Tensor:
    """One of each picture's captions, [n, 24]."""
    choice = torch.randint(data.tokens.shape[1], (len(rows),), generator=random, device=random.device)
    return data.tokens[rows, choice]
