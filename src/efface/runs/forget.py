"""From a request to weights: one straight line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from accelerate import Accelerator

from efface.data.randomness import random_state_kept
from efface.diffusion.adapters import SharedNetwork, share_network
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load, load_network, save_lora, save_pipeline
from efface.diffusion.model_folder import ModelInfo, fetch_weights
from efface.diffusion.one_step import is_one_step
from efface.diffusion.sampling import Sampler
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.prompts import PromptEncoder
from efface.errors import ConfigError, RequestError
from efface.evaluation.networks import check_networks
from efface.evaluation.subjects import check_retrained, name_labels, read_judge
from efface.memory.preflight import check_memory
from efface.records import RunRecord, read_record, write_json
from efface.requests import sections
from efface.requests.base import Material, Request
from efface.runs.evaluate import complete
from efface.runs.evaluate import measure as measure_run
from efface.runs.folder import (
    check_folder,
    finished_record,
    holds_run,
    new_folder,
    new_record,
    resumable,
)
from efface.runs.lineage import describe_start, find_origin, keep_earlier, start_from
from efface.runs.lock import locked
from efface.runs.recorded import Recorded
from efface.settings.base import Settings, read_settings
from efface.training.guard import CollapseGuard
from efface.training.networks import make_networks
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

LEARNED_VARIANCE = "learned by the network, and neither trained nor used: steps take a fixed one"


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
    size: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    measure: bool = True,
    on_step: Callable[[int], None] | None = None,
) -> Path:
    """Carry out a request and write the run folder `out`; returns it.

    `start` is a run, whose requests are kept, or a one-step generator to begin from; the result of
    a run as `model` stands for its original model and that run. `judge` is a classifier, a folder
    or an ONNX file (default: the one beside the model); `retrained` a model trained without what
    is forgotten, measured beside the result; `size` the pixels of a side, for networks that do not
    name it (FLUX). `on_step` is called after every step, and may raise to stop. Raises an
    EffaceError, before weights are fetched where that is possible.
    """
    out, changes = Path(out), list(changes)
    choose_settings(request, None, method, recipe, changes)  # words first
    request.check_files()
    info, start = find_origin(model, start, null_label, size)
    info = name_labels(info, judge)
    settings, request = choose_settings(request, info, method, recipe, changes), request.of(info)
    request.check(info, settings)
    classifier = read_judge(info, judge)
    if retrained is not None:
        check_retrained(retrained, info)
    request = keep_earlier(request, start, info, settings)
    material = request.read(info, settings)
    check_memory(info, settings, material.amounts, Accelerator(), measure)
    if measure:
        check_networks(settings.evaluate, info, classifier)
    named = [v for one in (*request.earlier, request, settings.evaluate) for _, v in one]
    holds_run(out, resume, overwrite, [info.folder, model, start, judge, retrained, recipe, *named])
    with locked(out), resumable(out), random_state_kept():
        record, encoded = begin_record(info, request, settings, material, start), None
        if not check_folder(out, record, resume, overwrite):
            encoded = carry_out(info, material, settings, record, start, out, resume, on_step)
        if measure and not (out / "evaluation.json").exists():
            run = Recorded(
                run=out,
                record=read_record(out),
                request=request,
                info=info,
                settings=settings,
                material=material,
            )
            measure_run(run, classifier, retrained, encoded)
        complete(out)
    return out


def begin_record(
    info: ModelInfo,
    request: Request,
    settings: Settings,
    material: Material,
    start: str | Path | None,
) -> RunRecord:
    """The record of a run that is about to begin; all weights are on this machine afterwards."""
    fetch_weights(info)
    return new_record(
        info,
        request.model_dump(mode="json"),
        settings.method.title,
        settings.to_json(),
        material=material.recorded(),
        start=None if start is None else describe_start(start, info),
    )


def choose_settings(
    request: Request,
    info: ModelInfo | None,
    method: str | None,
    recipe: str | Path | None,
    changes: Iterable[str],
) -> Settings:
    """The settings of a request; without `info` as far as they do not depend on the model.

    ConfigError for what is unknown or out of range, and for a method that is not for such requests.
    """
    settings = settings_of(type(request), info, method, recipe, changes)
    if request.need not in settings.method.needs:
        raise ConfigError(
            f"method {settings.method_name!r} does not work for {request.describe()}: use one that "
            f"needs {request.need!r}, as {request.default_method}; `efface methods` lists all."
        )
    return settings


def settings_of(
    kind: type[Request],
    info: ModelInfo | None,
    method: str | None,
    recipe: str | Path | None,
    changes: Iterable[str],
) -> Settings:
    """The settings of a kind of request. ConfigError for what is unknown or out of range."""
    return read_settings(
        kind.section,
        kind.own,
        method=method,
        recipe=recipe,
        changes=changes,
        default_method=kind.default_method,
        default_recipe=None if info is None else kind.default_recipe(info),
        others=sections(),
    )


def _load(info: ModelInfo, config: TrainSettings, device: torch.device) -> Denoiser:
    """The pretrained model; its network is shared by all where adapters are trained over it."""
    if is_one_step(info):
        raise RequestError(
            f"{info.source} is a one-step generator, and cannot teach at other noise levels: give "
            "the run that made it, or the model that it was made from."
        )
    if config.lora_rank is None:
        return load(info)
    dtype = torch.bfloat16 if config.base_dtype == "bfloat16" else torch.float32
    return share_network(load(info, dtype=dtype)).to(device)


def carry_out(
    info: ModelInfo,
    material: Material,
    settings: Settings,
    record: RunRecord,
    start: str | Path | None,
    out: Path,
    resume: bool,
    on_step: Callable[[int], None] | None,
) -> PromptEncoder | None:
    """Train, and write pipeline and record; returns the prompts that were encoded, if any were."""
    method, config, accelerator = settings.method, settings.train, Accelerator()
    denoiser = _load(info, config, accelerator.device)
    with new_folder(out, record, resume, accelerator):
        feed = material.feed(denoiser, settings, out, accelerator)
        networks = make_networks(method, feed.denoiser, config)
    notes = feed.notes | ({"variance": LEARNED_VARIANCE} if info.learns_variance else {})
    record = record.model_copy(update={"notes": notes})
    if start is not None:
        start_from(networks, start, method)
    guard = None
    if config.guard_every:
        sampler, conditions = method.sampler(feed.denoiser), feed.retained
        guard = CollapseGuard(feed.denoiser, sampler, conditions, config.guard_tolerance)
    trainer = Trainer(
        method, networks, feed.source, config, out, accelerator, guard=guard, stopper=feed.stopper
    )
    if accelerator.is_main_process:
        write_json(out / "record.json", record)
    result = trainer.run(resume, on_step)
    if accelerator.is_main_process:
        sampler = method.sampler(result.denoiser)
        _save(result.denoiser.to("cpu"), info, config, out, sampler)
        write_json(out / "record.json", finished_record(record, result, sampler, out))
    accelerator.wait_for_everyone()  # before what may take longer than a barrier waits
    return feed.denoiser.prompts if isinstance(feed.denoiser, TextDenoiser) else None


def _save(
    final: Denoiser, info: ModelInfo, config: TrainSettings, out: Path, sampler: Sampler
) -> None:
    """Write the whole pipeline; an adapter is added to its base, and goes to `lora` as well.

    A base that was held in bfloat16 is read anew, so that both add up to the same model.
    """
    network = final.network
    if isinstance(network, SharedNetwork):
        if isinstance(final, TextDenoiser) and final.family.loads_lora:
            save_lora(final, out / "lora", sampler)
        base = network.base() if config.base_dtype == "float32" else load_network(info)
        final = final.with_network(network.fused(base))
    save_pipeline(final, out / "pipeline", sampler, info.index)
