"""Frechet distance of spatial features: sees where things are, which pooled features do not."""

from efface.errors import DataError
from efface.metrics.base import Metric, Observations
from efface.metrics.fd import frechet_distance
from efface.metrics.intervals import Estimate
from efface.records import Spec


def _sfid(seen: Observations) -> Estimate:
    """Frechet distance of spatial features of retained-label samples (Nash et al., 2021).

    For Inception-v3 these are the first 7 channels of mixed_6/conv as published, 7 x 17 x 17 =
    2023; for the judge the first 7 channels of its last map before pooling; for a vision
    transformer those of its last tokens. See `extractors`.
    """
    if seen.spatial is None:
        raise DataError("sfid needs spatial features: observe the samples with an extractor.")
    return frechet_distance(seen.spatial, seen.reference, seen.asked)


SFID = Metric(
    compute=_sfid,
    spec=Spec(
        name="sfid",
        label="sFID",
        meaning="distance from real images in spatial structure",
        unit="squared feature distance",
        side="retain",
        better="less",
    ),
    needs_reference=True,
    needs_spatial=True,
)
