"""Which samples, and which given images, a request to forget images is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from efface.data.images import ImageSet, to_model
from efface.data.split import Split
from efface.requests.images.settings import ImageSettings
from efface.settings.evaluate import EvaluateSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageProtocol:
    """The images of a request, and how all models are measured; sample i has seed first + i."""

    split: Split
    unseen: ImageSet | None
    config: EvaluateSettings
    own: ImageSettings

    @property
    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.own.samples)

    def chosen_unseen(self) -> Tensor | None:
        """Unseen images (M, C, H, W) in model space; the first of them are of all kinds."""
        if self.unseen is None:
            return None
        images = self.unseen.images
        spread = torch.linspace(0, len(images) - 1, min(self.own.unseen, len(images))).long()
        order = torch.randperm(len(spread), generator=torch.Generator().manual_seed(0))
        return to_model(images[spread[order]])
