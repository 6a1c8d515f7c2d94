"""Commands that change a model: `forget KIND` and `distil`, made from the fields of a request."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from efface.cli import options
from efface.cli.output import show, tell
from efface.errors import RequestError
from efface.requests.base import Request
from efface.settings.listing import describe

ALWAYS = {
    "method": (options.Method, None),
    "recipe": (options.Recipe, None),
    "changes": (options.Set, None),
    "retrained": (options.Retrained, None),
    "resume": (options.Resume, False),
    "overwrite": (options.Overwrite, False),
    "no_evaluate": (options.NoEvaluate, False),
    "dry_run": (options.DryRun, False),
}
SOMETIMES = {
    "result": (options.Result, None),
    "start": (options.Start, None),
    "judge": (options.Judge, None),
    "null_label": (options.NullLabel, None),
    "size": (options.Size, None),
}


def request_command(kind: type[Request]) -> Callable[..., None]:
    """A command whose options are the fields of a kind of request, and what all commands take."""
    own = kind.model_fields.items()
    fields = {name: field for name, field in own if name not in ("kind", "earlier")}

    def command(**given: Any) -> None:
        from efface.runs.early import check_request
        from efface.runs.place import holds_run

        words = {name: given.pop(name) for name in fields}
        request = make_request(kind, {name: v for name, v in words.items() if v is not None})
        model, out = given.pop("model"), given.pop("out")
        changes, skipped = given.pop("changes") or [], given.pop("no_evaluate")
        early = {name: given[name] for name in ("recipe", "resume", "overwrite")}
        check_request(request, model, out, changes=changes, **early)
        if given.pop("dry_run"):
            from efface.runs.dry_run import dry_run
            from efface.runs.plan import make_plan

            replaced = {name: given.pop(name) for name in ("resume", "overwrite")}
            plan = make_plan(model, request, changes=changes, measure=not skipped, **given)
            holds_run(out, needed=plan.sources, **replaced)
            show(("", ""), dry_run(plan, out, not skipped).items())
            return
        from efface.runs.forget import forget

        forget(model, request, out, changes=changes, measure=not skipped, **given)
        tell(out)

    texts = describe(kind)
    parameters = [_parameter("model", options.Model), _parameter("out", options.Out)]
    for name, field in sorted(fields.items(), key=lambda item: not item[1].is_required()):
        parameters.append(_option(name, field, texts[name]))
    shared = {name: SOMETIMES[name] for name in SOMETIMES if name in kind.options} | ALWAYS
    parameters += [
        _parameter(name, annotation, value) for name, (annotation, value) in shared.items()
    ]
    command.__doc__ = inspect.getdoc(kind)
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore
    return command


def make_request(kind: type[Request], words: dict[str, Any]) -> Request:
    """A request of the words given; several of one kind are carried out together.

    Options that may be given for each are given as often as one another, or once for all.
    """
    extras = {name: _extra(kind.model_fields[name]) for name in words}
    several = {name: words[name] for name in words if "several" in extras[name]}
    count = max(map(len, several.values()), default=1)
    for name, values in several.items():
        if len(values) not in (1, count):
            raise RequestError(
                f"{_flag(name, kind.model_fields[name])} was given {len(values)} times and another "
                f"option {count} times: give one for each, in the same order, or one for all."
            )
    alone = [name for name in words if "of_one" in extras[name]]
    if alone and count > 1:
        raise RequestError(
            f"{_flag(alone[0], kind.model_fields[alone[0]])} is about one, and {count} were given: "
            "forget them one after the other, each with --start."
        )
    every = [{n: (v * count)[i] for n, v in several.items()} for i in range(count)]
    return kind(**(words | every[-1]), earlier=tuple(kind(**own) for own in every[:-1]))


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _flag(name: str, field: FieldInfo) -> str:
    return str(_extra(field).get("option", f"--{name.replace('_', '-')}"))


def _option(name: str, field: FieldInfo, text: str) -> inspect.Parameter:
    """The option of a field: text, or a number; one for several values can be repeated."""
    flag = _flag(name, field)
    many = get_origin(field.annotation) is tuple or "several" in _extra(field)
    text = f"{text} Repeatable." if many else text
    kind: Any = list[str] if many else _scalar(field.annotation)
    if field.is_required():
        return _parameter(name, Annotated[kind, typer.Option(flag, help=text)])
    default = None if many else field.default
    return _parameter(name, Annotated[Union[kind, None], typer.Option(flag, help=text)], default)  # noqa: UP007


def _scalar(annotation: Any) -> Any:
    """The type of a field without None."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)
