# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Trains the model, in chunks that end by themselves and continue where the last one stopped.

    until [ -e run/decoder.pt ]; do python train.py || break; done

Stages: autoencoder, denoiser with text encoder, decoder (`stages.py`). Each has a budget, in seconds ("960s")
or in steps ("2000"); the learning rate falls along the budget, so a stage always ends annealed, on a slow
machine too. A call ends after `--chunk` at the latest and leaves `<stage>.resume.pt` (weights, optimizer,
average, step, seconds); the next call goes on from there. A finished stage leaves `vae.pt`, `unet.pt`,
`decoder.pt`; `export.py` takes them.

Each step's random draws are seeded by (seed, stage, step): with budgets in steps, a run in many chunks does
what a run in one does, on the CPU to the last bit. Budgets in seconds make the number of steps the machine's.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from data import Data
from networks import UNET_CHANNELS, make_text_encoder, make_unet, make_vae
from stage import Arithmetic, Stage
from stages import DecoderStage, Feed, UnetStage, VaeStage

# Imports and compilation belong to a chunk's time, because a limit on the whole command counts them too.
STARTED = time.monotonic()


@dataclass(frozen=True)
class Budget:
    """A number of seconds or of steps."""

    amount: float
    in_seconds: bool

    @classmethod
    def parse(cls, text: str) -> "Budget":
        budget = cls(float(text.removesuffix("s")), text.endswith("s"))
        if not budget.amount >= 0:
            raise ValueError("a budget is not negative")
        return budget

    def used(self, steps: int, seconds: float) -> float:
        """The share that is used up; 1 or more: all of it."""
        return (seconds if self.in_seconds else steps) / self.amount if self.amount else 1.0


class Chunk:
    """What this call of the program may use."""

    def __init__(self, budget: Budget):
        self.budget, self.steps = budget, 0

    def over(self) -> bool:
        return self.budget.used(self.steps, time.monotonic() - STARTED) >= 1


class Run:
    """The directory of a training run."""

    def __init__(self, directory: Path, device: torch.device):
        self.directory, self.device = directory, device
        directory.mkdir(parents=True, exist_ok=True)

    def load(self, name: str) -> dict | None:
        file = self.directory / f"{name}.pt"
        return torch.load(file, map_location=self.device, weights_only=True) if file.exists() else None

    def save(self, name: str, state: dict) -> None:
        """Writes a whole file or none: the machine may go away at any moment."""
        unfinished = self.directory / f"{name}.partial"
        torch.save(state, unfinished)
        os.replace(unfinished, self.directory / f"{name}.pt")

    def finish(self, stage: Stage) -> dict:
        result = stage.result()
        self.save(stage.name, result)
        (self.directory / f"{stage.name}.resume.pt").unlink(missing_ok=True)
        return result


def train(stage: Stage, budget: Budget, chunk: Chunk, run: Run, arguments: argparse.Namespace) -> dict | None:
    """Goes on with `stage`. Its result when the stage's budget is used up, None when the chunk's is."""
    state = run.load(f"{stage.name}.resume")
    if state:
        stage.restore(state)
    random = torch.Generator(run.device)
    began, before = time.monotonic(), stage.seconds
    saved, sums, since_log = began, 0, 0
    while (progress := budget.used(stage.step, stage.seconds)) < 1:
        if chunk.over():
            report(stage, sums, since_log, budget)
            run.save(f"{stage.name}.resume", stage.state())
            return None
        random.manual_seed(step_seed(arguments.seed, stage))
        sums = sums + stage.advance(random, progress)
        since_log, chunk.steps = since_log + 1, chunk.steps + 1
        stage.seconds = before + time.monotonic() - began
        if since_log == arguments.log_every:
            report(stage, sums, since_log, budget)
            sums, since_log = 0, 0
            if time.monotonic() - saved > arguments.save_every:
                run.save(f"{stage.name}.resume", stage.state())
                saved = time.monotonic()
    report(stage, sums, since_log, budget)
    return run.finish(stage)


def step_seed(seed: int, stage: Stage) -> int:
    """Hashed into 32 bits, because the CPU's generator ignores the others."""
    return int(np.random.SeedSequence([seed, stage.number, stage.step]).generate_state(1)[0])


def report(stage: Stage, sums: torch.Tensor, steps: int, budget: Budget) -> None:
    """One log line. Ends the program before it saves weights that are no numbers any more."""
    if not steps:
        return
    if not torch.isfinite(sums).all():
        raise SystemExit(
            f"{stage.name}: not a number at step {stage.step}; the last saved state is from before"
        )
    used, line = budget.used(stage.step, stage.seconds), stage.describe(sums, steps)
    print(f"{stage.name} {stage.step}  {used:.0%}  {stage.seconds:.0f} s  {line}", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default="data/emoji.npz")
    parser.add_argument("--run", type=Path, default="run", help="directory of the run's files")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the losses; costs a minute a chunk"
    )
    parser.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        help="compute in bfloat16 (on a GPU); on a CPU without bfloat16 instructions it is far slower",
    )
    parser.add_argument("--chunk", type=Budget.parse, default="480s", help="what this call may use (480s)")
    parser.add_argument("--vae", type=Budget.parse, default="300s", help="budget of the autoencoder (300s)")
    parser.add_argument("--unet", type=Budget.parse, default="960s", help="budget of the denoiser (960s)")
    parser.add_argument(
        "--decoder", type=Budget.parse, default="90s", help="budget of the decoder's finish (90s)"
    )
    parser.add_argument(
        "--vae-batch", type=int, default=64, help="whole pictures a step, also for the decoder"
    )
    parser.add_argument("--unet-batch", type=int, default=256)
    parser.add_argument(
        "--vae-crops", type=float, default=0.0, help="first part of the VAE stage on crops, 0 to 1"
    )
    parser.add_argument(
        "--flatness", type=float, default=0.6, help="exponent of the subject weights; 0: all alike"
    )
    parser.add_argument("--drop", type=float, default=0.1, help="share of empty prompts")
    parser.add_argument("--ema", type=float, default=0.999, help="decay of the denoiser's average")
    parser.add_argument("--size", choices=UNET_CHANNELS, default="standard", help="width of the UNet")
    parser.add_argument("--start", type=Path, help="begin with the weights of this model directory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=200, help="steps between two log lines")
    parser.add_argument(
        "--save-every", type=float, default=120, help="least seconds between two saved states"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(arguments.seed)
    device = torch.device(arguments.device)
    bf16 = device.type == "cuda" if arguments.bf16 is None else arguments.bf16
    arithmetic = Arithmetic(device, bf16, arguments.compile)
    run, chunk, data = Run(arguments.run, device), Chunk(arguments.chunk), Data.load(arguments.data, device)

    vae, unet = make_vae(), make_unet(UNET_CHANNELS[arguments.size])
    text = make_text_encoder(data.vocabulary)
    if arguments.start:
        vae.load_state_dict(AutoencoderKL.from_pretrained(arguments.start, subfolder="vae").state_dict())
        unet.load_state_dict(
            UNet2DConditionModel.from_pretrained(arguments.start, subfolder="unet").state_dict()
        )
        text.load_state_dict(
            CLIPTextModel.from_pretrained(arguments.start, subfolder="text_encoder").state_dict()
        )
    for network in (vae, unet, text):
        network.to(device)

    coded = run.load("vae")
    if not coded:
        stage = VaeStage(data, vae, arguments.vae_batch, arguments.vae_crops, arithmetic)
        coded = train(stage, arguments.vae, chunk, run, arguments)
    if not coded:
        return print("to be continued: the autoencoder")
    vae.load_state_dict(coded["vae"])

    denoiser = run.load("unet")
    if not denoiser:
        feed = Feed(arguments.unet_batch, arguments.flatness, arguments.drop)
        stage = UnetStage(data, coded["latents"], unet, text, feed, arguments.ema, arithmetic)
        denoiser = train(stage, arguments.unet, chunk, run, arguments)
    if not denoiser:
        return print("to be continued: the denoiser")
    unet.load_state_dict(denoiser["unet"])
    text.load_state_dict(denoiser["text"])

    finished = run.load("decoder")
    if not finished:
        stage = DecoderStage(data, coded, vae, unet, text, arguments.vae_batch, arithmetic)
        finished = train(stage, arguments.decoder, chunk, run, arguments)
    print("finished" if finished else "to be continued: the decoder")


if __name__ == "__main__":
    main()
