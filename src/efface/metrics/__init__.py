"""Evidence: one file is one metric.

The functions here take arrays (numpy) and return a value with its interval.
"""

from efface.metrics.coverage import coverage
from efface.metrics.fd import frechet_distance
from efface.metrics.inception_score import inception_score
from efface.metrics.kid import kid
from efface.metrics.precision import precision
from efface.metrics.recall import precision_recall, recall
from efface.metrics.unlearning_accuracy import unlearning_accuracy

__all__ = [
    "coverage",
    "frechet_distance",
    "inception_score",
    "kid",
    "precision",
    "precision_recall",
    "recall",
    "unlearning_accuracy",
]
