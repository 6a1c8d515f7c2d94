"""A memorised image and its prompts: read, prepared, trained on and measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from accelerate import Accelerator
from torch import Tensor

from efface.attacks.goals import REAL, Examples, Goal, encode
from efface.data.images import read_at
from efface.data.phrases import same_phrase
from efface.data.prompts import SUBJECTS, TEMPLATES, fill_templates, read_prompts, spread
from efface.data.split import pixel_hash
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.model_folder import ModelInfo, drawn_shape
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.diffusion.text.prompts import Reader, check_prompts, load_readers, whole_prompts
from efface.errors import DataError, RequestError
from efface.evaluation.protocol import Protocol
from efface.evaluation.references import Retained
from efface.evaluation.store import digest_of_json
from efface.evaluation.subjects import Job, Subjects
from efface.evaluation.views import View
from efface.memory.estimate import Amounts, forget_rows
from efface.memory.footprint import rows_footprint, sampling_footprint
from efface.metrics.judge import Judge
from efface.requests.base import Feed, Material
from efface.requests.concept.finding import ConceptGoal
from efface.requests.memorised.captions import (
    Caption,
    prepare,
    read_sought,
    without_copies_of_others,
)
from efface.requests.memorised.feed import CopyStopper, pair_source
from efface.requests.memorised.protocol import MemorisedProtocol, one_or_all
from efface.requests.memorised.sampling import AT_ONCE, prompt_sampler
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import Comparison, read_comparison
from efface.requests.memorised.stages import Stages, preparation_numbers
from efface.settings.base import Settings

if TYPE_CHECKING:
    from efface.requests.memorised.request import ForgetMemorised


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedGoal(ConceptGoal):
    """The finder is the similarity to the memorised image, from `threshold` on a copy.

    `sought` is the prompt that the image was memorised for, `others` are control prompts.
    """

    image: Tensor  # (C, H, W) in [0, 1]

    wording: ClassVar[str] = "conditioned on the prompt that the image was memorised for"
    y_label: ClassVar[str] = "share of samples that are copies of the image"

    @property
    def noised(self) -> str:
        return REAL

    def shown(self, images: Tensor) -> np.ndarray:
        return self.score(images) >= self.threshold

    def originals(self, original: Denoiser, count: int, seed: int) -> Examples:
        """The memorised image itself, one whatever the count."""
        x0 = encode(original, self.image[None] * 2 - 1, seed)
        return Examples(x0=x0, conditions=self.sought[:1])

    def describe_exchange(self, pairs: Sequence[tuple[str, str]]) -> str:
        return f"its prompt exchanged with {len(pairs)} retained prompt"


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedMaterial(Material):
    """Captions, the earliest first, their images where these are given, and control prompts.

    The verdict compares with `controls`, whose samples training may retain. `others` are further
    control prompts, which training does not use.
    """

    model: ModelInfo
    captions: tuple[Caption, ...]
    controls: tuple[str, ...]
    others: tuple[str, ...]
    comparison: Comparison
    too_long: int = 0  # control prompts that the model cannot read whole, which are left out

    goal_class: ClassVar[type[Goal]] = MemorisedGoal

    @property
    def digest(self) -> str:
        images = [None if one.image is None else pixel_hash(one.image) for one in self.captions]
        return digest_of_json([one_or_all(images), self.controls, self.others])

    def recorded(self) -> dict[str, Any]:
        return super().recorded() | {"control_prompts_too_long": self.too_long}

    def compared_digest(self) -> str:
        extractor = self.comparison.extractor
        return "" if extractor is None else extractor.sha256

    @property
    def held_out(self) -> bool:
        """Whether there are enough control prompts to measure that training did not use."""
        return len(self.others) >= len(self.controls)

    def measured_prompts(self, samples: int) -> tuple[str, ...]:
        """Control prompts to measure, at most one per sample; `controls` where others are few."""
        return tuple(spread(self.others, samples)) if self.held_out else self.controls

    def amounts(self, settings: Settings) -> Amounts:
        return expected_amounts(self.model, settings)

    def retained(self, settings: Settings) -> Retained:
        samples = settings.evaluate.retain_samples
        return Retained(asked=self.measured_prompts(samples), count=samples)

    def feed(
        self, denoiser: Denoiser, settings: Settings, run: Path, accelerator: Accelerator
    ) -> Feed:
        """Prepare every caption in the run folder, and encode all prompts.

        RequestError where nothing is memorised or no prompt generates an image only sometimes,
        DataError where its samples cannot be separated.
        """
        own, device = settings.of(MemorisedSettings), accelerator.device
        model = as_text_denoiser(denoiser).to(device)
        sampler, comparison = prompt_sampler(model, settings), self.comparison.to(device)
        prepared = []
        for caption, number in zip(
            self.captions, preparation_numbers(len(self.captions)), strict=True
        ):
            stages = Stages(run, accelerator.is_main_process, number)
            prepared.append(prepare(caption, stages, sampler, self.controls, comparison, own))
        prepared = without_copies_of_others(prepared, own)
        sought = [one.sought for one in prepared]
        prompts = [prompt for one in sought for prompt in (one.prompt, one.modified)]
        encoded, retained = model.encode(prompts), model.encode(self.controls)
        model.encode(self.measured_prompts(settings.evaluate.retain_samples))  # for the evaluation
        model, controls = (
            model.without_encoders(),
            (retained, prepared[-1].detection.control_images),
        )
        *earlier, notes = (one.notes() for one in prepared)
        return Feed(
            denoiser=model,
            source=pair_source(model, [one.sides for one in prepared], encoded, controls, settings),
            retained=retained,
            stopper=CopyStopper(
                captions=sought,
                sampler=sampler.sampler,
                seeds=sampler.seeds("stop", own.stop_images),
                batch_size=sampler.batch_size,
            ),
            notes=notes | ({"earlier": earlier} if earlier else {}),
        )

    def protocol(self, job: Job) -> Protocol:
        """The images, the thresholds and the modified prompts are those of preparation."""
        return MemorisedProtocol(
            views=job.views,
            config=job.settings.evaluate,
            captions=read_sought(job.run, self.captions, self.comparison.to(job.subjects.device)),
            controls=self.measured_prompts(job.settings.evaluate.retain_samples),
            held_out=self.held_out,
        )

    def goal(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> Goal:
        *_, last = self.goals(run, models, settings, finder).values()
        return last

    def goals(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> Mapping[str, Goal]:
        """Of each caption; its image and the threshold are those of preparation."""
        sought = read_sought(run, self.captions, self.comparison.to(models.device))
        single = len(sought) == 1
        return {
            "" if single else f"caption {number}": MemorisedGoal(
                sought=[caption.prompt],
                conditions=[caption.prompt],
                others=list(self.measured_prompts(len(self.controls))),
                guidance=settings.evaluate.set_guidance,
                finder=caption.detector.similarity,
                threshold=caption.detector.threshold,
                image=caption.detector.reference,
                called=caption.detector.called,
            )
            for number, caption in enumerate(sought, start=1)
        }


def read_memorised(
    request: "ForgetMemorised", model: ModelInfo, settings: Settings
) -> MemorisedMaterial:
    """Read a request's images and prompts, and the extractor that images are compared by.

    DataError or RequestError for what cannot be used.
    """
    own = settings.of(MemorisedSettings)
    captions = tuple(
        Caption(
            prompt=one.prompt,
            modified_prompt=one.modified_prompt,
            image=None if one.image is None else _read_image(one.image, model),
        )
        for one in request.together
    )
    prompts = [one.prompt for one in captions]
    prompts += [one.modified_prompt for one in captions if one.modified_prompt is not None]
    readers = load_readers(model)
    check_prompts(prompts, readers)
    controls, others, too_long = _read_controls(*request.controls, prompts, own.controls, readers)
    return MemorisedMaterial(
        model=model,
        captions=captions,
        too_long=too_long,
        controls=controls,
        others=others,
        comparison=read_comparison(own.extractor),
    )


def _read_image(source: str, model: ModelInfo) -> Tensor:
    images = read_at(source, drawn_shape(model), resize=True).images
    if len(images) != 1:
        raise DataError(
            f"{source} holds {len(images)} images: one image is memorised for one prompt, give "
            "that alone."
        )
    return images[0]


def _read_controls(
    source: str | None,
    column: str | None,
    prompts: list[str],
    count: int,
    readers: Sequence[Reader],
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """`count` control prompts from all over the list, none of them one of `prompts`; the others.

    And how many are too long.
    """
    given = fill_templates(TEMPLATES, SUBJECTS) if source is None else read_prompts(source, column)
    whole = whole_prompts(given, readers)
    different = [
        control for control in whole if not any(same_phrase(control, prompt) for prompt in prompts)
    ]
    if len(different) < count:
        raise RequestError(
            f"there are {len(different)} different control prompts and {count} are needed: give "
            "more with --control-prompts."
        )
    controls = tuple(spread(different, count))
    others = tuple(prompt for prompt in different if prompt not in set(controls))
    return controls, others, len(given) - len(whole)


def expected_amounts(model: ModelInfo, settings: Settings) -> Amounts:
    """Training, and sampling and norms before it."""
    own = settings.of(MemorisedSettings)
    held = settings.train.base_dtype == "bfloat16"
    samples = max(own.controls * own.control_images, own.samples, own.images)
    sampling = sampling_footprint(model, samples, held, settings.evaluate)
    preparation = max(sampling, rows_footprint(model, AT_ONCE, held))
    return Amounts(forget_rows=forget_rows(settings), preparation=preparation)
