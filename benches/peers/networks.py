# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""The networks as diffusers has them, and the numbers they are given: those of `backends/cpu/benches/network.rs`."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

CHANNELS = 4
# Pixels of one cell of a latent along a side.
SCALE = 8
TIMESTEP = 500
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Inputs:
    """What one pass of the denoiser is given, in f32: `[rows, 4, side, side]`, `[rows, tokens, width]` and, for SDXL
    alone, the pooled prompt `[rows, width]` and the sizes `[rows, 6]`."""

    latent: torch.Tensor
    context: torch.Tensor
    pooled: torch.Tensor | None
    time_ids: torch.Tensor | None

    def tensors(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """Those that there are, in the order of `Denoiser.forward`."""
        return [tensor.to(dtype) for tensor in (self.latent, self.context, self.pooled, self.time_ids)
                if tensor is not None]


class Denoiser(torch.nn.Module):
    """The UNet with the timestep fixed, from tensors to a tensor."""

    def __init__(self, directory: Path, dtype: torch.dtype):
        super().__init__()
        self.unet = UNet2DConditionModel.from_pretrained(directory / "unet", torch_dtype=dtype).eval()

    def forward(self, latent, context, pooled=None, time_ids=None):
        added = None if pooled is None else {"text_embeds": pooled, "time_ids": time_ids}
        return self.unet(latent, TIMESTEP, context, added_cond_kwargs=added, return_dict=False)[0]


def latent(side: int) -> torch.Tensor:
    """`[1, 4, side, side]`."""
    return torch.sin(torch.arange(CHANNELS * side * side) * 0.7).view(1, CHANNELS, side, side)


def inputs(directory: Path, rows: int, side: int) -> Inputs:
    """The same for every row."""
    several = lambda tensor: None if tensor is None else tensor.repeat(rows, *[1] * (tensor.dim() - 1))
    context, pooled = prompt(directory)
    pixels = float(side * SCALE)
    sizes = None if pooled is None else torch.tensor([[pixels, pixels, 0, 0, pixels, pixels]])
    return Inputs(*map(several, (latent(side), context, pooled, sizes)))


@torch.inference_mode()
def prompt(directory: Path) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A prompt without words, encoded in f32 as the model's family does it: tokens and, for SDXL, the pooled vector."""
    first = CLIPTextModel.from_pretrained(directory / "text_encoder", torch_dtype=torch.float32)
    if not (directory / "text_encoder_2").exists():
        return first(nothing(first.config)).last_hidden_state, None
    second = CLIPTextModelWithProjection.from_pretrained(directory / "text_encoder_2", torch_dtype=torch.float32)
    answers = [clip(nothing(clip.config), output_hidden_states=True) for clip in (first, second)]
    return torch.cat([answer.hidden_states[-2] for answer in answers], -1), answers[1].text_embeds


def nothing(config) -> torch.Tensor:
    """CLIP's numbers for begin and end are its last two."""
    ids = torch.full((1, config.max_position_embeddings), config.vocab_size - 1)
    ids[0, 0] -= 1
    return ids


class Decoder:
    """The half of the autoencoder that makes pictures."""

    def __init__(self, directory: Path, dtype: torch.dtype):
        self.vae = AutoencoderKL.from_pretrained(directory / "vae", torch_dtype=dtype).eval()

    def decode(self, of: torch.Tensor) -> torch.Tensor:
        """One picture, `[height, width, 3]` bytes."""
        picture = self.vae.decode(of / self.vae.config.scaling_factor, return_dict=False)[0][0]
        return ((picture.float() / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0)


def is_sdxl(directory: Path) -> bool:
    """Whether the model's denoiser hears a pooled prompt and sizes."""
    return json.loads((directory / "unet" / "config.json").read_text()).get("addition_embed_type") == "text_time"
