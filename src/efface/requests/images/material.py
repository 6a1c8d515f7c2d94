"""Images to forget, retained images and unseen ones, each read once."""

import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor

from efface.attacks.goals import Goal, ImageGoal
from efface.data.image_files import Reading
from efface.data.images import ImageSet, join_images, read_at, to_model
from efface.data.split import Split, copy_distance, distances, pixel_hash, split_images
from efface.diffusion.denoiser import Denoiser
from efface.evaluation.protocol import Protocol
from efface.evaluation.references import Retained
from efface.evaluation.store import digest_of_array, digest_of_json
from efface.evaluation.subjects import Job, Subjects
from efface.evaluation.views import View
from efface.metrics.judge import Judge
from efface.progress import note
from efface.requests.base import Feed, Material
from efface.requests.images.feeding import STOP_MEASURES, generate_retained, pair_source
from efface.requests.images.protocol import ImageProtocol, retained_distance
from efface.requests.images.request import ForgetImages
from efface.requests.images.settings import ImageSettings
from efface.settings.base import Settings
from efface.training.guard import UnseenStopper

NOISE_SEED = 6_500_000  # away from the seeds of training, evaluation and attacks
NOISE_TRIES = 64
ATTACK_UNSEEN = 200  # unseen images of an attack, at most
ATTACK_GENERATED = 512  # retained images that an attack generates, at most
NOT_KNOWN = (
    "the model predicts these images no better than unseen ones, so there may be nothing "
    "to forget: ask `efface triage` first."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageMaterial(Material):
    """The images of a request, at the model's size."""

    split: Split
    unseen: ImageSet | None
    prior: float | None  # share of the images in the training data, where it was given
    counts: tuple[int, ...] = ()  # of images to forget, by request, the earliest first

    goal_class: ClassVar[type[Goal]] = ImageGoal

    @cached_property
    def hashes(self) -> list[str]:
        """Of the pixels of every image to forget."""
        return [pixel_hash(image) for image in self.split.forget.images]

    @cached_property
    def digest(self) -> str:
        return digest_of_json(self.hashes)

    def recorded(self) -> dict[str, Any]:
        names = list(self.split.forget.names)
        return super().recorded() | {"names": names, "hashes": self.hashes}

    @cached_property
    def sets(self) -> dict[str, str]:
        """Digests of retained and unseen images, by name."""
        found = {"retained images": self.split.retain, "unseen images": self.unseen}
        return {
            name: digest_of_array(images.images.numpy())
            for name, images in found.items()
            if images is not None
        }

    def compared_digest(self) -> str:
        return json.dumps(self.sets)

    def feed(
        self, denoiser: Denoiser, settings: Settings, run: Path, accelerator: Accelerator
    ) -> Feed:
        denoiser = denoiser.to(accelerator.device)
        source, notes = pair_source(denoiser, self.split, self.prior, settings)
        stopper = None
        if self.unseen is not None:
            unseen = to_model(self.unseen.images).to(denoiser.device)
            ends = list(itertools.accumulate(self.counts[:-1]))  # near duplicates follow at the end
            forget = source.bank.forget.tensor_split(ends)
            stopper = UnseenStopper(STOP_MEASURES[settings.train.stop_by], forget, unseen)
            known = stopper.check(denoiser) is None
            notes["known_better_than_unseen"] = known
            if not known:
                note(NOT_KNOWN)
        return Feed(denoiser=denoiser, source=source, stopper=stopper, notes=notes)

    def protocol(self, job: Job) -> Protocol:
        return ImageProtocol(
            views=job.views,
            config=job.settings.evaluate,
            split=self.split,
            unseen=self.unseen,
            own=job.settings.of(ImageSettings),
            digests={"images to forget": self.digest} | self.sets,
            counts=self.counts,
        )

    def retained(self, settings: Settings) -> Retained:
        return Retained(asked=None, count=settings.of(ImageSettings).samples)

    def goal(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> Goal:
        original, own = models.original.denoiser, settings.of(ImageSettings)
        forget = self.split.forget.images
        if self.split.retain is not None:
            retained = self.split.retain.images
        else:
            count, steps = min(own.generate, ATTACK_GENERATED), settings.evaluate.baseline_steps
            retained = generate_retained(original, forget, count, steps).images
        goal = ImageGoal(
            images=to_model(forget),
            unseen=self._some_unseen(),
            retained_images=to_model(retained),
            distance=retained_distance(self.split) or copy_distance(distances(retained, forget)),
        )
        without = None if models.retrained is None else models.retrained.denoiser
        return goal.with_best_timestep(original, without, NOISE_TRIES, NOISE_SEED)

    def _some_unseen(self) -> Tensor | None:
        """Unseen images in model space, in an order of their own."""
        if self.unseen is None:
            return None
        generator = torch.Generator().manual_seed(NOISE_SEED)
        order = torch.randperm(len(self.unseen), generator=generator)
        return to_model(self.unseen.images[order[:ATTACK_UNSEEN]])


def read_images(
    request: ForgetImages, shape: tuple[int, int, int], settings: Settings
) -> ImageMaterial:
    """Read and check all images of a request; DataError for what cannot be used."""
    own = settings.of(ImageSettings)

    def read(
        source: str,
        split: str = "train",
        complete: bool = False,
        column: str | None = request.image_column,
    ) -> ImageSet:
        how = Reading(complete=complete, image_column=column)
        return read_at(source, shape, split, resize=own.resize, mean_pool=own.mean_pool, how=how)

    parts = [read(one.images, complete=True, column=one.image_column) for one in request.together]
    forget = join_images(parts)
    split = Split(forget=forget)
    if not request.generates:
        split = split_images(forget, read(request.retain))
    unseen = request.unseen_images
    return ImageMaterial(
        split=split,
        unseen=None if unseen is None else read(unseen, "test"),
        prior=request.prior,
        counts=tuple(map(len, parts)),
    )
