"""Observations: what is read off them, and in which order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from efface.errors import DataError
from efface.metrics.base import ENTRY_POINTS, added_metrics
from efface.metrics.class_rate import CLASS_RATE
from tests.metrics.samples import classified, with_features


def test_the_judge_sees_the_most_probable_label():
    seen = [0, 1, 1, 0, 1, 2, 1, 0, 1, 1]
    observed = classified([0] * 10, seen, sure=0.7)
    assert observed.seen.tolist() == seen and len(observed) == 10


def test_features_are_sorted_by_label_and_else_keep_their_order():
    features = np.arange(6.0)[:, None]
    observed = with_features(features, np.array([2, 0, 1, 0, 2, 1]))
    assert observed.features_by_label.ravel().tolist() == [1, 3, 2, 5, 0, 4]


def test_a_reference_that_is_not_there_is_asked_for():
    observed = with_features(np.zeros((3, 2)))
    with pytest.raises(DataError, match="compares samples with real images: give a reference"):
        _ = observed.reference
    real = np.ones((4, 2))
    assert replace(observed, real=real).reference is real


def test_a_metric_of_another_package_is_found_by_what_it_reads(tmp_path, monkeypatch):
    package = tmp_path / "more-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1.0\n")
    found = f"[{ENTRY_POINTS}]\nmore = efface.metrics.class_rate:CLASS_RATE\n"
    (package / "entry_points.txt").write_text(found)
    monkeypatch.syspath_prepend(tmp_path)
    assert CLASS_RATE in added_metrics("judge")
    assert CLASS_RATE not in (*added_metrics("extractor"), *added_metrics("clip"))
