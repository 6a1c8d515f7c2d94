"""A request that has been read and checked: all that a run needs, before anything is fetched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from efface.data.randomness import random_state_kept
from efface.diffusion.model_folder import ModelInfo
from efface.errors import ConfigError, RequestError
from efface.evaluation.networks import check_networks
from efface.evaluation.subjects import check_retrained, name_labels, read_judge
from efface.memory.preflight import check_memory
from efface.metrics.judge import Judge
from efface.requests import sections
from efface.requests.base import Material, Request
from efface.runs.lineage import find_origin, keep_earlier
from efface.settings.base import Settings, read_settings


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """What is to be forgotten, in which model, how, and from which run it goes on."""

    info: ModelInfo  # of the original model
    request: Request
    settings: Settings
    material: Material
    classifier: Judge | None
    start: Path | None
    given: tuple[Any, ...]  # model, classifier, retrained model and recipe

    @property
    def sources(self) -> list[Any]:
        """What is read by its path, among other values: none of it may be overwritten."""
        named = [*self.request.earlier, self.request, self.settings.evaluate]
        named += [] if self.settings.own is None else [self.settings.own]
        values = (value for one in named for _, value in one)
        return [self.info.folder, self.start, *self.given, *values]


@random_state_kept()
def make_plan(
    model: str | Path,
    request: Request,
    *,
    method: str | None = None,
    result: str | None = None,
    recipe: str | Path | None = None,
    changes: Iterable[str] = (),
    start: str | Path | None = None,
    judge: str | Path | None = None,
    retrained: str | Path | None = None,
    null_label: int | None = None,
    size: int | None = None,
    measure: bool = True,
) -> Plan:
    """Read and check everything that `efface.forget` is given, which says what it means.

    In this order: words, files that they name, configurations, memory. Raises an EffaceError.
    """
    changes, method = list(changes), choose_method(request, method, result)
    choose_settings(request, None, method, recipe, changes)
    request.check_files()
    info, begun = find_origin(model, start, null_label, size)
    info = name_labels(info, judge)
    settings, request = choose_settings(request, info, method, recipe, changes), request.of(info)
    request.check(info, settings)
    classifier = read_judge(info, judge)
    if retrained is not None:
        check_retrained(retrained, info)
    request = keep_earlier(request, begun, info, settings)
    material = request.read(info, settings)
    check_memory(info, settings, material.amounts, Accelerator(), measure)
    if measure:
        check_networks(settings.evaluate, info, classifier)
    return Plan(
        info=info,
        request=request,
        settings=settings,
        material=material,
        classifier=classifier,
        start=begun,
        given=(model, judge, retrained, recipe),
    )


def choose_method(request: Request, method: str | None, result: str | None) -> str | None:
    """The method for what is to be delivered; RequestError for both, or for what is unknown."""
    if result is None:
        return method
    if method is not None:
        raise RequestError(
            f"--result {result} and --method {method} were given: a result stands for its method, "
            "so give one of them."
        )
    if result not in request.results:
        known = " or ".join(request.results) or "nothing"
        raise RequestError(
            f"--result {result} is unknown for {request.describe()}: there is {known}."
        )
    return request.results[result]


def choose_settings(
    request: Request,
    info: ModelInfo | None,
    method: str | None,
    recipe: str | Path | None,
    changes: Iterable[str],
) -> Settings:
    """The settings of a request; without `info` as far as they do not depend on the model.

    ConfigError for what is unknown or out of range, and for a method that is not for such requests.
    """
    settings = settings_of(type(request), info, method, recipe, changes)
    if not request.fits(settings.method):
        raise ConfigError(
            f"method {settings.method_name!r} does not work for a request of the kind "
            f"{request.kind!r}: use another, as {request.default_method}; `efface methods` lists "
            "what each can forget."
        )
    return settings


def settings_of(
    kind: type[Request],
    info: ModelInfo | None,
    method: str | None,
    recipe: str | Path | None,
    changes: Iterable[str],
) -> Settings:
    """The settings of a kind of request. ConfigError for what is unknown or out of range.

    Also for a method that does not work on the network of the model.
    """
    settings = read_settings(
        kind.section,
        kind.own,
        method=method,
        recipe=recipe,
        changes=changes,
        default_method=kind.default_method,
        default_recipe=None if info is None else kind.default_recipe(info),
        others=sections(),
    )
    suited = settings.method.network_classes
    if info is not None and suited and info.network_class not in suited:
        raise ConfigError(
            f"method {settings.method_name!r} works on {', '.join(sorted(suited))}, and the "
            f"network of {info.source} is {info.network_class}: use another method, as "
            f"{kind.default_method}."
        )
    return settings
