# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Writes full-size models with random weights, for measuring time and memory where no published weights are at hand.

    python weights.py {sd15,sdxl} DIRECTORY

Time does not depend on the values as long as they stay finite, and these do: every layer keeps the deviation of its
input near one. The files are f16, as published ones. There are as many tokens as CLIP has, and as there the last two
begin and end a prompt; the words are those of the built-in model.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

LEVELS = (320, 640, 1280, 1280)
UNETS = {
    "sd15": dict(sample_size=64, block_out_channels=LEVELS, layers_per_block=2, cross_attention_dim=768,
                 attention_head_dim=8,
                 down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
                 up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3),
    "sdxl": dict(sample_size=128, block_out_channels=LEVELS[:3], layers_per_block=2, cross_attention_dim=2048,
                 attention_head_dim=[5, 10, 20], transformer_layers_per_block=[1, 2, 10],
                 use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
                 projection_class_embeddings_input_dim=2816,
                 down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
                 up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",)),
}
# Words of CLIP's vocabulary, the last two of which begin and end a prompt.
WORDS = 49408
ENDS = ("<|startoftext|>", "<|endoftext|>")
WORDS_OF = Path(__file__).parents[2] / "models" / "alice-emoji" / "tokenizer"
CLIP_L = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
              projection_dim=768)
CLIP_G = dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
              projection_dim=1280, hidden_act="gelu")

def randomise(module: torch.nn.Module) -> torch.nn.Module:
    """Gives every matrix the deviation that keeps that of its input; normalisations stay neutral."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            fan_in = parameter[0].numel()
            with torch.no_grad():
                parameter.normal_(0, fan_in ** -0.5, generator=generator)
    return module

def write_tokenizer(directory: Path) -> None:
    """A tokenizer of CLIP's size, filled up with words that no prompt contains."""
    directory.mkdir(parents=True, exist_ok=True)
    known = json.loads((WORDS_OF / "vocab.json").read_text())
    words = [word for word in sorted(known, key=known.get) if word not in ENDS]
    words += [f"<|unused{number}|>" for number in range(len(words), WORDS - len(ENDS))]
    words += ENDS
    (directory / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    settings = json.loads((WORDS_OF / "tokenizer_config.json").read_text()) | {"model_max_length": 77}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    for name in ("merges.txt", "special_tokens_map.json"):
        shutil.copy(WORDS_OF / name, directory / name)

def write(kind: str, directory: Path) -> None:
    """The whole model in diffusers' layout."""
    # SDXL in f32 would take 10 GB on the way.
    torch.set_default_dtype(torch.float16)
    write_tokenizer(directory / "tokenizer")
    randomise(UNet2DConditionModel(**UNETS[kind])).save_pretrained(directory / "unet")
    vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
                        scaling_factor=0.18215 if kind == "sd15" else 0.13025,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    randomise(vae).save_pretrained(directory / "vae")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        directory / "scheduler")
    clip = randomise(CLIPTextModel(CLIPTextConfig(vocab_size=WORDS, **CLIP_L)))
    clip.save_pretrained(directory / "text_encoder")
    index = {"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "DDIMScheduler"],
             "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    if kind == "sdxl":
        write_tokenizer(directory / "tokenizer_2")
        clip = randomise(CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=WORDS, **CLIP_G)))
        clip.save_pretrained(directory / "text_encoder_2")
        index |= {"_class_name": "StableDiffusionXLPipeline",
                  "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
                  "tokenizer_2": ["transformers", "CLIPTokenizer"]}
    (directory / "model_index.json").write_text(json.dumps(index))

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(UNETS))
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    write(arguments.kind, arguments.directory)
