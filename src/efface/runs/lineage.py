"""What a run builds upon: the first original model, and the run that it starts from."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import load_network
from efface.diffusion.model_folder import ModelInfo, fetch_weights, find_folder, inspect_model
from efface.diffusion.weight_files import hash_weights
from efface.errors import ModelError, RequestError
from efface.methods import resolve
from efface.methods.base import Method
from efface.records import read_record
from efface.requests import is_request, read_request
from efface.requests.base import Request
from efface.runs.recorded import read_unchanged
from efface.settings.base import Settings, from_json
from efface.training.checkpoint import Checkpoints, read_tensors


def find_origin(
    model: str | Path, start: str | Path | None, null_label: int | None, size: int | None
) -> tuple[ModelInfo, Path | None]:
    """The original model, and what to start from: the result of a run stands for both.

    RequestError where the original model cannot be found.
    """
    run = _run_of(model)
    if start is not None and not (Path(start) / "record.json").exists():
        start = _run_of(start) or start
    if run is None:
        return inspect_model(model, null_label, size), None if start is None else Path(start)
    if start is not None and Path(start).resolve() != run:
        raise RequestError(
            f"{model} is the result of {run}, and {start} was given to start from: give the one, "
            "or the original model and the other."
        )
    made = read_record(run).model
    null_label = made["null_label"] if null_label is None else null_label
    try:
        info = inspect_model(made["source"], null_label, made.get("size") if size is None else size)
    except ModelError as error:
        raise RequestError(
            f"{made['source']}, the original model of {run}, cannot be found, and it must teach "
            f"what is forgotten after that run ({error})"
        ) from error
    return info, run


def keep_earlier(
    request: Request, start: Path | None, info: ModelInfo, settings: Settings
) -> Request:
    """The request with all that the run `start` forgot; RequestError where none can be.

    Also for a start that does not suit, and where what that run forgot has changed since.
    """
    if start is None:
        return request
    before = read_record(start) if (start / "record.json").exists() else None
    if before is None or not is_request(before.request):
        check_start(start, info, settings)
        return request
    earlier = read_request(before.request)
    request = request.after(earlier)  # no other method helps where the kinds do not go together
    check_start(start, info, settings)
    if earlier.forgets:
        own = from_json(before.settings, earlier.section, earlier.own)
        read_unchanged(earlier, before, info, own)
    request.check(info, settings)
    return request


def _run_of(model: str | Path) -> Path | None:
    """The run whose result a model is; None for any other, also for one trained from nothing."""
    folder = find_folder(str(model))
    if folder is None or folder.resolve().name != "pipeline":
        return None
    run = folder.resolve().parent
    if not (run / "record.json").exists() or not is_request(read_record(run).request):
        return None
    return run


def check_start(start: str | Path, info: ModelInfo, settings: Settings) -> None:
    """Raise RequestError if `start` cannot be begun from, as far as files other than weights tell.

    So nothing has to be fetched for it.
    """
    start = Path(start)
    if not (start / "record.json").exists():
        _check_generator(start, info, settings)
        return
    earlier = read_record(start)
    if Checkpoints(start / "checkpoints").latest() is None or earlier.status != "finished":
        raise RequestError(f"{start} is not finished: complete it with --resume first.")
    method, train = (earlier.settings.get(name, {}) for name in ("method", "train"))
    if resolve(str(method.get("name"))).phases != settings.method.phases:
        raise RequestError(
            f"{start} is a run of the method {method.get('name')!r}, and this one of "
            f"{settings.method_name!r}, which trains other networks: start from a run of the same "
            "method, as of `efface distil`."
        )
    shared = {"--size": (earlier.model.get("size"), info.size)}
    for name in settings.method.inherited:
        now = getattr(settings.method, name)
        shared[f"method.{name}"] = (method.get(name, now), now)
    for name in ("lora_rank", "lora_alpha"):
        shared[f"train.{name}"] = (train.get(name), getattr(settings.train, name))
    for name, (before, now) in shared.items():
        if before != now:
            raise RequestError(
                f"{start} was made with {_setting(name, before)}, and this run with "
                f"{_setting(name, now)}: give both the same."
            )


def _check_generator(start: Path, info: ModelInfo, settings: Settings) -> None:
    """A pipeline that is no run of efface: a generator of the same network."""
    if _network_config(inspect_model(start)) != _network_config(info):
        raise RequestError(
            f"the network of {start} is not made like that of {info.source}: start from a "
            "one-step generator of this very model, or from a run of `efface distil`."
        )
    if settings.train.lora_rank is not None:
        raise RequestError(
            f"{start} is a whole pipeline, and this run trains adapters over {info.source}: start "
            "from a run of `efface distil` with the same train.lora_rank, or leave that out."
        )


def describe_start(start: str | Path, info: ModelInfo) -> dict[str, Any]:
    """What is recorded of the run to begin from; RequestError if it is of another model.

    Its own weights, where it is no run, and the model's are on this machine afterwards.
    """
    start = Path(start)
    if not (start / "record.json").exists():
        generator = inspect_model(start)
        fetch_weights(generator)
        described = {"kind": "generator", "source": str(start)}
        return {"request": described, "output": hash_weights(generator.folder)}
    fetch_weights(info)
    earlier = read_record(start)
    if earlier.model.get("weights") != hash_weights(info.folder):
        raise RequestError(
            f"{start} was made from another model than {info.source} is now: restore that, or "
            "start from a run of this very model."
        )
    return {"request": earlier.request, "output": earlier.output, "source": str(start)}


def _network_config(info: ModelInfo) -> dict[str, Any]:
    """What a network is made of: what its class takes, with the class's own defaults.

    Other versions of diffusers write fewer or more keys for the same network.
    """
    text = (info.weights_folder / "config.json").read_text(encoding="utf-8")
    given = json.loads(text)
    taken = inspect.signature(getattr(diffusers, info.network_class)).parameters
    content = {name: given.get(name, parameter.default) for name, parameter in taken.items()}
    as_lists = json.loads(json.dumps(content, default=str))  # in place of tuples
    return as_lists | {"class": info.network_class}


def start_from(networks: Mapping[str, Denoiser], start: str | Path, method: Method) -> None:
    """Two-stage: the average of what was delivered, the rest raw; the teacher stays the same.

    Of a generator that is no run there is the student alone.
    """
    if not (Path(start) / "record.json").exists():
        weights = load_network(inspect_model(start)).state_dict()
        networks[method.delivers].network.load_state_dict(weights)
        return
    folder = Checkpoints(Path(start) / "checkpoints").latest()
    assert folder is not None  # describe_start checked it
    for name in method.phases:
        tensors = read_tensors(folder, "average" if name == method.delivers else name)
        networks[name].network.load_state_dict(tensors)


def _setting(name: str, value: object) -> str:
    """A setting with its value: '--size 16', or '--size left out'."""
    return f"{name} left out" if value is None else f"{name} {value!r}"
