# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Makes the icons of the installed page, templates/static/icon-*.png, from templates/static/logo.svg: run it again when the
logo changes. Needs Debian's chromium."""

import pathlib
import subprocess
import tempfile

STATIC = pathlib.Path(__file__).resolve().parent.parent / "templates" / "static"
# The part of the side that the logo takes, and what is behind it: a system may cut a maskable icon to any shape, and
# iOS fills what is transparent with black.
ICONS = {
    "icon-180.png": (180, 1.0, "#131219"),
    "icon-192.png": (192, 1.0, "transparent"),
    "icon-512.png": (512, 1.0, "transparent"),
    "icon-maskable.png": (512, 0.72, "#131219"),
}


def draw(name: str, side: int, part: float, ground: str) -> None:
    """Draws one icon as a page of its size."""
    logo = (STATIC / "logo.svg").read_text()
    margin = side * (1 - part) / 2
    page = (
        f"<style>html {{ background: {ground} }} body {{ margin: {margin}px }}"
        f" svg {{ display: block; width: {side * part}px; height: {side * part}px }}</style>{logo}"
    )
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "icon.html"
        source.write_text(page)
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
             f"--user-data-dir={folder}/profile", "--default-background-color=00000000", f"--window-size={side},{side}",
             f"--screenshot={STATIC / name}", source.as_uri()],
            check=True, capture_output=True,
        )


if __name__ == "__main__":
    for name, (side, part, ground) in ICONS.items():
        draw(name, side, part, ground)
