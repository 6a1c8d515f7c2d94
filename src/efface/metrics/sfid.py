"""Frechet distance of spatial features: sees where things are, which pooled features do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Metric, Observations, Side
from efface.metrics.fid import FID
from efface.metrics.intervals import Estimate


class SFID(Metric):
    """Frechet distance of spatial features of retained-label samples (Nash et al., 2021).

    For Inception-v3 these are the first 7 channels of mixed_6/conv as published, 7 x 17 x 17 =
    2023; for the judge the first 7 channels of its last map before pooling; for a vision
    transformer those of its last tokens. See `extractors`.
    """

    name: ClassVar[str] = "sfid"
    side: ClassVar[Side] = "retain"
    unit: ClassVar[str] = "squared feature distance"
    higher_is_better: ClassVar[bool | None] = False
    needs_reference: ClassVar[bool] = True
    needs_spatial: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        """As `Metric.compute`; `reference` are spatial features (M, D')."""
        if observed.spatial is None:
            raise DataError("sfid needs spatial features: observe the samples with an extractor.")
        return FID().compute(replace(observed, features=observed.spatial), forgotten, reference)
