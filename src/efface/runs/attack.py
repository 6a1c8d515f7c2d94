"""Runs attacks on a run folder: does what was forgotten come back."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from efface.attacks import names, resolve
from efface.attacks.base import Attack, described, estimate
from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError, RequestError
from efface.evaluation.subjects import (
    check_measurable,
    check_retrained,
)
from efface.metrics.judge import Judge
from efface.records import (
    AttackResult,
    Attacks,
    Cost,
    RunRecord,
    read_attacks,
    read_record,
    write_json,
)
from efface.requests.base import (
    ForgetClass,
    ForgetConcept,
    ForgetImages,
    ForgetMemorised,
    read_request,
)
from efface.requests.goals import Attacked, Looks, read_case, read_looks
from efface.settings.reading import build
from efface.settings.recorded import ATTACKED, measured_settings

EVALUATE = "evaluate."
KINDS = {
    "class": "classes",
    "concept": "concepts",
    "images": "pictures",
    "memorised": "memorised pictures",
}
REQUESTS = {
    "class": ForgetClass,
    "concept": ForgetConcept,
    "images": ForgetImages,
    "memorised": ForgetMemorised,
}


def attack(
    run: str | Path,
    chosen: Sequence[str] = (),
    *,
    judge: str | Path | None = None,
    retrained: str | Path | None = None,
    changes: Iterable[str] = (),
) -> Attacks:
    """Attack a run, with all attacks that apply unless some are chosen; writes attacks.json.

    `changes` are settings, as "relearn.images=[1, 8]", or of the evaluation, as
    "evaluate.detector=FOLDER"; `retrained` is a model that never saw what was to go. Results of
    other attacks on the same weights stay, those of the same attack are replaced. Raises an
    EffaceError, before anything is loaded where that is possible.
    """
    run = Path(run)
    record = read_record(run)
    request = _request(record, run)
    given = list(changes)
    measured = [change for change in given if change.strip().startswith(EVALUATE)]
    settings = measured_settings(record, measured, ATTACKED)
    own = [change for change in given if change not in measured]
    attacks = fitting(choose(chosen, own), request, strict=bool(chosen))
    model = record.model
    info = inspect_model(model["source"], model["null_label"], model.get("size"))
    if retrained is not None:
        check_retrained(retrained, info)
    looks = read_looks(info, request, settings, judge)
    case = read_case(run, record, request, settings, retrained, looks)
    found = _earlier(run, record.output, looks)
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


def fitting(attacks: Sequence[Attack], request: Attacked, strict: bool) -> list[Attack]:
    """Those attacks that apply to a request; if `strict`, RequestError where one does not."""
    fit = []
    for one in attacks:
        why = _misfit(one, request)
        if why is None:
            fit.append(one)
        elif strict:
            raise RequestError(f"attack {one.name!r} cannot be made here: {why}.")
    return fit


def _misfit(one: Attack, request: Attacked) -> str | None:
    if request.kind not in one.kinds:
        fit = " and ".join(KINDS[kind] for kind in sorted(one.kinds))
        return f"it is for forgotten {fit}, and this run forgot {KINDS[request.kind]}"
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


def _request(record: RunRecord, run: Path) -> Attacked:
    kind = record.request.get("kind")
    if kind not in KINDS:
        raise RequestError(
            f"{run} has a request of the kind {kind!r}, which no attack here is made for: give a "
            "run that forgot labels, a concept or pictures."
        )
    check_measurable(run, record)
    return read_request(REQUESTS[kind], record.request)


def _earlier(run: Path, output: dict[str, str], looks: Looks | None) -> Attacks:
    """Earlier attacks on the very same weights, seen by the same, or none."""
    reported: dict[str, Any] | None = None
    if looks is not None:
        reported = looks.reported() if isinstance(looks, Judge) else dict(looks.extractor)
    earlier = read_attacks(run)
    if earlier is not None and (earlier.output, earlier.judge) == (output, reported):
        return earlier
    return Attacks(output=output, results=[], judge=reported)
