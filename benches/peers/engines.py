# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""What is measured: engines, each in processes of its own that start once and then wait for their turns."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Seconds that a daemon has to answer, and an answer of it has to come.
START_S, ANSWER_S = 60, 1800


class Failed(Exception):
    """An engine that cannot be measured here, and why."""


class Engine(Protocol):
    """Something that takes turns."""

    name: str
    # What it says about itself once it is ready.
    about: str
    process: subprocess.Popen | None

    def start(self) -> None:
        """Loads what is to be measured. Raises `Failed`."""

    def measure(self, work: str, file: Path | None = None) -> float:
        """Seconds for doing it once. `file` gets the answer's bytes if the engine gives them. Raises `Failed`."""

    def stop(self) -> None:
        """Ends the process; does nothing without one."""


@dataclass
class Lines:
    """A process that speaks the lines of `serving.py`."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    about: str = ""
    process: subprocess.Popen | None = None
    log: Path | None = None

    def start(self) -> None:
        handle, log = tempfile.mkstemp(prefix="peer-", suffix=".log")
        self.log = Path(log)
        with os.fdopen(handle, "w") as errors:
            self.process = subprocess.Popen(self.command, env=os.environ | self.environment, text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        word, _, self.about = self.answer().partition(" ")
        if word != "ready":
            raise Failed(f"it said {word!r} instead of `ready`")

    def measure(self, work: str, file: Path | None = None) -> float:
        try:
            self.process.stdin.write(f"{work} {file}\n" if file else f"{work}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            # It is no more; its last words say why.
            pass
        return float(self.answer())

    def answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise Failed(last_words(self.log) or f"it ended with {self.process.wait()}")
        return line.rstrip("\n")

    def stop(self) -> None:
        if self.process:
            # What could not be written to a process that is no more is of no interest.
            with suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()
            self.log.unlink()
            self.process = None


@dataclass
class Daemon:
    """Our released program, asked over HTTP as any client would ask it."""

    name: str
    program: Path
    model: Path
    body: dict
    threads: int
    environment: dict[str, str] = field(default_factory=dict)
    about: str = "over HTTP"
    process: subprocess.Popen | None = None
    scratch: tempfile.TemporaryDirectory | None = None
    address: str = ""

    def start(self) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="alice-peers-")
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        # A directory with this model alone: its own may be large, and would be searched.
        models = Path(self.scratch.name) / "models"
        models.mkdir()
        (models / self.model.name).symlink_to(self.model.absolute())
        settings = {"server": {"port": port}, "models": {"default_model": self.model.name},
                    "generation": {"backend": "cpu", "threads": self.threads, "request_timeout": ANSWER_S}}
        # JSON is YAML.
        (Path(self.scratch.name) / "config.yaml").write_text(json.dumps(settings))
        with self.log().open("w") as log:
            self.process = subprocess.Popen([self.program], cwd=self.scratch.name, env=os.environ | self.environment,
                                            stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > until:
                raise Failed(self.complaint("the daemon did not start"))
            time.sleep(0.05)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def measure(self, work: str, file: Path | None = None) -> float:
        request = urllib.request.Request(f"{self.address}/v1/images/generations", json.dumps(self.body).encode(),
                                         {"Content-Type": "application/json"})
        began = time.perf_counter()
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            raise Failed(f"{error.code}: {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise Failed(self.complaint(str(error))) from error
        return time.perf_counter() - began

    def log(self) -> Path:
        return Path(self.scratch.name) / "log"

    def complaint(self, what: str) -> str:
        return f"{what}; its log ends in: {last_words(self.log())}"

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None
        if self.scratch:
            self.scratch.cleanup()
            self.scratch = None


@dataclass
class StableDiffusionCpp:
    """The program of stable-diffusion.cpp, which loads the model for every picture and logs what the parts took."""

    name: str
    program: Path
    model: Path
    side: int
    threads: int
    steps: int = 2
    about: str = ""
    process: subprocess.Popen | None = None

    def start(self) -> None:
        if not self.program.is_file():
            raise Failed(f"there is no file `{self.program}`")

    def measure(self, work: str, file: Path | None = None) -> float:
        pixels = str(8 * self.side)
        with tempfile.TemporaryDirectory() as scratch:
            command = [self.program, "--model", self.model, "-p", "a red apple", "--steps", str(self.steps),
                       "--cfg-scale", "7.5", "--sampling-method", "euler", "--seed", "1", "--width", pixels,
                       "--height", pixels, "--threads", str(self.threads), "--output", f"{scratch}/picture.png", "-v"]
            done = subprocess.run(command, capture_output=True, text=True)
        return seconds_in_log(done.stdout + done.stderr, work, self.steps)

    def stop(self) -> None:
        pass


def seconds_in_log(log: str, work: str, steps: int) -> float:
    """Seconds of a pass with two rows (`unet`) or of decoding (`decode`) in what stable-diffusion.cpp printed."""
    what, times = {"unet": ("sampling completed", steps), "decode": ("decode_first_stage completed", 1)}[work]
    found = re.search(rf"{what}, taking ([\d.]+)s", log)
    if not found:
        lines = log.strip().splitlines()
        raise Failed(lines[-1] if lines else "it printed nothing")
    return float(found[1]) / times


def last_words(log: Path) -> str:
    """The last line of a log that says something: what went wrong, behind which Rust puts a hint."""
    lines = (line for line in reversed(log.read_text(errors="replace").splitlines()) if line.strip())
    return next((line for line in lines if not line.startswith("note:")), "")


def torch_peer(name: str, work: str, model: Path, threads: int, *options: str, **environment: str) -> Lines:
    """PyTorch in a process of its own."""
    command = [sys.executable, str(HERE / "torch_peer.py"), work, str(model), "--threads", str(threads), *options]
    return Lines(name, command, {"OMP_NUM_THREADS": str(threads), **environment})


def openvino_peer(name: str, model: Path, threads: int, kept: Path, *options: str) -> Lines:
    """OpenVINO in a process of its own, with the denoiser."""
    command = [sys.executable, str(HERE / "openvino_peer.py"), "unet", str(model), "--threads", str(threads),
               "--kept", str(kept), *options]
    return Lines(name, command, {"OMP_NUM_THREADS": str(threads)})


def free_port() -> int:
    """A port on the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def built() -> tuple[Path, Path]:
    """Builds the bench that serves our networks, and the daemon with our plugin beside it; says where the two are."""
    # Plugin and bench in one go: on their own each would make cargo build the other anew.
    bench = built_by("-p", "alice-backend-cpu", "--lib", "--bench", "network")
    return bench["network"], built_by("-p", "alice")["alice"]


def built_by(*what: str) -> dict[str, Path]:
    """The programs that cargo has built, by name."""
    command = ["cargo", "build", "--release", *what, "--message-format=json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    programs = (message for message in map(json.loads, lines) if message.get("executable"))
    return {program["target"]["name"]: Path(program["executable"]) for program in programs}
