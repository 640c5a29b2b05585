# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""PyTorch and diffusers, as one of those that `run.py` lets take turns."""

from serving import serve

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy
import torch
from diffusers import DiffusionPipeline

from networks import DTYPES, Decoder, Denoiser, inputs, latent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=("unet", "decode", "request"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="f32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--side", type=int, default=64, help="cells of the latent along a side")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=7.5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    makers = {"unet": unet, "decode": decode, "request": request}
    with torch.inference_mode():
        work = makers[arguments.work](arguments)
        about = f"{arguments.dtype} {torch.backends.cpu.get_cpu_capability()}"
        serve(about, arguments.work, work)


def unet(arguments) -> Callable[[], numpy.ndarray]:
    """A pass of the denoiser with all its rows."""
    dtype = DTYPES[arguments.dtype]
    given = inputs(arguments.model, arguments.rows, arguments.side).tensors(dtype)
    network = placed(Denoiser(arguments.model, dtype), arguments)
    given[0] = placed(given[0], arguments)
    return lambda: network(*given).float().contiguous().numpy()


def decode(arguments) -> Callable[[], numpy.ndarray]:
    """A picture out of one latent."""
    dtype = DTYPES[arguments.dtype]
    decoder = Decoder(arguments.model, dtype)
    decoder.vae = placed(decoder.vae, arguments)
    given = placed(latent(arguments.side).to(dtype), arguments)
    return lambda: decoder.decode(given).contiguous().numpy()


def request(arguments) -> Callable[[], numpy.ndarray]:
    """A picture out of a prompt, as diffusers' readers are told to make one."""
    pipeline = DiffusionPipeline.from_pretrained(arguments.model, torch_dtype=DTYPES[arguments.dtype])
    pipeline.set_progress_bar_config(disable=True)
    pixels = arguments.side * pipeline.vae_scale_factor

    def paint() -> numpy.ndarray:
        picture = pipeline("a red apple", height=pixels, width=pixels, num_inference_steps=arguments.steps,
                           guidance_scale=arguments.guidance, generator=torch.Generator().manual_seed(1))
        return numpy.asarray(picture.images[0])

    return paint


def placed(what, arguments):
    """The network or tensor in the memory format that was asked for."""
    return what.to(memory_format=torch.channels_last) if arguments.channels_last else what


if __name__ == "__main__":
    main()
