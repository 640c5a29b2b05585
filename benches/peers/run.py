# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Measures ALICE beside other engines on this machine, and prints tables in Markdown.

    python benches/peers/run.py --sd15 DIRECTORY --sdxl DIRECTORY

Engines that do the same thing are loaded one after the other, each in a process of its own, and take turns. What they
do first is not counted. README.md says how to get the models, and docs/PERFORMANCE.md what the columns mean.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import machine
from engines import ROOT, Engine, Failed, built
from processes import Peak, processor_seconds
from report import Measured, Result, bars, table
from works import REFERENCE, Setting, Work, all_works


def main() -> None:
    arguments = parse()
    # So that the engines are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    bench, program = built()
    setting = Setting(arguments.sd15, arguments.sdxl, arguments.threads, bench, program, ROOT / "target" / "peers",
                      arguments.sd_cpp)
    works = [work for work in all_works(setting) if chosen(work.key, arguments.works)]
    if not works:
        sys.exit("no work has such a name; without --sd15 and --sdxl there are only requests of the built-in model")
    with tempfile.TemporaryDirectory(prefix="alice-peers-") as scratch, output(arguments.output) as out:
        print("\n".join(machine.described(arguments.threads)), file=out, flush=True)
        results = []
        for work in works:
            print(f"{work.key} ...", file=sys.stderr, flush=True)
            results.append(measure(work, arguments.repeats, Path(scratch)))
            reference = reference_of(results, results[-1].answers)
            print("", *table(results[-1], reference), sep="\n", file=out, flush=True)
        print("", "### All bars", "", *bars(results), sep="\n", file=out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sd15", type=Path, help="Stable Diffusion 1.5 in diffusers' layout")
    parser.add_argument("--sdxl", type=Path, help="SDXL in diffusers' layout")
    parser.add_argument("--works", type=lambda text: text.split(","), default=[],
                        help="only these: unet, decode, sdxl, request, memory, or one by its whole name, as unet-avx2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=machine.cores(),
                        help="of every engine; default: the physical cores")
    parser.add_argument("--sd-cpp", type=Path, help="the program of stable-diffusion.cpp")
    parser.add_argument("--output", type=Path, help="the file to write instead of printing")
    return parser.parse_args()


def chosen(key: str, words: list[str]) -> bool:
    """Whether one of the words is the name or the part before its hyphen."""
    return not words or any(key == word or key.startswith(f"{word}-") for word in words)


@contextmanager
def output(file: Path | None) -> Iterator:
    if file is None:
        yield sys.stdout
        return
    with file.open("w") as opened:
        yield opened


def measure(work: Work, repeats: int, scratch: Path) -> Result:
    """Lets the engines of one work take turns."""
    before = machine.load()
    repeats = min(repeats, work.most_repeats or repeats)
    results = peaks(work) if work.asked == "memory" else take_turns(work, repeats, scratch)
    return Result(work.title, work.asked, work.answers, work.bars, results, (before, machine.load()))


def take_turns(work: Work, repeats: int, scratch: Path) -> list[Measured]:
    """Seconds of every engine: A, B, C, A, B, C, ..."""
    results = [Measured(engine.name) for engine in work.engines]
    try:
        for number, (engine, result) in enumerate(zip(work.engines, results)):
            answer = scratch / f"{work.key}-{number}"
            warm_up(engine, result, work, answer)
        for _ in range(repeats):
            for engine, result in zip(work.engines, results):
                if not result.failure:
                    take_turn(engine, result, work.asked)
    finally:
        for engine in work.engines:
            engine.stop()
    return results


def take_turn(engine: Engine, result: Measured, asked: str) -> None:
    """Does it once, and adds what it took."""
    processor = engine.process and processor_seconds(engine.process.pid)
    try:
        result.values.append(engine.measure(asked))
    except Failed as failure:
        result.failure = str(failure)
        engine.stop()
        return
    if engine.process:
        result.processor_s.append(processor_seconds(engine.process.pid) - processor)


def warm_up(engine: Engine, result: Measured, work: Work, answer: Path) -> None:
    """Starts the engine and lets it do everything once; one that cannot is left out with the reason."""
    try:
        engine.start()
        engine.measure(work.asked, answer if work.answers else None)
    except Failed as failure:
        result.failure = str(failure)
        engine.stop()
    result.about = engine.about
    result.answer = answer if answer.exists() else None


def peaks(work: Work) -> list[Measured]:
    """The most memory of every engine from its start to its first answer."""
    results = [Measured(engine.name) for engine in work.engines]
    for engine, result in zip(work.engines, results):
        try:
            # While it runs, an engine and what it starts are this process's only descendants.
            with Peak(os.getpid()) as peak:
                engine.start()
                engine.measure("request")
            result.values.append(peak.most.total)
            result.about = peak.most.described()
        except Failed as failure:
            result.failure = str(failure)
        finally:
            engine.stop()
    return results


def reference_of(results: list[Result], answers: str) -> Path | None:
    """The answer of PyTorch in the first of the works whose answers can be compared."""
    engines = (engine for result in results if answers and result.answers == answers for engine in result.engines)
    return next((engine.answer for engine in engines if engine.name == REFERENCE and engine.answer), None)


if __name__ == "__main__":
    main()
