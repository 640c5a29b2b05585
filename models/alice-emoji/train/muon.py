# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Muon for hidden matrices, AdamW for everything else.

Muon (Keller Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a weight
matrix by the nearest orthogonal matrix, found with five Newton-Schulz steps. Convolution kernels count as
matrices of output channels by everything else. The update is scaled by 0.2 sqrt(max(rows, columns)), which
gives it the size of an AdamW update (Liu et al. 2025, arXiv:2502.16982), so one schedule serves both.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

MOMENTUM, WEIGHT_DECAY = 0.95, 0.01


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly orthogonal matrices from a stack [k, m, n] with m <= n, by five quintic Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x


class MuonAdam:
    """The optimizer of all networks here. Gradients must exist (zeros are fine) when `step` is called.

    `named` are the parameters; those whose name contains a word of `by_adam` (first and last layers,
    embeddings) go to AdamW, as do vectors and matrices narrower than 16. `dtype` is that of the
    Newton-Schulz steps; bfloat16 is exact enough.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, Tensor]],
        by_adam: tuple[str, ...],
        muon_lr: float,
        adam_lr: float,
        dtype: torch.dtype,
    ):
        self.muon_lr, self.adam_lr, self.dtype = muon_lr, adam_lr, dtype
        self.groups: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        rest = []
        for name, parameter in named:
            wide = parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= 16
            if wide and not any(word in name for word in by_adam):
                self.groups[parameter.shape[0], parameter[0].numel()].append(parameter)
            else:
                rest.append(parameter)
        self.matrices = [parameter for group in self.groups.values() for parameter in group]
        self.momentum = [torch.zeros_like(parameter) for parameter in self.matrices]
        self.adam = torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)

    @torch.no_grad()
    def step(self, multiplier: float) -> None:
        """One update with both learning rates times `multiplier`."""
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * multiplier
        self.adam.step()

        gradients = [parameter.grad for parameter in self.matrices]
        torch._foreach_lerp_(self.momentum, gradients, 1 - MOMENTUM)
        updates = iter(torch._foreach_lerp(gradients, self.momentum, MOMENTUM))
        rate = self.muon_lr * multiplier
        for (rows, columns), parameters in self.groups.items():
            stack = torch.stack([next(updates).reshape(rows, columns) for _ in parameters]).to(self.dtype)
            tall = rows > columns
            stack = orthogonal(stack.mT.contiguous()).mT if tall else orthogonal(stack)
            scale = 0.2 * max(rows, columns) ** 0.5
            for parameter, update in zip(parameters, stack.float(), strict=True):
                parameter.mul_(1 - rate * WEIGHT_DECAY).add_(
                    update.reshape(parameter.shape), alpha=-rate * scale
                )

    def state_dict(self) -> dict:
        return {"momentum": self.momentum, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        for mine, saved in zip(self.momentum, state["momentum"], strict=True):
            mine.copy_(saved)
        self.adam.load_state_dict(state["adam"])
