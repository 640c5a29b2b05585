# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""What every stage of the training has in common: a step, its learning rate, the average, the saved state.

A stage knows its networks, its loss and its result. When to stop, what a chunk is and where files lie is the
matter of `train.py`. Every random draw of a step comes from the generator it is given, so that a step depends
on the data, the state and that generator's seed alone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from muon import MuonAdam


@dataclass(frozen=True)
class Arithmetic:
    """How the machine computes: in bfloat16 where it does no harm, and whether the losses are compiled."""

    device: torch.device
    bf16: bool
    compiled: bool

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


class Stage:
    """Common to all stages: parameters, optimizer, learning rate, moving average, saved state."""

    name: str
    # A stage's number is part of its random seeds, so that no two stages draw the same.
    number: int
    warmup = 100
    clip = 1.0

    # Words in the names of parameters that AdamW trains, and the two peak learning rates.
    by_adam: tuple[str, ...]
    muon_lr: float
    adam_lr: float

    def __init__(self, named: dict[str, nn.Parameter], arithmetic: Arithmetic, ema: float | None = None):
        self.parameters, self.arithmetic, self.ema_decay = list(named.values()), arithmetic, ema
        dtype = torch.bfloat16 if arithmetic.bf16 else torch.float32
        self.optimizer = MuonAdam(named.items(), self.by_adam, self.muon_lr, self.adam_lr, dtype)
        self.average = [parameter.detach().clone() for parameter in self.parameters] if ema else None
        self.measure = torch.compile(self.loss) if arithmetic.compiled else self.loss
        self.step, self.seconds = 0, 0.0
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)

    def batch(self, random: Generator, progress: float) -> tuple[Tensor, ...]:
        """The arguments of `loss` for one step; all that is random is drawn here."""
        raise NotImplementedError

    def loss(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and a vector of measurements, which the log adds up over the steps between two lines."""
        raise NotImplementedError

    def describe(self, sums: Tensor, steps: int) -> str:
        """The summed measurements of `steps` steps as part of a log line."""
        raise NotImplementedError

    def result(self) -> dict:
        """What the stage hands on, once finished."""
        raise NotImplementedError

    def advance(self, random: Generator, progress: float) -> Tensor:
        """One step at `progress` (0..1) of the stage. Returns the measurements."""
        loss, measured = self.measure(*self.batch(random, progress))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step(self.rate(progress))
        self.step += 1
        if self.average:
            # The average starts short, or it would remember the untrained weights for long.
            decay = min(self.ema_decay, (1 + self.step) / (12 + self.step))
            torch._foreach_lerp_(self.average, [parameter.data for parameter in self.parameters], 1 - decay)
        for parameter in self.parameters:
            parameter.grad.zero_()
        return measured

    def rate(self, progress: float) -> float:
        """Linear warm-up by steps, then half a cosine over the stage down to a hundredth."""
        return min(1.0, (self.step + 1) / self.warmup) * (
            0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        )

    def state(self) -> dict:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "parameters": [parameter.detach() for parameter in self.parameters],
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(saved)
            for average, saved in zip(self.average or [], state["average"] or [], strict=True):
                average.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
