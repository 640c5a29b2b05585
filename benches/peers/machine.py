# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""What a table of times is worth nothing without: the machine, the versions and how busy it was."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What the kernels of any of the engines are written for.
FLAGS = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8",
         "asimd", "bf16", "i8mm")
PACKAGES = ("torch", "diffusers", "transformers", "openvino", "numpy")


def described(threads: int) -> list[str]:
    """Lines of Markdown."""
    info = fields("/proc/cpuinfo")
    memory_gib = int(fields("/proc/meminfo")["MemTotal"].split()[0]) / 2**20
    processors = len(os.sched_getaffinity(0))
    return [
        f"- processor: {info.get('model name', platform.machine())}, {processors} that may be used, {threads} threads; "
        + ", ".join(flag for flag in FLAGS if flag in flags()),
        f"- memory: {memory_gib:.1f} GiB; {platform.system()} {platform.release()}",
        f"- ALICE {git('describe', '--always', '--dirty')}, {output('rustc', '--version')}",
        f"- Python {platform.python_version()}, " + ", ".join(filter(None, map(version, PACKAGES))),
    ]


def flags() -> set[str]:
    """The processor's features, in the kernel's words."""
    info = fields("/proc/cpuinfo")
    return set((info.get("flags") or info.get("Features") or "").split())


def cores(cpuinfo: str | None = None, allowed: set[int] | None = None) -> int:
    """Physical cores among the processors that may be used."""
    allowed = os.sched_getaffinity(0) if allowed is None else allowed
    found = set()
    for block in (cpuinfo or Path("/proc/cpuinfo").read_text()).strip().split("\n\n"):
        core = fields_of(block)
        number = int(core.get("processor", -1))
        if number in allowed:
            # Without the two names (ARM) every processor is a core.
            found.add((core.get("physical id", number), core.get("core id", number)))
    return max(1, len(found))


def load() -> str:
    """The load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def fields(path: str) -> dict[str, str]:
    """The first value of each name in one of `/proc`'s files."""
    return fields_of(Path(path).read_text())


def fields_of(text: str) -> dict[str, str]:
    """The first value of each name."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def version(package: str) -> str | None:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return None


def git(*arguments: str) -> str:
    return output("git", "-C", str(ROOT), *arguments)


def output(*command: str) -> str:
    """What a program prints; a question mark when it is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "?"
