# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""From a finished run to a model directory in the diffusers layout, half precision, with checksums.

    python export.py [--run run] [--out exported] [--tokenizer DIR] [--decoder vae|decoder]

`--decoder vae` leaves the third stage's result aside. The command refuses to write a weight file of 16 MB or
more or a model of 24 MB or more: the model lives in a source repository.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import EulerDiscreteScheduler
from safetensors.torch import load_file, save_file

from networks import BETA_END, BETA_START, TRAINING_STEPS, make_text_encoder, make_unet, make_vae

MODEL = Path(__file__).resolve().parent.parent
FILE_LIMIT, MODEL_LIMIT = 16_000_000, 24_000_000
CHECKSUMS = "SHA256SUMS"


def scheduler() -> EulerDiscreteScheduler:
    """Euler as the model is meant to be sampled; "trailing" starts at the noisiest timestep."""
    return EulerDiscreteScheduler(
        num_train_timesteps=TRAINING_STEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
    )


def model_index() -> dict:
    nothing = [None, None]
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": nothing,
        "image_encoder": nothing,
        "requires_safety_checker": False,
        "safety_checker": nothing,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def use_classic_text_keys(directory: Path) -> None:
    """Puts `text_model.` before the text encoder's keys.

    Transformers 5 saves them without, every Stable Diffusion loader of the years before expects them with.
    """
    file = directory / "model.safetensors"
    tensors = {
        f"text_model.{key.removeprefix('text_model.')}": value for key, value in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    config.pop("dtype", None)
    config |= {"architectures": ["CLIPTextModel"], "torch_dtype": "float32"}
    (directory / "config.json").write_text(json.dumps(config, indent=2))


def write_checksums(directory: Path) -> None:
    """`SHA256SUMS` over everything a loader reads, in the format of `sha256sum`."""
    files = sorted(file for file in directory.rglob("*") if file.suffix in (".json", ".txt", ".safetensors"))
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(directory)}\n" for file in files
    ]
    (directory / CHECKSUMS).write_text("".join(lines))


def check_sizes(directory: Path) -> None:
    sizes = {file: file.stat().st_size for file in directory.rglob("*") if file.is_file()}
    for file, size in sizes.items():
        if size >= FILE_LIMIT:
            raise SystemExit(f"{file} takes {size / 1e6:.1f} MB, the limit is {FILE_LIMIT / 1e6:.0f} MB")
    total = sum(sizes.values())
    if total >= MODEL_LIMIT:
        raise SystemExit(f"{directory} takes {total / 1e6:.1f} MB, the limit is {MODEL_LIMIT / 1e6:.0f} MB")
    print(f"{directory}: {len(sizes)} files, {total / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default="run")
    parser.add_argument("--out", type=Path, default="exported", help="must not exist yet")
    parser.add_argument("--tokenizer", type=Path, default=MODEL / "tokenizer", help="the one prep.py used")
    parser.add_argument(
        "--decoder", choices=("vae", "decoder"), default="decoder", help="whose decoder to take"
    )
    arguments = parser.parse_args()

    denoiser = torch.load(arguments.run / "unet.pt", map_location="cpu", weights_only=True)
    coded = torch.load(arguments.run / f"{arguments.decoder}.pt", map_location="cpu", weights_only=True)
    vocabulary = len(json.loads((arguments.tokenizer / "vocab.json").read_text(encoding="utf-8")))
    unet, text, vae = make_unet(tuple(denoiser["channels"])), make_text_encoder(vocabulary), make_vae()
    unet.load_state_dict(denoiser["unet"])
    text.load_state_dict(denoiser["text"])
    vae.load_state_dict(coded["vae"])
    vae.register_to_config(scaling_factor=coded["scaling_factor"], force_upcast=False)

    out = arguments.out
    shutil.copytree(arguments.tokenizer, out / "tokenizer")
    for name, network in (("unet", unet), ("text_encoder", text), ("vae", vae)):
        network.half().save_pretrained(out / name, safe_serialization=True)
    use_classic_text_keys(out / "text_encoder")
    scheduler().save_pretrained(out / "scheduler")
    (out / "model_index.json").write_text(json.dumps(model_index(), indent=2))
    write_checksums(out)
    check_sizes(out)


if __name__ == "__main__":
    main()
