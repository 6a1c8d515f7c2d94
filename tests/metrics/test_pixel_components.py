"""The view of samples that knows no label: principal components of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from efface.metrics.fd import frechet_distance
from efface.metrics.pixel_components import fit_components

IMAGES = torch.randint(0, 256, (400, 1, 6, 6), dtype=torch.uint8, generator=torch.manual_seed(0))


def test_features_are_the_projections_of_scikit_learn():
    seen = fit_components(IMAGES).look(IMAGES[:7].float() / 255)[0].numpy()
    expected = PCA(32, svd_solver="full").fit(IMAGES.flatten(1).numpy() / 255)
    np.testing.assert_allclose(
        np.abs(seen), np.abs(expected.transform(IMAGES[:7].flatten(1).numpy() / 255)), atol=1e-5
    )


@pytest.mark.parametrize("count, components", [(400, 32), (60, 6), (5, 1)])
def test_few_images_have_few_components(count: int, components: int):
    fitted = fit_components(IMAGES[:count])
    assert fitted.features(IMAGES[:3].float() / 255).shape == (3, components)
    assert fitted.name.startswith(f"{components} ")


def test_other_images_are_another_network():
    assert fit_components(IMAGES).sha256 != fit_components(IMAGES[:399]).sha256


def test_lost_variety_is_noticed():
    """Half of the images again and again: a classifier would see nothing wrong."""
    components = fit_components(IMAGES)
    whole, few = (components.features(x.float() / 255).numpy() for x in (IMAGES, IMAGES[:8]))
    assert (
        frechet_distance(np.tile(few, (50, 1)), whole).low > 5 * frechet_distance(whole, whole).high
    )
