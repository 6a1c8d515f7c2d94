"""How well samples show what their prompts say."""

from collections.abc import Sequence

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Metric, Observations
from efface.metrics.clip import Clip
from efface.metrics.intervals import Estimate, mean
from efface.records import Margin, Spec


def prompt_similarity(clip: Clip, embedded: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """Cosine (N,) of each image with its own prompt; images (N, D) from `clip.embed_images`."""
    if len(embedded) != len(prompts):
        raise DataError(f"{len(embedded)} images have {len(prompts)} prompts: give one for each.")
    different = sorted(set(prompts))
    rows = [different.index(prompt) for prompt in prompts]
    return (embedded.astype(np.float64) * clip.embed_prompts(different)[rows]).sum(1)


def _clip_score(seen: Observations) -> Estimate:
    """Mean over retained samples of 100 max(cosine, 0) between sample and prompt.

    CLIPScore (Hessel et al., 2021, eq. 1) with the weight 100 that is now usual instead of 2.5;
    cut off at 0 sample by sample.
    """
    if seen.prompt_similarity is None:
        raise DataError("clip_score needs prompts: observe the samples with a CLIP.")
    return mean(100 * seen.prompt_similarity.clip(0))


CLIP_SCORE = Metric(
    compute=_clip_score,
    spec=Spec(
        name="clip_score",
        label="CLIP score",
        meaning="how well samples show what their prompts say",
        unit="100 x cosine",
        side="retain",
        better="more",
        role="secondary",
        margin=Margin(value=0.1, relative=True),
    ),
)
