"""What an attack is given: the models, and who says whether the forgotten thing is back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from efface.attacks.base import Case, Subject
from efface.attacks.goals import Goal
from efface.attacks.picture_goal import PictureGoal
from efface.data.split import distances
from efface.diffusion.denoiser import Denoiser, as_class_denoiser
from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.evaluation.store import Store
from efface.evaluation.subjects import (
    Subjects,
    find_judge,
    read_subjects,
)
from efface.evaluation.views import PREFERRED, ClipView, DetectorView, read_views
from efface.metrics.clip_contrast import detector_scores
from efface.metrics.judge import Judge, load_judge
from efface.records import (
    RunRecord,
)
from efface.requests.base import ForgetClass, ForgetConcept, ForgetImages, ForgetMemorised
from efface.requests.classes.goal import ClassGoal
from efface.requests.concept.evaluation import find_finder
from efface.requests.concept.goal import ConceptGoal, Finder
from efface.requests.concept.prompt_groups import check_detection
from efface.requests.concept.prompts import recorded_prompts
from efface.requests.images.evaluation import find_copy_distance
from efface.requests.images.feed import generate_retained, read_pictures, to_model
from efface.requests.memorised.feed import recorded_inputs
from efface.requests.memorised.goal import MemorisedGoal
from efface.requests.memorised.similarity import CopyDetector, load_features
from efface.requests.memorised.stages import read_prepared
from efface.settings.reading import ImagesConfig, Settings

NOISE_SEED = 6_500_000  # away from the seeds of training, evaluation and attacks
NOISE_TRIES = 64
UNSEEN = 200  # pictures at most
GENERATED = 512  # retained images at most that the model draws itself
Attacked = ForgetClass | ForgetConcept | ForgetImages | ForgetMemorised
Looks = Judge | DetectorView | ClipView  # who says whether it is back


def read_looks(
    info: ModelInfo, request: Attacked, settings: Settings, judge: str | Path | None
) -> Looks | None:
    """Who says whether it is back, where it is not the distance to a picture."""
    if isinstance(request, ForgetClass):
        return _read_judge(info, judge)
    if judge is not None:
        raise RequestError(
            f"a judge sees labels, and what this run forgot is {request.describe()}: leave the "
            "judge out."
        )
    return _read_finder(request, settings) if isinstance(request, ForgetConcept) else None


def _read_finder(request: ForgetConcept, settings: Settings) -> DetectorView | ClipView:
    config = settings.evaluate
    if config.detector is None and (config.clip is None or request.replacement is None):
        raise RequestError(
            "whether a concept is back must be seen by something: give a detector with "
            "--set evaluate.detector=... and evaluate.detector_labels, or where a phrase was "
            "replaced by another a CLIP with evaluate.clip."
        )
    check_detection(settings, request.model_dump(mode="json"))
    views = read_views(
        None,
        dataclasses.replace(config, extractor=None, reference=None),
        settings.images,
        None,
        Accelerator().device,
        Store(None),
    )
    finder = find_finder(views)
    assert finder is not None  # there is a detector or a CLIP
    return finder


def _read_judge(info: ModelInfo, judge: str | Path | None) -> Judge:
    folder = find_judge(info, judge)
    if folder is None:
        raise RequestError(
            f"there is no judge beside {info.source}, and whether a class is back needs one: make "
            "one with `efface judge` and give it with --judge."
        )
    return load_judge(folder)


def read_case(
    run: Path,
    record: RunRecord,
    request: Attacked,
    settings: Settings,
    retrained: str | Path | None,
    looks: Looks | None,
) -> Case:
    """Load all models; a one-step generator is put on the untouched model's whole schedule."""
    # Networks that are trained on are held in float32, and none is distilled.
    held = dataclasses.replace(settings.evaluate, dtype="float32", distilled=None)
    models = read_subjects(run, record, held, retrained)
    untouched, result = models.untouched.denoiser, models.result
    never_knew = None if models.retrained is None else models.retrained.denoiser
    if never_knew is not None:
        same = never_knew.schedule.num_timesteps == untouched.schedule.num_timesteps
        if not same or not torch.equal(never_knew.schedule.alphas, untouched.schedule.alphas):
            raise RequestError(
                f"{retrained} was trained with another noise schedule than {models.info.source}: "
                "give a retrained model with the same one."
            )
    guidance = settings.evaluate.guidance
    if isinstance(request, ForgetImages):
        goal: Goal = _picture_goal(untouched, never_knew, request, settings.images)
    elif isinstance(request, ForgetMemorised):
        goal = _memorised_goal(run, record, models, settings)
    elif isinstance(looks, Judge):
        assert isinstance(request, ForgetClass)  # no other is judged
        goal = ClassGoal(
            judge=looks.to(models.device),
            sought=request.labels,
            asked=request.labels,
            others=request.retained(as_class_denoiser(untouched).num_classes),
            guidance=guidance,
        )
    else:
        assert isinstance(request, ForgetConcept) and looks is not None  # `_read_looks`
        prompts = recorded_prompts(record, settings.prompts)
        phrases = (request.concept, request.replacement) if request.replacement else None
        goal = concept_goal(looks, (prompts.forget, prompts.retain), phrases, guidance)
    sampler = models.untouched.sampler
    return Case(
        result=Subject(
            denoiser=untouched.with_network(result.denoiser.network), sampler=result.sampler
        ),
        untouched=Subject(denoiser=untouched, sampler=sampler),
        retrained=None if never_knew is None else Subject(denoiser=never_knew, sampler=sampler),
        goal=goal,
    )


def _picture_goal(
    untouched: Denoiser, never_knew: Denoiser | None, request: ForgetImages, config: ImagesConfig
) -> PictureGoal:
    pictures = read_pictures(request, untouched.sample_shape, config)
    if pictures.complete(request) != request:
        raise RequestError(
            f"{request.images} no longer holds the pictures of this run: restore them."
        )
    forget = pictures.forget.images
    if pictures.retain is not None:
        stays = pictures.retain.images
    else:
        fewer = dataclasses.replace(config, generate=min(config.generate, GENERATED))
        stays = generate_retained(untouched, forget, fewer).images
    unseen = None
    if pictures.unseen is not None:
        shuffled = torch.randperm(
            len(pictures.unseen), generator=torch.Generator().manual_seed(NOISE_SEED)
        )
        unseen = to_model(pictures.unseen.images[shuffled[:UNSEEN]])
    goal = PictureGoal(
        pictures=to_model(forget),
        unseen=unseen,
        stays=to_model(stays),
        distance=find_copy_distance(pictures, lambda: distances(stays, forget)),
    )
    return goal.with_best_timestep(untouched, never_knew, NOISE_TRIES, NOISE_SEED)


def _memorised_goal(
    run: Path, record: RunRecord, models: Subjects, settings: Settings
) -> MemorisedGoal:
    """The picture and the threshold are those that the run was prepared with."""
    inputs = recorded_inputs(record, models.info, settings)
    detected, _ = read_prepared(run)
    config = settings.memorised
    features, name = load_features(config.extractor, config.extractor_sha256, models.device)
    copies = CopyDetector(
        reference=detected.reference, threshold=detected.detection.threshold, features=features
    )
    prompt = record.request["prompt"]
    return MemorisedGoal(
        sought=[prompt],
        asked=[prompt],
        others=list(inputs.elsewhere(len(inputs.controls))),
        guidance=settings.evaluate.guidance,
        finder=copies.similarity,
        threshold=copies.threshold,
        picture=copies.reference,
        called=f"{name} with the memorised picture, a copy has {copies.threshold:.3f} or more",
    )


def detector_finder(view: DetectorView) -> Finder:
    """How likely a detector holds it that pictures show any of the concept's labels."""
    return lambda images: view.detector.scores(view.detector.probabilities(images), view.labels)


def clip_finder(view: ClipView, phrases: tuple[str, str]) -> Finder:
    """How likely a CLIP takes pictures for the concept rather than for its replacement."""

    def find(images: Tensor) -> np.ndarray:
        return detector_scores(view.clip, view.clip.embed_images(images), [phrases] * len(images))

    return find


def concept_goal(
    view: DetectorView | ClipView,
    prompts: tuple[Sequence[str], Sequence[str]],
    phrases: tuple[str, str] | None,
    guidance: float,
) -> ConceptGoal:
    """The goal of prompts to forget and prompts that stay; a CLIP needs both `phrases`."""
    forget, retain = (list(dict.fromkeys(side)) for side in prompts)
    if isinstance(view, DetectorView):
        finder, threshold, called = detector_finder(view), view.threshold, view.extractor["name"]
    else:
        assert phrases is not None  # the request was checked
        finder, threshold = clip_finder(view, phrases), PREFERRED
        called = f"{view.clip.name}, which chooses between the concept and its replacement"
    return ConceptGoal(
        sought=forget,
        asked=forget,
        others=retain,
        guidance=guidance,
        finder=finder,
        threshold=threshold,
        called=called,
    )
