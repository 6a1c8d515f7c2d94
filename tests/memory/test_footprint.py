"""Bytes of passes and of sampling by configurations alone, against what lives in real ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import diffusers
import pytest
import torch

from efface.diffusion.adapters import SharedNetwork, share_network
from efface.diffusion.denoiser import VAECodec
from efface.diffusion.loading import (
    build_denoiser,
    load,
    load_beside,
    save_pipeline,
)
from efface.diffusion.model_folder import inspect_model, sample_shape
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import ConfigError, ModelError
from efface.evaluation.sample_sets import PixelObserver
from efface.memory.estimate import Amounts, estimate
from efface.memory.footprint import (
    Gradient,
    Holding,
    describe_network,
    describe_part,
    network_footprint,
    part_footprint,
    pass_footprint,
    rows_footprint,
    sampling_footprint,
)
from efface.memory.live import Live, tensors_of
from efface.settings.base import Settings
from tests.text_pipelines import inspect_small, load_text

Pipelines = Callable[[str], Path]
SettingsOf = Callable[..., Settings]
FAMILIES = ["sd", "sdxl", "sd3", "flux", "pixart_sigma"]
FAST = ["sd", "flux", *(pytest.param(k, marks=pytest.mark.slow) for k in ("sdxl", "sd3"))]


def size_of(module: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@pytest.mark.parametrize("kind", [*FAMILIES, "sd_bert", "sd35", "pixart_alpha_told_size"])
def test_a_text_model_has_the_bytes_that_its_configurations_say(
    kind: str, pipelines: Pipelines
) -> None:
    """Its network, one row of its condition, its VAE and all text encoders."""
    info, denoiser = inspect_small(pipelines(kind)), load_text(pipelines(kind))
    foot = network_footprint(describe_network(info), Holding())
    assert foot.network == foot.copy == size_of(denoiser.network)
    assert foot.trained == sum(4 * p.numel() for p in denoiser.network.parameters())
    row = denoiser.encode(["a cat"])
    assert foot.condition == sum(tensor.nbytes for tensor in row.tensors.values())
    assert sample_shape(info) == denoiser.sample_shape
    vae = cast(VAECodec, denoiser.codec).vae
    assert part_footprint(describe_part(info, "vae")) == size_of(vae)
    for name in info.encoders:
        encoder = getattr(denoiser.prompts._pipeline, name)
        assert part_footprint(describe_part(info, name)) == size_of(encoder)


def test_a_class_model_has_labels_for_a_condition(tiny_model: Path) -> None:
    foot = network_footprint(describe_network(inspect_model(tiny_model)), Holding())
    assert foot.network == size_of(load(tiny_model).network)
    assert foot.condition == torch.zeros(1, dtype=torch.long).nbytes


def test_an_adapter_is_all_that_a_copy_has_of_its_own(pipelines: Pipelines) -> None:
    network = describe_network(inspect_model(pipelines("sd3")))
    whole = network_footprint(network, Holding())
    foot = network_footprint(network, Holding(lora_rank=4, bfloat16=True))
    assert foot.network * 2 == whole.network and foot.condition == whole.condition
    assert foot.copy == foot.trained < whole.trained / 2
    twice = network_footprint(network, Holding(lora_rank=8, bfloat16=True))
    assert twice.trained == 2 * foot.trained


def test_a_lora_that_finds_nothing_to_change_is_refused(tmp_path: Path) -> None:
    plain = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        add_attention=False,
    )
    save_pipeline(build_denoiser(plain, diffusers.DDIMScheduler(), None), tmp_path / "model")
    network = describe_network(inspect_model(tmp_path / "model"))
    assert network_footprint(network, Holding()).condition == 0
    with pytest.raises(ConfigError, match="train.lora_rank"):
        network_footprint(network, Holding(lora_rank=4))


def test_a_part_that_cannot_be_made_is_named(pipelines: Pipelines, tmp_path: Path) -> None:
    shutil.copytree(pipelines("sd"), tmp_path / "model")
    info = inspect_model(tmp_path / "model")
    config = tmp_path / "model" / "text_encoder" / "config.json"
    config.write_text('{"hidden_size": 7, "num_attention_heads": 2}')
    with pytest.raises(ModelError, match="text_encoder could not be loaded"):
        part_footprint(describe_part(info, "text_encoder"))


@pytest.mark.parametrize("kind", FAST)
@pytest.mark.parametrize("gradient", ["weights", "inputs", "none"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_passes_keep_and_take_what_real_ones_do(
    kind: str, gradient: Gradient, checkpointing: bool, pipelines: Pipelines
) -> None:
    """Passes of two rows and of one, and a backward pass through both, within 2 %."""
    info, denoiser = inspect_small(pipelines(kind)), load_text(pipelines(kind))
    holding = Holding(checkpointing=checkpointing)
    taken = pass_footprint(describe_network(info), holding, (2, 1), gradient)
    network: Any = denoiser.network.requires_grad_(gradient == "weights")
    if checkpointing:
        network.enable_gradient_checkpointing()
    if gradient != "weights":
        network = SharedNetwork(network)
    conditions = [denoiser.encode(["a cat", "a dog"]), denoiser.encode(["a bag"])]
    live = Live([*tensors_of(network), *(t for c in conditions for t in c.tensors.values())])
    with live, torch.set_grad_enabled(gradient != "none"):
        samples = [torch.zeros(n, *denoiser.sample_shape).requires_grad_() for n in (2, 1)]
        own = denoiser.with_network(network)
        outputs = [
            own._output(x, torch.zeros(len(x), dtype=torch.long), condition)
            for x, condition in zip(samples, conditions, strict=True)
        ]
        kept = live.now - live.given
        if gradient != "none":
            torch.autograd.grad([output.sum() for output in outputs], samples)
    assert taken.kept == pytest.approx(kept, rel=0.02)
    assert taken.kept + taken.passing == pytest.approx(live.peak - live.given, rel=0.02)


def test_a_guided_pass_has_twice_the_rows_and_copies_of_conditions(pipelines: Pipelines) -> None:
    network = describe_network(inspect_model(pipelines("sd3")))
    guided = pass_footprint(network, Holding(), (2,), "weights", guided=True)
    doubled = pass_footprint(network, Holding(), (4,), "weights")
    conditions = 4 * network_footprint(network, Holding()).condition
    assert guided.kept == pytest.approx(doubled.kept + conditions, rel=0.01)


def test_what_keeps_less_is_estimated_to_keep_less(pipelines: Pipelines) -> None:
    network = describe_network(inspect_model(pipelines("sd3")))

    def kept(gradient: Gradient, **holding: Any) -> int:
        return pass_footprint(network, Holding(**holding), (2,), gradient).kept

    assert kept("none") < kept("inputs") < kept("weights")
    assert kept("weights", checkpointing=True) < kept("weights")
    assert kept("weights", autocast="cpu") < kept("weights", autocast="cuda")


def test_rows_that_keep_a_gradient_are_fewer_at_once(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = inspect_model(pipelines("sd"))
    entries = 4 * 8 * 8
    monkeypatch.setattr("efface.diffusion.sampling.MOST_ENTRIES", 8 * entries)
    assert rows_footprint(info, 64, False) == rows_footprint(info, 8, False)
    assert rows_footprint(info, 8, True) < rows_footprint(info, 8, False)


def sampled(
    pipelines: Pipelines, settings_of: SettingsOf, kind: str, guidance: float, dtype: str
) -> tuple[dict[str, int], Live]:
    """What two networks and a VAE are said to hold while 64 images are sampled, and do."""
    info = inspect_small(pipelines(kind))
    changes = [f"evaluate.dtype={dtype}", f"evaluate.guidance={guidance}"]
    settings = settings_of("siss", *changes, "evaluate.batch_size=64")
    taken = estimate(info, settings, Amounts(forget_rows=2)).evaluation
    model = load_text(pipelines(kind), getattr(torch, dtype))
    beside = load_beside(info, model, getattr(torch, dtype))
    modules = [model.network, beside.network, cast(VAECodec, model.codec).vae]
    condition = model.encode(["a cat", "a dog"] * 32)
    model.prompts.null(None)  # which the text encoders would say while it samples
    live = Live([*sum(map(tensors_of, modules), []), *condition.tensors.values()])
    sampling = model if dtype == "float32" else share_network(model)
    with live:
        images = draw_images(sampling, MultiStep(2, guidance=guidance), condition, range(64), 64)
        PixelObserver()(images)
    return taken, live


@pytest.mark.parametrize(
    ("kind", "guidance", "dtype"),
    [
        ("sd", 1.0, "float32"),
        ("sd", 7.5, "float32"),
        ("sd", 1.0, "bfloat16"),  # where decoding takes more than the network
        ("sdxl", 7.5, "bfloat16"),
        ("flux", 1.0, "float32"),
        pytest.param("sd3", 3.0, "float32", marks=pytest.mark.slow),
        pytest.param("pixart_sigma", 1.0, "float32", marks=pytest.mark.slow),
    ],
)
def test_what_sampling_takes_is_estimated_within_15_percent(
    kind: str, guidance: float, dtype: str, pipelines: Pipelines, settings_of: SettingsOf
) -> None:
    taken, live = sampled(pipelines, settings_of, kind, guidance, dtype)
    assert sum(taken.values()) == pytest.approx(live.peak, rel=0.15)


def test_images_are_decoded_few_at_once_in_the_estimate_too(
    pipelines: Pipelines, settings_of: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four of 16 x 16 pixels at once, 24 in one pass of the network, 64 in all."""
    for module in ("diffusion.denoiser", "memory.footprint"):
        monkeypatch.setattr(f"efface.{module}.MOST_PIXELS", 4 * 16 * 16)
    whole, _ = sampled(pipelines, settings_of, "sd", 1.0, "bfloat16")
    monkeypatch.setattr("efface.diffusion.sampling.MOST_ENTRIES", 24 * 4 * 8 * 8)
    few, live = sampled(pipelines, settings_of, "sd", 1.0, "bfloat16")
    assert sum(few.values()) == pytest.approx(live.peak, rel=0.15)
    assert few["sampling"] < whole["sampling"] / 2


def test_finished_images_leave_a_gpu(pipelines: Pipelines, settings_of: SettingsOf) -> None:
    """Of more of them only conditions are held there."""
    info, evaluate = inspect_model(pipelines("sd")), settings_of("sfd").evaluate
    few, many = (sampling_footprint(info, count, False, evaluate, "cuda") for count in (500, 1000))
    condition = network_footprint(describe_network(info), Holding()).condition
    assert many - few == 500 * condition
    here = [sampling_footprint(info, count, False, evaluate) for count in (500, 1000)]
    assert here[1] - here[0] > 500 * condition


def test_guidance_that_is_chosen_counts_as_guided(
    tiny_model: Path, settings_of: SettingsOf
) -> None:
    """Several are tried by real images; without any there is nothing to choose by."""
    info, evaluate = inspect_model(tiny_model), settings_of("sfd").evaluate

    def size(**changes: object) -> int:
        return sampling_footprint(info, 50, False, evaluate.model_copy(update=changes), "cuda")

    assert size(guidance=None, reference="digits") == size(guidance=1.3) > size(guidance=1.0)
    assert size(guidance=None, reference=None) == size(guidance=1.0)
