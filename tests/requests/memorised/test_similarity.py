from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from efface.errors import DataError
from efface.requests.memorised.similarity import (
    PIXELS,
    CopyDetector,
    copy_threshold,
    mean_similarity,
    mode,
    read_comparison,
)


def test_similarity_is_the_mean_over_pairs_and_the_mode_lies_among_copies() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 8, 8, generator=generator)
    others = torch.rand(4, 3, 8, 8, generator=generator)
    copies = (image + 0.02 * torch.randn(3, 3, 8, 8, generator=generator)).clamp(0, 1)
    images = torch.cat([others, copies])
    units = PIXELS.unit_features(images)
    pairs = [np.corrcoef(a.flatten(), b.flatten())[0, 1]
             for i, a in enumerate(images) for b in images[:i]]  # fmt: skip
    assert mean_similarity(units) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert mode(units) >= len(others)
    detector = CopyDetector(reference=image, threshold=0.9, comparison=PIXELS)
    assert detector.copies(images).tolist() == [False] * 4 + [True] * 3


def test_a_copy_lies_within_half_of_the_distance_of_the_nearest_control() -> None:
    threshold = copy_threshold(np.array([0.1, 0.6, 0.6, 0.6]))
    distance = (2 - 2 * threshold) ** 0.5
    assert distance == pytest.approx((2 - 2 * 0.6) ** 0.5 / 2)


def test_images_are_compared_by_an_extractor_that_is_named_and_pinned(clip_folder: Path) -> None:
    comparison = read_comparison(str(clip_folder))
    assert comparison.extractor is not None
    assert comparison.extractor.sha256[:12] in comparison.name
    units = comparison.unit_features(torch.rand(3, 3, 16, 16))
    assert torch.allclose(units.norm(dim=1), torch.ones(3, dtype=torch.float64))
    pinned = f"{clip_folder}@sha256:{comparison.extractor.sha256}"
    assert read_comparison(pinned).name == comparison.name
    elsewhere = comparison.name.replace(comparison.extractor.name, "elsewhere")
    assert comparison.matches(elsewhere) and not PIXELS.matches(elsewhere)
    with pytest.raises(DataError, match="checksum"):
        read_comparison(f"{clip_folder}@sha256:{'0' * 64}")


def test_what_an_observer_keeps_depends_on_the_reference_and_on_what_compares(
    clip_folder: Path,
) -> None:
    images = torch.rand(4, 3, 16, 16)
    detector = CopyDetector(reference=images[0], threshold=0.9, comparison=PIXELS)
    assert detector(images)["similarity"][0] == pytest.approx(1.0)
    changed = [
        CopyDetector(reference=images[1], threshold=0.9, comparison=PIXELS),
        CopyDetector(
            reference=images[0], threshold=0.9, comparison=read_comparison(str(clip_folder))
        ),
    ]
    others = [other.digest for other in changed]
    assert len({detector.digest, *others}) == 3
