"""What samples are measured with: frozen networks that are named and pinned by checksum.

Figures from different extractors do not compare: each result carries its extractor's `described`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from efface.errors import DataError
from efface.files import hash_file
from efface.metrics.inception_network import InceptionV3, inception_weights
from efface.metrics.judge import Classifier
from efface.metrics.pretrained import (
    Pinned,
    Pretrained,
    check_digest,
    find_files,
    load_parts,
    refusing,
    to_levels,
)

SPATIAL_CHANNELS = 7  # as published for Inception-v3 (Nash et al., 2021)
INCEPTION = "inception-v3-2015-12-05"
PUBLISHED = "inception"  # asks for that network with the weights that FID was published with


@dataclass(frozen=True, eq=False, kw_only=True)
class Extractor(Pinned, ABC):
    """A network that turns images (B, C, H, W) in [0, 1] into features."""

    @abstractmethod
    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and spatial features (B, D') from one pass.

        The latter are the first `SPATIAL_CHANNELS` channels at every place.
        """

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, D)."""
        return self.look(images)[0]

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device


@dataclass(frozen=True, eq=False, kw_only=True)
class VisionExtractor(Pretrained, Extractor):
    """A vision model of `transformers`.

    Features are the projected image embedding of a whole CLIP, else the pooled output, else the
    first token (or, of maps, the mean). Spatial features are of the last tokens, the class token
    among them, or of the last map.
    """

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        from transformers import CLIPModel

        clip = isinstance(self.network, CLIPModel)
        seeing = self.network.vision_model if clip else self.network
        seen = seeing(pixel_values=self.pixels(images))
        last = seen.last_hidden_state
        # Tokens (B, T, D) as maps have their channels last.
        maps = last if last.ndim == 4 else last.transpose(1, 2)
        pooled = self.network.visual_projection(seen.pooler_output) if clip else seen.pooler_output
        if pooled is None:
            pooled = last.mean((2, 3)) if last.ndim == 4 else last[:, 0]
        return pooled.flatten(1), _first_channels(maps)


@dataclass(frozen=True, eq=False, kw_only=True)
class InceptionExtractor(Extractor):
    """Inception-v3 as FID was published with: 2048 pooled features, spatial ones of mixed_6."""

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, middle = self.network(to_levels(images).to(self.device))
        return features, _first_channels(middle)


def _first_channels(maps: Tensor) -> Tensor:
    return maps[:, :SPATIAL_CHANNELS].flatten(1)


def load_extractor(source: str | Path, sha256: str | None = None) -> Extractor:
    """A folder or hub id of `transformers`, "inception", or a file of Inception-v3's weights.

    Raises DataError for what cannot be read, and if the checksum is not `sha256`, where given.
    """
    if source == PUBLISHED:
        return load_inception(inception_weights(), sha256)
    if Path(source).suffix == ".safetensors":
        return load_inception(Path(source), sha256)
    return load_vision(source, sha256)


def load_inception(path: Path, sha256: str | None = None) -> InceptionExtractor:
    """Inception-v3 from the weights that FID was published with, as safetensors.

    Its classification layer is left out.
    """
    with torch.device("meta"):  # weights that the file replaces
        network = InceptionV3()
    with refusing(path, "file of Inception-v3: give its weights for FID as safetensors"):
        found = hash_file(path)
        check_digest(path, found, sha256)
        weights = {k: v for k, v in load_file(path).items() if not k.startswith("fc.")}
        network.load_state_dict(weights, assign=True)
    return InceptionExtractor(
        name=INCEPTION, sha256=found, network=network.eval().requires_grad_(False)
    )


def load_vision(source: str | Path, sha256: str | None = None) -> VisionExtractor:
    """A vision model of `transformers` (CLIP, DINOv2, ViT and others) by folder or hub id.

    A pooling layer that the weights do not have is left out; other weights that lack are refused.
    """
    from transformers import AutoModel

    files = find_files(source, sha256)
    with refusing(source):
        extractor = VisionExtractor(**load_parts(AutoModel, files, spare="pooler"))
        with torch.inference_mode():
            extractor.look(torch.zeros(1, 3, 8, 8))  # what is no vision model fails here
    return extractor


@torch.inference_mode()
def extract(
    extractor: Extractor | Classifier, batches: Iterable[Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) and spatial ones (N, D'), or logits, of images that come in batches."""
    features, spatial = [], []
    for images in batches:
        seen, where = extractor.look(images)
        features.append(seen.float().cpu().numpy())
        spatial.append(where.float().cpu().numpy())
    if not features:
        raise DataError("there are no images to extract features from: give at least one batch.")
    return np.concatenate(features), np.concatenate(spatial)
