"""One run, one folder: forget, then measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from efface.concept_runs import (
    ConceptPrompts,
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
from efface.diffusion.adapters import SharedNetwork, share_network
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, as_class_denoiser
from efface.diffusion.loading import load, load_network, save_lora, save_pipeline
from efface.diffusion.model_folder import ModelInfo, fetch_weights, inspect_model, pixel_shape
from efface.diffusion.sampling import Sampler
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError, RequestError
from efface.evaluating import evaluate
from efface.evaluation.prompt_groups import check_detection
from efface.evidence.model_card import write_model_card
from efface.image_runs import Pictures, check_settings, image_trainer, read_pictures
from efface.memorised_runs import (
    MemorisedInputs,
    check_memorised_settings,
    memorised_trainer,
    read_memorised,
)
from efface.methods.base import Method
from efface.preflight import check_memory
from efface.records import hash_weights, read_record, write_json
from efface.requests import Distil, DistilText, ForgetClass, ForgetImages, ForgetMemorised, Request
from efface.run_folder import check_folder, finished_record, make_folder, new_record
from efface.subjects import check_distilled, check_retrained, find_judge
from efface.training.checkpoint import Checkpoints, read_tensors
from efface.training.guard import GUARD_SEED, CollapseGuard
from efface.training.networks import make_networks
from efface.training.settings import TrainConfig
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
    if method is None and recipe is None and isinstance(request, ForgetImages | ForgetMemorised):
        method = DEFAULT_IMAGE_METHOD
    settings = read_settings(method, Path(recipe) if recipe else None, changes)
    _check_method(request, settings)
    info = inspect_model(model, null_label)
    request.check(info)
    judge_folder = find_judge(info, judge)
    if retrained is not None:
        check_retrained(retrained, info)
    request, inputs = _read_inputs(request, info, settings)
    fetch_weights(info)
    if isinstance(inputs, ConceptPrompts):
        check_lengths(info, inputs)
    elif isinstance(inputs, MemorisedInputs):
        check_lengths(info, inputs.prompts)
    described = _lineage(info) if start is None else _describe_start(Path(start), info, settings)
    settings, measured = _check_evaluation(settings, request, info, start, described)
    record = new_record(info, request.model_dump(mode="json"), settings, described)
    if check_folder(out, record, resume, overwrite):
        if measure and not (out / "evaluation.json").exists():
            evaluate(out, judge=judge_folder, retrained=retrained)
        return out
    accelerator = Accelerator()
    forget_rows = 0 if isinstance(request, Distil | DistilText) else None
    check_memory(info, settings, accelerator.device, forget_rows, accelerator.num_processes)
    denoiser = _load(info, settings.train, accelerator.device)
    prepared = isinstance(inputs, MemorisedInputs)
    if prepared:  # what is prepared is kept in the folder
        make_folder(out, record, resume, accelerator)
        trainer, notes = memorised_trainer(denoiser, inputs, settings, out, accelerator)
    elif isinstance(inputs, Pictures):
        assert isinstance(request, ForgetImages)
        trainer, notes = image_trainer(denoiser, request, inputs, settings, out, accelerator)
    else:
        trainer, notes = _condition_trainer(
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
    if measure:
        encoded = denoiser.prompts if isinstance(denoiser, TextDenoiser) else None
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
        return inputs.complete(request), inputs
    if isinstance(request, TextRequest):
        prompts = read_concept_prompts(request, settings.prompts)
        check_text_settings(settings, prompts)
        return prompts.complete(request), prompts
    return request, None


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


def _condition_trainer(
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

    `measured` are further prompts that the evaluation asks for.
    """
    if prompts is not None:
        model = as_text_denoiser(denoiser).to(accelerator.device)
        model = encode_prompts(model, prompts, measured)
        source = concept_source(model, prompts, settings, accelerator.device)
        return _trainer(model, source, settings, out, start, accelerator), prompts.notes()
    assert isinstance(request, ForgetClass | Distil)
    source = _class_source(as_class_denoiser(denoiser), request, settings, accelerator.device)
    return _trainer(denoiser, source, settings, out, start, accelerator), {}


def _trainer(
    denoiser: Denoiser,
    source: ConditionSource,
    settings: Settings,
    out: Path,
    start: str | Path | None,
    accelerator: Accelerator,
) -> Trainer:
    method, config = settings.method, settings.train
    networks = make_networks(method, denoiser, config)
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


def _check_evaluation(
    settings: Settings,
    request: Request,
    info: ModelInfo,
    start: str | Path | None,
    described: dict[str, Any] | None,
) -> tuple[Settings, list[str]]:
    """The settings, and prompts that are measured and not trained on, after all checks of both.

    The generator that a concept run began from is measured beside its result.
    """
    groups = check_detection(settings, request.model_dump(mode="json"))
    measured = [prompt for group in groups for prompt in group.prompts]
    if measured:
        check_lengths(info, ConceptPrompts(retain=tuple(measured)))
    evaluate = settings.evaluate
    if evaluate.distilled is not None:
        check_distilled(evaluate.distilled, hash_weights(info.folder))
    began = None if start is None or described is None else described["request"].get("kind")
    if request.kind == "concept" and began == "distil" and evaluate.distilled is None:
        evaluate = dataclasses.replace(evaluate, distilled=str(start))
    return dataclasses.replace(settings, evaluate=evaluate), measured


def _describe_start(start: Path, info: ModelInfo, settings: Settings) -> dict[str, Any]:
    earlier = read_record(start)
    if earlier.model["weights"] != hash_weights(info.folder):
        raise RequestError(
            f"{start} was made from another model than {info.source}: start from a run of this "
            "very model."
        )
    if Checkpoints(start / "checkpoints").latest() is None or earlier.status != "finished":
        raise RequestError(f"{start} is not finished: complete it with --resume first.")
    own, train = settings.train, earlier.settings["train"]
    theirs = train.get("lora_rank"), train.get("lora_alpha")
    if theirs != (own.lora_rank, own.lora_alpha):
        raise RequestError(
            f"{start} was trained with train.lora_rank {theirs[0]} and train.lora_alpha "
            f"{theirs[1]}, and this run is set to {own.lora_rank} and {own.lora_alpha}: give both "
            "the same."
        )
    return {"request": earlier.request, "output": earlier.output}
