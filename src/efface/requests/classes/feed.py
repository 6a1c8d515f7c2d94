"""Requests about labels or prompts: the trainer of each, and labels as what it is fed with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from efface.data.source import ConditionSource
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, as_class_denoiser
from efface.requests.base import Distil, ForgetClass, Request
from efface.requests.concept.prompts import (
    ConceptPrompts,
    as_text_denoiser,
    concept_source,
    encode_prompts,
)
from efface.runs.lineage import start_from
from efface.settings.reading import Settings
from efface.training.guard import make_guard
from efface.training.networks import make_networks
from efface.training.trainer import Trainer


def condition_trainer(
    denoiser: Denoiser,
    request: Request,
    prompts: ConceptPrompts | None,
    measured: Sequence[str],
    settings: Settings,
    out: Path,
    start: str | Path | None,
    accelerator: Accelerator,
) -> tuple[Trainer, dict[str, Any]]:
    """The trainer of a request about labels or prompts, and what to note in its record.

    `measured` are further prompts that the evaluation asks for; `start` is a run to begin from.
    """
    method, config, device = settings.method, settings.train, accelerator.device
    denoiser = denoiser.to(device)
    if prompts is not None:
        denoiser = encode_prompts(as_text_denoiser(denoiser), prompts, measured)
        source, notes = concept_source(denoiser, prompts, settings, device), prompts.notes()
    else:
        assert isinstance(request, ForgetClass | Distil)
        source, notes = class_source(as_class_denoiser(denoiser), request, settings, device), {}
    networks = make_networks(method, denoiser, config)
    if start is not None:
        start_from(networks, start, method)
    trainer = Trainer(method, networks, source, config, out, source.forget_rows, accelerator)
    kept = source.retain if prompts is None else source.retain[: len(prompts.retain)]
    retained = source.table[torch.tensor(kept)]
    trainer.guard = make_guard(method, denoiser, retained, config)
    return trainer, notes


def class_source(
    denoiser: ClassDenoiser, request: ForgetClass | Distil, settings: Settings, device: torch.device
) -> ConditionSource:
    """What the loop is fed with: labels and what is drawn for them, no data set."""
    config, share = settings.train, settings.method.forget_share
    everything = list(range(denoiser.num_classes))
    retained, forgotten, replacement = everything, [], ()
    if isinstance(request, ForgetClass):
        retained, forgotten = request.retained(denoiser.num_classes), list(request.labels)
        replacement = request.replacement
    return ConditionSource(
        table=denoiser.encode(everything).to(device),
        retain=retained,
        forget=forgotten,
        replacements=[replacement or retained for _ in forgotten],
        retain_rows=config.batch_size,
        forget_rows=round(share * config.batch_size) if forgotten else 0,
        seed=config.seed,
    )
