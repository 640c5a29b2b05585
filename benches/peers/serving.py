# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""The side of an engine that is measured: a process that works when a line on its standard input tells it to."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy

# Libraries print where they like; on the standard output there is to be nothing but answers.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def serve(about: str, name: str, work: Callable[[], numpy.ndarray]) -> None:
    """Says `ready ABOUT`, then answers each line `NAME [FILE]` with the seconds that `work` took.

    FILE gets the bytes of what `work` returned.
    """
    print("ready", about, file=ANSWERS)
    for line in sys.stdin:
        asked, _, file = line.rstrip("\n").partition(" ")
        if asked != name:
            sys.exit(f"`{asked}` is not `{name}`")
        began = time.perf_counter()
        answer = work()
        seconds = time.perf_counter() - began
        if file:
            Path(file).write_bytes(answer.tobytes())
        print(seconds, file=ANSWERS)
