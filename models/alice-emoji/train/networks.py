# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""The three networks of the model, untrained, in the shapes that Stable Diffusion 1.x loaders accept.

Everything differs from Stable Diffusion in size only: the classes are diffusers' and transformers' own, so
that any program that reads the configuration files can run the result.
"""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from bpe import MAX_TOKENS

TRAINING_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012

# Channels of the three UNet levels, and what the weights take in half precision (the limit is 16 MB a file).
UNET_CHANNELS = {
    "standard": (64, 128, 128),  # 11.3 MB
    "wide": (64, 128, 160),  # 13.9 MB
}


def make_vae() -> AutoencoderKL:
    """RGB [n, 3, 128, 128] in -1..1 to latents [n, 4, 16, 16] and back; 2.7 M parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        # 16 channels cannot be divided into the usual 32 groups.
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        sample_size=128,
    )


def make_unet(channels: tuple[int, int, int] = UNET_CHANNELS["standard"]) -> UNet2DConditionModel:
    """Noisy latents [n, 4, 16, 16], timesteps [n] and text [n, 24, 128] to v; 5.6 M parameters as standard.

    Attention on the 8x8 level and in the middle only: at 16x16 it costs most of the time.
    """
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        cross_attention_dim=128,
        # In SD 1.x configurations this field means the number of heads.
        attention_head_dim=4,
        norm_num_groups=32,
    )


def make_text_encoder(vocabulary: int) -> CLIPTextModel:
    """Token ids [n, 24] to [n, 24, 128]; 1.1 M parameters, half of them the vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
            projection_dim=128,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
            attention_dropout=0.0,
        )
    )


def alphas_cumprod() -> torch.Tensor:
    """Share of the picture left at each training timestep, as variance: the "scaled linear" schedule."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAINING_STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()
