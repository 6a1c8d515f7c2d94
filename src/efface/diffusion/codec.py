"""Pixels <-> model space: nothing to do, or a VAE."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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
        posterior = self.vae.encode(images).latent_dist
        latents = posterior.sample(generator=generator)
        return (latents - self._shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, x0: Tensor) -> Tensor:
        latents = x0 / self.vae.config.scaling_factor + self._shift
        return self.vae.decode(latents, return_dict=False)[0]

    @property
    def _shift(self) -> float:
        """What SD 3 and FLUX subtract before they scale; 0 for all others."""
        return self.vae.config.get("shift_factor") or 0.0

    def to(self, device: torch.device | str) -> Codec:
        return VAECodec(self.vae.to(device))
