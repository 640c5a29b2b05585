# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Says whether a model directory is whole: files as recorded, loadable, and painting what is asked.

    python verify.py [MODEL] [--data data/emoji.npz]

Three checks, each printed; the exit status is 1 when one fails. Files against `SHA256SUMS`. diffusers loads
the pipeline and all weights are finite. Some prompts with a colour in them come out in that colour on white.
With `--data` also how well the autoencoder reproduces 48 pictures. The printed hashes of the pixels are for
comparing two runs on one machine; other processors and versions of torch round differently.
"""

import argparse
import colorsys
import hashlib
from pathlib import Path

import numpy as np
import torch

from data import Data, to_unit
from export import CHECKSUMS
from sample import FIRST_SEED, load, pictures

MODEL = Path(__file__).resolve().parent.parent
# Prompt, and the hue in degrees, from and to, that the coloured part of the picture must have on average.
EXPECTED = (
    ("a red apple", 330, 20),
    ("a green apple", 60, 150),
    ("a lemon", 35, 75),
    ("a blue diamond", 180, 250),
    ("a carrot", 10, 50),
    ("a tulip", 270, 340),
)


def check_files(model: Path) -> bool:
    """Every file of `SHA256SUMS` is there and unchanged, and no weight file is missing from the list."""
    recorded = {}
    for line in (model / CHECKSUMS).read_text().splitlines():
        digest, name = line.split("  ", 1)
        recorded[name] = digest
    good = True
    for name, digest in recorded.items():
        file = model / name
        found = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "missing"
        if found != digest:
            print(f"{name}: recorded {digest[:12]}, found {found[:12]}")
            good = False
    for file in model.rglob("*.safetensors"):
        if str(file.relative_to(model)) not in recorded:
            print(f"{file.relative_to(model)}: not recorded")
            good = False
    print(f"files: {len(recorded)} recorded, {'all as recorded' if good else 'NOT as recorded'}")
    return good


def mean_hue(picture: np.ndarray) -> float:
    """Hue in degrees of the mean of all clearly coloured pixels; RGB 0..255."""
    spread = picture.max(-1).astype(int) - picture.min(-1)
    coloured = picture[spread > 60]
    if len(coloured) == 0:
        return float("nan")
    return colorsys.rgb_to_hsv(*(coloured.mean(0) / 255))[0] * 360


def check_pictures(pipeline) -> bool:
    """The prompts of `EXPECTED` in the model's own sampler, 20 steps, guidance 2.5."""
    good = True
    drawn = pictures(pipeline, [prompt for prompt, _, _ in EXPECTED], steps=20, guidance=2.5)
    for number, ((prompt, low, high), image) in enumerate(zip(EXPECTED, drawn, strict=True)):
        picture = np.asarray(image)
        hue, white = mean_hue(picture), (picture.min(-1) > 235).mean()
        inside = low <= hue <= high if low < high else hue >= low or hue <= high
        fine = bool(inside and 0.2 < white < 0.9)
        good &= fine
        print(
            f"{prompt!r}, seed {FIRST_SEED + number}: hue {hue:.0f} ({low} to {high}), white {white:.0%}, "
            f"mean {picture.mean():.2f}, deviation {picture.std():.2f}, "
            f"pixels {hashlib.sha256(picture.tobytes()).hexdigest()[:16]}{'' if fine else '  WRONG'}"
        )
    return good


@torch.no_grad()
def reconstruction_psnr(pipeline, data: Data) -> float:
    """Mean PSNR in dB of the autoencoder over 48 pictures spread over the collection."""
    originals = to_unit(data.images[:: max(1, len(data.images) // 48)][:48])
    coded = pipeline.vae.encode(originals).latent_dist.mean
    drawn = pipeline.vae.decode(coded).sample.clamp(-1, 1)
    return float((10 * torch.log10(4 / ((drawn - originals) ** 2).mean((1, 2, 3)))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", default=MODEL)
    parser.add_argument("--data", type=Path, help="also measure the autoencoder on this file of prep.py")
    arguments = parser.parse_args()

    good = check_files(arguments.model)
    pipeline = load(arguments.model)
    for name in ("text_encoder", "unet", "vae"):
        weights = torch.cat([p.flatten() for p in getattr(pipeline, name).parameters()])
        finite = bool(torch.isfinite(weights).all())
        good &= finite
        print(f"{name}: {len(weights):,} weights, {'all finite' if finite else 'NOT all finite'}")
    good &= check_pictures(pipeline)
    if arguments.data:
        psnr = reconstruction_psnr(pipeline, Data.load(arguments.data, torch.device("cpu")))
        print(f"autoencoder: {psnr:.2f} dB over 48 pictures")
    print("verified" if good else "NOT verified")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
