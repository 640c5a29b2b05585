# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Writes micro.json: a microscopic Stable Diffusion 1.x as diffusers builds it, and what it answers.

The file holds each network's configuration as its library saves it, the names and shapes of its tensors,
and reference answers computed in double precision. The weights themselves are not kept: `numbers` and
`weight` below and in micro.rs give the same ones.

    pip install torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
    python micro.py
"""

import json
import pathlib

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

torch.set_default_dtype(torch.float64)


def numbers(count, seed):
    """Multiples of 1/64 in -1 ..= 1."""
    state, values = seed * 0x9E3779B97F4A7C15 % 2**64, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 40) % 129 / 64 - 1)
    return values


def array(shape, seed):
    return torch.tensor(numbers(torch.Size(shape).numel(), seed)).reshape(shape)


def weight(name, shape, index):
    values = array(shape, index)
    if len(shape) > 1:
        return values / 2
    return 1 + values / 4 if name.endswith("weight") else values / 4


def fill(network):
    names = sorted(network.state_dict())
    state = {name: network.state_dict()[name] for name in names}
    filled = {name: weight(name, list(value.shape), index) for index, (name, value) in enumerate(state.items())}
    network.load_state_dict(filled)
    return network.eval(), {name: list(value.shape) for name, value in filled.items()}


unet, unet_tensors = fill(UNet2DConditionModel(
    block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, attention_head_dim=2, cross_attention_dim=6,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
))
vae, vae_tensors = fill(AutoencoderKL(
    block_out_channels=(2, 4), layers_per_block=1, norm_num_groups=2, latent_channels=4, scaling_factor=0.5,
    down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
))
clip, clip_tensors = fill(CLIPTextModel(CLIPTextConfig(
    vocab_size=11, hidden_size=6, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=5, bos_token_id=9, eos_token_id=10,
)))

with torch.no_grad():
    ids = torch.tensor([[9, 3, 1, 10, 10], [9, 10, 10, 10, 10]])
    first = clip(ids[:1]).last_hidden_state
    hidden = clip(ids[1:], output_hidden_states=True).hidden_states
    second = clip.final_layer_norm(hidden[-2])  # clip_skip 1
    latents = array([2, 4, 3, 5], 1000)
    noise = unet(latents, torch.tensor([999.0, 37.5]), torch.cat([first, second])).sample
    picture = vae.decode(array([1, 4, 3, 5], 1001) / vae.config.scaling_factor).sample
    pixels = ((picture * 0.5 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    drawn = (array([1, 6, 10, 3], 1002) + 1) * 64 * 255 // 128
    posterior = vae.encode(drawn.permute(0, 3, 1, 2) / 255 * 2 - 1).latent_dist


def rounded(values):
    return [float(f"{value:.7g}") for value in values.flatten().tolist()]


def saved(network):
    """The configuration as `save_pretrained` writes it."""
    config = json.loads(network.to_json_string())
    return {key: value for key, value in config.items() if key != "_diffusers_version"}


parts = {
    "unet": {"config": saved(unet), "tensors": unet_tensors},
    "vae": {"config": saved(vae), "tensors": vae_tensors},
    "text_encoder": {"config": saved(clip.config), "tensors": clip_tensors},
    "answers": {
        "first": rounded(first),
        "second_with_clip_skip": rounded(second),
        "noise": rounded(noise),
        "pixels": [int(value) for value in pixels.flatten().tolist()],
        "mean": rounded(posterior.mean * vae.config.scaling_factor),
        "deviation": rounded(posterior.std * vae.config.scaling_factor),
    },
}
lines = []
for part, content in parts.items():
    entries = []
    for key, value in content.items():
        if isinstance(value, dict):
            inner = ",\n".join(f"   {json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items())
            entries.append(f"  {json.dumps(key)}: {{\n{inner}\n  }}")
        else:
            entries.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    lines.append(f" {json.dumps(part)}: {{\n" + ",\n".join(entries) + "\n }")
pathlib.Path(__file__).with_name("micro.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
