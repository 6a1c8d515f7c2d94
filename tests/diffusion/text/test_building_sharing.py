"""When text encoders and the VAE of two models may be shared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from efface.diffusion.model_folder import inspect_model
from efface.diffusion.text.building import differ_in_network_alone


def perturb(file: Path) -> None:
    weights = load_file(file)
    first = next(iter(weights))
    save_file(weights | {first: weights[first] + 0.1}, file, metadata={"format": "pt"})


def change(file: Path, key: str, value: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))


def test_models_differ_in_the_network_alone_unless_anything_else_does(
    pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    """As another vocabulary or VAE, or another kind of network; not the version of a library."""
    one, same = inspect_model(pipelines("sd")), tmp_path / "same"
    shutil.copytree(pipelines("sd"), same)
    perturb(same / "unet" / "diffusion_pytorch_model.safetensors")
    for name in ("unet/config.json", "text_encoder/config.json"):
        content = json.loads((same / name).read_text())
        content |= {"_diffusers_version": "0.1", "transformers_version": "1", "_name_or_path": "x"}
        (same / name).write_text(json.dumps(content))
    (same / "scheduler" / "more.json").write_text("{}")
    assert differ_in_network_alone(one, inspect_model(same))

    for name, spoil in {
        "text_encoder/model.safetensors": perturb,
        "vae/diffusion_pytorch_model.safetensors": perturb,
        "tokenizer/tokenizer.json": lambda file: file.write_text(file.read_text() + "\n"),
        "unet/config.json": lambda file: change(file, "act_fn", "gelu"),
        "text_encoder/config.json": lambda file: change(file, "eos_token_id", 2),
    }.items():
        other = tmp_path / name.replace("/", " ")
        shutil.copytree(same, other)
        spoil(other / name)
        assert not differ_in_network_alone(one, inspect_model(other)), name


def test_a_class_model_has_no_prompts_to_share(tiny_model: Path) -> None:
    assert not differ_in_network_alone(inspect_model(tiny_model), inspect_model(tiny_model))
