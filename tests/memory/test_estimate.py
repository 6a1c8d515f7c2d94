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

from efface.data.bank import ImageBank
from efface.data.source import ConditionSource, PairSource
from efface.diffusion.adapters import share_network
from efface.diffusion.codec import VAECodec
from efface.diffusion.loading import load_text
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep
from efface.errors import ModelError
from efface.evaluation.subjects import read_subjects
from efface.memory.advice import changed
from efface.memory.estimate import Amounts, estimate
from efface.memory.footprint import drawing_footprint
from efface.memory.live import Live, held, tensors_of
from efface.records import read_record
from efface.requests.concept.prompts import concept_source, encode_prompts, read_concept_prompts
from efface.requests.memorised.embedding_descent import Descent, descend
from efface.requests.memorised.sampling import Drawing
from efface.requests.memorised.text_noise import text_noise_norms
from efface.settings.reading import Settings, read_settings
from efface.training.networks import make_networks
from efface.training.trainer import Trainer
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.requests.concept.test_runs import BAG

Pipelines = Callable[[str], Path]
SMALL = ["train.steps=2", "train.batch_size=4", 'prompts.templates=["a {}"]']
SMALL += ['prompts.subjects=["cat", "dog"]', "method.forget_share=0.5"]
SLOW = [pytest.param(k, marks=pytest.mark.slow) for k in ("sd", "pixart_alpha_told_size")]
WAYS = {"whole": [], "LoRA": ["train.lora_rank=4"]}
WAYS["checkpointing"] = [*WAYS["LoRA"], "train.gradient_checkpointing=true"]
MIXED = "train.mixed_precision=bf16"
WAYS |= {f"{way}, mixed precision": [*changes, MIXED] for way, changes in WAYS.items()}


def trainer_of(folder: Path, settings: Settings, out: Path) -> tuple[Trainer, nn.Module]:
    """A trainer as a run makes it, and the pretrained network beside it."""
    prompts = read_concept_prompts(BAG, settings.prompts)
    denoiser = load_text(folder, 8 if folder.name == "flux" else None)
    if settings.train.lora_rank is not None:
        denoiser = share_network(denoiser)
    denoiser = encode_prompts(denoiser, prompts)  # pyright: ignore
    source = concept_source(denoiser, prompts, settings, torch.device("cpu"))
    networks = make_networks(settings.method, denoiser, settings.train)
    out.mkdir()
    rows = source.forget_rows
    trainer = Trainer(settings.method, networks, source, settings.train, out, rows)
    return trainer, denoiser.network


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
    kind: str, way: str, pipelines: Pipelines, tmp_path: Path
) -> None:
    """Within 15 % of all that lives between two steps, and of the peak within one."""
    settings = read_settings("sfd", None, [*SMALL, *WAYS[way]])
    folder = pipelines(kind)
    info = inspect_model(folder)
    if kind == "flux":
        info = replace(info, sample_size=8)
    said = estimate(info, settings, Amounts(prompts=4))
    trainer, pretrained = trainer_of(folder, settings, tmp_path / "out")
    trainer.run()
    table = list(cast(ConditionSource, trainer.source).table.tensors.values())
    live = [*held_by(trainer, pretrained), *table]
    parts = {n: size for n, size in said.parts.items() if n not in ("VAE", "activations")}
    assert sum(parts.values()) == pytest.approx(held(live), rel=0.15)
    assert parts["encoded prompts"] == pytest.approx(held(table), rel=0.05)
    assert parts["optimizer"] == pytest.approx(held(moments(trainer)), rel=0.05)
    step = Live(live)
    del live  # the step lets go of gradients
    with step:
        trainer._step(1)
    assert sum(said.parts.values()) - said.parts["VAE"] == pytest.approx(step.peak, rel=0.15)


def moments(trainer: Trainer) -> list[torch.Tensor]:
    """What optimizers hold."""
    states = [s for t in trainer._trained.values() for s in t.optimizer.state.values()]
    return [value for state in states for value in state.values()]


def held_by(trainer: Trainer, pretrained: nn.Module) -> list[torch.Tensor]:
    """All that lives between two steps, but what it is fed with."""
    networks = [tensors_of(d.network) for d in trainer.networks.values()]
    gradients = [p.grad for t in trainer._trained.values() for p in t.parameters]
    return [
        *tensors_of(pretrained),
        *sum(networks, []),
        *tensors_of(trainer.average.module),
        *moments(trainer),
        *(gradient for gradient in gradients if gradient is not None),
    ]


def pair_trainer(folder: Path, settings: Settings, out: Path) -> tuple[Trainer, nn.Module]:
    """A trainer of a request about pictures under prompts, and the pretrained network."""
    denoiser = load_text(folder, 8 if folder.name == "flux" else None)
    if settings.train.lora_rank is not None:
        denoiser = share_network(denoiser)
    table = denoiser.encode(["a red bag", "a bag"])
    denoiser = denoiser.without_encoders()
    latents = torch.randn(9, *denoiser.sample_shape, generator=torch.Generator().manual_seed(0))
    rows = settings.train.batch_size
    source = PairSource(
        bank=ImageBank(latents[3:], latents[:3], prior=0.3),
        retain_rows=rows,
        forget_rows=round(settings.method.forget_share * rows),
        seed=0,
        table=table,
        shares=(0.5, 0.5),
    )
    networks = make_networks(settings.method, denoiser, settings.train)
    out.mkdir()
    trainer = Trainer(settings.method, networks, source, settings.train, out, source.forget_rows)
    return trainer, denoiser.network


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
        pytest.param("sdxl", "erasediff", WAYS["checkpointing"], marks=pytest.mark.slow),
        pytest.param("sd3", "relabel", WAYS["LoRA"], marks=pytest.mark.slow),
        pytest.param("sdxl", "siss_bernoulli", [], marks=pytest.mark.slow),
        ("sdxl", "posterior_subtraction", []),
        pytest.param("flux", "posterior_subtraction", [], marks=pytest.mark.slow),
        pytest.param("sdxl", "naive_deletion", [], marks=pytest.mark.slow),
        pytest.param("flux", "neggrad", WAYS["LoRA"], marks=pytest.mark.slow),
    ],
)
def test_methods_on_pictures_are_estimated_too(
    kind: str, method: str, changes: list[str], pipelines: Pipelines, tmp_path: Path
) -> None:
    """The peak within a step: SISS passes a row for two pictures, others one for each.

    Posterior subtraction leaves out rows by chance, so of its steps the largest counts.
    """
    settings = read_settings(method, None, ["train.steps=2", "train.batch_size=4", *changes])
    info = inspect_model(pipelines(kind))
    info = replace(info, sample_size=8) if kind == "flux" else info
    said = estimate(info, settings)
    trainer, pretrained = pair_trainer(pipelines(kind), settings, tmp_path / "out")
    trainer.run()
    step = Live(held_by(trainer, pretrained))
    with step:
        for number in range(24 if method == "posterior_subtraction" else 1):
            trainer._step(1 + number)
    assert sum(said.parts.values()) - said.parts["VAE"] == pytest.approx(step.peak, rel=0.15)


@pytest.mark.parametrize("kind", ["sd", pytest.param("sd3", marks=pytest.mark.slow)])
def test_what_is_drawn_before_training_is_estimated_too(kind: str, pipelines: Pipelines) -> None:
    """All parts of the model at once, and what draws, looks at many draws or descends."""
    changes = ["evaluate.batch_size=8", "memorised.images=64", "memorised.control_images=2"]
    settings, info = read_settings("siss", None, changes), inspect_model(pipelines(kind))
    denoiser = load_text(pipelines(kind))
    asked = denoiser.encode(["a red bag"])
    denoiser.prompts.null(None)
    encoders = [getattr(denoiser.prompts._pipeline, name) for name in info.encoders]
    modules = [denoiser.network, cast(VAECodec, denoiser.codec).vae, *encoders]
    drawing = Drawing(denoiser=denoiser, sampler=MultiStep(1), batch_size=8)
    with Live(sum(map(tensors_of, modules), [])) as live:
        drawing.of(asked, range(64), "pictures")
        text_noise_norms(denoiser, denoiser.encode(["a bag", "a cat"] * 4), range(8))
        descend(denoiser, asked, range(8), Descent(steps=1, rate=0.1, target=0.0))
    said, plain = (
        estimate(info, settings, Amounts(prepared=prepared, searched=True))
        for prepared in (True, False)
    )
    assert said.loaded == pytest.approx(live.peak, rel=0.15)
    assert said.peak >= said.loaded > plain.loaded
    assert said.parts == plain.parts
    more = estimate(info, changed(settings, {"memorised.noises": 64}), Amounts(prepared=True))
    searched = changed(settings, {"memorised.noises": 64})
    assert more.loaded == said.loaded  # without a search nothing descends
    assert estimate(info, searched, Amounts(prepared=True, searched=True)).loaded > said.loaded


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_what_measuring_holds_is_estimated_too(
    dtype: str, concept_runs: Callable[[str], Path]
) -> None:
    run = concept_runs("sd")
    record, settings = read_record(run), read_settings("sfd", None, [f"evaluate.dtype={dtype}"])
    subjects = read_subjects(run, record, settings.evaluate)
    said = estimate(subjects.info, settings).evaluation
    denoisers = [subjects.result.denoiser, subjects.untouched.denoiser]
    networks = [tensor for denoiser in denoisers for tensor in tensors_of(denoiser.network)]
    vae = tensors_of(cast(VAECodec, denoisers[0].codec).vae)
    assert cast(VAECodec, denoisers[1].codec).vae is cast(VAECodec, denoisers[0].codec).vae
    assert said["networks that are measured"] == pytest.approx(held(networks), rel=0.01)
    assert said["VAE of what is measured"] == pytest.approx(held(vae), rel=0.01)
    noise = torch.randn(4, *denoisers[0].sample_shape)
    asked = denoisers[0].encode(["a cat"] * 4)
    for one in denoisers:  # as wide inside as it may be, the same numbers come and go outside
        assert one(noise, torch.full((4,), 500), asked).x0.dtype == torch.float32


def test_a_gpu_keeps_norms_in_float32(pipelines: Pipelines) -> None:
    """Autocast does so there and not on the CPU, so mixed precision saves less."""
    info = inspect_model(pipelines("sdxl"))
    on: dict[tuple[str, str], int] = {}
    for precision in ("no", "bf16"):
        settings = read_settings("sfd", None, [*SMALL, f"train.mixed_precision={precision}"])
        for device in ("cpu", "cuda"):
            on[precision, device] = estimate(info, settings, device=device).parts["activations"]
    assert on["no", "cpu"] == on["no", "cuda"]
    assert on["bf16", "cpu"] < on["bf16", "cuda"]


def test_what_measuring_takes_can_decide(pipelines: Pipelines, tmp_path: Path) -> None:
    info = inspect_model(pipelines("sd3"))
    small = ["train.lora_rank=2", "train.base_dtype=bf16", "train.gradient_checkpointing=true"]
    settings = read_settings("sfd", None, [*SMALL, *small, "evaluate.batch_size=64"])
    whole, alone = (estimate(info, settings, Amounts(measured=m)) for m in (True, False))
    assert alone.evaluation == {} and alone.peak < whole.peak == sum(whole.evaluation.values())
    half = estimate(info, changed(settings, {"evaluate.dtype": "bf16"}))
    assert half.peak < whole.peak


def test_only_configurations_are_read(pipelines: Pipelines, tmp_path: Path) -> None:
    """The same estimate without a single weight file."""
    shutil.copytree(pipelines("sd3"), tmp_path / "model")
    settings = read_settings("sfd", None, SMALL)
    info = inspect_model(tmp_path / "model")
    whole = estimate(info, settings)
    for file in (tmp_path / "model").rglob("*.safetensors"):
        file.unlink()
    assert estimate(info, settings) == whole
    folder = tmp_path / "model" / "text_encoder_2"
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="text_encoder_2 could not be loaded"):
        estimate(info, settings)
    config = tmp_path / "model" / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": None}))
    with pytest.raises(ModelError, match="transformer could not be loaded"):
        estimate(info, settings)


@pytest.mark.parametrize("kind", ["sd3", "flux", *SLOW])
def test_settings_that_save_memory_lower_the_estimate(kind: str, pipelines: Pipelines) -> None:
    info = replace(inspect_model(pipelines(kind)), sample_size=8)

    def parts(*changes: str) -> dict[str, int]:
        settings = read_settings("sfd", None, [*SMALL, "train.lora_rank=2", *changes])
        return estimate(info, settings).parts

    plain, checkpointed = parts(), parts("train.gradient_checkpointing=true")
    assert checkpointed["activations"] < plain["activations"]
    half = parts("train.base_dtype='bf16'")
    assert half["pretrained network"] * 2 == plain["pretrained network"]
    assert half["activations"] < plain["activations"]
    assert half["optimizer"] == plain["optimizer"]
    accumulated = parts("train.accumulation=2")
    # Conditions of all parts at once: of four rows and two to forget, and two of what is drawn.
    given = 8 * drawing_footprint(info, False, 1, False).condition
    assert (accumulated["activations"] - given) * 2 == plain["activations"] - given
    guided = parts("method.teacher_guidance=2.0")
    assert plain["activations"] < guided["activations"] < 2 * plain["activations"]


def test_models_of_classes_are_estimated_too(tiny_model: Path) -> None:
    """Nine copies of the parameters beside two gradients, by hand."""
    info = inspect_model(tiny_model)
    file = load_file(tiny_model / "unet" / "diffusion_pytorch_model.safetensors")
    size = sum(4 * tensor.numel() for tensor in file.values())
    parts = estimate(info, read_settings("sfd", None, SMALL)).parts
    networks = ("pretrained network", "teacher", "fake_score", "student", "averages")
    assert [parts[name] for name in networks] == [size] * 5
    assert (parts["gradients"], parts["optimizer"], parts["VAE"]) == (2 * size, 4 * size, 0)
