"""Figures of a run about a memorised picture, measured again by what its pack was prepared with."""

from __future__ import annotations

from dataclasses import replace

from accelerate import Accelerator

from efface.diffusion.model_folder import drawn_shape
from efface.errors import DataError, RequestError
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.evaluation.terms import memorised_terms
from efface.evidence.networks import find_view, on_this_machine
from efface.evidence.preparation import Prepared
from efface.evidence.recorded import (
    Claim,
    NotHereError,
    load_recorded,
    recorded_evaluation,
    recorded_section,
    recorded_seeds,
)
from efface.metrics.copy_similarity import pixels
from efface.metrics.intervals import Estimate
from efface.requests.base import ForgetMemorised
from efface.requests.concept.prompts import as_text_denoiser
from efface.requests.concept.remeasure import PromptFigure, recorded_templates, require_file
from efface.requests.memorised.evaluation import (
    MODIFIED,
    NORM,
    OF_A_PROMPT,
    ORIGINAL,
    QUALITY,
    MemorisedProtocol,
    ask_prompts,
    controls_protocol,
)
from efface.requests.memorised.feed import memorised_sampler, read_memorised
from efface.requests.memorised.settings import MemorisedConfig
from efface.requests.memorised.similarity import CopyDetector, load_features
from efface.settings.reading import EvaluateConfig, ImagesConfig, Settings, read_settings

AT_ONCE = 250  # samples of a batch at most
ENCODED_ALIKE = 0.01  # relative difference of one text's tensors on two machines, at most
COPY, NOISES, CONTROLS = "copy", "noises", "control prompts"  # terms


def remeasure_memorised(claim: Claim, request: ForgetMemorised) -> Estimate:
    """A figure of one of the two prompts, or of control prompts, by the evaluation's own code.

    NotHereError where the pack holds no preparation, or what else it needs is not here; DataError
    or RequestError where any of that is another than recorded.
    """
    prepared, metric = claim.prepared, claim.result.metric
    if prepared is None:
        raise NotHereError(
            "it needs what the run was prepared with (the memorised picture, the threshold of a "
            "copy and the modified prompt), and this pack holds none of it."
        )
    settings = _recorded_settings(claim)
    sampler = memorised_sampler(settings)
    which = MODIFIED if metric.endswith(MODIFIED) else ORIGINAL
    name = metric.removesuffix(which)
    if name != NORM:  # which draws nothing
        claim.require(sampler.describe())
    if name not in (*OF_A_PROMPT, QUALITY):
        return _of_controls(claim, request, prepared, settings)
    if which == MODIFIED and prepared.modified.tried.way == "as it is":
        raise RequestError(
            f"{metric} is of a modified prompt, and this run needed none: choose another metric, "
            "or 'none'."
        )
    protocol = _protocol(claim, request, prepared, settings)
    views = {claim.network: find_view(claim)} if name == QUALITY else {}
    subject = Subject(denoiser=load_recorded(claim.info, settings.evaluate), sampler=sampler)
    _require_condition(subject, protocol)
    asked = ask_prompts(subject, protocol, views, Store(None), "measuring again")[which]
    return asked.quality(claim.network) if name == QUALITY else OF_A_PROMPT[name](asked)


def _recorded_settings(claim: Claim) -> Settings:
    """Those of the run that an evaluation reads, with the seeds and counts of the figure."""
    seeds = recorded_seeds(claim.result)
    config = recorded_evaluation(claim.record)
    memorised = recorded_section(claim.record, "memorised", MemorisedConfig)
    return replace(
        read_settings(),
        evaluate=_counted(config, seeds),
        memorised=replace(memorised, samples=len(seeds), noises=len(seeds)),
        images=recorded_section(claim.record, "images", ImagesConfig),
        prompts=recorded_templates(claim.record),
    )


def _counted(config: EvaluateConfig, seeds: range) -> EvaluateConfig:
    return replace(
        config,
        seed=seeds.start,
        retain_samples=len(seeds),
        batch_size=min(config.batch_size, AT_ONCE),
    )


def _protocol(
    claim: Claim, request: ForgetMemorised, prepared: Prepared, settings: Settings
) -> MemorisedProtocol:
    """What was asked for, and what told copies; RequestError for other ones than recorded."""
    shape = drawn_shape(claim.info)
    if tuple(prepared.reference.shape) != shape:
        raise DataError(
            f"the memorised picture in the pack has the shape {tuple(prepared.reference.shape)} "
            f"and this model draws {shape}."
        )
    config = settings.memorised
    features, compared_by = pixels, "correlation of pixels"
    if config.extractor is not None:
        source = on_this_machine("extractor", config.extractor)
        features, compared_by = load_features(source, config.extractor_sha256, Accelerator().device)
    protocol = MemorisedProtocol(
        prompt=request.prompt,
        modified=prepared.modified,
        controls=(),
        held_out=False,
        detector=CopyDetector(
            reference=prepared.reference, threshold=prepared.threshold, features=features
        ),
        compared_by=compared_by,
        settings=settings,
    )
    terms = memorised_terms(protocol)
    copy = claim.evaluation.terms.get(COPY, terms[COPY])
    # A network of the hub has another name where it lies: its checksum and the threshold tell.
    if copy.rpartition("(")[2] == terms[COPY].rpartition("(")[2]:
        terms[COPY] = copy
    if NORM not in claim.result.metric:
        terms.pop(NOISES)
    terms.pop(CONTROLS)
    claim.require_terms(terms)
    return protocol


def _require_condition(subject: Subject, protocol: MemorisedProtocol) -> None:
    """DataError unless the modified prompt is what the model makes of its text.

    One that is an embedding has no text: it is to have the form of a prompt.
    """
    modified, text = protocol.modified.condition.tensors, protocol.modified.tried.text
    denoiser = as_text_denoiser(subject.denoiser)
    own = denoiser.encode([protocol.prompt if text is None else text]).to("cpu").tensors

    def same(name: str) -> bool:
        ours, packed = own[name], modified[name]
        if (ours.shape, ours.dtype) != (packed.shape, packed.dtype):
            return False
        apart = (ours.double() - packed.double()).norm()
        return text is None or bool(apart <= ENCODED_ALIKE * ours.double().norm())

    if own.keys() != modified.keys() or not all(map(same, own)):
        raise DataError("the modified prompt in the pack is none of this model's: get it anew.")


def _of_controls(
    claim: Claim, request: ForgetMemorised, prepared: Prepared, settings: Settings
) -> Estimate:
    """A figure of what else the model draws."""
    require_file(request.control_prompts, CONTROLS)
    # Of the request's picture the pack holds the pixels.
    read = request.model_copy(update={"picture": None})
    inputs = read_memorised(read, claim.info, settings)
    if request.picture is not None:
        picture = (prepared.reference * 255).round().byte()
        inputs = replace(inputs, picture=picture)
    if inputs.digest != request.digest:
        raise RequestError(
            "the control prompts, or the picture in the pack, are not those of this run: restore "
            "them, or choose another metric, or 'none'."
        )
    view = find_view(claim)
    denoiser = load_recorded(claim.info, settings.evaluate)
    return PromptFigure(
        claim=claim,
        view=view,
        subject=Subject(denoiser=denoiser, sampler=memorised_sampler(settings)),
        protocol=controls_protocol(
            inputs.elsewhere(settings.evaluate.retain_samples), settings.evaluate
        ),
        seeds=recorded_seeds(claim.result),
    ).kept()
