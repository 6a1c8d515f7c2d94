"""Frechet distance of spatial features: sees where things are, which pooled features do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Metric, Observations
from efface.metrics.fid import FID
from efface.metrics.intervals import Estimate
from efface.records import Spec


class SFID(Metric):
    """Frechet distance of spatial features of retained-label samples (Nash et al., 2021).

    For Inception-v3 these are the first 7 channels of mixed_6/conv as published, 7 x 17 x 17 =
    2023; for the judge the first 7 channels of its last map before pooling; for a vision
    transformer those of its last tokens. See `extractors`.
    """

    spec: ClassVar[Spec] = Spec(
        name="sfid",
        label="sFID",
        meaning="distance from real images in spatial structure",
        unit="squared feature distance",
        side="retain",
        better="less",
    )
    needs_reference: ClassVar[bool] = True
    needs_spatial: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        """As `Metric.compute`; `reference` are spatial features (M, D')."""
        if observed.spatial is None:
            raise DataError("sfid needs spatial features: observe the samples with an extractor.")
        return FID().compute(replace(observed, features=observed.spatial), forgotten, reference)
