# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Sheets of samples made with diffusers: one picture for each prompt, or a few through several samplers.

    python sample.py [--model ..] [--prompts prompts.txt] [--out sheet.png] [--steps 20] [--guidance 2.5]
    python sample.py --samplers [--out samplers.png]

Picture i uses seed 42 + i. Nothing is chosen afterwards: a sheet shows the first try.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
SIZE, CELL_WIDTH, CELL_HEIGHT = 128, 176, 168
FIRST_SEED = 42
LINE = 26

# Name, scheduler, its changes to the model's configuration, steps, guidance, negative prompt.
SAMPLERS = (
    ("Euler, 20 steps", EulerDiscreteScheduler, {}, 20, 2.5, None),
    ("Euler, guidance 7.5", EulerDiscreteScheduler, {}, 20, 7.5, None),
    ("Euler, leading", EulerDiscreteScheduler, {"timestep_spacing": "leading"}, 20, 2.5, None),
    ("Euler a", EulerAncestralDiscreteScheduler, {}, 20, 2.5, None),
    ("DDIM", DDIMScheduler, {"clip_sample": False}, 20, 2.5, None),
    ("DPM++ 2M Karras, 12", DPMSolverMultistepScheduler, {"use_karras_sigmas": True}, 12, 2.5, None),
    ("Euler, 8 steps", EulerDiscreteScheduler, {}, 8, 2.5, None),
    ("Euler, negative: flat", EulerDiscreteScheduler, {}, 20, 2.5, "flat"),
)
SAMPLER_PROMPTS = ("a fox", "a slice of pizza", "a rocket", "a red apple")


def load(directory: Path) -> StableDiffusionPipeline:
    """The pipeline in f32, as any user of diffusers would get it."""
    pipeline = StableDiffusionPipeline.from_pretrained(directory, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pictures(
    pipeline, prompts: list[str], steps: int, guidance: float, negative=None
) -> Iterator[Image.Image]:
    """One picture a prompt, eight at a time."""
    for start in range(0, len(prompts), 8):
        batch = prompts[start : start + 8]
        yield from pipeline(
            batch,
            negative_prompt=[negative] * len(batch) if negative else None,
            num_inference_steps=steps,
            guidance_scale=guidance,
            height=SIZE,
            width=SIZE,
            generator=[torch.Generator().manual_seed(FIRST_SEED + start + i) for i in range(len(batch))],
        ).images


def sheet(labelled: list[tuple[str, Image.Image]], columns: int) -> Image.Image:
    """The pictures in rows, each over its label, on white."""
    rows = -(-len(labelled) // columns)
    page = Image.new("RGB", (columns * CELL_WIDTH, rows * CELL_HEIGHT), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for number, (label, picture) in enumerate(labelled):
        x, y = number % columns * CELL_WIDTH, number // columns * CELL_HEIGHT
        page.paste(picture, (x + (CELL_WIDTH - SIZE) // 2, y + 4))
        first = label if len(label) <= LINE else label[: label.rfind(" ", 0, LINE + 1)]
        pen.text((x + 4, y + 134), first, fill="black", font=font)
        pen.text((x + 4, y + 149), label[len(first) :].strip(), fill="black", font=font)
    return page


def sampler_pictures(pipeline: StableDiffusionPipeline) -> list[tuple[str, Image.Image]]:
    """The same four prompts and seeds through every entry of `SAMPLERS`."""
    configuration = dict(pipeline.scheduler.config)
    labelled = []
    for name, scheduler, changes, steps, guidance, negative in SAMPLERS:
        pipeline.scheduler = scheduler.from_config(configuration | changes)
        drawn = pictures(pipeline, list(SAMPLER_PROMPTS), steps, guidance, negative)
        labelled += [(name, picture) for picture in drawn]
    return labelled


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=HERE.parent)
    parser.add_argument("--out", type=Path, default="sheet.png")
    parser.add_argument("--prompts", type=Path, default=HERE / "prompts.txt", help="one a line, # comments")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.5)
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--samplers", action="store_true", help="compare samplers instead")
    arguments = parser.parse_args()

    pipeline = load(arguments.model)
    if arguments.samplers:
        sheet(sampler_pictures(pipeline), len(SAMPLER_PROMPTS)).save(arguments.out)
        return
    lines = arguments.prompts.read_text(encoding="utf-8").splitlines()
    prompts = [line for line in lines if line and not line.startswith("#")]
    drawn = pictures(pipeline, prompts, arguments.steps, arguments.guidance)
    sheet(list(zip(prompts, drawn, strict=True)), arguments.columns).save(arguments.out)


if __name__ == "__main__":
    main()
