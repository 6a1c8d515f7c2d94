"""Runs attacks on a run folder: does what was forgotten come back."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from efface.attacks import names, resolve
from efface.attacks.base import Attack, Case, Subject
from efface.attacks.goals import REAL
from efface.errors import ConfigError, RequestError
from efface.evaluation.subjects import check_retrained, read_subjects
from efface.evaluation.views import View
from efface.metrics.judge import Judge
from efface.records import Attacks, read_attacks, write_json
from efface.requests.base import Material
from efface.runs.lock import locked
from efface.runs.recorded import Recorded, measured_before, read_run
from efface.settings.reading import build, read_changes


def attack(
    run: str | Path,
    attacks: Sequence[str] = (),
    *,
    judge: str | Path | None = None,
    retrained: str | Path | None = None,
    reference: str | None = None,
    changes: Iterable[str] = (),
) -> Attacks:
    """Attack a run, with the named attacks or all that apply; writes attacks.json.

    `changes` are settings, as "relearning.images=[1, 8]", or of the evaluation, as
    "evaluate.detector=FOLDER"; `retrained` is a model that was trained without what is forgotten,
    `reference` (`evaluate.reference`) holds real images of a forgotten class.
    Results of other attacks on the same weights stay, those of the same attack are replaced.
    Raises an EffaceError, before anything is loaded where that is possible.
    """
    run, given = Path(run), list(changes)
    if reference is not None:
        given.append(f"evaluate.reference={json.dumps(reference)}")
    own = [change for change in given if change.strip().partition(".")[0] in names()]
    selected = choose(attacks, own)
    recorded = read_run(run, [change for change in given if change not in own], "attack")
    recorded = _at_measured_guidance(recorded)
    if not recorded.request.forgets:
        raise RequestError(f"{run} forgot nothing that could come back: attack one that did.")
    selected = fitting(selected, recorded.material, strict=bool(attacks))
    if retrained is not None:
        check_retrained(retrained, recorded.info)
    finder = recorded.material.finder(recorded.info, recorded.settings, judge)
    cases = read_cases(recorded, retrained, finder)
    if reference is not None and all(case.goal.examples != REAL for case in cases):
        raise RequestError(
            f"{reference} holds no image with a label that was forgotten: give labelled images, as "
            "a folder with a subfolder for each label, or none."
        )
    with locked(run):
        found = _earlier(run, recorded.record.output, finder)
        for one, case in itertools.product(selected, cases):
            result = one.run(case)
            beside = {
                "retrained": None if retrained is None else str(retrained),
                "reference": recorded.settings.evaluate.reference,
            }
            result = result.model_copy(update={"settings": result.settings | beside})
            kept = [r for r in found.results if (r.attack, r.called) != (one.name, case.called)]
            found = found.model_copy(update={"results": [*kept, result]})
            write_json(run / "attacks.json", found)
    return found


def _at_measured_guidance(recorded: Recorded) -> Recorded:
    """The original model is sampled as the evaluation of the run chose, unless that is set."""
    evaluation = measured_before(recorded.run)
    if recorded.settings.evaluate.guidance is not None or evaluation is None:
        return recorded
    settings = recorded.settings.changed({"evaluate.guidance": evaluation.guidance})
    return replace(recorded, settings=settings)


def choose(chosen: Sequence[str], changes: Iterable[str]) -> list[Attack]:
    """The chosen attacks, or all, with their settings; ConfigError for what is not understood."""
    kinds = {name: resolve(name) for name in dict.fromkeys(chosen or names())}
    given = read_changes(changes, {name: resolve(name) for name in names()})
    for name in given.keys() - kinds.keys():
        raise ConfigError(
            f"--set {name}.{next(iter(given[name]))} is for an attack that is not run: add "
            f"--attack {name}, or leave it out."
        )
    return [build(kind, given.get(name, {}), name) for name, kind in kinds.items()]


def fitting(attacks: Sequence[Attack], material: Material, strict: bool) -> list[Attack]:
    """Those attacks that apply to what was forgotten; if `strict`, RequestError where one not."""
    fit = []
    for one in attacks:
        why = one.misfit(material.goal_class)
        if why is None:
            fit.append(one)
        elif strict:
            raise RequestError(f"attack {one.name!r} cannot be run here: {why}.")
    return fit


def read_cases(
    recorded: Recorded, retrained: str | Path | None, finder: Judge | View | None
) -> list[Case]:
    """Load all models; a case for each of several things that were forgotten.

    A one-step generator is put on the original model's whole schedule.
    """
    config, request = recorded.settings.evaluate, recorded.request
    compared = request.compared(config.set_guidance, retrained=retrained)
    # Networks that are trained on are held in float32.
    held = config.model_copy(update={"dtype": "float32"})
    models = read_subjects(recorded.run / "pipeline", recorded.record, held, compared)
    original = models.original.denoiser
    beside = None
    if models.retrained is not None:
        schedule = models.retrained.denoiser.schedule
        same = schedule.num_timesteps == original.schedule.num_timesteps
        if not same or not torch.equal(schedule.alphas, original.schedule.alphas):
            raise RequestError(
                f"{retrained} was trained with another noise schedule than {models.info.source}: "
                "give a retrained model with the same one."
            )
        beside = Subject(denoiser=models.retrained.denoiser, sampler=models.original.sampler)
    goals = recorded.material.goals(recorded.run, models, recorded.settings, finder)
    first, *others = goals.items()
    case = Case(
        result=Subject(
            denoiser=original.with_network(models.result.denoiser.network),
            sampler=models.result.sampler,
        ),
        original=Subject(denoiser=original, sampler=models.original.sampler),
        retrained=beside,
        called=first[0],
        goal=first[1],
    )
    return [case, *(replace(case, called=called, goal=goal) for called, goal in others)]


def _earlier(run: Path, output: dict[str, str], finder: Judge | View | None) -> Attacks:
    """Earlier attacks on the very same weights, evaluated by the same, or none."""
    reported: dict[str, Any] | None = None
    if finder is not None:
        reported = finder.reported() if isinstance(finder, Judge) else dict(finder.extractor)
    earlier = read_attacks(run)
    if earlier is not None and (earlier.output, earlier.judge) == (output, reported):
        return earlier
    return Attacks(output=output, results=[], judge=reported)
