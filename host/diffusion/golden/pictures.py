# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""Makes pictures.json: runs that begin with a picture, and runs that keep a part of it, for every sampler; and latents
of other sizes.

    python host/diffusion/golden/pictures.py

Needs what make.py needs, and writes nothing else.
"""

import inspect

import numpy as np
import torch

import make
from make import kdiffusion

# The latent of a picture, and the share of each of its cells that is painted anew.
PICTURE = torch.sin(0.7 * torch.arange(18, dtype=torch.float32)).reshape(make.SHAPE)
MASK = torch.tensor([1.0, 0.0, 1.0, 0.25, 1.0, 0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 3, 3)

# Settings, steps and strengths. The steps that are left out are some, one, all but one and none.
CASES = [
    (make.settings(timestep_spacing="leading"), 10, 0.75),
    (make.settings(timestep_spacing="leading"), 10, 0.95),
    (make.settings(timestep_spacing="trailing", prediction_type="v_prediction"), 10, 0.3),
    (make.settings(timestep_spacing="linspace"), 10, 0.1),
    # A run is short by its whole length: of these, some end otherwise below 15 steps.
    (make.settings(timestep_spacing="linspace"), 20, 0.5),
    (make.settings(timestep_spacing="leading"), 10, 1.0),
    (make.VARIANTS[4], 10, 1.0),
    (make.VARIANTS[10], 12, 0.5),
    (make.VARIANTS[12], 18, 0.6),
    (make.VARIANTS[17], 10, 0.75),
    (make.VARIANTS[17], 10, 1.0),
]
# The method of Runge and Kutta, which diffusers cannot begin later.
WITH_RUNGE_KUTTA = (make.VARIANTS[7], 12, 1.0)
# Two evaluations a step, between which diffusers puts back what is kept with the noise of the step's end, as `k_trace`
# could not.
TWICE = ("heun", "dpm2", "dpm2_ancestral")


def left_out(sampler, steps, strength):
    """`get_timesteps` of diffusers' pipelines: Stable Diffusion's, and those of flow matching."""
    if sampler in make.FLOW:
        return int(max(steps - min(steps * strength, steps), 0))
    return max(steps - min(int(steps * strength), steps), 0)


def add_noise(made, noise, timestep):
    timesteps = timestep.reshape(1)
    if hasattr(made, "scale_noise"):
        return made.scale_noise(PICTURE, timesteps, noise)
    return made.add_noise(PICTURE, noise, timesteps)


def blended(kept, painted):
    return (1 - MASK) * kept + MASK * painted


def trace(sampler, config, steps, strength, keeps, seed):
    """The loop of diffusers' pipelines for img2img and, where a part is kept, for inpainting."""
    made = make.scheduler(sampler, config, steps)
    if isinstance(made, kdiffusion.Replay):
        return k_trace(made, steps, strength, keeps, seed)
    begin = left_out(sampler, steps, strength) * getattr(made, "order", 1)
    if sampler == "lms" and begin > 0:
        # diffusers would weigh the slopes as if those of the steps left out were there.
        replay = kdiffusion.Replay("lms", kdiffusion.own, config)
        replay.set_timesteps(steps)
        own = dict(zip(made.sigmas.tolist(), made.timesteps.tolist()))
        replay.levels.timestep = lambda sigma: own[float(np.float32(sigma))]
        return k_trace(replay, steps, strength, keeps, seed)
    timesteps = made.timesteps[begin:]
    if hasattr(made, "set_begin_index"):
        made.set_begin_index(begin)
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn(make.SHAPE, generator=generator)
    x = noise * make.initial(sampler, made) if keeps and strength == 1.0 else add_noise(made, noise, timesteps[0])
    known = inspect.signature(made.step).parameters
    for index, t in enumerate(timesteps):
        output = make.model(made.scale_model_input(x, t) if hasattr(made, "scale_model_input") else x, t)
        extra = {"generator": generator} if "generator" in known and sampler != "ddim" else {}
        x = made.step(output, t, x, return_dict=False, **extra)[0]
        if keeps:
            is_last = index + 1 == len(timesteps)
            x = blended(PICTURE if is_last else add_noise(made, noise, timesteps[index + 1]), x)
    return x


def k_trace(made, steps, strength, keeps, seed):
    """A sampler of k-diffusion on the end of its noise levels. What is kept is put into the latent, in its place,
    whenever the network is asked again."""
    sigmas = made.sigmas[left_out(made.name, steps, strength):]
    generator = torch.Generator("cpu").manual_seed(seed)
    noise = torch.randn(make.SHAPE, generator=generator)
    x = noise * sigmas[0] if keeps and strength == 1.0 else PICTURE + noise * sigmas[0]
    asked = 0

    def network(x, sigma):
        nonlocal asked
        sigma = sigma[0].item()
        if keeps and asked > 0:
            x.copy_(blended(PICTURE + noise * sigma, x))
        asked += 1
        output = make.model((x / (sigma**2 + 1) ** 0.5).float(), made.levels.timestep(sigma))
        if made.config.prediction_type == "epsilon":
            return x - sigma * output
        return x / (sigma**2 + 1) - output * sigma / (sigma**2 + 1) ** 0.5

    made.sigmas = sigmas
    x = made.play(network, x, lambda *levels: made.draw(generator, x, *levels)).float()
    return blended(PICTURE, x) if keeps else x


def entries():
    cases = [(sampler, *case) for sampler in make.SAMPLERS for case in CASES + [WITH_RUNGE_KUTTA] * (sampler == "pndm")]
    cases += [(sampler, make.settings(), 12, 0.5) for sampler in make.NAMED]
    found = []
    for sampler, config, steps, strength in cases:
        if not make.exists(sampler, config, steps) or not make.suits(sampler, config):
            continue
        if sampler == "dpm++_3m_sde" and steps - left_out(sampler, steps, strength) == 1:
            continue  # k-diffusion trips over its own variable.
        if sampler == "pndm" and not config.get("skip_prk_steps") and strength < 1.0:
            continue
        for keeps in (False, True):
            if keeps and sampler in make.NAMED and sampler.startswith(TWICE):
                continue
            latent = trace(sampler, config, steps, strength, keeps, seed=11)
            found.append({"sampler": sampler, "config": config, "steps": steps, "strength": strength, "keeps": keeps,
                          "seed": 11, "latent": make.numbers(latent)})
    return found


def sizes():
    """The picture's latent in other sizes."""
    found = []
    for mode in ("nearest", "bicubic"):
        for size in ((6, 6), (5, 7), (3, 3), (2, 4), (1, 1)):
            resized = torch.nn.functional.interpolate(PICTURE, size=size, mode=mode)
            found.append({"mode": mode, "size": size, "latent": make.numbers(resized)})
    return found


def write():
    tables = make.with_shared_configs(entries())
    make.save("pictures.json", picture=make.numbers(PICTURE), mask=make.numbers(MASK), sizes=sizes(), **tables)


if __name__ == "__main__":
    write()
