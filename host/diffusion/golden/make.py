# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Makes the numbers that the tests of alice-diffusion are held against.

    pip install torch==2.13.0 numpy==2.3.5 diffusers==0.42.1 transformers==5.23.0 tokenizers==0.23.3
    python host/diffusion/golden/make.py models/alice-emoji/tokenizer

Writes noise.json, schedules.json, traces.json and tokens.json beside itself. They depend on nothing but this
file, the tokenizer named on the command line, and those versions.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
)
from transformers import CLIPTokenizer

HERE = pathlib.Path(__file__).parent


def save(name, **tables):
    """One entry a line: small, and readable in a diff."""
    tables = {key: ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in tables[key]) for key in tables}
    text = ",\n".join(f'"{key}":[\n{lines}\n]' for key, lines in tables.items())
    (HERE / name).write_text("{\n" + text + "\n}\n", encoding="utf-8")


def with_shared_configs(cases):
    """The settings that occur, and the cases with the number of theirs in place of them."""
    configs = []
    for case in cases:
        if case["config"] not in configs:
            configs.append(case["config"])
        case["config"] = configs.index(case["config"])
    return {"configs": configs, "cases": cases}


def numbers(values):
    """The shortest decimals that are these single-precision numbers."""
    return [float(str(value)) for value in np.asarray(values, dtype=np.float32).ravel()]


# --- noise ------------------------------------------------------------------------------------------------


def noise():
    """Draws of several sizes from one generator after another, in order: [size, values]. Long ones are thinned."""
    seeds = [0, 1, 42, 2**32 - 1, 2**32 + 5, 2**64 - 1]
    orders = [[1, 1, 1], [15], [16], [17], [64], [1000], [3, 16, 3, 20, 1]]
    entries = []
    for seed in seeds:
        for sizes in orders:
            generator = torch.Generator("cpu").manual_seed(seed)
            draws = [torch.randn((1, 1, 1, size), generator=generator).flatten() for size in sizes]
            step = 1 if max(sizes) < 64 else 13
            values = [numbers(draw[::step]) for draw in draws]
            entries.append({"seed": str(seed), "sizes": sizes, "every": step, "values": values})
    return entries


# --- schedules and traces -----------------------------------------------------------------------------------

# ALICE's names, and the scheduler that each stands for, made as a pipeline's scheduler is replaced.
SAMPLERS = {
    "euler": lambda config: EulerDiscreteScheduler.from_config(config),
    "euler_ancestral": lambda config: EulerAncestralDiscreteScheduler.from_config(config),
    # Latents have no bounds; diffusers' Stable Diffusion pipeline turns clipping off for its own scheduler.
    "ddim": lambda config: DDIMScheduler.from_config(config, clip_sample=False),
    "dpm++_2m": lambda config: dpm(config, "dpmsolver++", False),
    "dpm++_2m_karras": lambda config: dpm(config, "dpmsolver++", True),
    "dpm++_sde": lambda config: dpm(config, "sde-dpmsolver++", False),
    "dpm++_sde_karras": lambda config: dpm(config, "sde-dpmsolver++", True),
}


def dpm(config, algorithm, karras):
    return DPMSolverMultistepScheduler.from_config(
        config, algorithm_type=algorithm, use_karras_sigmas=karras, solver_order=2, solver_type="midpoint"
    )


def settings(**changes):
    """The settings of Stable Diffusion 1.x as its own file has them, which names no spacing, and changes to them."""
    return {
        "_class_name": "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        **changes,
    }


def scheduler(sampler, config, steps):
    """The scheduler as a pipeline gets it: the model's own is made from the file, then replaced."""
    own = {"PNDMScheduler": PNDMScheduler, "EulerDiscreteScheduler": EulerDiscreteScheduler}[config["_class_name"]]
    made = SAMPLERS[sampler](own.from_config(config).config)
    made.set_timesteps(steps)
    # From the first step on, also where two steps share a timestep and diffusers would look for its index.
    if hasattr(made, "set_begin_index"):
        made.set_begin_index(0)
    return made


def initial_scale(made):
    return float(made.init_noise_sigma)


SPACINGS = ["leading", "trailing", "linspace"]

# Settings that change the table in other ways, each tried with every sampler.
VARIANTS = [
    settings(),
    settings(timestep_spacing="trailing", beta_schedule="linear", beta_start=0.0001, beta_end=0.02),
    settings(timestep_spacing="leading", set_alpha_to_one=True, steps_offset=0),
    settings(timestep_spacing="linspace", beta_schedule="squaredcos_cap_v2"),
    settings(timestep_spacing="trailing", rescale_betas_zero_snr=True, prediction_type="v_prediction"),
    settings(timestep_spacing="trailing", num_train_timesteps=700),
    {"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True, "timestep_spacing": "leading"},
    {"_class_name": "EulerDiscreteScheduler"},
]


def schedules():
    """Timesteps and, where the scheduler keeps them, sigmas. Long tables are thinned."""
    entries = []
    cases = [(settings(timestep_spacing=s), n) for s in SPACINGS for n in (1, 2, 3, 7, 20, 50, 150, 999, 1000)]
    cases += [(variant, n) for variant in VARIANTS for n in (1, 9, 30)]
    for config, steps in cases:
        for sampler in SAMPLERS:
            if sampler.startswith("dpm++_sde"):
                continue  # The same tables as without the added noise.
            if steps >= 999 and sampler == "dpm++_2m" and config["timestep_spacing"] == "leading":
                continue  # diffusers strides by 0 and never leaves the last timestep.
            made = scheduler(sampler, config, steps)
            every = 1 if steps <= 9 else 7 if steps <= 150 else 97
            entry = {
                "sampler": sampler,
                "config": config,
                "steps": steps,
                "every": every,
                "t": numbers(made.timesteps[::every]),
                "initial_scale": initial_scale(made),
            }
            if sampler == "ddim":
                t = made.timesteps[::every].clamp(max=len(made.alphas_cumprod) - 1)
                alphas = made.alphas_cumprod[t]
                entry["sigmas"] = numbers(((1 - alphas) / alphas).sqrt().clamp(max=1e30))
            else:
                entry["sigmas"] = numbers(made.sigmas[:-1][::every])
                assert made.sigmas[-1] == 0
            entries.append(entry)
    return entries


SHAPE = (1, 2, 3, 3)


def model(x, t):
    """Stands for a network: any smooth function of its input and the timestep, different in each cell."""
    cell = torch.arange(x.numel(), dtype=torch.float32).reshape(x.shape)
    t = torch.as_tensor(t, dtype=torch.float32) / 1000
    return 0.7 * x + 0.4 * torch.sin(2 * x + cell + 3 * t) - 0.3 * torch.cos(cell * 0.5) * (1 - t)


def trace(sampler, config, steps, seed):
    """The loop of diffusers' pipeline: the finished latent, and each step's estimate of it at one cell."""
    made = scheduler(sampler, config, steps)
    generator = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn(SHAPE, generator=generator) * made.init_noise_sigma
    denoised = []
    for t in made.timesteps:
        output = model(made.scale_model_input(x, t), t)
        extra = {} if sampler == "ddim" else {"generator": generator}
        step = made.step(output, t, x, **extra)
        if hasattr(step, "pred_original_sample"):
            denoised.append(step.pred_original_sample.flatten()[4])
        x = step.prev_sample
    entry = {"sampler": sampler, "config": config, "steps": steps, "seed": seed, "latent": numbers(x)}
    if denoised and steps <= 20:
        entry["denoised"] = numbers(torch.stack(denoised))
    return entry


def traces():
    entries = []
    for sampler in SAMPLERS:
        for spacing in SPACINGS:
            for prediction in ("epsilon", "v_prediction"):
                for steps in (1, 2, 3, 10, 30):
                    config = settings(timestep_spacing=spacing, prediction_type=prediction)
                    entries.append(trace(sampler, config, steps, seed=steps))
        entries += [trace(sampler, variant, 12, seed=7) for variant in VARIANTS]
        if sampler != "euler_ancestral":  # It does not know this prediction.
            entries.append(trace(sampler, settings(prediction_type="sample"), 12, seed=8))
        config = settings(timestep_spacing="trailing", prediction_type="v_prediction")
        entries += [trace(sampler, config, steps, seed=9) for steps in (150, 1000)]
    return entries


# --- tokens -------------------------------------------------------------------------------------------------

CONTEXT = 24

TEXTS = [
    "",
    " ",
    "\n\t \r\n",
    "a red apple",
    "A Red APPLE",
    "  a   red\tapple\n",
    "a cat, wearing a hat!",
    "don't you'll we've I'm he'd it's they're cats'",
    "DON'T YOU'LL",
    "'s't're've'm'll'd",
    "''s ''t '' '",
    "it’s",
    "rock'n'roll",
    "1234567890",
    "4k 8k 1920x1080 3.14",
    "½ ² ① Ⅷ ५ 𝟘",
    "foo_bar-baz/qux\\quux",
    "(masterpiece:1.2), [bad], {curly} <lora:x:0.5>",
    "!!!???...---___",
    "!'s?'t",
    "$€£¥ ©®™ §¶",
    "café CAFÉ cafe\u0301",
    "\u00c5 A\u030a \u212b",
    "ﬁ ﬂ ﬀ ſ",
    "İstanbul ISTANBUL ıI",
    "ΣΑΣ ς σ Ὀδυσσεύς",
    "ẞ ß SS",
    "Привет, мир",
    "こんにちは 世界",
    "ｆｕｌｌ　ｗｉｄｔｈ",
    "안녕하세요 \u1112\u1161\u11ab",
    "你好，世界。",
    "שלום עולם مرحبا بالعالم",
    "สวัสดีชาวโลก नमस्ते",
    "😀",
    "😀😃 cat 🐱",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 1️⃣",
    "\U0001f9d1\U0001f3fb\u200d\U0001f680",
    "a\x00b\x01c\x7fd",
    "\u200bzero\u200dwidth\ufeff",
    "soft\u00adhyphen",
    "nbsp\u00a0here\u2003em\u3000wide\u2028line\u2029para\u0085nel\u180emvs\u1680ogham\x1cfs",
    "\ufffd\ufffe\uffff",
    "\U0010ffff\ue000",
    "e\u0301\u0302\u0303\u0304\u0305",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
    "<|endoftext|>",
    "<|startoftext|>",
    "a<|endoftext|>b",
    "a <|ENDOFTEXT|> b",
    "a <|StartOfText|> b",
    "  <|startoftext|>  x  <|endoftext|>  ",
    "<|endoftext",
    "<|endoftext|><|endoftext|><|endoftext|>",
    "<|startoftext|>'s",
    "</w> a</w>",
    "Ġa Ċ",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
    "a a a a a a a a a a a a a a a a a a a a a a",
    "a a a a a a a a a a a a a a a a a a a a a a a",
    "supercalifragilisticexpialidocious",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀",
    "ǅ ǈ ǋ ꟺ Ꭰ ꭰ Ა ა",
    "𝕳𝖊𝖑𝖑𝖔 𝐛𝐨𝐥𝐝 Ⓐ",
    "x̂ ŷ n̈ = ∑ᵢ √2 ≠ ∞",
]

# Long texts are written as a piece and how often it is repeated.
LONG = [("a cat ", 2000), ("cat", 2000), ("!", 5000), ("😀", 1000), ("don't ", 1000), ("7", 3000), ("\n", 4000)]


def described(content, normalized):
    return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}


START, END = "<|startoftext|>", "<|endoftext|>"
NAMES = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}

# What stands in tokenizer_config.json and special_tokens_map.json; None leaves the file out.
SPECIAL = {
    "own": "own",
    "none": (None, None),
    "normalized": (dict(NAMES), {key: described(token, True) for key, token in NAMES.items()}),
    "other_pad": (
        {**NAMES, "pad_token": "!"},
        {"bos_token": described(START, True), "eos_token": described(END, True), "pad_token": "!"},
    ),
    "decoder": (
        {
            **NAMES,
            "added_tokens_decoder": {
                "3753": {**described(START, True), "special": True},
                "3754": {**described(END, False), "special": True},
                "3755": {**described("<sks>", False), "special": False},
            },
        },
        {"pad_token": "a"},
    ),
}


def tokens(directory):
    entries = []
    for name, files in SPECIAL.items():
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place)
            for file in ("vocab.json", "merges.txt"):
                shutil.copyfile(directory / file, place / file)
            names = ("tokenizer_config.json", "special_tokens_map.json")
            contents = [(directory / file).read_text() for file in names] if files == "own" else [
                None if file is None else json.dumps(file) for file in files
            ]
            for file, content in zip(names, contents):
                if content is not None:
                    (place / file).write_text(content)
            tokenizer = CLIPTokenizer.from_pretrained(place)
            texts = [(text, 1) for text in TEXTS + (["a <sks> b", "A <SKS> B"] if name == "decoder" else [])]
            if name == "own":
                texts += LONG
            else:
                texts = [(text, times) for text, times in texts if "<" in text or len(text) < 12]
            cases = []
            for text, times in texts:
                options = {"max_length": CONTEXT, "truncation": True}
                ids = tokenizer(text * times, **options)["input_ids"]
                whole = tokenizer(text * times)["input_ids"]
                cases.append([text, times, ids, len(whole) > CONTEXT])
                padded = tokenizer(text * times, padding="max_length", **options)["input_ids"]
                assert padded == ids + [tokenizer.pad_token_id] * (CONTEXT - len(ids))
            entries.append(
                {
                    "name": name,
                    "config": contents[0],
                    "map": contents[1],
                    "context": CONTEXT,
                    "pad": tokenizer.pad_token_id,
                    "cases": cases,
                }
            )
    return entries


if __name__ == "__main__":
    save("noise.json", cases=noise())
    save("schedules.json", **with_shared_configs(schedules()))
    save("traces.json", **with_shared_configs(traces()))
    save("tokens.json", cases=tokens(pathlib.Path(sys.argv[1])))
