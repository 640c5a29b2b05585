# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Makes the numbers that the tests of alice-diffusion are held against.

    pip install torch==2.13.0 numpy==2.3.5 diffusers==0.42.1 transformers==5.23.0 tokenizers==0.23.3
    pip install scipy==1.17.1 torchdiffeq==0.2.5 torchsde==0.2.6
    pip install --no-deps open-clip-torch==3.3.0 k-diffusion==0.1.1.post1
    python host/diffusion/golden/make.py models/alice-emoji/tokenizer

Writes noise.json, schedules.json, traces.json, pictures.json, tokens.json and tokens-clip.json beside itself. They depend on
nothing but this file, its neighbours and `tests/fixtures/kdiffusion.py`, the tokenizer named on the command line, and those versions.
"""

import inspect
import json
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)

import tokens

HERE = pathlib.Path(__file__).parent
# k-diffusion in the shape of a diffusers scheduler, which the fixtures of whole pictures use too.
sys.path.insert(0, str(HERE.parents[2] / "tests" / "fixtures"))

import kdiffusion  # noqa: E402


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
    "heun": lambda config: HeunDiscreteScheduler.from_config(config),
    "lms": lambda config: LMSDiscreteScheduler.from_config(config),
    # Latents have no bounds; diffusers' Stable Diffusion pipeline turns clipping off for its own scheduler.
    "ddim": lambda config: DDIMScheduler.from_config(config, clip_sample=False),
    "ddpm": lambda config: DDPMScheduler.from_config(config, clip_sample=False),
    "pndm": lambda config: PNDMScheduler.from_config(config),
    "dpm2": lambda config: KDPM2DiscreteScheduler.from_config(config),
    "dpm2_ancestral": lambda config: KDPM2AncestralDiscreteScheduler.from_config(config),
    "dpm++_2m": lambda config: dpm(config, "dpmsolver++", False),
    "dpm++_2m_karras": lambda config: dpm(config, "dpmsolver++", True),
    "dpm++_sde": lambda config: dpm(config, "sde-dpmsolver++", False),
    "dpm++_sde_karras": lambda config: dpm(config, "sde-dpmsolver++", True),
    "unipc": lambda config: UniPCMultistepScheduler.from_config(config),
    "deis": lambda config: DEISMultistepScheduler.from_config(config),
    "lcm": lambda config: LCMScheduler.from_config(config),
    "tcd": lambda config: TCDScheduler.from_config(config),
    "dpm++_2s_ancestral": lambda config: kdiffusion.Replay("dpm++_2s_ancestral", kdiffusion.own, config),
    "dpmpp_sde": lambda config: kdiffusion.Replay("dpmpp_sde", kdiffusion.own, config),
    "dpm++_3m_sde": lambda config: kdiffusion.Replay("dpm++_3m_sde", kdiffusion.own, config),
    "flow_match_euler": lambda config: FlowMatchEulerDiscreteScheduler.from_config(config),
}
FLOW = ("flow_match_euler",)
# Those that take some of the 50 timesteps that a model was distilled on.
DISTILLED = ("lcm", "tcd")
# Those of diffusers' classes that do not know `rescale_betas_zero_snr`. ALICE honours it everywhere.
WITHOUT_ZERO_SNR = ("heun", "lms", "pndm", "dpm2", "dpm2_ancestral", "deis")
# Those whose `pred_original_sample` is the estimate after each step.
TELLING = ("euler", "euler_ancestral", "lms", "ddim", "ddpm")
# k-diffusion's samplers on the noise schedules that have names.
NAMED = [f"euler_{schedule}" for schedule in kdiffusion.SCHEDULES] + [
    "heun_karras", "lms_exponential", "dpm2_beta", "dpm++_2m_exponential", "dpm2_ancestral_simple",
    "dpm++_2s_ancestral_karras", "dpmpp_sde_karras", "dpm++_3m_sde_exponential", "euler_ancestral_sgm_uniform",
]


def dpm(config, algorithm, karras):
    others = {"use_exponential_sigmas": False, "use_beta_sigmas": False} if karras else {}
    return DPMSolverMultistepScheduler.from_config(
        config, algorithm_type=algorithm, use_karras_sigmas=karras, solver_order=2, solver_type="midpoint", **others
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


def plain(kind, **changes):
    """The settings of a scheduler class, with the betas that most of them have by themselves."""
    return {"_class_name": kind, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", **changes}


def scheduler(sampler, config, steps):
    """The scheduler as a pipeline gets it: the model's own is made from the file, then replaced."""
    own = getattr(sys.modules[__name__], config["_class_name"])
    made = SAMPLERS.get(sampler, lambda config: named(sampler, config))(own.from_config(config).config)
    made.set_timesteps(steps)
    # From the first step on, also where two steps share a timestep and diffusers would look for its index.
    if hasattr(made, "set_begin_index"):
        made.set_begin_index(0)
    return made


def named(sampler, config):
    """A sampler of k-diffusion on the noise schedule at the end of its name."""
    schedule = max((name for name in kdiffusion.SCHEDULES if sampler.endswith("_" + name)), key=len)
    return kdiffusion.Replay(sampler.removesuffix("_" + schedule), kdiffusion.SCHEDULES[schedule], config)


def exists(sampler, config, steps):
    """Whether the reference can do this, and does what ALICE does."""
    if (sampler in FLOW) != (config["_class_name"] == "FlowMatchEulerDiscreteScheduler"):
        return False
    if sampler in DISTILLED and steps > 50:
        return False
    if config.get("rescale_betas_zero_snr") and sampler in WITHOUT_ZERO_SNR:
        return False
    if config.get("prediction_type") == "sample" and sampler in ("euler_ancestral", "pndm", "dpm2", "dpm2_ancestral"):
        return False
    if sampler == "pndm" and not config.get("skip_prk_steps") and steps < 4:
        return False
    if sampler == "dpm++_3m_sde" and steps == 1:
        return False  # k-diffusion trips over its own variable.
    if sampler in kdiffusion.FUNCTIONS and isinstance(SAMPLERS.get(sampler, lambda _: None)(config), kdiffusion.Replay):
        # The stand-in for diffusers' interface plays a run from its beginning at every step.
        return steps <= 30 and config.get("prediction_type") != "sample"
    return True


def initial_scale(made):
    return float(getattr(made, "init_noise_sigma", 1.0))


SPACINGS = ["leading", "trailing", "linspace"]

# Settings that change the table in other ways, each tried with every sampler.
VARIANTS = [
    settings(),
    settings(timestep_spacing="trailing", beta_schedule="linear", beta_start=0.0001, beta_end=0.02),
    settings(timestep_spacing="leading", set_alpha_to_one=True, steps_offset=0),
    settings(timestep_spacing="linspace", beta_schedule="squaredcos_cap_v2"),
    settings(timestep_spacing="trailing", rescale_betas_zero_snr=True, prediction_type="v_prediction"),
    settings(timestep_spacing="trailing", num_train_timesteps=700),
    plain("EulerDiscreteScheduler", use_karras_sigmas=True, timestep_spacing="leading"),
    plain("EulerDiscreteScheduler"),
    plain("EulerDiscreteScheduler", use_exponential_sigmas=True, timestep_spacing="leading"),
    plain("EulerDiscreteScheduler", use_beta_sigmas=True, beta_schedule="scaled_linear"),
    plain("DPMSolverMultistepScheduler", final_sigmas_type="sigma_min", beta_schedule="scaled_linear"),
    plain("DPMSolverMultistepScheduler", euler_at_final=True, lower_order_final=False),
    plain("UniPCMultistepScheduler", solver_order=3, beta_schedule="scaled_linear"),
    # diffusers' own B(h) of the first kind is not a number where the last step leads to 0.
    plain("UniPCMultistepScheduler", solver_type="bh1", timestep_spacing="leading", final_sigmas_type="sigma_min"),
    plain("DDPMScheduler", variance_type="fixed_large", beta_schedule="scaled_linear"),
    plain("LCMScheduler", original_inference_steps=40, timestep_scaling=4.0),
    {"_class_name": "FlowMatchEulerDiscreteScheduler"},
    {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
]
# Settings of which not every sampler's class knows the keys or the limits.
ONLY_FOR = {
    "final_sigmas_type": ("dpm++_2m", "dpm++_sde", "unipc"),
    "euler_at_final": ("dpm++_2m", "dpm++_sde"),
    "solver_order": ("unipc", "deis"),
    "solver_type": ("unipc",),
    "variance_type": ("ddpm",),
    "original_inference_steps": ("lcm", "tcd"),
}


def suits(sampler, config):
    """Whether a variant of the settings is meant for a sampler."""
    return all(sampler in samplers for key, samplers in ONLY_FOR.items() if key in config)


def own_points(sampler, made):
    """Timestep and noise level at the beginning of each step."""
    if sampler in ("pndm", "ddim", "ddpm", *DISTILLED):
        t = torch.unique_consecutive(made.timesteps)
        alphas = made.alphas_cumprod[t.clamp(max=len(made.alphas_cumprod) - 1)]
        return t, ((1 - alphas) / alphas).sqrt().clamp(max=1e30)
    if sampler == "heun":
        return torch.cat([made.timesteps[:1], made.timesteps[1::2]]), torch.cat([made.sigmas[:1], made.sigmas[1:-1:2]])
    if sampler in ("dpm2", "dpm2_ancestral"):
        return made.timesteps[::2], torch.cat([made.sigmas[:1], made.sigmas[1:-3:2]])
    if isinstance(made, kdiffusion.Replay):
        return torch.tensor([made.levels.timestep(sigma) for sigma in made.sigmas[:-1].tolist()]), made.sigmas[:-1]
    return made.timesteps, made.sigmas[:-1]


def schedules():
    """Timesteps and noise levels. Long tables are thinned."""
    entries = []
    cases = [(settings(timestep_spacing=s), n) for s in SPACINGS for n in (1, 2, 3, 7, 20, 50, 150, 999, 1000)]
    cases += [(variant, n) for variant in VARIANTS for n in (1, 9, 30)]
    for config, steps in cases:
        for sampler in SAMPLERS:
            if sampler.startswith("dpm++_sde") or not exists(sampler, config, steps) or not suits(sampler, config):
                continue  # The first have the same tables as without the added noise.
            if sampler == "pndm" and not config.get("skip_prk_steps"):
                continue  # Its timesteps are those of the stages of its first steps.
            multistep = sampler in ("dpm++_2m", "unipc", "deis")
            if steps >= 999 and multistep and config["timestep_spacing"] == "leading":
                continue  # diffusers strides by 0 and never leaves the last timestep.
            if steps >= 999 and sampler not in ("euler", "euler_ancestral", "ddim", "dpm++_2m", "dpm++_2m_karras"):
                continue  # The same as those of their relatives.
            made = scheduler(sampler, config, steps)
            every = 1 if steps <= 9 else 7 if steps <= 150 else 97
            t, sigmas = own_points(sampler, made)
            assert len(t) == len(sigmas) == steps, (sampler, config, steps, len(t), len(sigmas))
            entries.append({
                "sampler": sampler,
                "config": config,
                "steps": steps,
                "every": every,
                "t": numbers(t[::every]),
                "initial_scale": initial_scale(made),
                "sigmas": numbers(sigmas[::every]),
            })
    for sampler in NAMED[: len(kdiffusion.SCHEDULES)]:
        for steps in (1, 2, 11, 30):
            if steps == 1 and sampler == "euler_align_your_steps":
                continue  # numpy begins at the clean end, where one step would do nothing.
            config = settings()
            made = scheduler(sampler, config, steps)
            t, sigmas = own_points(sampler, made)
            entries.append({"sampler": sampler, "config": config, "steps": steps, "every": 1, "t": numbers(t),
                            "initial_scale": initial_scale(made), "sigmas": numbers(sigmas)})
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
    x = torch.randn(SHAPE, generator=generator) * initial(sampler, made)
    denoised = []
    known = inspect.signature(made.step).parameters
    for t in made.timesteps:
        output = model(made.scale_model_input(x, t) if hasattr(made, "scale_model_input") else x, t)
        # DDIM draws nothing at its `eta` of 0 and complains about a generator.
        extra = {"generator": generator} if "generator" in known and sampler != "ddim" else {}
        step = made.step(output, t, x, **extra)
        if sampler in TELLING:
            denoised.append(step.pred_original_sample.flatten()[4])
        x = step[0] if isinstance(step, tuple) else step.prev_sample
    entry = {"sampler": sampler, "config": config, "steps": steps, "seed": seed, "latent": numbers(x)}
    if denoised and steps <= 20:
        entry["denoised"] = numbers(torch.stack(denoised))
    return entry


def initial(sampler, made):
    """What the first noise is multiplied by; models of flows begin with noise as it is."""
    return 1.0 if sampler in FLOW else made.init_noise_sigma


def traces():
    entries = []
    cases = [
        (settings(timestep_spacing=spacing, prediction_type=prediction), steps, steps)
        for spacing in SPACINGS
        for prediction in ("epsilon", "v_prediction")
        for steps in (1, 2, 3, 10, 30)
    ]
    cases += [(variant, 12, 7) for variant in VARIANTS]
    cases += [(settings(prediction_type="sample"), 12, 8)]
    # Runs of 15 steps and more end otherwise; and a run with the method of Runge and Kutta.
    cases += [(VARIANTS[index], 18, 9) for index in (10, 11, 12)]
    trailing = settings(timestep_spacing="trailing", prediction_type="v_prediction")
    cases += [(trailing, steps, 9) for steps in (150, 1000)]
    for sampler in SAMPLERS:
        for config, steps, seed in cases:
            if exists(sampler, config, steps) and suits(sampler, config):
                entries.append(trace(sampler, config, steps, seed))
    for sampler in NAMED:
        for prediction in ("epsilon", "v_prediction"):
            entries.append(trace(sampler, settings(prediction_type=prediction), 12, seed=3))
    return entries


if __name__ == "__main__":
    import pictures

    save("noise.json", cases=noise())
    save("schedules.json", **with_shared_configs(schedules()))
    save("traces.json", **with_shared_configs(traces()))
    pictures.write()
    save("tokens.json", cases=tokens.small(pathlib.Path(sys.argv[1])))
    save("tokens-clip.json", **tokens.clip())
