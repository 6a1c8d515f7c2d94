"""Networks by their configuration: what is taken, and what is refused before weights are read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from efface.diffusion.model_folder import drawn_shape, inspect_model, sample_shape
from efface.errors import ModelError

WEIGHTS = "diffusion_pytorch_model.safetensors"

PIXELS = {
    "_class_name": "UNet2DModel",
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8, 16],
    "num_class_embeds": 11,
}
LATENTS = {"_class_name": "DiTTransformer2DModel", "sample_size": 8, "num_embeds_ada_norm": 10}


def described(
    folder: Path,
    config: dict[str, object],
    scheduler: dict[str, object] | None = None,
    index: dict[str, object] | None = None,
) -> Path:
    """A pipeline of configurations, with one tensor that no network has."""
    kind = config["_class_name"]
    component = "unet" if kind == "UNet2DModel" else "transformer"
    name = str((scheduler or {}).get("_class_name", "DDPMScheduler"))
    entries = {component: ["diffusers", kind], "scheduler": ["diffusers", name]} | (index or {})
    for place, content in (
        ("model_index.json", {"_class_name": "DDPMPipeline"} | entries),
        (f"{component}/config.json", config),
        ("scheduler/scheduler_config.json", scheduler or {}),
    ):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(json.dumps(content))
    save_file({"w": torch.zeros(1)}, folder / component / WEIGHTS)
    return folder


SENTENCES = {
    "embedding": "class embeddings of type .* are not known to efface: allowed are plain ones",
    "time": "time_embedding_type as .*: allowed are 'positional' and 'learned'",
    "steps": "num_train_timesteps",
    "channels": "takes . channels and returns .*: give a model that takes noisy images alone",
    "variance": "takes . channels and returns .*: where it learns a variance, set variance_type",
    "count": "gives .* as .*: a whole number from 1 to",
    "size": "gives sample_size as .*: a whole number from 1 to .* or a height and a width",
    "unit": "gives sample_size as .*, and its network takes multiples of",
    "open": "does not say the size of the images .sample_size is null.: .* with --size",
    "number": "gives .* as .*: a number is needed",
    "names": "id2label does not map labels to their names",
    "unknown": "id2label in model_index.json names label .*, and .* has labels 0 to 10",
}
FIXED = {"variance_type": "fixed_small"}
REFUSED: list[tuple[str, dict[str, object], dict[str, object], dict[str, object]]] = [
    *[
        ("embedding", {"class_embed_type": kind}, {}, {})
        for kind in ("timestep", "identity", "projection", "simple_projection", 3, ["identity"])
    ],
    *[("time", {"time_embedding_type": kind}, {}, {}) for kind in ("fourier", None, 1, "cosine")],
    ("steps", {"time_embedding_type": "learned"}, {}, {}),
    ("steps", {"time_embedding_type": "learned", "num_train_timesteps": 500}, {}, {}),
    ("steps", {"time_embedding_type": "learned", "num_train_timesteps": "all"}, {}, {}),
    ("channels", {"in_channels": 6, "out_channels": 3}, {}, {}),
    ("channels", {"in_channels": 1, "out_channels": 3}, {}, {}),
    ("channels", {"in_channels": 4, "out_channels": 3}, {}, {}),
    ("channels", {"out_channels": "3"}, {}, {}),
    ("variance", {"in_channels": 3, "out_channels": 6}, FIXED, {}),
    ("variance", {"out_channels": 2}, {"variance_type": "fixed_large"}, {}),
    *[("count", {"in_channels": n}, {}, {}) for n in (0, -1, "3", None, True, 1.5, [3], 10**12)],
    *[
        ("count", {"num_class_embeds": n}, {}, {})
        for n in (0, -1, "11", 11.0, True, [11], {"n": 11}, 10**12)
    ],
    *[
        ("size", {"sample_size": size}, {}, {})
        for size in (0, -8, "8", 8.5, True, [], [8], [8, 8, 8], [8, 0], [[8], 8], {}, 10**9)
    ],
    ("unit", {"sample_size": 7}, {}, {}),
    ("unit", {"sample_size": [8, 9]}, {}, {}),
    ("unit", {"sample_size": 28, "block_out_channels": [8, 8, 8, 8]}, {}, {}),
    ("open", {"sample_size": None}, {}, {}),
    *[("number", {name: "x"}, {}, {}) for name in ("freq_shift", "norm_eps")],
    *[("number", {"dropout": value}, {}, {}) for value in (-1, 1.5, math.nan, math.inf, [])],
    *[("count", {"attention_head_dim": n}, {}, {}) for n in (0, -1, "8", [8])],
    *[("count", {name: 0}, {}, {}) for name in ("norm_num_groups", "layers_per_block")],
    *[
        ("names", {}, {}, {"id2label": names})
        for names in (["a", "b"], "a", 3, {"a": "b"}, {"0": 1}, {"-1": "a"}, {"1": "a", "01": "b"})
    ],
    ("unknown", {}, {}, {"id2label": {"11": "a"}}),
    *[("count", {}, {}, {"default_steps": n}) for n in (0, 0.5, True, 10**400)],
]


@pytest.mark.parametrize(("sentence", "config", "scheduler", "index"), REFUSED)
def test_a_network_that_takes_something_else_is_refused_by_its_configuration(
    sentence, config, scheduler, index, tmp_path
):
    folder = described(tmp_path, PIXELS | config, scheduler, index)
    (folder / "unet" / WEIGHTS).unlink()  # nothing of it is asked for
    with pytest.raises(ModelError, match=SENTENCES[sentence]) as caught:
        inspect_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"sample_size": [8, 16]}, "draws squares"),
        ({"sample_size": 7}, "multiples of 2"),
        ({"sample_size": 8, "patch_size": 3}, "multiples of 3"),
        ({"sample_size": None}, "does not say the size"),
        ({"patch_size": 0}, "patch_size as 0: a whole number"),
        ({"num_embeds_ada_norm": None}, "num_embeds_ada_norm as None: a whole number"),
        ({"in_channels": 4, "out_channels": 9}, "takes 4 channels and returns 9"),
    ],
)
def test_a_transformer_is_refused_by_its_configuration(config, sentence, tmp_path):
    with pytest.raises(ModelError, match=sentence):
        inspect_model(described(tmp_path, LATENTS | config))


@pytest.mark.parametrize(
    ("config", "scheduler", "size", "shape"),
    [
        ({"sample_size": [8, 16]}, {}, None, (1, 8, 16)),
        ({"sample_size": None}, {}, 16, (1, 16, 16)),
        ({"sample_size": 8}, {}, 8, (1, 8, 8)),
        ({"out_channels": 2}, {"variance_type": "learned_range"}, None, (1, 8, 8)),
        ({"out_channels": 2}, {"variance_type": "learned"}, None, (1, 8, 8)),
        ({"out_channels": 2}, {"_class_name": "DDIMScheduler"}, None, (1, 8, 8)),
        ({"time_embedding_type": "learned", "num_train_timesteps": 1000}, {}, None, (1, 8, 8)),
        ({"sample_size": 9, "block_out_channels": [8]}, {}, None, (1, 9, 9)),
    ],
)
def test_what_can_be_given_is_taken(config, scheduler, size, shape, tmp_path):
    info = inspect_model(described(tmp_path, PIXELS | config, scheduler), size=size)
    assert sample_shape(info) == drawn_shape(info) == shape


@pytest.mark.parametrize(("size", "sentence"), [(7, "multiple of 2"), (0, "multiple of 2")])
def test_a_size_that_a_network_cannot_draw_is_refused(size, sentence, tmp_path):
    folder = described(tmp_path, PIXELS | {"sample_size": None})
    with pytest.raises(ModelError, match=sentence):
        inspect_model(folder, size=size)
    with pytest.raises(ModelError, match="makes 8 x 8: leave the size out"):
        inspect_model(described(tmp_path, PIXELS), size=16)


NAMES = [f"name {i}" for i in range(11)]


@pytest.mark.parametrize(
    ("labels", "index", "given", "null"),
    [
        (range(10), {}, None, 10),
        (range(1, 11), {}, None, 0),
        ([0, 1, 2, *range(4, 11)], {}, None, 3),
        (range(11), {}, None, None),
        (range(11), {}, 0, 0),
        (range(9), {}, None, None),
        ([], {}, None, None),
        ([], {}, 4, 4),
        ([], {"null_label": 0}, None, 0),
        (range(10), {"null_label": 10}, 10, 10),
    ],
)
def test_the_null_label_is_the_one_that_alone_has_no_name(
    labels, index, given, null, tmp_path, capsys
):
    names = {str(label): NAMES[label] for label in labels}
    folder = described(tmp_path, PIXELS, index=index | {"id2label": names})
    info = inspect_model(folder, given)
    assert info.null_label == null
    assert info.num_classes == 11 - (null is not None)
    assert info.labels == tuple(label for label in range(11) if label != null)
    assert info.names == {label: NAMES[label] for label in labels if label != null}
    said = "is taken for the null label" in capsys.readouterr().err
    assert said == (null is not None and given is None and not index)


def test_two_null_labels_are_refused(tmp_path):
    folder = described(tmp_path, PIXELS, index={"null_label": 0})
    with pytest.raises(ModelError, match="null label 10 was given, and .* has 0: leave it out"):
        inspect_model(folder, 10)
    with pytest.raises(ModelError, match="takes no labels, so it has no null label"):
        inspect_model(described(tmp_path, PIXELS | {"num_class_embeds": None}), 3)
