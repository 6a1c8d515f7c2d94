"""The models of a run as they are measured and attacked, and a classifier to judge them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from efface.diffusion.adapters import share_network
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load, load_beside
from efface.diffusion.model_folder import ModelInfo, drawn_shape, fetch_weights, inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import MultiStep, OneStep, Sampler
from efface.diffusion.text.building import differ_in_network_alone
from efface.diffusion.text.prompts import PromptEncoder
from efface.diffusion.weight_files import hash_model, hash_weights
from efface.errors import RequestError
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.evaluation.views import View
from efface.metrics.judge import Judge, load_judge
from efface.progress import remark
from efface.records import RunRecord
from efface.settings.base import Settings
from efface.settings.evaluate import EvaluateSettings

SAMPLING = {
    "result": "sampling the result",
    "baseline": "sampling the original model",
    "baseline_one_step": "sampling the original model in one step",
    "retrained": "sampling the retrained model",
    "distilled": "sampling the distilled model",
}


def check_measurable(run: Path, record: RunRecord) -> None:
    """Raise RequestError unless a run has made what it says, and that is still there."""
    record.require_finished(run)
    if hash_weights(run / "pipeline") != record.output:
        raise RequestError(
            f"{run / 'pipeline'} does not hold the weights that the run made: restore them, or run "
            "again."
        )


def original_of(record: RunRecord) -> ModelInfo:
    """The model that a run began with; RequestError for a record that names none."""
    given = record.model
    if given.get("source") is None:
        raise RequestError("the record does not name the original model: run again.")
    return inspect_model(given["source"], given.get("null_label"), given.get("size"))


@dataclass(frozen=True, eq=False, kw_only=True)
class Subjects:
    """A run's models as they are sampled, on one device."""

    info: ModelInfo  # of the original model
    device: torch.device
    result: Subject
    original: Subject
    retrained: Subject | None = None  # trained without what is forgotten
    distilled: Subject | None = None  # a one-step generator of the original model: forgot nothing

    def named(self) -> dict[str, Subject]:
        """By their names in records; also the original model in one step, where the result is."""
        found = {
            "result": self.result,
            "baseline": self.original,
            "baseline_one_step": self._one_step(),
            "retrained": self.retrained,
            "distilled": self.distilled,
        }
        return {name: subject for name, subject in found.items() if subject is not None}

    @property
    def guidance(self) -> float:
        """That of the original model."""
        assert isinstance(self.original.sampler, MultiStep)
        return self.original.sampler.guidance

    def at_guidance(self, guidance: float) -> "Subjects":
        """The same, with all that are sampled as the original model is at another guidance."""
        before = self.original.sampler
        assert isinstance(before, MultiStep)
        after = dataclasses.replace(before, guidance=guidance)

        def moved(subject: Subject) -> Subject:
            same = subject.sampler == before
            return dataclasses.replace(subject, sampler=after) if same else subject

        return dataclasses.replace(
            self,
            result=moved(self.result),
            original=moved(self.original),
            retrained=None if self.retrained is None else moved(self.retrained),
        )

    def _one_step(self) -> Subject | None:
        if not isinstance(self.result.sampler, OneStep):
            return None
        return dataclasses.replace(self.original, sampler=self.result.sampler)

    def sampled(self) -> str:
        """How the result and the original model were sampled, in words for a protocol."""
        return (
            f"result: {self.result.sampler.describe()}; "
            f"original model: {self.original.sampler.describe()}"
        )


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What stands beside a run's result: folders of other models, and how all are sampled."""

    guidance: float  # of every model that is not sampled in one step
    same_sampler: bool  # whether the result is sampled as the original model is
    retrained: str | Path | None = None
    distilled: Path | None = None  # the pipeline of a run that forgot nothing


def read_subjects(
    made: str | Path,
    record: RunRecord,
    config: EvaluateSettings,
    compared: Compared,
    encoded: PromptEncoder | None = None,
) -> Subjects:
    """Load what a run `made`, what it was made from, and what they are compared with.

    Text models that the run made, or that were distilled from its model, share one cache of
    prompts, so that none is encoded twice: their text encoders are the same. So does a retrained
    model of which all but the network is in the same files. `encoded` is a cache that holds all
    prompts already. RequestError where the original model is not the one that the run began with.
    """
    info = original_of(record)
    fetch_weights(info)
    if hash_weights(info.folder) != record.model.get("weights"):
        raise RequestError(
            f"{info.source} is no longer the model that this run started from: restore it, or "
            "run again."
        )
    output = inspect_model(made, record.model.get("null_label"))
    other = None if compared.retrained is None else check_retrained(compared.retrained, info)
    device = Accelerator().device
    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    loaded = load(info, dtype=dtype, encoded=encoded)
    many_steps = MultiStep.within(loaded, config.baseline_steps, compared.guidance)

    def subject(denoiser: Denoiser, of: ModelInfo, sampler: Sampler = many_steps) -> Subject:
        return _subject(denoiser.to(device), of, sampler, config)

    original = subject(loaded, info)

    def beside(of: ModelInfo, same_sampler: bool = False) -> Subject:
        denoiser = load_beside(of, original.denoiser, dtype, finite=of is not output)
        sampler = default_sampler(of, denoiser)
        one_step = isinstance(sampler, OneStep) and not same_sampler
        return subject(denoiser, of, sampler if one_step else many_steps)

    result = beside(output, compared.same_sampler)
    retrained = distilled = None
    if other is not None:
        fetch_weights(other)
        alike = differ_in_network_alone(info, other)
        own = load_beside(other, original.denoiser, dtype) if alike else load(other, dtype=dtype)
        retrained = subject(own, other)
    if compared.distilled is not None:
        distilled = beside(inspect_model(compared.distilled, record.model.get("null_label")))
    return Subjects(
        info=info,
        device=device,
        result=result,
        original=original,
        retrained=retrained,
        distilled=distilled,
    )


def _subject(
    denoiser: Denoiser, of: ModelInfo, sampler: Sampler, config: EvaluateSettings
) -> Subject:
    """A model with a digest of all that its samples depend on."""
    digest = hash_model(of.folder)
    if of.family is not None and of.family.default_size is not None:
        digest = f"{digest} {denoiser.sample_shape}"  # which its files do not say
    if config.dtype != "float32":
        denoiser, digest = share_network(denoiser), f"{digest} {config.dtype}"
    return Subject(denoiser=denoiser, sampler=sampler, digest=digest)


def read_judge(info: ModelInfo, judge: str | Path | None) -> Judge | None:
    """The classifier that was given, or the one beside the model; None if there is none."""
    if info.family is not None:
        if judge is not None:
            raise RequestError(
                f"{info.source} takes prompts, and a classifier knows labels: leave the classifier "
                "out, and set evaluate.clip or evaluate.detector."
            )
        return None
    place = _place_of_judge(info, judge)
    if place is None or info.num_classes is None:
        return None if place is None else load_judge(place)
    found, source = load_judge(place), info.source
    if len(found.labels) != info.num_classes:
        raise RequestError(
            f"the classifier {place} knows {len(found.labels)} labels, and {source} has "
            f"{info.num_classes}: give one that was trained on the labels of the model."
        )
    if info.null_label is not None and info.null_label < info.num_classes:
        found = found.numbered_as(info.null_label)
    names, own = found.names, info.names
    other = [k for k in own if k in names and names[k].casefold() != own[k].casefold()]
    if other:
        raise RequestError(
            f"label {other[0]} is {names[other[0]]!r} to the classifier {place}, and "
            f"{own[other[0]]!r} to {source}: give one with the same names in the same order."
        )
    return found


def name_labels(info: ModelInfo, judge: str | Path | None) -> ModelInfo:
    """The model with what its classifier alone knows: names of labels, and that one is null.

    Where a classifier knows one label fewer than there are class embeddings, the last one is taken
    for the null label, and that is said.
    """
    place = _place_of_judge(info, judge)
    if place is None or info.num_classes is None:
        return info
    known, last = load_judge(place), info.num_classes - 1
    if info.null_label is None and len(known.labels) == last:
        remark(
            f"{info.source} has {last + 1} class embeddings, and its classifier knows {last} "
            f"labels: label {last} is taken for the null label. Give --null-label if another is."
        )
        info = replace(info, num_classes=last, null_label=last)
    if not info.names and known.names and len(known.labels) == info.num_classes:
        names = {str(info.labels[i]): name for i, name in known.names.items()}
        info = replace(info, index=info.index | {"id2label": names})
    return info


def number_labels(info: ModelInfo, labels: np.ndarray) -> np.ndarray:
    """Labels of images, (N,), with the numbers of a model whose null label is not the last."""
    if info.labels == tuple(range(len(info.labels))) or max(labels, default=0) >= len(info.labels):
        return labels
    return np.array(info.labels)[labels]


def _place_of_judge(info: ModelInfo, judge: str | Path | None) -> str | Path | None:
    """What was given, or the folder beside the model where there is one."""
    beside = info.folder / "judge"
    if judge is not None or info.family is not None:
        return judge
    return beside if beside.is_dir() else None


def check_retrained(retrained: str | Path, info: ModelInfo) -> ModelInfo:
    """What a retrained model says of itself, at the size of the original model's samples.

    Raises ModelError or RequestError for one that cannot stand beside the original model.
    """
    other = inspect_model(retrained)
    if other.num_classes is not None and other.null_label is None:
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
            f"{other.source} generates images of shape {drawn_shape(other)} and {info.source} of "
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
    settings: Settings
    subjects: Subjects
    views: Mapping[str, View]
    store: Store
