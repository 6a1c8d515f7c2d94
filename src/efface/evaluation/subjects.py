"""What a run is measured and attacked with: its models, its settings, and a judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from efface.diffusion.adapters import share_network
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load, load_beside
from efface.diffusion.model_folder import ModelInfo, drawn_shape, fetch_weights, inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import MultiStep, Sampler
from efface.diffusion.text.prompts import PromptEncoder
from efface.diffusion.text.sharing import differ_in_network_alone
from efface.errors import RequestError
from efface.evaluation.sample_sets import Subject
from efface.evaluation.views import View
from efface.metrics.judge import load_judge
from efface.records import RunRecord, hash_model, hash_weights, read_record, require_finished
from efface.settings.reading import EvaluateConfig, Settings

MEASURED = ("class", "concept", "images", "memorised", "distil")


def check_measurable(run: Path, record: RunRecord) -> None:
    """RequestError unless a run has made what it says, and that is still there."""
    kind = record.request.get("kind")
    if kind not in MEASURED:
        raise RequestError(
            f"{run} is a run of `efface {kind}`, which has nothing to be measured beside: give one "
            "of `efface forget` or `efface distil`."
        )
    require_finished(run, record)
    missing = [name for name in ("weights", "null_label", "source") if name not in record.model]
    if missing or "name" not in record.settings.get("method", {}):
        raise RequestError(
            f"{run} was made by another version of efface, whose record lacks "
            f"{missing[0] if missing else 'the method'}: measure it with that version."
        )
    if hash_weights(run / "pipeline") != record.output:
        raise RequestError(
            f"{run / 'pipeline'} does not hold the weights that the run made: restore them, or run "
            "again."
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Subjects:
    """A run's models as they are sampled, on one device."""

    info: ModelInfo  # of the untouched model
    result: Subject
    untouched: Subject
    retrained: Subject | None
    device: torch.device
    distilled: Subject | None = None


def read_subjects(
    run: Path,
    record: RunRecord,
    config: EvaluateConfig,
    retrained: str | Path | None = None,
    encoded: PromptEncoder | None = None,
) -> Subjects:
    """Load what a run made, what it was made from, and what they are compared with.

    Text models that the run made, or that were distilled from its model, read one cache of prompts,
    so that none is encoded twice: their text encoders are the same. So does a retrained model of
    which all but the network is in the same files. `encoded` is one that holds all prompts already.
    RequestError where the untouched model is no longer the one that the run began with.
    """
    info = inspect_model(
        record.model["source"], record.model["null_label"], record.model.get("size")
    )
    fetch_weights(info)
    if hash_weights(info.folder) != record.model["weights"]:
        raise RequestError(
            f"{info.source} is no longer the model that this run started from: restore it, or "
            "run again."
        )
    output = inspect_model(run / "pipeline", record.model["null_label"])
    other = None if retrained is None else check_retrained(retrained, info)
    device = Accelerator().device
    guidance = 1.0 if record.request["kind"] == "images" else config.guidance
    stands_sampled = MultiStep(config.baseline_steps, guidance=guidance)
    dtype = torch.bfloat16 if config.dtype == "bf16" else torch.float32

    def subject(denoiser: Denoiser, of: ModelInfo, sampler: Sampler) -> Subject:
        own, digest = denoiser.to(device), hash_model(of.folder)
        if of.family is not None and of.family.default_size is not None:
            digest = f"{digest} {own.sample_shape}"  # which its files do not say
        if config.dtype != "float32":
            own, digest = share_network(own), f"{digest} {config.dtype}"
        return Subject(denoiser=own, sampler=sampler, digest=digest)

    def beside(of: ModelInfo) -> Subject:
        denoiser = load_beside(of, untouched.denoiser, dtype)
        return subject(denoiser, of, default_sampler(of, denoiser))

    untouched = subject(load(info, dtype=dtype, encoded=encoded), info, stands_sampled)
    result, never_knew, distilled = beside(output), None, None
    # For pictures every model is sampled alike, else as a stock pipeline samples it.
    if record.request["kind"] in ("images", "memorised"):
        result = dataclasses.replace(result, sampler=stands_sampled)
    if other is not None:
        fetch_weights(other)
        alike = differ_in_network_alone(info, other)
        own = load_beside(other, untouched.denoiser, dtype) if alike else load(other, dtype=dtype)
        never_knew = subject(own, other, stands_sampled)
    if config.distilled is not None:
        folder = check_distilled(config.distilled, record.model["weights"])
        distilled = beside(inspect_model(folder, record.model["null_label"]))
    return Subjects(
        info=info,
        result=result,
        untouched=untouched,
        retrained=never_knew,
        distilled=distilled,
        device=device,
    )


def read_distilled(distilled: str | Path) -> RunRecord:
    """The record of a finished run of `efface distil`; RequestError for another run."""
    record = read_record(Path(distilled))
    if record.request.get("kind") != "distil" or record.status != "finished":
        raise RequestError(
            f"{distilled} is no finished run of `efface distil`: give one as evaluate.distilled, "
            "or leave it out."
        )
    return record


def check_distilled(distilled: str | Path, weights: dict[str, str]) -> Path:
    """The pipeline of a run of `efface distil` on the model with these weights.

    RequestError for another run.
    """
    if read_distilled(distilled).model["weights"] != weights:
        raise RequestError(
            f"{distilled} was distilled from another model than this run's: give one of this very "
            "model as evaluate.distilled, or leave it out."
        )
    return Path(distilled) / "pipeline"


def find_judge(info: ModelInfo, judge: str | Path | None) -> Path | None:
    """The judge's folder that was given, or the one beside the model; None if there is none."""
    if info.family is not None:
        if judge is not None:
            raise RequestError(
                f"{info.source} takes prompts, and a judge knows labels: leave the judge out, and "
                "set evaluate.clip."
            )
        return None
    if judge is not None:
        load_judge(Path(judge))
        return Path(judge)
    beside = info.folder / "judge"
    return beside if beside.is_dir() else None


def check_retrained(retrained: str | Path, info: ModelInfo) -> ModelInfo:
    """What a retrained model says of itself, asked for pictures of the untouched one's size.

    Raises ModelError or RequestError for one that cannot stand beside the untouched one.
    """
    other = inspect_model(retrained, info.null_label)
    if other.family != info.family:
        raise RequestError(
            f"{other.source} is {_family_of(other)} and {info.source} is {_family_of(info)}: give "
            "a retrained model of the same family."
        )
    if other.num_classes != info.num_classes:
        raise RequestError(
            f"{other.source} has {other.num_classes or 'no'} labels and {info.source} "
            f"{info.num_classes or 'none'}: give a retrained model with the same labels."
        )
    shape = drawn_shape(info)
    if info.family is not None and info.family.default_size is not None:
        other = inspect_model(retrained, size=shape[1])
    if drawn_shape(other) != shape:
        raise RequestError(
            f"{other.source} draws pictures of shape {drawn_shape(other)} and {info.source} of "
            f"{shape}: give a retrained model of the same shape."
        )
    return other


def _family_of(info: ModelInfo) -> str:
    if info.family is None:
        return "no text-to-image model"
    return f"a text-to-image model of the family {info.family.name}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """What an evaluation measures, and with what."""

    run: Path
    record: RunRecord
    settings: Settings
    subjects: Subjects
    views: Mapping[str, View]
