"""One run, one folder: forget, then measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from efface.concept_runs import (
    TextRequest,
    as_text_denoiser,
    check_lengths,
    check_text_settings,
    concept_source,
    encode_prompts,
    read_concept_prompts,
)
from efface.config import Settings, read_settings
from efface.data.source import ConditionSource
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, as_class_denoiser
from efface.diffusion.loading import load, save_pipeline
from efface.diffusion.model_folder import ModelInfo, fetch_weights, inspect_model, pixel_shape
from efface.errors import ConfigError, RequestError
from efface.evaluating import check_retrained, evaluate, find_judge
from efface.evidence.model_card import write_model_card
from efface.image_runs import check_settings, image_trainer, read_pictures
from efface.methods.base import Method
from efface.records import hash_weights, read_record, write_json
from efface.requests import Distil, ForgetClass, ForgetImages, Request
from efface.run_folder import check_folder, finished_record, make_folder, new_record
from efface.training.checkpoint import Checkpoints, read_tensors
from efface.training.guard import GUARD_SEED, CollapseGuard
from efface.training.trainer import Trainer

DEFAULT_IMAGE_METHOD = "siss"


def forget(
    model: str | Path,
    request: Request,
    out: str | Path,
    *,
    method: str | None = None,
    recipe: str | Path | None = None,
    changes: Iterable[str] = (),
    start: str | Path | None = None,
    judge: str | Path | None = None,
    retrained: str | Path | None = None,
    null_label: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    measure: bool = True,
    on_step: Callable[[int], None] | None = None,
) -> Path:
    """Carry out a request and write the run folder `out`; returns it.

    `start` is an earlier `Distil` run to begin from; `judge` a judge's folder (default: the one
    beside the model); `retrained` a model that never saw what is to go, measured beside the
    result. `on_step` is called after every step, and may raise to stop. Raises an
    EffaceError, before the model is loaded where that is possible.
    """
    out = Path(out)
    if method is None and recipe is None and isinstance(request, ForgetImages):
        method = DEFAULT_IMAGE_METHOD
    settings = read_settings(method, Path(recipe) if recipe else None, changes)
    _check_method(request, settings)
    info = inspect_model(model, null_label)
    request.check(info)
    judge_folder = find_judge(info, judge)
    pictures = prompts = encoded = None
    if retrained is not None:
        check_retrained(retrained, info)
    if isinstance(request, ForgetImages):
        pictures = read_pictures(request, pixel_shape(info), settings.images)
        request = pictures.complete(request)
    elif isinstance(request, TextRequest):
        prompts = read_concept_prompts(request, settings.prompts)
        check_text_settings(settings, prompts)
        request = prompts.complete(request)
    fetch_weights(info)
    if prompts is not None:
        check_lengths(info, prompts)
    described = _lineage(info) if start is None else _describe_start(Path(start), info)
    record = new_record(info, request.model_dump(mode="json"), settings, described)
    if check_folder(out, record, resume, overwrite):
        if measure and not (out / "evaluation.json").exists():
            evaluate(out, judge=judge_folder, retrained=retrained)
        return out
    denoiser = load(info)
    accelerator = Accelerator()
    if pictures is not None:
        assert isinstance(request, ForgetImages)
        trainer, notes = image_trainer(denoiser, request, pictures, settings, out, accelerator)
        record = record.model_copy(update={"notes": notes})
    elif prompts is not None:
        denoiser = encode_prompts(as_text_denoiser(denoiser).to(accelerator.device), prompts)
        source = concept_source(denoiser, prompts, settings, accelerator.device)
        trainer = _trainer(denoiser, source, settings, out, start, accelerator)
        record = record.model_copy(update={"notes": prompts.notes()})
        encoded = denoiser.prompts
    else:
        assert isinstance(request, ForgetClass | Distil)
        source = _class_source(as_class_denoiser(denoiser), request, settings, accelerator.device)
        trainer = _trainer(denoiser, source, settings, out, start, accelerator)
    make_folder(out, record, resume, accelerator)
    result = trainer.run(resume, on_step)
    if accelerator.is_main_process:
        sampler = settings.method.sampler(denoiser)
        final = result.denoiser.to("cpu")
        save_pipeline(final, out / "pipeline", sampler, info.index)
        write_json(out / "record.json", finished_record(record, result, sampler, out))
        write_model_card(out)
    accelerator.wait_for_everyone()  # before what may take longer than a barrier waits
    if measure:
        evaluate(out, judge=judge_folder, retrained=retrained, encoded=encoded)
    return out


def _check_method(request: Request, settings: Settings) -> None:
    if isinstance(request, ForgetImages):
        check_settings(settings, request)
    elif "conditions" not in settings.method.needs:
        raise ConfigError(
            f"method {settings.method_name!r} does not forget classes or concepts: use one that "
            "works on conditions, as sfd."
        )


def _class_source(
    denoiser: ClassDenoiser, request: ForgetClass | Distil, settings: Settings, device: torch.device
) -> ConditionSource:
    method, config = settings.method, settings.train
    everything = list(range(denoiser.num_classes))
    retained = (
        request.retained(denoiser.num_classes) if isinstance(request, ForgetClass) else everything
    )
    forgotten = list(request.labels) if isinstance(request, ForgetClass) else []
    replacement = request.replacement if isinstance(request, ForgetClass) else ()
    return ConditionSource(
        table=denoiser.encode(everything).to(device),
        retain=retained,
        forget=forgotten,
        replacements=[replacement or retained for _ in forgotten],
        retain_rows=config.batch_size,
        forget_rows=round(method.forget_share * config.batch_size) if forgotten else 0,
        seed=config.seed,
    )


def _trainer(
    denoiser: Denoiser,
    source: ConditionSource,
    settings: Settings,
    out: Path,
    start: str | Path | None,
    accelerator: Accelerator,
) -> Trainer:
    method, config = settings.method, settings.train
    networks = method.networks(denoiser)
    if start is not None:
        _start_from(networks, Path(start), method)
    trainer = Trainer(method, networks, source, config, out, source.forget_rows, accelerator)
    if config.guard_every:
        trainer.guard = CollapseGuard(
            denoiser.to(accelerator.device),
            method.sampler(denoiser),
            source.table[torch.tensor(source.retain)],
            GUARD_SEED,
            config.guard_tolerance,
        )
    return trainer


def _start_from(networks: dict[str, Denoiser], start: Path, method: Method) -> None:
    """Two-stage: the average of what was delivered, the rest raw; the teacher stays the same."""
    folder = Checkpoints(start / "checkpoints").latest()
    assert folder is not None  # _describe_start checked it
    for name in method.phases:
        tensors = read_tensors(folder, "average" if name == method.delivers else name)
        networks[name].network.load_state_dict(tensors)


def _lineage(info: ModelInfo) -> dict[str, Any] | None:
    """The earlier request, where the model is the output of one."""
    folder = info.folder.parent
    if info.folder.name != "pipeline" or not (folder / "record.json").exists():
        return None
    earlier = read_record(folder)
    if earlier.request.get("kind") == "train":
        return None
    return {"request": earlier.request, "output": earlier.output, "start": earlier.start}


def _describe_start(start: Path, info: ModelInfo) -> dict[str, Any]:
    earlier = read_record(start)
    if earlier.model["weights"] != hash_weights(info.folder):
        raise RequestError(
            f"{start} was made from another model than {info.source}: start from a run of this "
            "very model."
        )
    if Checkpoints(start / "checkpoints").latest() is None or earlier.status != "finished":
        raise RequestError(f"{start} is not finished: complete it with --resume first.")
    return {"request": earlier.request, "output": earlier.output}
