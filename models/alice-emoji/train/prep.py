# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""From the npm packages to one file of training data.

Pictures: every emoji that exists both as 3D artwork (WebP, 256x256) and as flat artwork (SVG), laid on white
and reduced to 128x128. Captions come from `captions.py`; their tokens from the model's own tokenizer, or from
a new one that `bpe.py` learns from them. The result is `emoji.npz`:

    images          uint8   [n, 128, 128, 3]  RGB; even rows 3D, odd rows the same emoji flat
    tokens          int16   [n, 40, 24]       forty captions each: start, up to 22 tokens, end
    vae_weight      float32 [n]               how often the autoencoder sees each picture
    subject_weight  float32 [n]               how often the denoiser sees it, before flattening
    labels, styles  text    [n]               emojibase's label; "3d" or "flat"
    vocabulary      int64                     entries of the tokenizer; the last two are start and end

    python prep.py [--npm data/npm] [--out data/emoji.npz] [--tokenizer DIR | --new-tokenizer DIR] [--limit N]
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image
from transformers import CLIPTokenizer

import bpe
from captions import captions
from subjects import category_weight, subject_weight, vae_weight

MODEL = Path(__file__).resolve().parent.parent
SIZE = 128
# SVGs are drawn at twice the size and reduced like the 3D artwork: both styles have equally soft edges.
DRAWN = 256


class FlatArtwork:
    """The Iconify package: SVG bodies by name, names by code point."""

    def __init__(self, package: Path):
        self.collection = json.loads((package / "icons.json").read_text())
        self.names = json.loads((package / "chars.json").read_text())

    def picture(self, code: str) -> Image.Image | None:
        """The drawing for a lower-case code point sequence such as `1f600`, or None."""
        name = self.names.get(code)
        icons = self.collection["icons"]
        icon = icons.get(name) or icons.get(self.collection.get("aliases", {}).get(name, {}).get("parent"))
        if icon is None:
            return None
        width = icon.get("width", self.collection.get("width", 32))
        height = icon.get("height", self.collection.get("height", 32))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}" width="{DRAWN}" height="{DRAWN}">{icon["body"]}</svg>'
        )
        return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))


class SolidArtwork:
    """The LobeHub package: one WebP file by code point."""

    def __init__(self, package: Path):
        self.files = {file.stem: file for file in (package / "assets").glob("*.webp")}

    def picture(self, code: str) -> Image.Image | None:
        """The rendering for a lower-case code point sequence such as `1f600`, or None."""
        file = self.files.get(code)
        return Image.open(file) if file else None


def spellings(code: str) -> tuple[str, str, str]:
    """A code point sequence as the packages may write it: as it is, without and with the emoji selector."""
    code = code.lower()
    return code, code.replace("-fe0f", ""), code + "-fe0f"


def on_white(picture: Image.Image) -> np.ndarray:
    """RGB, uint8, `SIZE` square, transparency replaced by white."""
    rgba = np.asarray(picture.convert("RGBA")).astype(np.float32) / 255
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    rgb = ((colour * alpha + 1 - alpha) * 255 + 0.5).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(rgb).resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def collect(npm: Path, limit: int | None) -> tuple[list[np.ndarray], list[dict]]:
    """All pictures and what is known about each. `limit` stops after that many emoji, to try the chain."""
    entries = json.loads((npm / "emojibase-data/en/data.json").read_text())
    artwork = {"3d": SolidArtwork(npm / "fluent-emoji-3d"), "flat": FlatArtwork(npm / "fluent-emoji-flat")}
    labels = {entry["label"] for entry in entries}
    images, pictures = [], []
    for entry in entries:
        category = category_weight(entry, labels)
        if not category:
            continue
        found = {style: first(art, spellings(entry["hexcode"])) for style, art in artwork.items()}
        # Both styles or neither: their shared composition is what lets each teach the other.
        if None in found.values():
            continue
        for style, picture in found.items():
            images.append(on_white(picture))
            about = {key: entry.get(key) for key in ("label", "group")}
            pictures.append(about | {"tags": entry.get("tags", []), "style": style, "category": category})
        if limit and len(images) >= 2 * limit:
            break
    return images, pictures


def first(artwork, codes: tuple[str, ...]) -> Image.Image | None:
    """The first picture that exists under one of the spellings."""
    return next((picture for code in codes if (picture := artwork.picture(code)) is not None), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--npm", type=Path, default="data/npm", help="where fetch.sh unpacked the packages")
    parser.add_argument("--out", type=Path, default="data/emoji.npz")
    parser.add_argument(
        "--tokenizer", type=Path, default=MODEL / "tokenizer", help="use this one (the model's)"
    )
    parser.add_argument("--new-tokenizer", type=Path, help="learn one from the captions and write it here")
    parser.add_argument("--limit", type=int, help="only the first N emoji, to try the chain")
    arguments = parser.parse_args()

    images, pictures = collect(arguments.npm, arguments.limit)
    texts = [caption for each in captions(pictures) for caption in each]
    if arguments.new_tokenizer:
        tokenizer = bpe.train(texts, arguments.new_tokenizer)
    else:
        tokenizer = CLIPTokenizer.from_pretrained(arguments.tokenizer)
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=bpe.MAX_TOKENS).input_ids
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        arguments.out,
        images=np.stack(images),
        tokens=np.array(tokens, dtype=np.int16).reshape(len(images), -1, bpe.MAX_TOKENS),
        vae_weight=np.array([vae_weight(p["label"], p["category"]) for p in pictures], dtype=np.float32),
        subject_weight=np.array(
            [subject_weight(p["label"], p["style"], p["category"]) for p in pictures], dtype=np.float32
        ),
        labels=np.array([p["label"] for p in pictures]),
        styles=np.array([p["style"] for p in pictures]),
        vocabulary=len(tokenizer),
    )
    print(f"{len(images)} pictures, {len(texts)} captions, {len(tokenizer)} tokens in the vocabulary")


if __name__ == "__main__":
    main()
