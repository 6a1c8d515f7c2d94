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
from efface.errors import RequestError
from efface.records import RunRecord, read_record, write_json
from efface.requests.base import Request
from efface.runs.evaluate import complete
from efface.runs.evaluate import measure as measure_run
from efface.runs.folder import (
    check_folder,
    finished_record,
    new_folder,
    new_record,
    resumable,
)
from efface.runs.lineage import describe_start, start_from
from efface.runs.lock import locked
from efface.runs.place import holds_run
from efface.runs.plan import Plan, make_plan
from efface.runs.recorded import Recorded
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
    result: str | None = None,
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

    `result` is what to deliver, in place of `method`: "one-step" or "same-sampler", for classes and
    concepts. `start` is a run, whose requests are kept, or a one-step generator to begin from; the
    result of a run as `model` stands for its original model and that run. `judge` is a classifier,
    a folder or an ONNX file (default: beside the model); `retrained` a model trained without what
    is forgotten; `size` the pixels of a side, for networks that do not name it (FLUX). `on_step`
    is called after every step, and may raise. Raises an EffaceError, if possible early.
    """
    out = Path(out)
    plan = make_plan(
        model,
        request,
        method=method,
        result=result,
        recipe=recipe,
        changes=changes,
        start=start,
        judge=judge,
        retrained=retrained,
        null_label=null_label,
        size=size,
        measure=measure,
    )
    holds_run(out, resume, overwrite, plan.sources)
    with locked(out), resumable(out), random_state_kept():
        record, encoded = begin_record(plan), None
        if not check_folder(out, record, resume, overwrite):
            encoded = carry_out(plan, record, out, resume, on_step)
        if measure and not (out / "evaluation.json").exists():
            run = Recorded(
                run=out,
                record=read_record(out),
                request=plan.request,
                info=plan.info,
                settings=plan.settings,
                material=plan.material,
            )
            measure_run(run, plan.classifier, retrained, encoded)
        complete(out)
    return out


def begin_record(plan: Plan) -> RunRecord:
    """The record of a run that is about to begin; all weights are on this machine afterwards."""
    fetch_weights(plan.info)
    return new_record(
        plan.info,
        plan.request.model_dump(mode="json"),
        plan.settings.method.title,
        plan.settings.to_json(),
        material=plan.material.recorded(),
        start=None if plan.start is None else describe_start(plan.start, plan.info),
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
    plan: Plan,
    record: RunRecord,
    out: Path,
    resume: bool,
    on_step: Callable[[int], None] | None,
) -> PromptEncoder | None:
    """Train, and write pipeline and record; returns the prompts that were encoded, if any were."""
    info, method, config = plan.info, plan.settings.method, plan.settings.train
    accelerator = Accelerator()
    denoiser = _load(info, config, accelerator.device)
    with new_folder(out, record, resume, accelerator):
        feed = plan.material.feed(denoiser, plan.settings, out, accelerator)
        networks = make_networks(method, feed.denoiser, config)
    notes = feed.notes | ({"variance": LEARNED_VARIANCE} if info.learns_variance else {})
    record = record.model_copy(update={"notes": notes})
    if plan.start is not None:
        start_from(networks, plan.start, method)
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
