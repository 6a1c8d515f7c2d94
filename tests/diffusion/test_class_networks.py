"""Networks of models without prompts, by what their configurations say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from efface.diffusion.class_networks import find_network, read_classes
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
    assert read_classes(kind, config, index, given) == expected


@pytest.mark.parametrize("null", [0, 3, 11])
def test_only_the_last_embedding_can_be_the_null_label(null: int) -> None:
    sentence = f"null label {null} does not fit: the model has labels 0 to 10"
    with pytest.raises(ModelError, match=sentence):
        read_classes(UNET, {"num_class_embeds": 11}, {}, null)


def test_class_embeddings_of_another_type_are_named() -> None:
    with pytest.raises(ModelError, match="'timestep' are not known"):
        read_classes(UNET, {"class_embed_type": "timestep"}, {}, None)
