# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""OpenVINO with diffusers' UNet, as one of those that `run.py` lets take turns.

The network is converted once, with the shapes that are measured, and kept: converting takes longer than measuring.
"""

from serving import serve

import argparse
import subprocess
import sys
from pathlib import Path

import openvino
import torch

from networks import Denoiser, inputs

HINTS = ("f32", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=("unet",))
    parser.add_argument("model", type=Path)
    parser.add_argument("--dtype", choices=HINTS, default="f32")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--side", type=int, default=64, help="cells of the latent along a side")
    parser.add_argument("--kept", type=Path, required=True, help="the directory of converted networks")
    parser.add_argument("--convert", action="store_true", help="convert, and measure nothing")
    arguments = parser.parse_args()
    given = inputs(arguments.model, arguments.rows, arguments.side).tensors(torch.float32)
    network = arguments.kept / f"{arguments.model.name}-{arguments.rows}x{arguments.side}.xml"
    if arguments.convert:
        convert(arguments.model, given, network)
        return
    if not network.exists() or is_newer(arguments.model, network):
        # In a process of its own, whose memory is free again afterwards.
        subprocess.run([sys.executable, *sys.argv, "--convert"], check=True)
    settings = {"INFERENCE_PRECISION_HINT": arguments.dtype, "INFERENCE_NUM_THREADS": arguments.threads,
                "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(network, "CPU", settings)
    numbers = [tensor.numpy() for tensor in given]
    format_in_use = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    serve(format_in_use, arguments.work, lambda: compiled(numbers)[0])


def convert(model: Path, given: list[torch.Tensor], to: Path) -> None:
    """Writes the denoiser in OpenVINO's format, in f32."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        converted = openvino.convert_model(Denoiser(model, torch.float32), example_input=tuple(given),
                                           input=[tuple(tensor.shape) for tensor in given])
    openvino.save_model(converted, to, compress_to_fp16=False)


def is_newer(model: Path, than: Path) -> bool:
    """Whether the model's UNet was written after the file."""
    return any(file.stat().st_mtime > than.stat().st_mtime for file in (model / "unet").glob("*.safetensors"))


if __name__ == "__main__":
    main()
