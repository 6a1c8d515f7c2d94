"""A memorised image and its prompts: read, prepared, trained on and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from accelerate import Accelerator
from torch import Tensor

from efface.attacks.goals import Goal
from efface.data.images import read_at
from efface.data.prompts import SUBJECTS, TEMPLATES, fill_templates, read_prompts, spread
from efface.data.split import pixel_hash
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.model_folder import ModelInfo, drawn_shape
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.diffusion.text.readers import check_lengths
from efface.errors import DataError, RequestError
from efface.evaluation.protocol import Protocol
from efface.evaluation.references import Retained
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import digest_of_json
from efface.evaluation.subjects import Job, Subjects
from efface.evaluation.views import View
from efface.memory.amounts import Amounts, forget_rows
from efface.memory.footprint import rows_footprint, sampling_footprint
from efface.metrics.judge import Judge
from efface.requests.base import Feed, Material, same_phrase
from efface.requests.memorised.embedding_descent import WEIGHT
from efface.requests.memorised.feed import pair_source, preparation_notes
from efface.requests.memorised.goal import MemorisedGoal
from efface.requests.memorised.protocol import MemorisedProtocol
from efface.requests.memorised.sampling import (
    PromptSampler,
    memorised_sampler,
    seeds_for,
    to_unit,
)
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import Comparison, read_comparison
from efface.requests.memorised.stages import (
    Modified,
    Preparer,
    Stages,
    detector_of,
    read_prepared,
)
from efface.requests.memorised.stopping import CopyStopper
from efface.requests.memorised.text_noise import AT_ONCE
from efface.requests.memorised.verdict import Detection
from efface.settings.base import Settings

if TYPE_CHECKING:
    from efface.requests.memorised.request import ForgetMemorised


ENCODED_ALIKE = 0.01  # relative difference of one text's tensors on two machines, at most


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedMaterial(Material):
    """A prompt, the image where it is given, and control prompts.

    The verdict compares with `controls`, whose samples training may retain. `others` are further
    control prompts, which training does not use.
    """

    model: ModelInfo
    image: Tensor | None  # (C, H, W) uint8
    prompt: str
    modified_prompt: str | None
    controls: tuple[str, ...]
    others: tuple[str, ...]
    comparison: Comparison

    goal_class: ClassVar[type[Goal]] = MemorisedGoal

    @property
    def digest(self) -> str:
        image = None if self.image is None else pixel_hash(self.image)
        return digest_of_json([image, self.controls, self.others])

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
        return expected_amounts(self.model, settings, searched=self.modified_prompt is None)

    def retained(self, settings: Settings) -> Retained:
        return Retained(
            asked=self.control_prompts(settings), count=settings.evaluate.retain_samples
        )

    def control_prompts(self, settings: Settings) -> tuple[str, ...]:
        return self.measured_prompts(settings.evaluate.retain_samples)

    def feed(
        self, denoiser: Denoiser, settings: Settings, run: Path, accelerator: Accelerator
    ) -> Feed:
        """Prepare in the run folder, and encode all prompts.

        RequestError where nothing is memorised or no prompt generates the image only sometimes,
        DataError where its samples cannot be separated.
        """
        own = settings.of(MemorisedSettings)
        model = as_text_denoiser(denoiser).to(accelerator.device)
        sampler, batch_size = memorised_sampler(settings), settings.evaluate.batch_size
        preparer = Preparer(
            stages=Stages(run, accelerator.is_main_process),
            sampler=PromptSampler(denoiser=model, sampler=sampler, batch_size=batch_size),
            settings=own,
            prompt=self.prompt,
            comparison=self.comparison.to(accelerator.device),
        )
        image = None if self.image is None else to_unit(self.image)
        detected = preparer.detect(self.controls, image)
        if not detected.detection.is_memorised and not own.force:
            raise RequestError(_not_memorised(detected.detection))
        modified = preparer.modify(detected, self.modified_prompt)
        sides = preparer.separate(detected, modified)
        controls, original = model.encode(self.controls), model.encode([self.prompt])
        # For the evaluation; a resumed run reads the modified prompt where the first encoded it.
        text = modified.tried.text
        model.encode([*self.control_prompts(settings), *([] if text is None else [text])])
        model = model.without_encoders()
        both = (original, modified.condition)
        prompts = both[:1] if modified.is_original else both
        return Feed(
            denoiser=model,
            source=pair_source(model, sides, both, (controls, detected.controls), settings),
            retained=controls,
            stopper=CopyStopper(
                detector=preparer.detector(detected),
                prompts=Condition.cat(list(prompts)).to(accelerator.device),
                sampler=sampler,
                seeds=seeds_for(own.seed, "stop", own.stop_images),
                batch_size=batch_size,
            ),
            notes=preparation_notes(detected.detection, modified, sides),
        )

    def protocol(self, job: Job) -> Protocol:
        """The memorised image, the threshold and the modified prompt are those of preparation."""
        detected, modified = read_prepared(job.run)
        _require_own_text(job.subjects.original, modified, self.prompt)
        return MemorisedProtocol(
            views=job.views,
            config=job.settings.evaluate,
            prompt=self.prompt,
            modified=modified,
            controls=self.control_prompts(job.settings),
            held_out=self.held_out,
            detector=detector_of(detected, self.comparison.to(job.subjects.device)),
            noise_draws=job.settings.of(MemorisedSettings).noises,
        )

    def goal(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> Goal:
        """The memorised image and the threshold are those of preparation."""
        detected, _ = read_prepared(run)
        detector = detector_of(detected, self.comparison.to(models.device))
        return MemorisedGoal(
            sought=[self.prompt],
            conditions=[self.prompt],
            others=list(self.measured_prompts(len(self.controls))),
            guidance=settings.evaluate.set_guidance,
            finder=detector.similarity,
            threshold=detector.threshold,
            image=detector.reference,
            called=(
                f"{detector.comparison.name} with the memorised image, a copy has "
                f"{detector.threshold:.3f} or more"
            ),
        )


def _require_own_text(original: Subject, modified: Modified, prompt: str) -> None:
    """DataError unless the modified prompt is what the model makes of its text.

    One that is an embedding has no text: it is to have the form of a prompt.
    """
    given, text = modified.condition.tensors, modified.tried.text
    encoded = as_text_denoiser(original.denoiser).encode([prompt if text is None else text])
    own = encoded.to("cpu").tensors

    def same(name: str) -> bool:
        ours, theirs = own[name], given[name].to(own[name].device)
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            return False
        apart = (ours.double() - theirs.double()).norm()
        return text is None or bool(apart <= ENCODED_ALIKE * ours.double().norm())

    if own.keys() != given.keys() or not all(map(same, own)):
        raise DataError("the modified prompt is not one of this model: restore it, or run again.")


def read_memorised(
    request: ForgetMemorised, model: ModelInfo, settings: Settings
) -> MemorisedMaterial:
    """Read a request's image and prompts, and the extractor that images are compared by.

    DataError or RequestError for what cannot be used.
    """
    own = settings.of(MemorisedSettings)
    image = None if request.image is None else _read_image(request.image, model)
    prompts = [request.prompt]
    if request.modified_prompt is not None:
        prompts.append(request.modified_prompt)
    controls, others = _read_controls(request.control_prompts, prompts, own.controls)
    check_lengths(model, [*prompts, *controls, *others])
    return MemorisedMaterial(
        model=model,
        image=image,
        prompt=request.prompt,
        modified_prompt=request.modified_prompt,
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
    source: str | None, prompts: list[str], count: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`count` control prompts from all over the list, none of them one of `prompts`; the others."""
    given = fill_templates(TEMPLATES, SUBJECTS) if source is None else read_prompts(source)
    different = [
        control
        for control in dict.fromkeys(given)
        if not any(same_phrase(control, prompt) for prompt in prompts)
    ]
    if len(different) < count:
        raise RequestError(
            f"there are {len(different)} different control prompts and {count} are needed: give "
            "more with --control-prompts."
        )
    controls = tuple(spread(different, count))
    return controls, tuple(prompt for prompt in different if prompt not in set(controls))


def _not_memorised(detection: Detection) -> str:
    return (
        f"nothing memorised was found for this prompt: {detection.copies} of {detection.samples} "
        f"samples are copies, its text-noise norm is {detection.norm:.3g} (p = "
        f"{detection.norm_p:.2g} among {detection.controls} control prompts) and the similarity of "
        f"its samples {detection.similarity:.2g} (p = {detection.similarity_p:.2g}); there is "
        "nothing to forget, or set memorised.force=true to go on."
    )


def expected_amounts(model: ModelInfo, settings: Settings, searched: bool) -> Amounts:
    """Training, and before it sampling, norms and, where a prompt is `searched`, a descent."""
    own = settings.of(MemorisedSettings)
    held = settings.train.base_dtype == "bfloat16"
    measured = settings.evaluate.dtype == "bfloat16"
    samples = max(own.controls * own.control_images, own.samples, own.images)
    takes = [
        sampling_footprint(model, samples, held, settings.evaluate),
        rows_footprint(model, AT_ONCE, held),
    ]
    descends = searched and "embedding" in own.search
    if descends:
        takes.append(rows_footprint(model, own.noises, held, gradient="inputs", weight=WEIGHT))
    return Amounts(
        forget_rows=forget_rows(settings),
        preparation=max(takes),
        sampling=rows_footprint(model, AT_ONCE, measured),
        savings={"memorised.search": [("tokens",)]} if descends else {},
    )
