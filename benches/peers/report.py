# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Measurements as tables in Markdown."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

GIB = 2**30


@dataclass
class Measured:
    """What one engine took."""

    name: str
    about: str = ""
    # Seconds, or bytes for memory.
    values: list[float] = field(default_factory=list)
    # Seconds of all processors together, where the engine's process stays to be asked.
    processor_s: list[float] = field(default_factory=list)
    # The file with its answer.
    answer: Path | None = None
    # Why there are no values.
    failure: str = ""

    @property
    def median(self) -> float | None:
        return median(self.values) if self.values else None


@dataclass
class Result:
    """What the engines of one work took, ours first."""

    title: str
    asked: str
    answers: str
    bars: dict[str, float]
    engines: list[Measured]
    # The load average before and after.
    load: tuple[str, str] = ("", "")

    def ratio(self, engine: Measured) -> float | None:
        """How many times that engine's time or memory ours takes."""
        ours = self.engines[0].median
        return None if ours is None or engine.median is None or engine is self.engines[0] else ours / engine.median


def table(result: Result, reference: Path | None) -> list[str]:
    """One work. `reference` is the answer that the others' distances are told from."""
    unit = "GiB" if result.asked == "memory" else "s"
    lines = [f"### {result.title}", "", f"Load average {result.load[0]} before, {result.load[1]} after.", "",
             f"| engine | median {unit} | least to most | ours / it | processor s | answer, dB | it says |",
             "|---|---|---|---|---|---|---|"]
    for engine in result.engines:
        if engine.median is None:
            lines.append(f"| {engine.name} | not measured: {engine.failure} | | | | | {engine.about} |")
            continue
        numbers = [shown(value, result.asked) for value in (engine.median, min(engine.values), max(engine.values))]
        distance = "" if None in (reference, engine.answer) else decibels(reference, engine.answer, result.asked)
        processor = f"{median(engine.processor_s):.2f}" if engine.processor_s else ""
        span, ratio = f"{numbers[1]} to {numbers[2]}", as_ratio(result.ratio(engine))
        columns = (engine.name, numbers[0], span, ratio, processor, distance, engine.about)
        lines.append(f"| {' | '.join(columns)} |")
    return lines


def bars(results: list[Result]) -> list[str]:
    """All bars with what came out."""
    lines = ["| work | against | at most | measured | |", "|---|---|---|---|---|"]
    for result in results:
        for engine in result.engines:
            bar = result.bars.get(engine.name)
            if bar is not None:
                ratio = result.ratio(engine)
                verdict = "" if ratio is None else "held" if ratio <= bar else "missed"
                lines.append(f"| {result.title} | {engine.name} | {bar} x | {as_ratio(ratio)} | {verdict} |")
    return lines


def shown(value: float, asked: str) -> str:
    """Seconds, or bytes in GiB."""
    return f"{value / GIB:.2f}" if asked == "memory" else f"{value:.3f}"


def as_ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def decibels(reference: Path, answer: Path, asked: str) -> str:
    """How far the answer's error stays below the reference: 20 log10(|reference| / |answer - reference|)."""
    # Not needed for the tables' tests, which then run on bare Python.
    import numpy

    kind = numpy.uint8 if asked == "decode" else numpy.float32
    wanted, found = (numpy.fromfile(file, kind).astype(numpy.float64) for file in (reference, answer))
    if wanted.shape != found.shape:
        return "another shape"
    error = numpy.linalg.norm(found - wanted)
    if not math.isfinite(error):
        return "not finite"
    return "equal" if error == 0 else f"{20 * math.log10(numpy.linalg.norm(wanted) / error):.1f}"
