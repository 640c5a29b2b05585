# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Makes docs/sheet.png: twenty-four prompts, asked of a running ALICE with its built-in model.

    cargo run --release &
    python3 docs/sheet.py [http://127.0.0.1:8080]

Needs Pillow. Seeds are fixed and no picture was chosen among several.
"""

import base64
import io
import json
import sys
import urllib.request
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PROMPTS = [
    "a red apple", "a banana", "a strawberry", "a slice of pizza", "a donut", "a birthday cake",
    "a fox", "a panda", "an owl", "a penguin", "a butterfly", "a turtle",
    "a red heart", "a gold crown", "the sun", "a rainbow", "a sunflower", "a cactus",
    "a guitar", "a camera", "a rocket", "a flat emoji of a rocket", "a robot", "a flat emoji of a fox",
]  # fmt: skip
COLUMNS, SIDE, LABEL, GAP = 6, 192, 24, 10
SEED = 1


def paint(base: str, prompt: str) -> Image.Image:
    """One picture of `prompt` at the model's own settings."""
    body = json.dumps({"prompt": prompt, "seed": SEED, "size": f"{SIDE}x{SIDE}"}).encode()
    with urllib.request.urlopen(f"{base}/v1/images/generations", body) as answer:
        picture = json.load(answer)["data"][0]["b64_json"]
    return Image.open(io.BytesIO(base64.b64decode(picture)))


def main(base: str) -> None:
    rows = -(-len(PROMPTS) // COLUMNS)
    cell = (SIDE + GAP, SIDE + LABEL + GAP)
    sheet = Image.new("RGB", (COLUMNS * cell[0] + GAP, rows * cell[1] + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for index, prompt in enumerate(PROMPTS):
        row, column = divmod(index, COLUMNS)
        left, top = GAP + column * cell[0], GAP + row * cell[1]
        sheet.paste(paint(base, prompt), (left, top))
        draw.text((left + SIDE / 2, top + SIDE + LABEL / 2), prompt, "black", font, anchor="mm")
    # Few colours are enough for flat art on white, at a third of the bytes.
    sheet.quantize(256, dither=Image.Dither.NONE).save(Path(__file__).with_name("sheet.png"), optimize=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
