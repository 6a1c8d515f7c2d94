"""CLIP: one space for images and prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from efface.metrics.pretrained import Pretrained, find_files, load_parts, refusing


@dataclass(frozen=True, eq=False, kw_only=True)
class Clip(Pretrained):
    """A `CLIPModel` with its image processor and tokenizer."""

    tokenizer: Any

    @property
    def temperature(self) -> float:
        """What cosines are multiplied by before a softmax: about 100 in the published models."""
        return float(self.network.logit_scale.exp())

    @torch.inference_mode()
    def embed_images(self, images: Tensor) -> np.ndarray:
        """Images (B, C, H, W) in [0, 1] -> unit vectors (B, D)."""
        pooled = self.network.vision_model(pixel_values=self.pixels(images)).pooler_output
        return _unit(self.network.visual_projection(pooled))

    @torch.inference_mode()
    def embed_prompts(self, prompts: Sequence[str]) -> np.ndarray:
        """Prompts -> unit vectors (P, D); what is beyond the longest prompt is cut off."""
        tokens = self.tokenizer(
            list(prompts),
            padding=True,
            truncation=True,
            max_length=self.network.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.network.device)
        seen = self.network.text_model(tokens["input_ids"], tokens["attention_mask"])
        return _unit(self.network.text_projection(seen.pooler_output))

    def prefers_first(
        self, embedded: np.ndarray, contrasts: Sequence[tuple[str, ...]]
    ) -> np.ndarray:
        """Probability (N,) of the first of several texts per image, at the CLIP's own temperature.

        Images (N, D) come from `embed_images`; all have the same number of texts.
        """
        texts = sorted({text for several in contrasts for text in several})
        vectors = self.embed_prompts(texts).astype(np.float64)
        rows = np.array([[texts.index(text) for text in several] for several in contrasts])
        cosines = np.einsum("nd,npd->np", embedded.astype(np.float64), vectors[rows])
        return softmax(self.temperature * cosines, axis=1)[:, 0]


def _unit(vectors: Tensor) -> np.ndarray:
    return (vectors / vectors.norm(dim=1, keepdim=True)).cpu().numpy()


def load_clip(source: str | Path, sha256: str | None = None) -> Clip:
    """A CLIP of `transformers` by folder or hub id; DataError for what is none."""
    from transformers import CLIPModel, CLIPTokenizer

    files = find_files(source, sha256)
    with refusing(source):
        tokenizer = CLIPTokenizer.from_pretrained(files.folder)
        clip = Clip(**load_parts(CLIPModel, files), tokenizer=tokenizer)
        clip.embed_prompts(["a photo"])
        clip.embed_images(torch.zeros(1, 3, 8, 8))
    return clip
