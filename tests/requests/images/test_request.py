"""What models and settings a request to forget images fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from efface import ForgetImages
from efface.diffusion.model_folder import ModelInfo
from efface.errors import ConfigError, DataError, RequestError
from efface.settings.base import read_settings


def test_an_unconditional_model_of_pixels_alone_suits(
    model_info: Callable[..., ModelInfo],
) -> None:
    settings = read_settings("images", ForgetImages.own, method="siss")
    request, plain = ForgetImages(images="x"), model_info(classes=None)
    assert request.suits(plain)
    request.check(plain, settings)
    latent = dataclasses.replace(plain, vae=True)
    for model, reason in ((model_info(), "is class-conditional"), (latent, "works on latents")):
        assert not request.suits(model)
        with pytest.raises(RequestError, match=f"some/model {reason}"):
            request.check(model, settings)


def test_training_stops_at_unseen_images_only_where_there_are_some(
    model_info: Callable[..., ModelInfo],
) -> None:
    changes = ["train.stop_every=2"]
    settings = read_settings("images", ForgetImages.own, method="siss", changes=changes)
    model = model_info(classes=None)
    ForgetImages(images="x", unseen="y").check(model, settings)
    with pytest.raises(ConfigError, match="--unseen"):
        ForgetImages(images="x").check(model, settings)


@pytest.mark.parametrize("field", ["images", "retain", "unseen"])
def test_every_source_is_looked_for_before_a_model_is(field: str, tmp_path: Path) -> None:
    given = {"images": "digits", "unseen": "digits"} | {field: str(tmp_path / "none")}
    with pytest.raises(DataError, match="no images at .*none"):
        ForgetImages.model_validate(given).check_files()
    ForgetImages(images="digits").check_files()  # retained images are generated
