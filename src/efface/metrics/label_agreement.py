"""Which labels moved: what the judge sees of each label asked for, before and after."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import confusion_matrix

from efface.errors import DataError
from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, bounded_mean
from efface.records import Matrix, Spec

SPEC = Spec(
    name="label_agreement",
    label="Label agreement",
    meaning="samples in which the classifier sees what it saw in the original model's",
    unit="share of samples",
    side="retain",
    better="more",
)


def label_agreement(original: Observations) -> Metric:
    """Share of retained-label samples in which the judge sees what it saw in the original model's.

    Sample by sample: same label, same seed. Agreement between two classifications is their share
    of equal answers; right or wrong does not matter, which `retained_accuracy` tells. The original
    model agrees with itself in all samples; chance alone, as that of another sampler, lowers it:
    compare with the original model in one step, or with a retrained one. Computing it raises
    DataError for samples that are not of the same labels.
    """

    def compute(seen: Observations) -> Estimate:
        if not np.array_equal(seen.asked, original.asked):
            raise DataError("samples can be compared one by one only where the same was asked for.")
        return bounded_mean(seen.seen == original.seen)

    return Metric(spec=SPEC, compute=compute)


def labels_seen(observed: Mapping[str, Sequence[Observations]], protocol: str) -> Matrix:
    """Shares of labels seen for each label asked for, by model; retained and forgotten ones.

    `observed` has one entry per model with all its sides, in which the same was asked for. Columns
    are all labels that the judge knows.
    """
    together = {
        name: (np.concatenate([o.asked for o in sides]), np.concatenate([o.seen for o in sides]))
        for name, sides in observed.items()
    }
    classes = next(iter(observed.values()))[0].probabilities.shape[1]
    labels, counts = np.unique(next(iter(together.values()))[0], return_counts=True)
    shares = {}
    for name, (asked, seen) in together.items():
        if not np.array_equal(np.unique(asked, return_counts=True), (labels, counts)):
            raise DataError(f"not the same labels were asked of {name}: draw its samples anew.")
        table = confusion_matrix(asked, seen, labels=range(classes))[labels]
        shares[name] = (table / counts[:, None]).tolist()
    return Matrix(
        labels=labels.tolist(),
        seen=list(range(classes)),
        shares=shares,
        samples=counts.tolist(),
        protocol=protocol,
    )
