"""One run, one folder: forget, then measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from efface.diffusion.adapters import SharedNetwork, share_network
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load, load_network, save_lora, save_pipeline
from efface.diffusion.model_folder import ModelInfo, fetch_weights, inspect_model, pixel_shape
from efface.diffusion.one_step import is_one_step
from efface.diffusion.sampling import Sampler
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError, RequestError
from efface.evaluation.subjects import check_distilled, check_retrained, find_judge, read_distilled
from efface.evaluation.views import check_networks
from efface.evidence.model_card import write_model_card
from efface.memory.estimate import Amounts
from efface.memory.preflight import check_memory
from efface.records import hash_weights, write_json
from efface.requests.base import Distil, DistilText, ForgetImages, ForgetMemorised, Request
from efface.requests.classes.feed import condition_trainer
from efface.requests.concept.prompt_groups import check_detection
from efface.requests.concept.prompts import (
    ConceptPrompts,
    TextRequest,
    check_lengths,
    check_text_settings,
    read_concept_prompts,
)
from efface.requests.images.feed import Pictures, check_settings, image_trainer, read_pictures
from efface.requests.memorised.feed import (
    MemorisedInputs,
    check_memorised_settings,
    check_published_norm,
    memorised_trainer,
    read_memorised,
)
from efface.requests.memorised.similarity import load_features
from efface.runs.evaluate import evaluate
from efface.runs.folder import check_folder, finished_record, holds_run, make_folder, new_record
from efface.runs.lineage import check_start, describe_start, earlier_request
from efface.settings.reading import Settings, read_settings
from efface.training.parts import check_parts
from efface.training.settings import TrainConfig

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
    size: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    measure: bool = True,
    on_step: Callable[[int], None] | None = None,
) -> Path:
    """Carry out a request and write the run folder `out`; returns it.

    `recipe` is a TOML file or the name of one that ships; one that ships stands in for a request
    about prompts that is given none. `start` is an earlier `Distil` run to begin from; `judge` a
    judge's folder (default: the one beside the model); `retrained` a model that never saw what is
    to go, measured beside the result; `size` the pixels of a side of the pictures, for networks
    that do not name it (FLUX, where it is 1024 by default). `on_step` is called after every step,
    and may raise to stop.
    Raises an EffaceError, before the model is loaded where that is possible.
    """
    out = Path(out)
    if method is None and recipe is None and isinstance(request, ForgetImages | ForgetMemorised):
        method = DEFAULT_IMAGE_METHOD
    # Distilling and forgetting a concept of a text-to-image model go together.
    about = "concept" if isinstance(request, TextRequest) else request.kind
    changes = list(changes)
    settings = read_settings(method, Path(recipe) if recipe else None, changes, [about])
    _check_method(request, settings)
    info = inspect_model(model, null_label, size)
    _check_model(request, info, settings, None if recipe else changes)
    judge_folder = find_judge(info, judge)
    if retrained is not None:
        check_retrained(retrained, info)
    if start is not None:
        check_start(start, info, settings)
    holds_run(out, resume, overwrite)
    request, inputs = _read_inputs(request, info, settings)
    measured = _measured_prompts(request, info, settings)
    accelerator = Accelerator()
    _check_machine(info, request, inputs, settings, accelerator, measure)
    if measure:
        check_networks(settings.evaluate)
    fetch_weights(info)
    described = earlier_request(info) if start is None else describe_start(start, info)
    settings = _with_distilled(settings, request, info, start, described)
    record = new_record(info, request.model_dump(mode="json"), settings, described)
    if check_folder(out, record, resume, overwrite):
        if measure and not (out / "evaluation.json").exists():
            evaluate(out, judge=judge_folder, retrained=retrained)
        return out
    denoiser = _load(info, settings.train, accelerator.device)
    if is_one_step(denoiser):
        raise RequestError(
            f"{info.source} draws in one step, and cannot teach at other noise levels: give the "
            "model that it was made from, and its run as --start."
        )
    prepared = isinstance(inputs, MemorisedInputs)
    if prepared:  # what is prepared is kept in the folder
        make_folder(out, record, resume, accelerator)
        trainer, notes = memorised_trainer(denoiser, inputs, settings, out, accelerator)
    elif isinstance(inputs, Pictures):
        assert isinstance(request, ForgetImages)
        trainer, notes = image_trainer(denoiser, request, inputs, settings, out, accelerator)
    else:
        trainer, notes = condition_trainer(
            denoiser, request, inputs, measured, settings, out, start, accelerator
        )
    record = record.model_copy(update={"notes": notes})
    make_folder(out, record, resume or prepared, accelerator)
    result = trainer.run(resume, on_step)
    if accelerator.is_main_process:
        sampler = settings.method.sampler(denoiser)
        _save(result.denoiser.to("cpu"), info, settings.train, out, sampler)
        write_json(out / "record.json", finished_record(record, result, sampler, out))
        write_model_card(out)
    accelerator.wait_for_everyone()  # before what may take longer than a barrier waits
    encoded = denoiser.prompts if isinstance(denoiser, TextDenoiser) else None
    del trainer, result, denoiser  # the evaluation loads what it needs
    if measure:
        evaluate(out, judge=judge_folder, retrained=retrained, encoded=encoded)
    return out


def _read_inputs(
    request: Request, info: ModelInfo, settings: Settings
) -> tuple[Request, Pictures | ConceptPrompts | MemorisedInputs | None]:
    """What a request names on disk, and the request with its digests."""
    if isinstance(request, ForgetImages):
        pictures = read_pictures(request, pixel_shape(info), settings.images)
        return pictures.complete(request), pictures
    if isinstance(request, ForgetMemorised):
        inputs = read_memorised(request, info, settings)
        check_lengths(info, inputs.prompts)
        load_features(settings.memorised.extractor, settings.memorised.extractor_sha256)
        return inputs.complete(request), inputs
    if isinstance(request, TextRequest):
        prompts = read_concept_prompts(request, settings.prompts)
        check_text_settings(settings, prompts)
        check_lengths(info, prompts)
        return prompts.complete(request), prompts
    return request, None


def _check_machine(
    info: ModelInfo,
    request: Request,
    inputs: Pictures | ConceptPrompts | MemorisedInputs | None,
    settings: Settings,
    accelerator: Accelerator,
    measured: bool,
) -> None:
    """Raise ConfigError for batches that cannot be shared, or a run that will not fit."""
    amounts = Amounts(
        forget_rows=0 if isinstance(request, Distil | DistilText) else None,
        processes=accelerator.num_processes,
        prompts=len(inputs.different) if isinstance(inputs, ConceptPrompts) else 0,
        measured=measured,
        prepared=isinstance(inputs, MemorisedInputs),
        searched=isinstance(inputs, MemorisedInputs) and len(inputs.asked) == 1,
    )
    rows = amounts.rows(settings)
    check_parts(settings.method, settings.train, rows, amounts.processes)
    check_memory(info, settings, accelerator.device, amounts)


def _check_method(request: Request, settings: Settings) -> None:
    if isinstance(request, ForgetImages):
        check_settings(settings, request)
    elif isinstance(request, ForgetMemorised):
        check_memorised_settings(settings)
    elif "conditions" not in settings.method.needs:
        raise ConfigError(
            f"method {settings.method_name!r} does not forget classes or concepts: use one that "
            "works on conditions, as sfd."
        )


def _check_model(
    request: Request, info: ModelInfo, settings: Settings, changes: Sequence[str] | None
) -> None:
    """`changes` to the settings of a recipe that ships; None where another was given."""
    request.check(info)
    if isinstance(request, ForgetMemorised) and changes is not None:
        check_published_norm(info, settings, changes)


def _load(info: ModelInfo, config: TrainConfig, device: torch.device) -> Denoiser:
    """The pretrained model; its network is shared by all where adapters are trained over it."""
    if config.lora_rank is None:
        return load(info)
    dtype = torch.bfloat16 if config.base_dtype == "bf16" else torch.float32
    return share_network(load(info, dtype=dtype)).to(device)


def _save(
    final: Denoiser, info: ModelInfo, config: TrainConfig, out: Path, sampler: Sampler
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


def _measured_prompts(request: Request, info: ModelInfo, settings: Settings) -> list[str]:
    """Prompts that are measured and not trained on, after all checks that need no weights."""
    groups = check_detection(settings, request.model_dump(mode="json"))
    measured = [prompt for group in groups for prompt in group.prompts]
    if measured:
        check_lengths(info, ConceptPrompts(retain=tuple(measured)))
    if settings.evaluate.distilled is not None:
        read_distilled(settings.evaluate.distilled)
    return measured


def _with_distilled(
    settings: Settings,
    request: Request,
    info: ModelInfo,
    start: str | Path | None,
    described: dict[str, Any] | None,
) -> Settings:
    """The settings with the generator that a concept run began from, measured beside its result.

    RequestError for one of the settings that was distilled from another model.
    """
    evaluate = settings.evaluate
    if evaluate.distilled is not None:
        check_distilled(evaluate.distilled, hash_weights(info.folder))
    began = None if start is None or described is None else described["request"].get("kind")
    if request.kind == "concept" and began == "distil" and evaluate.distilled is None:
        evaluate = dataclasses.replace(evaluate, distilled=str(start))
    return dataclasses.replace(settings, evaluate=evaluate)
