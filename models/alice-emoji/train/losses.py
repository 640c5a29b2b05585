# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""What the networks are punished for. No learned metric is used, so nothing has to be downloaded to train."""

import torch.nn.functional as F
from torch import Tensor


def reconstruction(drawn: Tensor, original: Tensor) -> tuple[Tensor, Tensor]:
    """The autoencoder's loss and, apart, its mean squared error; pictures [n, 3, h, w] in -1..1.

    Mean absolute error keeps flat areas clean, the pyramid weighs edges at three scales, the square punishes
    the few pixels that are far off.
    """
    error = drawn - original
    square = (error**2).mean()
    return error.abs().mean() + 0.5 * pyramid(error) + 0.5 * square, square


def pyramid(error: Tensor) -> Tensor:
    """Mean absolute value of the error's Laplacian pyramid, coarser bands weighted more.

    The pyramid is linear, so the pyramid of the difference is the difference of the pyramids (Bojanowski et
    al. 2018, arXiv:1707.05776, use it for the same purpose).
    """
    total = 0
    for weight in (1.0, 1.5, 2.0):
        smaller = F.avg_pool2d(error, 2)
        smooth = F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + weight * (error - smooth).abs().mean()
        error = smaller
    return total + 2 * error.abs().mean()


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the latents from a unit normal, mean over all dimensions, in nats."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()


def v_errors(predicted: Tensor, noise: Tensor, latents: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's mean squared error in v, and its weight in the loss.

    v = sqrt(a) noise - sqrt(1 - a) latent with a = `signal` [n, 1, 1, 1] (Salimans and Ho 2022,
    arXiv:2202.00512). The weight min(SNR + 1, 5) / (SNR + 1) is a form of min-SNR (Hang et al. 2023,
    arXiv:2303.09556) for v: at nearly clean timesteps v is almost pure noise, which nobody can predict, and
    would otherwise dominate the gradient.
    """
    target = signal.sqrt() * noise - (1 - signal).sqrt() * latents
    errors = ((predicted.float() - target) ** 2).mean((1, 2, 3))
    snr_plus_one = 1 / (1 - signal.flatten())
    return errors, snr_plus_one.clamp(max=5.0) / snr_plus_one
