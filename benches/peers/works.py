# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""What is compared with what, and how much of the other's time (or memory) ours may take."""

from dataclasses import dataclass, field
from pathlib import Path

import machine
from engines import Daemon, Engine, Lines, StableDiffusionCpp, openvino_peer, torch_peer

EMOJI = Path(__file__).parents[2] / "models" / "alice-emoji"
# The names of ours and of the one that the distances of answers are told from.
OURS, REFERENCE = "ALICE", "PyTorch"
CHANNELS_LAST = f"{REFERENCE} channels_last"
# A pass of these takes many seconds, and medians of three tell enough.
SLOW_REPEATS = 3


@dataclass
class Work:
    """Engines that do the same, ours first."""

    key: str
    title: str
    # What the engines are asked for, or `memory`: the peak of one whole request in fresh processes.
    asked: str
    engines: list[Engine]
    # At most so many times what the engine of this name takes.
    bars: dict[str, float] = field(default_factory=dict)
    # The answers of works with the same word can be held against each other.
    answers: str = ""
    most_repeats: int | None = None


@dataclass
class Setting:
    """What the command line says."""

    sd15: Path | None
    sdxl: Path | None
    threads: int
    # The bench that serves our networks and our daemon; built by then.
    bench: Path
    program: Path
    # Where OpenVINO's converted networks lie.
    kept: Path
    sd_cpp: Path | None

    def ours(self, model: Path, dtype: str, rows: int = 2, side: int = 64, name: str = OURS, **more: str) -> Lines:
        """Our networks, without the daemon, with `more` environment variables."""
        settings = {"SERVE": "1", "MODEL": str(model.absolute()), "DTYPE": dtype, "ROWS": str(rows), "SIDE": str(side),
                    "THREADS": str(self.threads), "RUST_BACKTRACE": "0", **more}
        return Lines(name, [str(self.bench)], settings)

    def torch(self, work: str, model: Path, *options: str, **environment: str) -> list[Engine]:
        """PyTorch as it is, and told to lay pictures out as its kernels like them best."""
        return [torch_peer(REFERENCE, work, model, self.threads, *options, **environment),
                torch_peer(CHANNELS_LAST, work, model, self.threads, *options, "--channels-last", **environment)]

    def openvino(self, model: Path, *options: str) -> Engine:
        """OpenVINO with the denoiser."""
        return openvino_peer("OpenVINO", model, self.threads, self.kept, *options)

    def stable_diffusion_cpp(self, model: Path) -> list[Engine]:
        """stable-diffusion.cpp where there is one."""
        if not self.sd_cpp:
            return []
        return [StableDiffusionCpp("stable-diffusion.cpp", self.sd_cpp, model, 64, self.threads)]


def all_works(setting: Setting) -> list[Work]:
    """Those whose models are given. In f32 first: the other formats' answers are held against that."""
    works = []
    if setting.sd15:
        works += networks_of_sd15(setting, setting.sd15) + narrower(setting, setting.sd15)
        works.append(int8(setting, setting.sd15))
    if setting.sdxl:
        works.append(unet_of_sdxl(setting, setting.sdxl))
    works += whole_requests(setting)
    if setting.sd15:
        works.append(memory(setting, setting.sd15))
    return works


def networks_of_sd15(setting: Setting, model: Path) -> list[Work]:
    """Denoiser and decoder with all that the machine has."""
    title = "SD 1.5 UNet, 512x512, 2 rows"
    return [
        Work("unet-f32", f"{title}, f32", "unet",
             [setting.ours(model, "f32"), *setting.torch("unet", model), setting.openvino(model)],
             {REFERENCE: 0.7, "OpenVINO": 0.95}, "unet", SLOW_REPEATS),
        Work("unet-bf16", f"{title}, bf16", "unet",
             [setting.ours(model, "bf16"), *setting.torch("unet", model, "--dtype=bf16"),
              setting.openvino(model, "--dtype=bf16"), *setting.stable_diffusion_cpp(model)],
             {REFERENCE: 0.72, "OpenVINO": 0.95}, "unet"),
        Work("decode-f32", "VAE decode, 512x512, f32", "decode",
             [setting.ours(model, "f32"), *setting.torch("decode", model)], {}, "decode", SLOW_REPEATS),
        Work("decode-bf16", "VAE decode, 512x512, bf16", "decode",
             [setting.ours(model, "bf16"), *setting.torch("decode", model, "--dtype=bf16"),
              *setting.stable_diffusion_cpp(model)],
             {REFERENCE: 0.7}, "decode"),
    ]


def narrower(setting: Setting, model: Path) -> list[Work]:
    """The denoiser with fewer instructions than the machine has, on both sides."""
    flags = machine.flags()
    title = "SD 1.5 UNet, 512x512, 2 rows"
    works = []
    if "avx512f" in flags:
        engines = [setting.ours(model, "f32", ALICE_CPU_ISA="avx2"),
                   *setting.torch("unet", model, ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2")]
        works.append(Work("unet-avx2", f"{title}, f32, AVX2 on both sides", "unet", engines, {REFERENCE: 0.9}, "unet",
                          SLOW_REPEATS))
    if "amx_bf16" in flags:
        engines = [setting.ours(model, "bf16", ALICE_CPU_ISA="avx512bf16"),
                   *setting.torch("unet", model, "--dtype=bf16", ONEDNN_MAX_CPU_ISA="AVX512_CORE_BF16")]
        works.append(Work("unet-avx512bf16", f"{title}, bf16, AVX-512 BF16 without AMX on both sides", "unet", engines,
                          {REFERENCE: 0.72}, "unet", SLOW_REPEATS))
    return works


def int8(setting: Setting, model: Path) -> Work:
    """Whole numbers beside our own bf16."""
    other = f"{OURS} bf16"
    return Work("unet-int8", "SD 1.5 UNet, 512x512, 2 rows, int8", "unet",
                [setting.ours(model, "int8"), setting.ours(model, "bf16", name=other)], {other: 0.7}, "unet")


def unet_of_sdxl(setting: Setting, model: Path) -> Work:
    """The large denoiser."""
    return Work("sdxl-bf16", "SDXL UNet, 1024x1024, 1 row, bf16", "unet",
                [setting.ours(model, "bf16", 1, 128),
                 *setting.torch("unet", model, "--dtype=bf16", "--rows=1", "--side=128")],
                {REFERENCE: 0.75}, "sdxl", SLOW_REPEATS)


def whole_requests(setting: Setting) -> list[Work]:
    """A picture of the built-in model, from the request to the answer."""
    body = request(20, 2.5, "128x128")
    options = ("--side=16", "--steps=20", "--guidance=2.5")
    engines = [Daemon(OURS, setting.program, EMOJI, body, setting.threads),
               *setting.torch("request", EMOJI, *options),
               torch_peer(f"{REFERENCE} bf16", "request", EMOJI, setting.threads, *options, "--dtype=bf16")]
    title = "Emoji model, 128x128, 20 steps, whole request; ours over HTTP, diffusers in its process"
    return [Work("request-emoji", title, "request", engines, {REFERENCE: 0.5})]


def memory(setting: Setting, model: Path) -> Work:
    """The most that a picture takes; two steps take as much as fifty."""
    body = request(2, 7.5, "512x512")
    engines = [Daemon(OURS, setting.program, model, body, setting.threads),
               torch_peer(REFERENCE, "request", model, setting.threads, "--steps=2"),
               torch_peer(f"{REFERENCE} bf16", "request", model, setting.threads, "--steps=2", "--dtype=bf16")]
    return Work("memory-sd15", "SD 1.5, 512x512, peak memory of a whole request", "memory", engines, {REFERENCE: 0.6})


def request(steps: int, guidance: float, size: str) -> dict:
    """What a client sends for the picture that `torch_peer.py` makes."""
    return {"prompt": "a red apple", "steps": steps, "guidance_scale": guidance, "size": size, "scheduler": "euler",
            "seed": 1}
