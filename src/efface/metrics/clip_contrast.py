"""What a CLIP takes an image for: one of several texts."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from efface.metrics.clip import Clip


def detector_scores(
    clip: Clip, embedded: np.ndarray, contrasts: Sequence[tuple[str, ...]]
) -> np.ndarray:
    """Probability (N,) of the first of several texts per image, at the CLIP's own temperature.

    Images (N, D) come from `clip.embed_images`; all have the same number of texts.
    """
    texts = sorted({text for several in contrasts for text in several})
    vectors = clip.embed_prompts(texts).astype(np.float64)
    rows = np.array([[texts.index(text) for text in several] for several in contrasts])
    cosines = np.einsum("nd,npd->np", embedded.astype(np.float64), vectors[rows])
    return softmax(clip.temperature * cosines, axis=1)[:, 0]
