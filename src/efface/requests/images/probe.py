"""What a model makes of given images, measured once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Arrays, Store, digest_of_array
from efface.metrics.copy_similarity import copy_similarity, denoise_back, to_pixels
from efface.metrics.membership_gap import denoising_losses, loss_timesteps
from efface.metrics.nll import LikelihoodSettings, nll
from efface.requests.images.settings import ImageSettings

BACK_AT = 0.25  # share of the schedule to which an image is noised before it is denoised


@dataclass(frozen=True, eq=False, kw_only=True)
class Probe:
    """A model to be shown images (N, C, H, W) in model space."""

    subject: Subject
    own: ImageSettings
    seed: int
    store: Store

    def losses(self, images: Tensor) -> Arrays:
        """`losses` (N, T)."""
        denoiser, draws = self.subject.denoiser, self.own.draws
        timesteps = loss_timesteps(denoiser.schedule.num_timesteps)

        def compute() -> Arrays:
            return {"losses": denoising_losses(denoiser, images, timesteps, draws, self.seed)}

        return self._kept("losses", images, compute, draws=draws)

    def put_back(self, images: Tensor) -> Arrays:
        """What the model makes of images that are noised and denoised.

        `similarities` (N,): correlation with it, mean over the draws; `first` (N, C, H, W) uint8:
        that of the first draw.
        """
        denoiser, draws = self.subject.denoiser, self.own.draws
        at = int(BACK_AT * denoiser.schedule.num_timesteps)

        def compute() -> Arrays:
            back = denoise_back(denoiser, images, at, draws, self.seed)
            first = to_pixels(denoiser, back[:, 0]).mul(255).round().byte().cpu()
            similarities = copy_similarity(denoiser, images, back)
            return {"similarities": similarities, "first": first.numpy()}

        return self._kept("put back", images, compute, draws=draws, at=at)

    def bits(self, images: Tensor) -> Arrays:
        """`bits` (N,): negative log-likelihood in bits per dimension."""
        settings = LikelihoodSettings(steps=self.own.likelihood_steps)

        def compute() -> Arrays:
            return {"bits": nll(self.subject.denoiser, images, settings, self.seed)}

        return self._kept("bits", images, compute, settings=repr(settings))

    def _kept(
        self, what: str, images: Tensor, compute: Callable[[], Arrays], **protocol: Any
    ) -> Arrays:
        key = None
        if self.subject.digest is not None:
            key = protocol | {
                "model": self.subject.digest,
                "measured": what,
                "images": digest_of_array(images.cpu().numpy()),
                "seed": self.seed,
            }
        return self.store.measured(key, compute)
