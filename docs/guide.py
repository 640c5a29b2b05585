# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Makes the examples of the page /guide, templates/static/guide/*.webp, with a running ALICE and its built-in model.

    python3 docs/guide.py http://127.0.0.1:8080

Needs Pillow. The list is the same as in host/src/pages/guide.rs."""

import base64
import io
import json
import pathlib
import sys
import urllib.request

from PIL import Image

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "templates" / "static" / "guide"
SIDE = 256
EXAMPLES = {
    "apple": {"prompt": "a red apple"},
    "fox": {"prompt": "a fox"},
    "cake": {"prompt": "a birthday cake"},
    "rocket": {"prompt": "flat emoji of a rocket"},
    "seed-1": {"prompt": "a flower", "seed": 1},
    "seed-2": {"prompt": "a flower", "seed": 4},
    "steps-1": {"prompt": "a strawberry", "steps": 1},
    "steps-20": {"prompt": "a strawberry", "steps": 20},
    "guidance-1": {"prompt": "an owl", "guidance_scale": 1},
    "guidance-2": {"prompt": "an owl", "guidance_scale": 2.5},
    "guidance-8": {"prompt": "an owl", "guidance_scale": 8},
}


def paint(server: str, example: dict) -> Image.Image:
    """The picture of an example."""
    body = {"seed": 7, "size": f"{SIDE}x{SIDE}", "model": "alice-emoji", **example}
    request = urllib.request.Request(f"{server}/v1/images/generations", data=json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        picture = json.load(answer)["data"][0]["b64_json"]
    return Image.open(io.BytesIO(base64.b64decode(picture)))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, example in EXAMPLES.items():
        paint(sys.argv[1].rstrip("/"), example).save(FOLDER / f"{name}.webp", quality=80, method=6)
