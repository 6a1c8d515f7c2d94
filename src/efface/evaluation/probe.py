"""What a model makes of given images, measured once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from efface.config import EvaluateConfig
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store, digest_of_array
from efface.metrics.copy_similarity import copy_similarity, pixels
from efface.metrics.membership_gap import denoising_losses, loss_timesteps
from efface.metrics.nll import LikelihoodSettings, nll

BACK_AT = 0.25  # share of the schedule to which a picture is noised before it is denoised


@dataclass(frozen=True, eq=False, kw_only=True)
class Probe:
    """A model to be shown images (N, C, H, W) in model space."""

    subject: Subject
    config: EvaluateConfig
    store: Store

    def losses(self, images: Tensor) -> np.ndarray:
        """(N, T) denoising losses."""
        denoiser, config = self.subject.denoiser, self.config
        timesteps = loss_timesteps(denoiser.schedule.num_timesteps)
        return self._kept(
            "losses",
            images,
            {"draws": config.draws},
            lambda: denoising_losses(denoiser, images, timesteps, config.draws, config.seed),
        )

    def similarities(self, images: Tensor) -> np.ndarray:
        """(N,) correlation with what the model makes of them, noised and denoised."""
        denoiser, config = self.subject.denoiser, self.config
        at = int(BACK_AT * denoiser.schedule.num_timesteps)
        return self._kept(
            "similarities",
            images,
            {"draws": config.draws, "at": at},
            lambda: copy_similarity(denoiser, images, pixels, at, config.draws, config.seed),
        )

    def bits(self, images: Tensor) -> np.ndarray:
        """(N,) negative log-likelihood in bits per dimension."""
        tolerance, seed = self.config.likelihood_tolerance, self.config.seed
        settings = LikelihoodSettings(solver="rk45", rtol=tolerance, atol=tolerance)
        return self._kept(
            "bits",
            images,
            {"settings": repr(settings)},
            lambda: nll(self.subject.denoiser, images, settings, seed).bits_per_dim,
        )

    def _kept(
        self,
        what: str,
        images: Tensor,
        protocol: dict[str, Any],
        compute: Callable[[], np.ndarray],
    ) -> np.ndarray:
        key = None
        if self.subject.digest is not None:
            key = protocol | {
                "model": self.subject.digest,
                "measured": what,
                "images": digest_of_array(images.cpu().numpy()),
                "seed": self.config.seed,
            }
        return self.store.measured(key, lambda: {what: compute()})[what]
