"""Constructed runs and their headlines: `python -m tests.reporting.headlines` prints them all."""

from __future__ import annotations

import itertools
import sys

from efface.evaluation.wording import SPACE
from efface.records import Attacks, Evaluation, Result, RunRecord
from efface.reporting import judge_run
from tests.reporting.conftest import Triple, make_record, make_result, make_value
from tests.reporting.full_runs import make_attack, make_attacks
from tests.reporting.image_runs import make_image_evaluation, make_image_record
from tests.reporting.prompt_runs import make_memorised_evaluation, make_memorised_record

ANSWERS = ("yes", "no", "inconclusive", "not_measured")
Case = tuple[RunRecord, Evaluation, Attacks | None]


def about(middle: float, reach: float) -> Triple:
    return middle, middle - reach, middle + reach


def share(metric: str, count: int, before: int, samples: int) -> Result:
    """Counts with the interval of normal approximation, wide enough for any share."""

    def interval(found: int) -> Triple:
        value, reach = found / samples, 1.96 * (0.25 / samples) ** 0.5
        return value, max(0.0, value - reach), min(1.0, value + reach)

    return make_result(metric, interval(count), interval(before), samples=samples)


FORGET = {
    "yes": make_result("class_rate", (0.0, 0.0, 0.007), (0.99, 0.977, 0.997)),
    "no": make_result("class_rate", (0.5, 0.455, 0.545), (0.99, 0.977, 0.997)),
    "inconclusive": make_result("class_rate", (0.04, 0.025, 0.061), (0.99, 0.977, 0.997)),
}
RETAIN = {
    "yes": make_result("retained_accuracy", about(0.98, 0.005), about(0.98, 0.005)),
    "no": make_result("retained_accuracy", about(0.7, 0.03), about(0.98, 0.01)),
    "inconclusive": make_result("retained_accuracy", about(0.97, 0.01), about(0.98, 0.01)),
}
RESIST = {
    "yes": make_attacks(
        make_attack("relearning", None, 45), make_attack("noise_search", None, None)
    ),
    "no": make_attacks(make_attack("relearning", 5, 45), make_attack("noise_search", None, None)),
    "inconclusive": make_attacks(make_attack("relearning", None, 45, passed=False)),
}


def combinations() -> dict[str, Case]:
    """All 64: forget x retain x resist."""
    found = {}
    for answers in itertools.product(ANSWERS, repeat=3):
        forget, retain, resist = answers
        results = [r for r in (FORGET.get(forget), RETAIN.get(retain)) if r is not None]
        found[" ".join(answers)] = (make_record(), Evaluation(results=results), RESIST.get(resist))
    return found


def known_image() -> Case:
    """No copies; better known than unseen images, and half of it back at once."""
    evaluation = make_image_evaluation(
        (61, 0), (about(0.82, 0.04), (0.114, 0.083, 0.146)), retrained=True
    )
    gap = evaluation.get("membership_gap")
    assert gap is not None
    gap.retrained = make_value(about(-4.86, 0.4))
    return make_image_record(), evaluation, make_attacks(make_attack(half=0, never=45))


def fewer(metric: str, before: int, after: int, samples: int) -> Case:
    found = share(metric, after, before, samples)
    return make_record(), Evaluation(results=[found, RETAIN["yes"]]), None


def worse_distance() -> Case:
    results = [FORGET["yes"], RETAIN["yes"], make_result("fd", about(11.8, 0.2), about(10.0, 0.2))]
    return make_record(), Evaluation(results=results), None


def worse_class() -> Case:
    """One class of nine falls from 90 to 10 %, which the mean of nine hides in part."""
    worst = make_result("worst_class", (0.1, 0.05, 0.18), (0.9, 0.82, 0.95))
    worst.difference = make_value((-0.8, -0.88, -0.7))
    results = [FORGET["yes"], RETAIN["inconclusive"], worst]
    return make_record(), Evaluation(results=results), None


def weak_original() -> Case:
    """Everything is better than in a weak original model, and the class is still there."""
    results = [
        share("class_rate", 58, 58, 60),
        make_result("retained_accuracy", about(0.71, 0.04), about(0.2, 0.04)),
        make_result("fd", about(4.6, 0.3), about(34.0, 1.0)),
        make_result("recall", about(0.8, 0.04), about(0.5, 0.04)),
    ]
    change = {"weights": 0.4, "samples": 1.1, "retained_distance": 0.9}
    return make_record(), Evaluation(results=results, change=change), None


def worse_in_pixels() -> Case:
    """Better in the classifier's features, and worse in those that know no label."""
    pixels = {"name": "principal components of pixels", "sha256": "00"}
    results = [
        FORGET["yes"],
        RETAIN["yes"],
        make_result("fd", about(0.64, 0.03), about(1.0, 0.04)),
        make_result("fd", about(2.3, 0.1), about(1.0, 0.05), extractor=pixels),
        make_result("recall", about(0.5, 0.03), about(0.89, 0.02), extractor=pixels),
    ]
    return make_record(), Evaluation(results=results), None


def unlike_without_real_images() -> Case:
    """Far from the original model's samples, which says nothing of better or worse."""
    far = make_result("fd", about(1.5, 0.1), about(0.1, 0.02), spec={"likeness": True})
    return make_record(), Evaluation(results=[FORGET["yes"], RETAIN["yes"], far]), None


FALSE_VERDICTS: dict[str, Case] = {
    "an image that is still known": known_image(),
    "17 of 20 to 11 of 20": fewer("class_rate", 17, 11, 20),
    "27 of 30 to 18 of 30": fewer("class_rate", 27, 18, 30),
    "more often than before": fewer("class_rate", 11, 17, 20),
    "memorised 6 of 16 to 2 of 16": (
        make_memorised_record(), make_memorised_evaluation((6, 2)), None,
    ),
    "a worse distance": worse_distance(),
    "a class that was lost": worse_class(),
    "a weak original model": weak_original(),
    "worse in pixels": worse_in_pixels(),
    "unlike, without real images": unlike_without_real_images(),
}  # fmt: skip


def headline(case: Case) -> str:
    record, evaluation, attacks = case
    return judge_run(record, evaluation, attacks=attacks).headline.replace(SPACE, " ")


if __name__ == "__main__":
    for name, case in (FALSE_VERDICTS | combinations()).items():
        sys.stdout.write(f"{name}\n    {headline(case)}\n")
