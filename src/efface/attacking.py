"""Runs attacks on a run folder: does what was forgotten come back."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from efface.attacks import names, resolve
from efface.attacks.base import Attack, Case, Subject, described, estimate
from efface.attacks.goals import ClassGoal, PictureGoal
from efface.config import ImagesConfig, build
from efface.data.split import distances
from efface.diffusion.denoiser import Denoiser, as_class_denoiser
from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.errors import ConfigError, RequestError
from efface.evaluation.images import find_copy_distance
from efface.image_runs import generate_retained, read_pictures, to_model
from efface.metrics.judge import Judge, load_judge
from efface.records import (
    AttackResult,
    Attacks,
    Cost,
    RunRecord,
    hash_weights,
    read_attacks,
    read_record,
    write_json,
)
from efface.requests import ForgetClass, ForgetImages
from efface.subjects import check_retrained, evaluated_settings, find_judge, read_subjects

NOISE_SEED = 6_500_000  # away from the seeds of training, evaluation and attacks
NOISE_TRIES = 64
UNSEEN = 200  # pictures at most
GENERATED = 512  # retained images at most that the model draws itself
KINDS = {"class": "classes", "images": "pictures"}


def attack(
    run: str | Path,
    chosen: Sequence[str] = (),
    *,
    judge: str | Path | None = None,
    retrained: str | Path | None = None,
    changes: Iterable[str] = (),
) -> Attacks:
    """Attack a run, with all attacks that apply unless some are chosen; writes attacks.json.

    `changes` are settings, as "relearn.images=[1, 8]"; `retrained` is a model that never saw what
    was to go. Results of other attacks on the same weights stay, those of the same attack are
    replaced. Raises an EffaceError, before anything is loaded where that is possible.
    """
    run = Path(run)
    record = read_record(run)
    request = _request(record, run)
    attacks = fitting(choose(chosen, changes), request, strict=bool(chosen))
    output = hash_weights(run / "pipeline")
    if output != record.output:
        raise RequestError(
            f"{run / 'pipeline'} is no longer what this run made: restore it, or run again."
        )
    info = inspect_model(record.model["source"], record.model["null_label"])
    if retrained is not None:
        check_retrained(retrained, info)
    judged = _read_judge(info, judge) if isinstance(request, ForgetClass) else None
    case = _case(run, record, request, retrained, judged)
    found = _earlier(run, output, judged)
    for one in attacks:
        result = one.run(case)
        beside = {"retrained": None if retrained is None else str(retrained)}
        result = result.model_copy(update={"settings": result.settings | beside})
        kept = [r for r in found.results if r.attack != result.attack]
        found = found.model_copy(update={"results": [*kept, result]})
        write_json(run / "attacks.json", found)
    return found


def choose(chosen: Sequence[str], changes: Iterable[str]) -> list[Attack]:
    """The chosen attacks, or all, with their settings; ConfigError for what is not understood."""
    wanted = list(dict.fromkeys(chosen)) or names()
    kinds = {name: resolve(name) for name in wanted}
    given: dict[str, dict[str, Any]] = {name: {} for name in wanted}
    for change in changes:
        key, equals, text = change.partition("=")
        name, dot, setting = key.strip().partition(".")
        if not (equals and dot and setting):
            raise ConfigError(
                f"--set {change!r} is not understood: write ATTACK.NAME=VALUE, as "
                "relearn.images=[1,8]."
            )
        resolve(name)
        if name not in given:
            raise ConfigError(
                f"--set {change!r} is for an attack that is not made: add --attack {name}, or "
                "leave it out."
            )
        try:
            given[name][setting] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            given[name][setting] = text
    return [build(kind, given[name], name) for name, kind in kinds.items()]


def fitting(
    attacks: Sequence[Attack], request: ForgetClass | ForgetImages, strict: bool
) -> list[Attack]:
    """Those attacks that apply to a request; if `strict`, RequestError where one does not."""
    fit = []
    for one in attacks:
        why = _misfit(one, request)
        if why is None:
            fit.append(one)
        elif strict:
            raise RequestError(f"attack {one.name!r} cannot be made here: {why}.")
    return fit


def _misfit(one: Attack, request: ForgetClass | ForgetImages) -> str | None:
    if request.kind not in one.kinds:
        (kind,) = one.kinds
        return f"it is for forgotten {KINDS[kind]}, and this run forgot {KINDS[request.kind]}"
    if one.needs_unseen and isinstance(request, ForgetImages) and request.unseen is None:
        return (
            "it compares with pictures that no model has seen, and this run has none: forget with "
            "--unseen"
        )
    return None


def summarise(attacks: Attacks) -> list[tuple[str, str, str, str, str]]:
    """Rows for a table: attack, back after 50 %, 90 %, at the full budget, self-tests."""
    rows = []
    for result in attacks.results:
        failed = [test.subject for test in result.self_tests if not test.passed]
        tests = f"VOID: fails on {' and '.join(failed)}" if failed else "passed"
        for line in result.curve.lines:
            if line != "result" and not line.startswith("result_"):
                continue
            way = line.removeprefix("result").strip("_").replace("_", " ")
            name = f"{result.attack} ({way})" if way else result.attack
            half, most = (_cost(cost, result.curve.x_label) for cost in result.costs[line])
            rows.append((name, half, most, tell_recovery(result, line), tests))
    return rows


def tell_recovery(result: AttackResult, line: str) -> str:
    """What a model shows at the full budget; without one a note says what the curve amounts to."""
    notes = [note for note in result.notes if note.startswith(f"{line}: ")]
    if notes:
        return notes[0].removeprefix(f"{line}: ")
    return described(estimate(result.curve.lines[line][-1]))


def _cost(cost: Cost, unit: str) -> str:
    if cost.budget is None:
        return "not within the budget"
    if cost.budget == 0:
        return "at once"
    images = "" if cost.images is None else f", {cost.images} images"
    return f"{cost.budget:.3g} {unit}{images}"


def _request(record: RunRecord, run: Path) -> ForgetClass | ForgetImages:
    kind = record.request.get("kind")
    if kind not in KINDS:
        raise RequestError(
            f"{run} has a request of the kind {kind!r}, which no attack here is made for: give a "
            "run that forgot labels or pictures."
        )
    if record.status == "running":
        raise RequestError(f"{run} is not finished: complete it with --resume first.")
    request = ForgetClass if kind == "class" else ForgetImages
    return request.model_validate(record.request)


def _read_judge(info: ModelInfo, judge: str | Path | None) -> Judge:
    folder = find_judge(info, judge)
    if folder is None:
        raise RequestError(
            f"there is no judge beside {info.source}, and whether a class is back needs one: make "
            "one with `efface judge` and give it with --judge."
        )
    return load_judge(folder)


def _earlier(run: Path, output: dict[str, str], judge: Judge | None) -> Attacks:
    """Earlier attacks on the very same weights with the same judge, or none."""
    reported = None if judge is None else judge.reported()
    earlier = read_attacks(run)
    if earlier is not None and (earlier.output, earlier.judge) == (output, reported):
        return earlier
    return Attacks(output=output, results=[], judge=reported)


def _case(
    run: Path,
    record: RunRecord,
    request: ForgetClass | ForgetImages,
    retrained: str | Path | None,
    judge: Judge | None,
) -> Case:
    """Load all models; a one-step generator is put on the untouched model's whole schedule."""
    settings = evaluated_settings(record)
    models = read_subjects(run, record, settings.evaluate, retrained)
    untouched, result = models.untouched.denoiser, models.result
    never_knew = None if models.retrained is None else models.retrained.denoiser
    if never_knew is not None:
        same = never_knew.schedule.num_timesteps == untouched.schedule.num_timesteps
        if not same or not torch.equal(never_knew.schedule.alphas, untouched.schedule.alphas):
            raise RequestError(
                f"{retrained} was trained with another noise schedule than {models.info.source}: "
                "give a retrained model with the same one."
            )
    if isinstance(request, ForgetClass):
        assert judge is not None  # `attack` asked for one
        goal = ClassGoal(
            judge=judge.to(models.device),
            sought=request.labels,
            asked=request.labels,
            others=request.retained(as_class_denoiser(untouched).num_classes),
            guidance=settings.evaluate.guidance,
        )
    else:
        goal = _picture_goal(untouched, never_knew, request, settings.images)
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
