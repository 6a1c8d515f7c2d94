"""The network that a recorded figure was seen with, found again and held to its checksum."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from efface.data.images import check_source
from efface.data.tables import HUB
from efface.diffusion.model_folder import pixel_shape
from efface.errors import DataError, RequestError
from efface.evaluation.store import Store
from efface.evaluation.terms import SHOWN
from efface.evaluation.views import JudgeView, View, read_views
from efface.evidence.recorded import (
    Claim,
    NotHereError,
    base_model,
    recorded_evaluation,
    recorded_section,
)
from efface.metrics.extractors import PUBLISHED
from efface.metrics.inception_weights import kept_weights
from efface.metrics.judge import Judge, load_judge
from efface.metrics.nudenet import NUDENET
from efface.metrics.pretrained import find_cached
from efface.settings.reading import EvaluateConfig, ImagesConfig

INSTEAD = "give its judge with --judge, or choose the metric 'none'"


def find_view(claim: Claim) -> View:
    """The network of a figure, as an evaluation has it.

    NotHereError where it is not on this machine, DataError or RequestError where it, or the real
    pictures that it compares with, are others than recorded.
    """
    if claim.network == "judge":
        return JudgeView(judge=find_judge(claim).to(Accelerator().device))
    images = recorded_section(claim.record, "images", ImagesConfig)
    shape = None if claim.info.vae else pixel_shape(claim.info)
    config = only_network(claim)
    views = read_views(None, config, images, shape, Accelerator().device, Store(None))
    view = views[claim.network]
    if view.compared_with is not None:
        claim.require_terms({"real images of the extractor": view.compared_with[:SHOWN]})
    return view


def only_network(claim: Claim) -> EvaluateConfig:
    """The recorded settings with no network but that of the figure, pinned and on this machine."""
    config, which = recorded_evaluation(claim.record), claim.network
    assert claim.result.extractor is not None  # else it is the judge's
    settings = {name: getattr(config, name) for name in ("extractor", "clip", "detector")}
    given = {"clip": claim.given.clip, "detector": claim.given.detector}.get(which)
    source = on_this_machine(which, settings[which]) if given is None else str(given)
    if which == "extractor":
        _require_reference(config.reference)
    if which == "detector" and source != NUDENET and not config.detector_labels:
        raise NotHereError("record.json does not say which labels of the detector are the concept.")
    networks = {name: source if name == which else None for name in settings}
    pinned = claim.result.extractor["sha256"]
    sums = {f"{name}_sha256": pinned if name == which else None for name in settings}
    return replace(
        config,
        **networks,
        **sums,
        detector_labels=config.detector_labels if which == "detector" else (),
        reference=config.reference if which == "extractor" else None,
        prompt_groups=None if which == "extractor" else config.prompt_groups,
        distilled=None,
    )


def on_this_machine(which: str, source: str | None) -> str:
    """Where the recorded network lies; nothing is downloaded because a pack names it.

    NotHereError where it does not lie here.
    """
    if source is None:
        raise NotHereError(f"record.json does not say which {which} this figure was seen with.")
    found = Path(source).exists()
    if which == "detector" and source == NUDENET:
        found = importlib.util.find_spec(NUDENET) is not None
    elif which == "extractor" and source == PUBLISHED:
        found = kept_weights().exists()
    elif not found and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", source):
        cached = find_cached(source)
        if cached is not None:
            return str(cached)
    if not found:
        remedy = "put it there" if which == "extractor" else f"give it with --{which}"
        raise NotHereError(f"the {which} {source} is not on this machine: {remedy}.")
    return source


def _require_reference(reference: str | None) -> None:
    try:
        here = reference is not None and not reference.startswith(HUB)
        check_source(reference or "")
    except DataError:
        here = False
    if not here:
        raise NotHereError(f"the real pictures {reference} are not on this machine.")


def find_judge(claim: Claim) -> Judge:
    """The judge that was given, or that beside the base model; it must be the recorded one."""
    judge = claim.given.judge
    if judge is None:
        judge = base_model(claim.record, INSTEAD).folder / "judge"
    found = load_judge(Path(judge))
    recorded = claim.evaluation.judge or {}
    wanted = {"SHA-256": (recorded.get("sha256"), found.digest)}
    if "reference_sha256" in recorded:  # older runs lack it
        reference = (recorded["reference_sha256"], found.reference_digest)
        wanted["a reference with SHA-256"] = reference
    for what, (then, now) in wanted.items():
        if then != now:
            raise RequestError(
                f"the judge {judge} has {what} {now} and the run was measured with {then}: give "
                "that one with --judge."
            )
    return found
