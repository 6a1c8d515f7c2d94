"""Labels to forget and labels to retain: nothing is read, and the loop is fed with labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from efface.attacks.goals import ConditionGoal, Examples, Goal
from efface.data.images import read_at, to_model
from efface.data.source import ConditionSource
from efface.diffusion.denoiser import ClassDenoiser, Denoiser, as_class_denoiser
from efface.diffusion.model_folder import ModelInfo, drawn_shape
from efface.errors import RequestError
from efface.evaluation.protocol import Protocol
from efface.evaluation.references import Retained
from efface.evaluation.store import digest_of_array, digest_of_json
from efface.evaluation.subjects import Job, Subjects, number_labels, read_judge
from efface.evaluation.views import View
from efface.memory.estimate import Amounts, forget_rows
from efface.metrics.judge import Judge
from efface.requests.base import Feed, Material
from efface.requests.classes.images import generate_labelled, labelled_source
from efface.requests.classes.protocol import ClassProtocol
from efface.settings.base import Settings


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassGoal(ConditionGoal):
    """The classifier sees a sought label in samples conditioned on labels."""

    judge: Judge

    kind: ClassVar[str] = "label"
    wording: ClassVar[str] = "conditioned on the forgotten label"
    null: ClassVar[str] = "the null label"
    y_label: ClassVar[str] = "share of samples in which the classifier sees it"
    control_line: ClassVar[str] = "other_labels"

    @property
    def measured_with(self) -> str:
        return f"classifier: {self.judge.name}"

    def describe_exchange(self, pairs: Sequence[tuple[int, int]]) -> str:
        named = " and ".join(f"{one} with {other}" for one, other in pairs)
        return f"its labels exchanged ({named})"

    def shown(self, images: Tensor) -> np.ndarray:
        return np.isin(self._probabilities(images).argmax(1), self.sought)

    def score(self, images: Tensor) -> np.ndarray:
        return self._probabilities(images)[:, list(self.sought)].max(1)

    def _probabilities(self, images: Tensor) -> np.ndarray:
        return self.judge.observe(images, np.zeros(len(images), dtype=int)).probabilities


def read_real(source: str | None, model: ModelInfo, labels: Sequence[int]) -> Examples | None:
    """Real images of the forgotten labels at a model's size; None where there are none."""
    if source is None:
        return None
    images = read_at(source, drawn_shape(model), resize=True)
    if images.labels is None:
        return None
    numbers = torch.from_numpy(number_labels(model, images.labels.numpy()))
    images = replace(images, labels=numbers)
    of_them = images.select(torch.isin(numbers, torch.tensor(labels)))
    if len(of_them) == 0 or of_them.labels is None:
        return None
    return Examples(x0=to_model(of_them.images), conditions=of_them.labels.tolist())


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassMaterial(Material):
    """Labels of a request; without any to forget, those of a model to distil."""

    retain: tuple[int, ...]
    replacements: Mapping[int, tuple[int, ...]]  # of labels to forget; empty: any retained label
    requests: int = 1  # that are carried out together
    images: tuple[Tensor, Tensor] | None = None  # (N, C, H, W) uint8 with labels (N,), if given

    goal_class: ClassVar[type[Goal]] = ClassGoal

    @property
    def forget(self) -> tuple[int, ...]:
        return tuple(self.replacements)

    def recorded(self) -> dict[str, Any]:
        if self.images is None:
            return super().recorded()
        digests = [digest_of_array(part.numpy()) for part in self.images]
        return super().recorded() | {"images": digest_of_json(digests)}

    def amounts(self, settings: Settings) -> Amounts:
        return Amounts(forget_rows=forget_rows(settings) if self.forget else 0)

    def feed(
        self, denoiser: Denoiser, settings: Settings, run: Path, accelerator: Accelerator
    ) -> Feed:
        denoiser = denoiser.to(accelerator.device)
        if "images" in settings.method.needs:
            return self._labelled_feed(as_class_denoiser(denoiser), settings)
        labels = as_class_denoiser(denoiser).labels
        row = {label: number for number, label in enumerate(labels)}.__getitem__
        retain = [row(label) for label in self.retain]
        source = ConditionSource(
            table=as_class_denoiser(denoiser).encode(labels).to(accelerator.device),
            retain=retain,
            forget=[row(label) for label in self.forget],
            replacements=[[*map(row, own)] or retain for own in self.replacements.values()],
            retain_rows=settings.train.batch_size,
            forget_rows=self.amounts(settings).forget_rows,
            seed=settings.train.seed,
            forget_dropout=False,  # as published: forgetting a label is never left to chance
        )
        return Feed(denoiser=denoiser, source=source, retained=source.table[torch.tensor(retain)])

    def _labelled_feed(self, denoiser: ClassDenoiser, settings: Settings) -> Feed:
        """Images under their labels, for methods that need some."""
        notes = {"images": "given"}
        images = self.images
        if images is None:
            images = generate_labelled(denoiser, (*self.retain, *self.forget), settings)
            notes = {"images": f"{len(images[0])} generated by the original model"}
        source = labelled_source(
            denoiser,
            images,
            dict(self.replacements),
            self.retain,
            (settings.train.batch_size, self.amounts(settings).forget_rows),
            settings.train.seed,
        )
        return Feed(
            denoiser=denoiser, source=source, retained=denoiser.encode(self.retain), notes=notes
        )

    def protocol(self, job: Job) -> Protocol:
        return ClassProtocol(
            views=job.views,
            config=job.settings.evaluate,
            forget=self.forget,
            retain=self.retain,
            names=job.subjects.info.names,
            requests=self.requests,
        )

    def retained(self, settings: Settings) -> Retained:
        return Retained(asked=self.retain, count=settings.evaluate.retain_samples)

    def finder(self, model: ModelInfo, settings: Settings, judge: str | Path | None) -> Judge:
        """The classifier; RequestError where none was given and none lies beside the model."""
        found = read_judge(model, judge)
        if found is None:
            raise RequestError(
                f"there is no classifier beside {model.source}, and whether a class is back needs "
                "one: train one with `efface classifier`, or use yours, and give it with --judge."
            )
        return found

    def goal(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> Goal:
        assert isinstance(finder, Judge)  # `finder` found it
        return ClassGoal(
            real=read_real(settings.evaluate.reference, models.info, self.forget),
            judge=finder.to(models.device),
            sought=self.forget,
            conditions=self.forget,
            others=self.retain,
            guidance=settings.evaluate.set_guidance,
        )
