"""Pixels <-> model space: nothing to do, or a VAE."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST_PIXELS = 2**20  # of images at once: four images of 512 x 512, one of 1024 x 1024


class Codec(ABC):
    """Maps images in [-1, 1], (B, C, H, W), to what the denoiser works on, and back."""

    @abstractmethod
    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor: ...

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor: ...

    @abstractmethod
    def to(self, device: torch.device | str) -> Codec: ...


class IdentityCodec(Codec):
    """Pixel models."""

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        del generator
        return images

    def decode(self, x0: Tensor) -> Tensor:
        return x0

    def to(self, device: torch.device | str) -> Codec:
        del device
        return self


@dataclass(frozen=True, eq=False)
class VAECodec(Codec):
    """Latent models: shifted and scaled samples of a diffusers `AutoencoderKL`'s posterior."""

    vae: Any

    @torch.no_grad()
    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = max(1, MOST_PIXELS // images.shape[-2:].numel())
        found = [self.vae.encode(part).latent_dist for part in images.split(rows)]
        posterior = type(found[0])(torch.cat([part.parameters for part in found]))
        latents = posterior.sample(generator=generator)
        return (latents - self._shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, x0: Tensor) -> Tensor:
        latents = x0 / self.vae.config.scaling_factor + self._shift
        grows = 2 ** (len(self.vae.config.block_out_channels) - 1)
        rows = max(1, MOST_PIXELS // (grows**2 * latents.shape[-2] * latents.shape[-1]))
        parts = [self.vae.decode(part, return_dict=False)[0] for part in latents.split(rows)]
        return torch.cat(parts)

    @property
    def _shift(self) -> float:
        """What SD 3 and FLUX subtract before they scale; 0 for all others."""
        return self.vae.config.get("shift_factor") or 0.0

    def to(self, device: torch.device | str) -> Codec:
        return VAECodec(self.vae.to(device))
