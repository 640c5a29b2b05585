# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Memory and processor time of everything that a process has started, out of `/proc`.

Memory is the proportional share (PSS): a page that several processes hold counts once. Pages of mapped files (weights
that are read where they lie) are among it.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

# Seconds between two looks. One costs some milliseconds for each GiB that is mapped.
INTERVAL_S = 0.05


@dataclass(order=True)
class Share:
    """Bytes that processes hold, and those of them that are pages of files: the system can take these back."""

    total: int = 0
    files: int = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(self.total + other.total, self.files + other.files)

    def described(self) -> str:
        return f"{self.files / 2**30:.2f} GiB of it pages of files"


class Peak:
    """The most that the descendants of a process have held together while the `with` block ran."""

    def __init__(self, root: int):
        self.root = root
        self.most = Share()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self) -> "Peak":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.ended.wait(INTERVAL_S):
            self.most = max(self.most, sum(map(share, descendants(self.root)), Share()))


def descendants(root: int, proc: Path = Path("/proc")) -> list[int]:
    """The processes that one has started, those that they have started, and so on."""
    children: dict[int, list[int]] = {}
    for directory in proc.glob("[0-9]*"):
        parent = parent_of(directory)
        if parent is not None:
            children.setdefault(parent, []).append(int(directory.name))
    found = [root]
    for process in found:
        found.extend(children.get(process, []))
    return found[1:]


def parent_of(directory: Path) -> int | None:
    """The parent of the process that `/proc` has in this directory; nothing when it has ended meanwhile."""
    stat = stat_of(directory)
    return int(stat[1]) if stat else None


def stat_of(directory: Path) -> list[str]:
    """The process's `stat` from its state on; nothing when it has ended meanwhile."""
    try:
        stat = (directory / "stat").read_text()
    except OSError:
        return []
    # The name before the state stands in brackets and may contain anything.
    return stat.rpartition(")")[2].split()


def processor_seconds(root: int, proc: Path = Path("/proc")) -> float:
    """What the process and its descendants have computed so far, on all threads."""
    stats = (stat_of(proc / str(process)) for process in [root, *descendants(root, proc)])
    # User and system time are the 14th and 15th fields, the state is the third.
    return sum(int(stat[11]) + int(stat[12]) for stat in stats if stat) / os.sysconf("SC_CLK_TCK")


def share(process: int, proc: Path = Path("/proc")) -> Share:
    """The proportional share of one process; nothing when it has ended meanwhile."""
    try:
        lines = (proc / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return Share()
    kib = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return Share(kib["Pss:"] * 1024, kib.get("Pss_File:", 0) * 1024)
