"""How good samples look, asked of a CLIP in two opposite prompts."""

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Metric, Observations
from efface.metrics.clip import Clip
from efface.metrics.intervals import Estimate, bounded_mean
from efface.records import Margin, Spec

OPPOSITES = ("Good photo.", "Bad photo.")


def prompt_quality(
    clip: Clip, embedded: np.ndarray, opposites: tuple[str, str] = OPPOSITES
) -> np.ndarray:
    """Probability (N,) of the first of two opposite prompts; images from `clip.embed_images`.

    Softmax of the two cosines at the CLIP's own temperature (Wang et al., 2023, eqs. 3 and 4). The
    position embedding is kept, which the paper leaves out for images of other sizes: the model's
    own processor makes them of one size.
    """
    return clip.prefers_first(embedded, [opposites] * len(embedded))


def _clip_iqa(seen: Observations) -> Estimate:
    """Mean probability that a retained sample is a good photo rather than a bad one."""
    if seen.prompt_quality is None:
        raise DataError("clip_iqa needs opposite prompts: observe the samples with a CLIP.")
    return bounded_mean(seen.prompt_quality)


CLIP_IQA = Metric(
    compute=_clip_iqa,
    spec=Spec(
        name="clip_iqa",
        label="CLIP-IQA",
        meaning="how much samples look like good photos to a CLIP",
        unit="mean probability",
        side="retain",
        better="more",
        role="primary",
        margin=Margin(value=0.02),
    ),
)
