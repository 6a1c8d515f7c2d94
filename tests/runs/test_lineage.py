"""What a run may start from."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
from safetensors.torch import load_file

import efface
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline
from efface.diffusion.model_folder import inspect_model
from efface.errors import RequestError
from efface.records import read_record
from efface.requests.classes.settings import ClassSettings
from efface.runs.lineage import check_start, describe_start
from efface.settings.base import read_settings
from efface.training.checkpoint import Checkpoints, read_tensors
from tests.hubs import hub, serving
from tests.tiny import BAG, SMALL


@pytest.mark.parametrize("kind", ["sd", "sd3"])
def test_a_generator_written_by_another_diffusers_is_of_the_same_network(
    kind: str, pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    """Which named fewer settings in its files, or some that are no longer there."""
    base, settings = pipelines(kind), read_settings("class", ClassSettings)
    info = inspect_model(base)
    shutil.copytree(base, tmp_path / "generator")
    file = tmp_path / "generator" / info.component / "config.json"
    written = json.loads(file.read_text())
    taken = inspect.signature(getattr(diffusers, info.network_class)).parameters
    defaults = {n: json.loads(json.dumps(p.default)) for n, p in taken.items()}
    fewer = {n: v for n, v in written.items() if n not in defaults or v != defaults[n]}
    assert len(fewer) < len(written)
    older = fewer | {"_diffusers_version": "0.6.0", "gone_since": True}
    file.write_text(json.dumps(older))
    generator = inspect_model(tmp_path / "generator")
    for start, model in ((generator, info), (info, generator)):
        check_start(start.folder, model, settings)
        described = describe_start(start.folder, model)
        assert described["request"] == {"kind": "generator", "source": str(start.folder)}
    file.write_text(json.dumps(older | {"sample_size": 16}))
    with pytest.raises(RequestError, match="generator is not made like that of"):
        check_start(generator.folder, info, settings)


def test_a_wrong_start_is_found_before_the_model_is_fetched(
    pipelines: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(pipelines("sd"), tmp_path / "other")
    file = other / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": 16}))
    sent: list[str] = []
    with (
        hub(serving(pipelines("sd"), sent), tmp_path / "cache", monkeypatch),
        pytest.raises(RequestError, match="other is not made like that of acme/tiny"),
    ):
        efface.forget(
            "acme/tiny",
            BAG,
            tmp_path / "out",
            changes=SMALL,
            start=other,
        )
    assert sent and not [name for name in sent if name.endswith(".safetensors")]


def test_two_stage_starts_from_the_distilled_networks_with_the_true_teacher(
    small, tiny_model: Path, tmp_path: Path
) -> None:
    first = efface.forget(
        tiny_model, efface.Distil(), tmp_path / "first", changes=small, measure=False
    )
    frozen = [*small, "train.learning_rate=0.0"]  # so that the start is what is written
    second = efface.forget(
        tiny_model,
        efface.ForgetClass(labels=(0,), replacement=(1,)),
        tmp_path / "second",
        changes=frozen,
        start=first,
        measure=False,
    )
    name = "pipeline/unet/diffusion_pytorch_model.safetensors"
    a, b = load_file(first / name), load_file(second / name)
    assert all(a[key].equal(b[key]) for key in a)
    kept = [Checkpoints(r / "checkpoints").latest() for r in (first, second)]
    a, b = (read_tensors(folder, "fake_score") for folder in kept if folder)
    assert all(a[key].equal(b[key]) for key in a)
    assert read_record(second).start == {
        "request": efface.Distil().model_dump(mode="json"),
        "output": read_record(first).output,
        "source": str(first),
    }


def test_two_stage_starts_from_a_generator_that_is_no_run(
    small, tiny_unet: Callable[..., Denoiser], tiny_model: Path, tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(seed=9), tmp_path / "generator")
    request = efface.ForgetClass(labels=(0,), replacement=(1,))
    frozen = [*small, "train.learning_rate=0.0"]  # so that the start is what is written
    start = tmp_path / "generator"
    out = efface.forget(
        tiny_model, request, tmp_path / "out", changes=frozen, start=start, measure=False
    )
    a = load_file(tmp_path / "generator" / "unet" / "diffusion_pytorch_model.safetensors")
    b = load_file(out / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(a[key].equal(b[key]) for key in a)
    record = read_record(out)
    assert record.start is not None
    assert record.start["request"] == {"kind": "generator", "source": str(start)}
    assert record.start["output"] != record.model["weights"]
    with pytest.raises(RequestError, match="is a whole pipeline, and this run trains adapters"):
        changes = [*small, "train.lora_rank=2"]
        efface.forget(tiny_model, request, tmp_path / "lora", changes=changes, start=start)
    save_pipeline(tiny_unet(channels=(8, 8)), tmp_path / "smaller")
    with pytest.raises(RequestError, match="smaller is not made like that of"):
        start = tmp_path / "smaller"
        efface.forget(tiny_model, request, tmp_path / "small", changes=small, start=start)


def test_starting_from_a_run_that_does_not_fit_is_refused(
    small, tiny_model: Path, run: Path, tmp_path: Path
) -> None:
    request = efface.ForgetClass(labels=(0,), replacement=(1,))

    def refused(match: str, *changes: str) -> None:
        with pytest.raises(RequestError, match=match):
            efface.forget(
                tiny_model, request, tmp_path / "out", changes=[*small, *changes], start=run
            )
        assert not (tmp_path / "out").exists()

    refused(
        "method.sigma_init 2.5, and this run with method.sigma_init 5.0", "method.sigma_init=5.0"
    )
    refused("method.input_scale 'unit'", "method.input_scale=published")
    shutil.copytree(run, tmp_path / "other")
    record = json.loads((tmp_path / "other" / "record.json").read_text())
    record["settings"]["method"]["name"] = "siss"
    (tmp_path / "other" / "record.json").write_text(json.dumps(record))
    with pytest.raises(RequestError, match="is a run of the method 'siss', and this one of 'sfd'"):
        efface.forget(tiny_model, request, tmp_path / "out", start=tmp_path / "other")


def test_a_one_step_generator_teaches_nobody(small, run: Path, tmp_path: Path) -> None:
    """A result whose run is not there: otherwise its original model would teach."""
    request = efface.ForgetClass(labels=(0,), replacement=(1,))
    alone = shutil.copytree(run / "pipeline", tmp_path / "alone")
    with pytest.raises(RequestError, match="one-step generator, and cannot teach"):
        efface.forget(alone, request, tmp_path / "out", changes=small)
    assert not (tmp_path / "out").exists()


def test_starting_from_a_run_of_another_model_is_refused(
    tiny_unet: Callable[..., Denoiser], run: Path, tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(seed=9), tmp_path / "other")
    request = efface.ForgetClass(labels=(0,), replacement=(1,))
    with pytest.raises(RequestError, match="was made from another model"):
        efface.forget(tmp_path / "other", request, tmp_path / "out", start=run)
