"""What a pack's records say of a figure: read with care, for anybody may have written them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from pydantic import TypeAdapter, ValidationError

from efface.diffusion.adapters import share_network
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load
from efface.diffusion.model_folder import ModelInfo, find_folder, inspect_model
from efface.errors import DataError, ModelError, RequestError
from efface.evidence.preparation import Prepared
from efface.records import Evaluation, Result, RunRecord, hash_weights
from efface.requests.base import Request
from efface.settings.reading import EvaluateConfig

T = TypeVar("T")

MAX_SAMPLES = 200_000  # what a pack asks for is not to be trusted
MOST = {"baseline_steps": 1000, "draws": 1000}
LEAST_TOLERANCE = 1e-7
CLIP = ("clip_", "prompt_clip_")  # what figures that only a CLIP has begin with


class NotHereError(RequestError):
    """What a figure is measured with is not on this machine, so that nothing is said of it."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Networks that whoever verifies gave; without one, the recorded one is looked for."""

    judge: str | Path | None = None
    detector: str | Path | None = None
    clip: str | Path | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Claim:
    """A recorded figure, the records that it stands in, and what is to measure it again."""

    result: Result
    record: RunRecord
    evaluation: Evaluation
    info: ModelInfo  # of the model at hand
    given: Given
    prepared: Prepared | None = None  # of a run about a memorised picture, where the pack has it

    @property
    def network(self) -> str:
        """What saw it: "judge", "detector", "extractor" or "clip"."""
        seen_by = self.result.extractor or {}
        if seen_by.get("sha256") in (None, (self.evaluation.judge or {}).get("sha256")):
            return "judge"
        if seen_by.get("kind") == "detector":
            return "detector"
        rate = self.result.metric.startswith(("concept_rate", "kept_rate", "retained_accuracy"))
        return "clip" if rate or self.result.metric.startswith(CLIP) else "extractor"

    def require(self, described: str) -> None:
        """RequestError unless the figure was measured with a sampler so `described`."""
        if described not in self.result.protocol:
            raise RequestError(
                f"{self.result.metric} was not measured with {described}, the settings of its run: "
                "choose another metric, or 'none'."
            )

    def require_looked_for(self, network: str, described: str) -> None:
        """RequestError unless what was looked for is what `described` adds to a network's name."""
        recorded = (self.result.extractor or {}).get("name", "")
        if not recorded.endswith(described.removeprefix(network)):
            raise RequestError(
                f"{self.result.metric} was seen by {recorded[:80]!r}, which did not look for what "
                "the settings of its run say: choose another metric, or 'none'."
            )

    def require_terms(self, terms: dict[str, str]) -> None:
        """RequestError where the figure was measured on other terms; older runs hold none."""
        for name, term in terms.items():
            if self.evaluation.terms.get(name, term) != term:
                raise RequestError(
                    f"{self.result.metric} was measured with other {name} than are here: restore "
                    "those, or choose another metric, or 'none'."
                )


def recorded_request(record: RunRecord) -> Request:
    try:
        return TypeAdapter[Any](Request).validate_python(record.request)
    except ValidationError as error:
        raise DataError("record.json holds a request that this efface does not know.") from error


def recorded_section(record: RunRecord, section: str, kind: type[T]) -> T:
    """Settings of a pack, without the method: its name could have any module imported."""
    try:
        text = json.dumps(record.settings.get(section))
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise DataError(f"record.json holds no settings {section!r} that efface knows.") from error


def recorded_evaluation(record: RunRecord) -> EvaluateConfig:
    """How the run was to be measured; DataError for what would never end."""
    config = recorded_section(record, "evaluate", EvaluateConfig)
    for name, most in MOST.items():
        if getattr(config, name) > most:
            raise DataError(
                f"record.json asks for {getattr(config, name)} as evaluate.{name}: allowed are "
                f"{most}."
            )
    if config.likelihood_tolerance < LEAST_TOLERANCE:
        raise DataError(
            f"record.json asks for evaluate.likelihood_tolerance={config.likelihood_tolerance}: "
            f"allowed are {LEAST_TOLERANCE} and more."
        )
    return config


def recorded_seeds(result: Result, groups: int = 1) -> range:
    """One seed per sample, or per sample of each of several `groups`; DataError otherwise."""
    match result.seeds:
        case [first, last] if (
            0 < (last - first + 1) * groups == result.samples <= MAX_SAMPLES and 0 <= first < 2**60
        ):
            return range(first, last + 1)
    raise DataError(
        f"evaluation.json gives {result.metric} {result.samples} samples with the seeds "
        f"{result.seeds[:4]}: these are not one seed per sample, up to {MAX_SAMPLES}."
    )


def load_recorded(info: ModelInfo, config: EvaluateConfig) -> Denoiser:
    """A model with its network in the type of number that the run was measured in."""
    bf16 = config.dtype == "bf16"
    denoiser = load(info, dtype=torch.bfloat16 if bf16 else torch.float32)
    denoiser = denoiser.to(Accelerator().device)
    return share_network(denoiser) if bf16 else denoiser


def base_model(record: RunRecord, instead: str) -> ModelInfo:
    """The model that the run began with; nothing is downloaded.

    RequestError where it is not on this machine, with what can be done `instead`.
    """
    source = record.model.get("source")
    if not isinstance(source, str) or find_folder(source) is None:
        raise RequestError(f"the base model {source!r} is not on this machine: {instead}.")
    info = inspect_model(source, record.model.get("null_label"), record.model.get("size"))
    if hash_weights(info.folder) != record.model.get("weights"):
        raise ModelError(f"{source} is no longer the model that this run began with: restore it.")
    return info
