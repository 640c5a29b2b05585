# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""The three stages of training: autoencoder, denoiser with text encoder, and the decoder once more.

They run in this order, each on the results of those before. The denoiser's learning rate is for
batches of some hundreds and a guess; the others were found on short runs.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

import losses
from data import Data, decibels, draw, random_captions, to_unit, uniform
from networks import TRAINING_STEPS, alphas_cumprod
from stage import Arithmetic, Stage

CROP = 64


class VaeStage(Stage):
    """The autoencoder, on its own.

    For the first part, a share `crops` of the stage, it sees 64x64 crops: four times as many pictures in the
    same time, which is what counts while it learns strokes and edges.
    """

    name, number = "vae", 0
    by_adam, muon_lr, adam_lr = ("conv_in", "conv_out", "quant"), 2e-3, 8e-4
    KL_WEIGHT = 1e-3

    def __init__(self, data: Data, vae: nn.Module, batch: int, crops: float, arithmetic: Arithmetic):
        self.data, self.vae, self.size, self.crops = data, vae, batch, crops
        super().__init__(dict(vae.named_parameters()), arithmetic)

    def batch(self, random: Generator, progress: float) -> tuple[Tensor, ...]:
        cropped = progress < self.crops
        count = self.size * (4 if cropped else 1)
        images = self.data.images[draw(self.data.vae_weight, count, random)]
        if cropped:
            images = crop(images, random)
        images = to_unit(images)
        mirrored = uniform(count, random).view(-1, 1, 1, 1) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
        # Exchanged colour channels teach colours that the collection hardly has.
        recoloured = uniform(count, random).view(-1, 1, 1, 1) < 0.15
        images = torch.where(
            recoloured, images[:, torch.randperm(3, generator=random, device=images.device)], images
        )
        side = images.shape[-1] // 8
        return images, torch.randn(count, 4, side, side, generator=random, device=images.device)

    def loss(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with self.arithmetic.autocast():
            posterior = self.vae.encode(images).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            drawn = self.vae.decode(mean + noise * (0.5 * logvar).exp()).sample
        loss, square = losses.reconstruction(drawn.float(), images)
        divergence = losses.divergence(mean, logvar)
        return loss + self.KL_WEIGHT * divergence, torch.stack([loss, square, divergence]).detach()

    def describe(self, sums: Tensor, steps: int) -> str:
        loss, square, divergence = (sums / steps).tolist()
        return f"loss {loss:.4f}  {decibels(square):.2f} dB  KL {divergence:.2f}"

    @torch.no_grad()
    def result(self) -> dict:
        """The autoencoder with centred latents, their scale, and the scaled latents of every picture.

        Stable Diffusion's pipeline can scale latents but not shift them, so mean and deviation of each
        channel are folded into the 1x1 convolutions on both sides of the latent.
        """
        latents = encode(self.vae, self.data.images)
        mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        common = deviation.pow(2).mean().sqrt()
        gain = common / deviation
        into, out = self.vae.quant_conv, self.vae.post_quant_conv
        out.bias += out.weight[:, :, 0, 0] @ mean
        out.weight /= gain.view(1, 4, 1, 1)
        into.weight[:4] *= gain.view(4, 1, 1, 1)
        into.bias[:4] = (into.bias[:4] - mean) * gain
        into.bias[4:] += 2 * gain.log()
        latents = (latents - mean.view(1, 4, 1, 1)) * gain.view(1, 4, 1, 1) / common
        return {"vae": self.vae.state_dict(), "scaling_factor": float(1 / common), "latents": latents}


def crop(images: Tensor, random: Generator) -> Tensor:
    """A `CROP` square of each picture.

    Offsets are the mean of two draws: the middle, where the subject is, more often than the white corners.
    """
    middling = torch.rand(2, 2, len(images), generator=random, device=images.device).mean(0)
    offsets = (middling * (images.shape[-1] + 1 - CROP)).long()
    corners = zip(images, *offsets.tolist(), strict=True)
    return torch.stack([image[:, y : y + CROP, x : x + CROP] for image, y, x in corners])


def encode(vae: nn.Module, images: Tensor) -> Tensor:
    """The posterior's mean of every picture, unscaled, f32."""
    return torch.cat([vae.encode(to_unit(part)).latent_dist.mean.float() for part in images.split(64)])


@dataclass(frozen=True)
class Feed:
    """What a step of the denoiser sees.

    `batch` rows, drawn by the subject weights to the power of `flatness`; a share `drop` of them has no
    prompt.
    """

    batch: int
    flatness: float
    drop: float


class UnetStage(Stage):
    """UNet and text encoder together, on the latents of the finished autoencoder."""

    name, number = "unet", 1
    by_adam, muon_lr, adam_lr = ("conv_in", "conv_out", "embedding"), 1.5e-3, 1.125e-3
    warmup, clip = 200, 2.0
    # t = 1000 u^0.8 with u uniform: a little more weight on the noisy end, where the subject is decided.
    TIMESTEP_POWER = 0.8

    def __init__(
        self,
        data: Data,
        latents: Tensor,
        unet: nn.Module,
        text: nn.Module,
        feed: Feed,
        ema: float,
        arithmetic: Arithmetic,
    ):
        self.data, self.latents, self.unet, self.text, self.feed = data, latents, unet, text, feed
        self.weights = data.subject_weight**feed.flatness
        self.signal = alphas_cumprod().to(latents.device)
        self.empty = torch.full_like(data.tokens[0, 0], data.vocabulary - 1)
        self.empty[0] = data.vocabulary - 2
        named = {f"unet.{name}": parameter for name, parameter in unet.named_parameters()}
        named |= {f"text.{name}": parameter for name, parameter in text.named_parameters()}
        super().__init__(named, arithmetic, ema)

    def batch(self, random: Generator, progress: float) -> tuple[Tensor, ...]:
        device, count = self.latents.device, self.feed.batch
        rows = draw(self.weights, count, random)
        tokens = random_captions(self.data, rows, random)
        # Guidance needs a model that also knows the picture without a prompt.
        tokens = torch.where((uniform(count, random) < self.feed.drop).view(-1, 1), self.empty, tokens)
        # Stratified: every batch covers the whole range evenly.
        u = (torch.arange(count, device=device) + uniform(count, random)) / count
        timesteps = (u**self.TIMESTEP_POWER * TRAINING_STEPS).long().clamp(max=TRAINING_STEPS - 1)
        latents = self.latents[rows]
        return latents, torch.randn(latents.shape, generator=random, device=device), timesteps, tokens

    def loss(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        signal = self.signal[timesteps].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        with self.arithmetic.autocast():
            context = self.text(tokens).last_hidden_state
            predicted = self.unet(noisy, timesteps, context, return_dict=False)[0]
        errors, weights = losses.v_errors(predicted, noise, latents, signal)
        fifth = timesteps * 5 // TRAINING_STEPS
        zeros = torch.zeros(5, device=latents.device)
        by_fifth = zeros.index_add(0, fifth, errors.detach())
        counts = zeros.index_add(0, fifth, torch.ones_like(errors))
        return (errors * weights).mean(), torch.cat([by_fifth, counts])

    def describe(self, sums: Tensor, steps: int) -> str:
        errors = sums[:5] / sums[5:].clamp(min=1)
        return "v error by fifths of t " + " ".join(f"{error:.3f}" for error in errors.tolist())

    @torch.no_grad()
    def result(self) -> dict:
        """The averaged weights, and the widths that `export.py` must build the UNet with."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            parameter.copy_(average)
        channels = list(self.unet.config.block_out_channels)
        return {"unet": self.unet.state_dict(), "text": self.text.state_dict(), "channels": channels}


class DecoderStage(Stage):
    """The decoder learns to draw what the UNet really predicts, not only what the encoder makes.

    Its input is the UNet's guess of the clean latent in one step from a little noise. The encoder stays as it
    is, so latents and scaling factor stay valid.
    """

    name, number = "decoder", 2
    by_adam, muon_lr, adam_lr = ("conv_in", "conv_out", "quant"), 8e-4, 4e-4
    warmup = 30
    # Beyond this timestep the guess is a blur that no decoder can mend.
    LAST_TIMESTEP = 260

    def __init__(
        self,
        data: Data,
        coded: dict,
        vae: nn.Module,
        unet: nn.Module,
        text: nn.Module,
        batch: int,
        arithmetic: Arithmetic,
    ):
        self.data, self.vae, self.unet, self.text, self.size = data, vae, unet, text, batch
        self.latents, self.scaling_factor = coded["latents"], coded["scaling_factor"]
        for network in (unet, text):
            network.eval().requires_grad_(False)
        self.weights = data.subject_weight.sqrt()
        self.signal = alphas_cumprod().to(self.latents.device)
        trained = ("decoder", "post_quant_conv")
        named = {name: p for name, p in vae.named_parameters() if name.startswith(trained)}
        super().__init__(named, arithmetic)

    def batch(self, random: Generator, progress: float) -> tuple[Tensor, ...]:
        device = self.latents.device
        rows = draw(self.weights, self.size, random)
        timesteps = torch.randint(self.LAST_TIMESTEP, (self.size,), generator=random, device=device)
        noise = torch.randn(self.size, *self.latents.shape[1:], generator=random, device=device)
        return to_unit(self.data.images[rows]), self.guess(rows, timesteps, noise, random)

    @torch.no_grad()
    def guess(self, rows: Tensor, timesteps: Tensor, noise: Tensor, random: Generator) -> Tensor:
        """The unscaled clean latents that the UNet sees in noisy ones."""
        signal = self.signal[timesteps].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * self.latents[rows] + (1 - signal).sqrt() * noise
        with self.arithmetic.autocast():
            context = self.text(random_captions(self.data, rows, random)).last_hidden_state
            v = self.unet(noisy, timesteps, context, return_dict=False)[0]
        return (signal.sqrt() * noisy - (1 - signal).sqrt() * v.float()) / self.scaling_factor

    def loss(self, images: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        with self.arithmetic.autocast():
            drawn = self.vae.decode(latents).sample
        loss, square = losses.reconstruction(drawn.float(), images)
        return loss, torch.stack([loss, square]).detach()

    def describe(self, sums: Tensor, steps: int) -> str:
        loss, square = (sums / steps).tolist()
        return f"loss {loss:.4f}  {decibels(square):.2f} dB"

    def result(self) -> dict:
        return {"vae": self.vae.state_dict(), "scaling_factor": self.scaling_factor}
