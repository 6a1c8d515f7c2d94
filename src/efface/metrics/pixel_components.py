"""A view of samples that knows no label: principal components of the pixels of real images."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from efface.metrics.extractors import Extractor

NAME = "principal components of pixels"
LARGEST = 32  # pixels to a side; of larger images pixels say little of what is shown
COMPONENTS = 32  # at most


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelComponents(Extractor):
    """Projections (B, K) of images (B, C, H, W) in [0, 1]."""

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network(images.flatten(1).to(self.device))
        return features, features[:, :0]


def fit_components(images: Tensor) -> PixelComponents:
    """Fit on real images (N, C, H, W) uint8; at most a tenth as many components as images."""
    pixels = images.flatten(1).numpy().astype(np.float64) / 255
    count = max(1, min(COMPONENTS, pixels.shape[1], len(pixels) // 10))
    fitted = PCA(count, svd_solver="full").fit(pixels)
    linear = nn.Linear(pixels.shape[1], count)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(fitted.components_))
        linear.bias.copy_(-torch.from_numpy(fitted.components_ @ fitted.mean_))
    return PixelComponents(
        name=f"{count} {NAME}",
        sha256=hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        network=linear.requires_grad_(False),
    )
