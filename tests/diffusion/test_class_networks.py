"""Networks of models without prompts, by what their configurations say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from efface.diffusion.class_networks import find_network, labels_of, read_classes
from efface.errors import ModelError

FOLDER = Path("model")
UNET, DIT = "UNet2DModel", "DiTTransformer2DModel"


@pytest.mark.parametrize(("component", "kind"), [("unet", UNET), ("transformer", DIT)])
def test_a_network_is_found_by_its_component(component: str, kind: str) -> None:
    index = {"_class_name": "DDIMPipeline", component: ["diffusers", kind]}
    assert find_network(index, FOLDER) == (component, kind)


@pytest.mark.parametrize("entry", [None, UNET, ["diffusers"]])
def test_an_index_without_a_network_is_named(entry: Any) -> None:
    with pytest.raises(ModelError, match="model/model_index.json names no unet"):
        find_network({"unet": entry}, FOLDER)


def test_other_networks_and_other_autoencoders_are_named() -> None:
    with pytest.raises(ModelError, match="holds a UNet2DConditionModel: efface works on UNet2D"):
        find_network({"unet": ["diffusers", "UNet2DConditionModel"]}, FOLDER)
    with pytest.raises(ModelError, match="VQ-VAE"):
        find_network({"unet": ["diffusers", UNET], "vqvae": ["diffusers", "VQModel"]}, FOLDER)


@pytest.mark.parametrize(
    ("kind", "config", "index", "given", "expected"),
    [
        (UNET, {}, {}, None, (None, None)),
        (UNET, {"num_class_embeds": 11}, {}, None, (11, None)),
        (UNET, {"num_class_embeds": 11}, {"null_label": 10}, None, (10, 10)),
        (UNET, {"num_class_embeds": 11}, {"null_label": None}, 10, (10, 10)),
        (DIT, {"num_embeds_ada_norm": 10}, {}, None, (10, 10)),
        (DIT, {}, {}, None, (1000, 1000)),
    ],
)
def test_every_embedding_is_a_label_but_that_of_no_class(
    kind: str, config: Any, index: Any, given: int | None, expected: tuple[int | None, int | None]
) -> None:
    assert read_classes(kind, config, index, given, FOLDER) == expected


@pytest.mark.parametrize("null", [0, 3, 10])
def test_any_embedding_can_be_the_null_label(null: int) -> None:
    assert read_classes(UNET, {"num_class_embeds": 11}, {}, null, FOLDER) == (10, null)
    assert read_classes(UNET, {"num_class_embeds": 11}, {"null_label": null}, None, FOLDER) == (
        10,
        null,
    )
    assert labels_of(10, null) == tuple(row for row in range(11) if row != null)


@pytest.mark.parametrize("null", [-1, 11, True, 3.0, "3", [3], {}])
def test_a_null_label_that_is_no_embedding_is_named(null: Any) -> None:
    for index, given in (({}, null), ({"null_label": null}, None)):
        with pytest.raises(ModelError, match="null label .* does not fit: the model has labels 0"):
            read_classes(UNET, {"num_class_embeds": 11}, index, given, FOLDER)


def test_class_embeddings_of_another_type_are_named() -> None:
    with pytest.raises(ModelError, match="'timestep' are not known"):
        read_classes(UNET, {"class_embed_type": "timestep"}, {}, None, FOLDER)
