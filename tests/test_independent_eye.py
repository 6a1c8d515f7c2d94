"""The independent eye sees what is put before it."""

from __future__ import annotations

from pathlib import Path

import independent_eye as eye
import kept
import numpy as np
import pytest
from PIL import Image

FORGOTTEN, REPLACEMENT = 2, 7


def real(seed: int, forget: bool = False) -> eye.Digits:
    """Real digits drawn anew, as many of each label; those of 2 are sevens if it is forgotten."""
    digits, _, _ = eye.fitted()
    rng = np.random.default_rng(seed)
    images = []
    for label in range(10):
        source = REPLACEMENT if forget and label == FORGOTTEN else label
        images.append(rng.choice(digits.images[digits.labels == source], 60))
    return eye.Digits(np.concatenate(images), np.repeat(range(10), 60))


def less_varied(digits: eye.Digits, share: float) -> eye.Digits:
    means = np.stack([digits.images[digits.labels == label].mean(0) for label in digits.labels])
    return eye.Digits(means + share * (digits.images - means), digits.labels)


def test_digits_of_the_same_kind_are_not_worse_and_the_forgotten_one_is_gone() -> None:
    figures = eye.look(real(0), real(1, forget=True), FORGOTTEN, REPLACEMENT)
    assert eye.worse(figures) == []
    assert figures["unlearning_accuracy"]["original"] < 0.02
    assert figures["unlearning_accuracy"]["result"] > 0.98
    assert figures["replacement_seen"]["result"] > 0.98
    assert figures["distance_pixels"]["low"] < 1 < figures["distance_pixels"]["high"]


def test_lost_variety_is_seen_where_every_digit_is_right() -> None:
    result = less_varied(real(1, forget=True), 0.5)
    figures = eye.look(real(0), result, FORGOTTEN, REPLACEMENT)
    assert figures["retained_accuracy"]["result"] > 0.98
    assert {"recall", "distance_pixels", "distance_components"} <= set(eye.worse(figures))


def test_wrong_digits_are_seen() -> None:
    result = real(1, forget=True)
    wrong = np.where(result.labels == 3, 5, result.labels)
    swapped = np.concatenate([np.flatnonzero(result.labels == label) for label in wrong[::60]])
    mixed = eye.Digits(result.images[swapped], result.labels)
    figures = eye.look(real(0), mixed, FORGOTTEN, REPLACEMENT)
    assert "retained_accuracy" in eye.worse(figures)
    assert figures["worst_class"]["label"] == 3 and figures["worst_class"]["result"] < 0.05


def test_the_frechet_distance_of_two_gaussians_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (200_000, 2)), rng.normal(3, 2, (200_000, 2))
    assert eye.frechet(x, y) == pytest.approx(2 * (3**2 + (2 - 1) ** 2), rel=0.02)


def test_images_are_read_by_the_label_in_their_names(tmp_path: Path) -> None:
    for name, value in (("label0003_00000", 255), ("label0007_00001", 0), ("grid", 9)):
        Image.fromarray(np.full((8, 8), value, np.uint8)).save(tmp_path / f"{name}.png")
    digits = eye.read_folder(tmp_path)
    assert digits.labels.tolist() == [3, 7] and digits.images[:, 0].tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="holds no images named"):
        eye.read_folder(tmp_path / "empty")


def gone(low: float, result: float, high: float) -> dict[str, dict[str, float]]:
    return {"unlearning_accuracy": {"low": low, "result": result, "high": high}}


@pytest.mark.parametrize(
    ("forget", "retain", "figures", "worse", "agrees"),
    [
        ("yes", "no", gone(0.98, 1.0, 1.0), ["recall"], True),
        ("yes", "inconclusive", gone(0.98, 1.0, 1.0), [], True),
        ("yes", "yes", gone(0.98, 1.0, 1.0), [], True),
        ("yes", "yes", gone(0.98, 1.0, 1.0), ["recall"], False),
        ("yes", "no", gone(0.98, 1.0, 1.0), [], False),
        ("yes", "no", gone(0.1, 0.2, 0.3), ["recall"], False),
        ("no", "no", gone(0.98, 1.0, 1.0), ["recall"], False),
        ("no", "no", gone(0.1, 0.2, 0.3), ["recall"], True),
    ],
)
def test_a_verdict_agrees_unless_the_eye_says_the_opposite(
    forget: str, retain: str, figures: dict, worse: list[str], agrees: bool
) -> None:
    assert kept.agrees({"forget": forget, "retain": retain}, figures, worse) == agrees


def test_a_mean_has_a_t_interval() -> None:
    found = kept.mean([1.0, 2.0, 3.0])  # 4.303 is the 97.5 % quantile of t with two degrees
    assert found["mean"] == 2.0 and found["high"] == pytest.approx(2 + 4.303 / 3**0.5, abs=1e-3)
