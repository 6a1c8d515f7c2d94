"""The estimate of memory, against what live runs hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from efface.data.batch import ImageBank
from efface.data.source import ConditionSource, PairSource
from efface.diffusion.adapters import share_network
from efface.diffusion.denoiser import VAECodec
from efface.diffusion.loading import load_beside
from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ModelError
from efface.memory.estimate import Amounts, Estimate, estimate, forget_rows, readable
from efface.memory.footprint import Holding, describe_network, network_footprint
from efface.memory.live import Live, tensors_of
from efface.settings.base import Settings, read_settings
from efface.training.networks import make_networks
from efface.training.trainer import Trainer
from tests.text_pipelines import inspect_small, load_text

Pipelines = Callable[[str], Path]
SettingsOf = Callable[..., Settings]
Tensors = list[torch.Tensor]
PROMPTS = ["a bag", "a cat", "a dog", "a coat"]  # the first is forgotten, the last replaces it
SLOW = [pytest.param(k, marks=pytest.mark.slow) for k in ("sd", "pixart_alpha_told_size")]
WAYS = {"whole": [], "LoRA": ["train.lora_rank=4"]}
WAYS["checkpointing"] = [*WAYS["LoRA"], "train.gradient_checkpointing=true"]
MIXED = "train.mixed_precision=bf16"
WAYS |= {f"{way}, mixed precision": [*changes, MIXED] for way, changes in WAYS.items()}


def estimated(
    model: ModelInfo, settings: Settings, device: str = "cpu", **amounts: int
) -> Estimate:
    """Of a request with as many forget rows as the method takes."""
    own = Amounts(forget_rows=forget_rows(settings), **amounts)
    return estimate(model, settings, own, device)


def loaded(folder: Path, settings: Settings) -> TextDenoiser:
    denoiser = load_text(folder)
    return denoiser if settings.train.lora_rank is None else share_network(denoiser)


def prompt_trainer(folder: Path, settings: Settings, out: Path) -> tuple[Trainer, TextDenoiser]:
    """A trainer as a run about prompts makes it, and the pretrained model beside it."""
    denoiser = loaded(folder, settings)
    source = ConditionSource(
        table=denoiser.encode(PROMPTS),
        retain=[1, 2, 3],
        forget=[0],
        replacements=[[3]],
        retain_rows=settings.train.batch_size,
        forget_rows=forget_rows(settings),
        seed=0,
    )
    denoiser = denoiser.without_encoders()
    networks = make_networks(settings.method, denoiser, settings.train)
    out.mkdir()
    return Trainer(settings.method, networks, source, settings.train, out), denoiser


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("sdxl", "whole"),
        ("flux", "LoRA"),
        ("sdxl", "checkpointing"),
        pytest.param("flux", "checkpointing", marks=pytest.mark.slow),
        pytest.param("sdxl", "LoRA", marks=pytest.mark.slow),
        pytest.param("flux", "whole", marks=pytest.mark.slow),
        ("sdxl", "whole, mixed precision"),
        ("flux", "checkpointing, mixed precision"),
        pytest.param("flux", "whole, mixed precision", marks=pytest.mark.slow),
        pytest.param("sd3", "LoRA, mixed precision", marks=pytest.mark.slow),
        pytest.param("sdxl", "checkpointing, mixed precision", marks=pytest.mark.slow),
    ],
)
def test_what_a_run_holds_is_estimated_before_anything_is_loaded(
    kind: str,
    way: str,
    pipelines: Pipelines,
    settings_of: SettingsOf,
    held: Callable[[Tensors], int],
    held_by: Callable[..., Tensors],
    moments: Callable[..., Tensors],
    tmp_path: Path,
) -> None:
    """Within 15 % of all that lives between two steps, and of the peak within one."""
    settings = settings_of("sfd", *WAYS[way])
    taken = estimated(inspect_small(pipelines(kind)), settings, prompts=len(PROMPTS))
    trainer, pretrained = prompt_trainer(pipelines(kind), settings, tmp_path / "out")
    trainer.run()
    table = list(cast(ConditionSource, trainer.source).table.tensors.values())
    encoded = [*table, *pretrained.encode(PROMPTS).tensors.values()]  # kept beside the table
    live = [*held_by(trainer, pretrained.network), *encoded]
    parts = {n: size for n, size in taken.parts.items() if n not in ("VAE", "activations")}
    assert sum(parts.values()) == pytest.approx(held(live), rel=0.15)
    assert parts["encoded prompts"] == pytest.approx(held(encoded), rel=0.05)
    assert parts["optimizer"] == pytest.approx(held(moments(trainer)), rel=0.05)
    step = Live(live)
    del live  # the step lets go of gradients
    with step:
        trainer.stepper.step(1)
    assert sum(taken.parts.values()) - taken.parts["VAE"] == pytest.approx(step.peak, rel=0.15)


def pair_trainer(folder: Path, settings: Settings, out: Path) -> tuple[Trainer, nn.Module]:
    """A trainer of a request about images under prompts, and the pretrained network."""
    denoiser = loaded(folder, settings)
    table = denoiser.encode(["a red bag", "a bag"])
    denoiser = denoiser.without_encoders()
    latents = torch.randn(9, *denoiser.sample_shape, generator=torch.Generator().manual_seed(0))
    source = PairSource(
        bank=ImageBank(latents[3:], latents[:3], prior=0.3),
        retain_rows=settings.train.batch_size,
        forget_rows=forget_rows(settings),
        seed=0,
        table=table,
        shares=(0.5, 0.5),
    )
    networks = make_networks(settings.method, denoiser, settings.train)
    out.mkdir()
    return Trainer(settings.method, networks, source, settings.train, out), denoiser.network


TAUGHT = ["method.retain_target=teacher", "method.rule_name=fixed_norm"]


@pytest.mark.parametrize(
    ("kind", "method", "changes"),
    [
        ("sdxl", "siss", []),
        ("sd3", "siss", WAYS["LoRA"]),
        ("sd3", "siss", [*WAYS["checkpointing, mixed precision"], "train.accumulation=2"]),
        pytest.param("sdxl", "siss", [*WAYS["checkpointing"], *TAUGHT], marks=pytest.mark.slow),
        pytest.param("sdxl", "siss_no_is", WAYS["LoRA"], marks=pytest.mark.slow),
        pytest.param("flux", "siss", [], marks=pytest.mark.slow),
        pytest.param("sd3", "siss", WAYS["checkpointing"], marks=pytest.mark.slow),
        pytest.param("sdxl", "erasediff_siss", WAYS["checkpointing"], marks=pytest.mark.slow),
        pytest.param("sd3", "retrack", WAYS["LoRA"], marks=pytest.mark.slow),
        pytest.param("sdxl", "siss_bernoulli", [], marks=pytest.mark.slow),
        ("sdxl", "posterior_subtraction", []),
        pytest.param("flux", "posterior_subtraction", [], marks=pytest.mark.slow),
        pytest.param("sdxl", "naive_deletion", [], marks=pytest.mark.slow),
        pytest.param("flux", "neggrad", WAYS["LoRA"], marks=pytest.mark.slow),
    ],
)
def test_methods_on_images_are_estimated_too(
    kind: str,
    method: str,
    changes: list[str],
    pipelines: Pipelines,
    settings_of: SettingsOf,
    held_by: Callable[..., Tensors],
    tmp_path: Path,
) -> None:
    """The peak within a step: SISS passes a row for two images, others one for each.

    Posterior subtraction leaves out rows by chance, so of its steps the largest counts.
    """
    settings = settings_of(method, *changes)
    taken = estimated(inspect_small(pipelines(kind)), settings)
    trainer, pretrained = pair_trainer(pipelines(kind), settings, tmp_path / "out")
    trainer.run()
    step = Live(held_by(trainer, pretrained))
    with step:
        for number in range(24 if method == "posterior_subtraction" else 1):
            trainer.stepper.step(1 + number)
    assert sum(taken.parts.values()) - taken.parts["VAE"] == pytest.approx(step.peak, rel=0.15)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_an_evaluation_holds_is_estimated_too(
    dtype: str, pipelines: Pipelines, settings_of: SettingsOf, held: Callable[[Tensors], int]
) -> None:
    """The original model and one beside it, as an evaluation loads them."""
    info = inspect_model(pipelines("sd"))
    taken = estimated(info, settings_of("siss", f"evaluate.dtype={dtype}")).evaluation
    original = load_text(pipelines("sd"), dtype=getattr(torch, dtype))
    denoisers = [original, load_beside(info, original, getattr(torch, dtype))]
    networks = [tensor for denoiser in denoisers for tensor in tensors_of(denoiser.network)]
    vae = tensors_of(cast(VAECodec, original.codec).vae)
    assert taken["evaluated networks"] == pytest.approx(held(networks), rel=0.01)
    assert taken["VAE of the evaluated networks"] == pytest.approx(held(vae), rel=0.01)
    three = estimated(info, settings_of("siss", f"evaluate.dtype={dtype}"), models=3).evaluation
    assert three["evaluated networks"] * 2 == taken["evaluated networks"] * 3


def test_what_comes_before_and_after_training_counts_by_its_own_peak(
    pipelines: Pipelines, settings_of: SettingsOf
) -> None:
    info, settings = inspect_model(pipelines("sd3")), settings_of("siss")
    plain, more = estimated(info, settings), estimated(info, settings, preparation=10**9)
    assert more.before == plain.before | {"preparation": 10**9}
    assert more.peak(evaluated=True) == sum(more.before.values())
    assert (more.parts, more.evaluation) == (plain.parts, plain.evaluation)


def test_what_an_evaluation_takes_can_decide(pipelines: Pipelines, settings_of: SettingsOf) -> None:
    small = ["train.lora_rank=2", "train.base_dtype=bfloat16", "train.gradient_checkpointing=true"]
    settings = settings_of("siss", *small, "evaluate.batch_size=64")
    info = inspect_model(pipelines("sd3"))
    whole = estimated(info, settings)
    assert whole.peak(evaluated=False) < whole.peak(evaluated=True)
    assert whole.peak(evaluated=True) == sum(whole.evaluation.values())
    half = estimated(info, settings.changed({"evaluate.dtype": "bfloat16"}))
    assert half.peak(evaluated=True) < whole.peak(evaluated=True)


def test_a_gpu_keeps_norms_in_float32(pipelines: Pipelines, settings_of: SettingsOf) -> None:
    """Autocast does so there and not on the CPU, so mixed precision saves less."""
    info = inspect_model(pipelines("sdxl"))
    on: dict[tuple[str, str], int] = {}
    for precision in ("no", "bf16"):
        settings = settings_of("siss", f"train.mixed_precision={precision}")
        for device in ("cpu", "cuda"):
            on[precision, device] = estimated(info, settings, device).parts["activations"]
    assert on["no", "cpu"] == on["no", "cuda"]
    assert on["bf16", "cpu"] < on["bf16", "cuda"]


def test_what_was_encoded_stays_on_the_cpu_too(
    pipelines: Pipelines, settings_of: SettingsOf
) -> None:
    info, settings = inspect_model(pipelines("sd")), settings_of("siss")
    on = {device: estimated(info, settings, device, prompts=100) for device in ("cpu", "cuda")}
    assert on["cpu"].parts["encoded prompts"] == 2 * on["cuda"].parts["encoded prompts"] > 0


def test_processes_share_a_batch(pipelines: Pipelines, settings_of: SettingsOf) -> None:
    info, settings = inspect_model(pipelines("sd3")), settings_of("siss")
    amounts = Amounts(forget_rows=2)
    one, two = (estimate(info, settings, amounts, processes=count) for count in (1, 2))
    assert two.parts["activations"] * 2 == pytest.approx(one.parts["activations"], rel=0.01)
    alone = {name: size for name, size in one.parts.items() if name != "activations"}
    assert alone == {name: size for name, size in two.parts.items() if name != "activations"}


def test_only_configurations_are_read(
    pipelines: Pipelines, settings_of: SettingsOf, tmp_path: Path
) -> None:
    """The same estimate without a single weight file."""
    shutil.copytree(pipelines("sd3"), tmp_path / "model")
    info, settings = inspect_model(tmp_path / "model"), settings_of("siss")
    whole = estimated(info, settings)
    for file in (tmp_path / "model").rglob("*.safetensors"):
        file.unlink()
    assert estimated(info, settings) == whole
    config = tmp_path / "model" / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_layers": None}))
    with pytest.raises(ModelError, match="transformer could not be loaded"):
        estimated(info, settings)
    (tmp_path / "model" / "text_encoder_2" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="text_encoder_2"):
        estimated(info, settings)


@pytest.mark.parametrize("kind", ["sd3", "flux", *SLOW])
def test_settings_that_save_memory_lower_the_estimate(
    kind: str, pipelines: Pipelines, settings_of: SettingsOf
) -> None:
    info = replace(inspect_model(pipelines(kind)), sample_size=8)

    def parts(*changes: str) -> dict[str, int]:
        return estimated(info, settings_of("sfd", "train.lora_rank=2", *changes)).parts

    plain, checkpointed = parts(), parts("train.gradient_checkpointing=true")
    assert checkpointed["activations"] < plain["activations"]
    half = parts("train.base_dtype='bfloat16'")
    assert half["pretrained network"] * 2 == plain["pretrained network"]
    assert half["activations"] < plain["activations"]
    assert half["optimizer"] == plain["optimizer"]
    accumulated = parts("train.accumulation=2")
    # Conditions of all parts at once: of four rows, two forget rows and their replacements.
    given = 8 * network_footprint(describe_network(info), Holding()).condition
    halved = (plain["activations"] - given) / 2  # but for what FLUX makes once for all rows
    assert accumulated["activations"] - given == pytest.approx(halved, rel=0.01)
    guided = parts("method.teacher_guidance=2.0")
    assert plain["activations"] < guided["activations"] < 2 * plain["activations"]


def test_a_request_says_which_networks_are_guided_besides(
    pipelines: Pipelines, settings_of: SettingsOf
) -> None:
    info, settings = inspect_model(pipelines("sd3")), settings_of("sfd")
    plain, guided = (
        estimate(info, settings, Amounts(forget_rows=2, guided=frozenset(names)))
        for names in ((), ("teacher",))
    )
    told = estimated(info, settings.changed({"method.teacher_guidance": 2.0}))
    assert plain.parts["activations"] < guided.parts["activations"] == told.parts["activations"]


def test_larger_images_take_more(pipelines: Pipelines, settings_of: SettingsOf) -> None:
    small, large = (
        estimated(inspect_model(pipelines("flux"), size=size), settings_of("siss")).parts
        for size in (16, 64)
    )
    assert small["activations"] < large["activations"]
    assert small["pretrained network"] == large["pretrained network"]


def test_models_of_classes_are_estimated_too(tiny_model: Path, settings_of: SettingsOf) -> None:
    """SFD by hand: four copies of the parameters to begin with, and ten after a step."""
    file = load_file(tiny_model / "unet" / "diffusion_pytorch_model.safetensors")
    size = sum(4 * tensor.numel() for tensor in file.values())
    parts = estimated(inspect_model(tiny_model), settings_of("sfd")).parts
    names = ("pretrained network", "fake_score", "student", "averages")
    assert [parts[name] for name in names] == [size] * 4
    assert (parts["gradients"], parts["optimizer"], parts["VAE"]) == (2 * size, 4 * size, 0)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (12_345, "12.3 KB"), (3 * 10**10, "30 GB")]
)
def test_bytes_are_written_in_the_unit_that_suits_them(size: int, text: str) -> None:
    assert readable(size) == text


def test_what_is_edited_and_never_trained_has_no_gradient_and_no_passes(
    pipelines: Pipelines, settings_of: SettingsOf
) -> None:
    """Three copies of the weights: the model, the edited one and what is delivered."""
    info = inspect_model(pipelines("sd"))
    settings = settings_of("redirection")
    parts, trained = (
        estimate(info, one, Amounts(forget_rows=0, prompts=4)).parts
        for one in (read_settings("none", None, method="uce"), settings)
    )
    size = trained["pretrained network"]
    copies = ("pretrained network", "student", "averages")
    assert [parts[name] for name in copies] == [size] * 3
    assert parts["gradients"] == parts["optimizer"] == 0
    row = network_footprint(describe_network(info), Holding()).condition
    assert parts["activations"] == 128 * row
