"""What a folder says about itself, and what is refused before any weight is read."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from efface.diffusion.loading import save_pipeline
from efface.diffusion.model_folder import drawn_shape, fetch_weights, inspect_model
from efface.diffusion.sampling import OneStep
from efface.errors import ModelError

WEIGHTS = "diffusion_pytorch_model.safetensors"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_class_model_tells_its_labels(folder):
    info = inspect_model(folder)
    assert (info.component, info.network_class) == ("unet", "UNet2DModel")
    assert (info.num_classes, info.null_label) == (10, 10)
    assert (info.vae, info.default_steps, info.input_scale) == (False, 50, 1.0)
    assert info.source == str(folder)


def test_an_unconditional_model_has_no_labels(tiny_unet, tmp_path):
    save_pipeline(tiny_unet(conditional=False), tmp_path / "model")
    info = inspect_model(tmp_path / "model")
    assert (info.num_classes, info.null_label) == (None, None)


def test_a_latent_transformer_tells_its_labels(tiny_dit, tmp_path):
    save_pipeline(tiny_dit(), tmp_path / "model")
    info = inspect_model(tmp_path / "model")
    assert (info.component, info.network_class) == ("transformer", "DiTTransformer2DModel")
    assert (info.vae, info.num_classes, info.null_label) == (True, 10, 10)


def test_a_one_step_generator_tells_its_steps_and_scale(tiny_unet, tmp_path):
    save_pipeline(tiny_unet(), tmp_path / "model", OneStep(440, 0.9286))
    info = inspect_model(tmp_path / "model")
    assert (info.default_steps, info.input_scale) == (1, 0.9286)


def test_pickles_are_refused_before_they_are_opened(folder):
    (folder / "unet" / WEIGHTS).unlink()
    torch.save({"a": torch.zeros(1)}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match="unet holds diffusion_pytorch_model.bin, a pickle"):
        inspect_model(folder)
    with pytest.raises(ModelError, match="weights.ckpt is a pickle"):
        inspect_model(folder / "weights.ckpt")


def test_missing_weights_are_named(folder):
    (folder / "unet" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"{folder}/unet holds no weights"):
        inspect_model(folder)


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -100, -1])
def test_truncated_weights_are_named(folder, kept):
    path = folder / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=f"{path} is truncated"):
        inspect_model(folder)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is missing"),
        (b"{'a': 1", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[1, 2]", "does not hold a JSON object"),
    ],
)
def test_missing_and_garbled_json_is_named(folder, name, content, sentence):
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{path} {sentence}"):
        inspect_model(folder)


@pytest.mark.parametrize("key", ["default_steps", "input_scale"])
@pytest.mark.parametrize("value", ["many", [1], None])
def test_garbled_numbers_in_the_index_are_named(folder, key, value):
    edit(folder / "model_index.json", **{key: value})
    with pytest.raises(ModelError, match=f"model_index.json.*{key}"):
        inspect_model(folder)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (["diffusers", "FlowMatchEulerDiscreteScheduler"], "FlowMatchEulerDiscreteScheduler"),
        (["diffusers", "EDMEulerScheduler"], "EDMEulerScheduler"),
        (["DDIMScheduler"], "None"),
        ("DDIMScheduler", "None"),
        (None, "None"),
    ],
)
def test_unknown_schedulers_are_named_before_weights_are_read(folder, entry, name):
    edit(folder / "model_index.json", scheduler=entry)
    (folder / "unet" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"the scheduler {name} is not known .*DDIMScheduler"):
        inspect_model(folder)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"rescale_betas_zero_snr": True}, "ends without signal"),
        ({"prediction_type": "velocity"}, "prediction type as 'velocity'"),
        ({"timestep_type": "continuous"}, "timestep_type as 'continuous'"),
        ({"beta_schedule": "sigmoid"}, "sigmoid is not implemented"),
        ({"trained_betas": [0.1, 0.2]}, "2 noise levels"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps as '1000'"),
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler is not known"),
    ],
)
def test_schedules_are_refused_before_weights_are_read(folder, config, sentence):
    edit(folder / "scheduler" / "scheduler_config.json", **config)
    (folder / "unet" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=sentence):
        inspect_model(folder)


def test_latent_models_without_weights_of_the_vae_are_named(tiny_dit, tmp_path):
    save_pipeline(tiny_dit(), tmp_path / "model")
    (tmp_path / "model" / "vae" / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="model/vae holds no weights"):
        inspect_model(tmp_path / "model")


def test_unknown_zoo_names_are_told_what_there_is():
    with pytest.raises(ModelError, match="zoo:nothing does not ship with efface"):
        inspect_model("zoo:nothing")


@pytest.mark.parametrize(
    "model", ["/no/such/folder", "./nothing/here", "nothing", "a/b/c", "../x/y"]
)
def test_unknown_paths_are_named(model):
    with pytest.raises(ModelError, match=f"no model at {model}: give a diffusers pipeline folder"):
        inspect_model(model)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="no model at"):
        inspect_model(tmp_path / "model.safetensors")


def test_an_empty_folder_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=f"{tmp_path}/model_index.json is missing"):
        inspect_model(tmp_path)


def test_hub_names_that_cannot_be_had_are_named():
    with pytest.raises(ModelError, match="no-one/no-such-model is no local folder and could not"):
        inspect_model("no-one/no-such-model")  # offline by conftest.py


def test_a_hub_id_is_taken_from_the_cache_without_the_network(tiny_model, tmp_path, monkeypatch):
    """The layout is the hub client's own: blobs left out, snapshots by commit."""
    import huggingface_hub.constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--acme--tiny"
    shutil.copytree(tiny_model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    info = inspect_model("acme/tiny")
    assert info.folder == repository / "snapshots" / commit
    assert info.num_classes == 10


def test_a_wrong_request_is_found_before_hub_weights_are_fetched(tiny_model, tmp_path, monkeypatch):
    """With the JSON files alone in the cache, inspecting works and only fetching fails."""
    import huggingface_hub.constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--acme--tiny"
    shutil.copytree(
        tiny_model,
        repository / "snapshots" / commit,
        ignore=shutil.ignore_patterns("*.safetensors"),
    )
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    info = inspect_model("acme/tiny")
    with pytest.raises(ModelError, match="may not have been downloaded"):
        fetch_weights(info)


WRONG = (None, True, -1, 0, 2.5, 10**30, 1e308, "", "x", [], [None], [3, "x"], {}, {"a": []})


def test_two_hundred_wrong_configurations_are_sentences(tiny_model, tmp_path):
    """Values of the wrong type in the network's configuration and in the index."""
    folder, chance = tmp_path / "model", random.Random(0)
    shutil.copytree(tiny_model, folder)
    files = [folder / "unet" / "config.json", folder / "model_index.json"]
    texts = [file.read_text() for file in files]
    refused = 0
    for _ in range(200):
        for file, text in zip(files, texts, strict=True):
            content = json.loads(text)
            for key in chance.sample(sorted(content), chance.randint(0, 2)):
                content[key] = chance.choice(WRONG)
            file.write_text(json.dumps(content))
        try:
            drawn_shape(inspect_model(folder))
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100
