"""The run folder: may it be used, what is written into its record."""

import contextlib
import datetime
import functools
import importlib.metadata
import os
import platform
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.sampling import Sampler
from efface.diffusion.weight_files import hash_weights
from efface.errors import RequestError, Stopped
from efface.records import RunRecord, read_record, write_json
from efface.runs.place import (
    ASIDE,
    MOVING,
    check_same,
    content_of,
    entries,
    holds_run,
    is_interrupted,
)
from efface.training.trainer import TrainResult

MEASURED = ("evaluation.json", "attacks.json", "report.html")
PACKAGES = ("efface", "torch", "diffusers", "accelerate", "safetensors", "numpy")


def new_record(
    info: ModelInfo | None,
    request: dict[str, Any],
    method: str,
    settings: dict[str, Any],
    *,
    material: dict[str, Any] | None = None,
    start: dict[str, Any] | None = None,
) -> RunRecord:
    """The record of a run that is about to begin; `info` is None for a model made from nothing."""
    model: dict[str, Any] = {"source": None}
    if info is not None:
        model = {
            "source": info.source,
            "network": info.network_class,
            "classes": info.num_classes,
            "null_label": info.null_label,
            "weights": hash_weights(info.folder),
        }
        if info.names:
            model["id2label"] = {str(label): name for label, name in info.names.items()}
        if info.variants:
            model["variants"] = {place.name: name for place, name in info.variants.items()}
        if info.size is not None:
            model["size"] = info.size
    return RunRecord(
        status="running",
        request=request,
        material=material or {},
        model=model,
        method=method,
        settings=settings,
        start=start,
        versions=versions(),
        environment=environment(),
        hardware=hardware(),
        started=_now(),
    )


def finished_record(
    record: RunRecord, result: TrainResult, sampler: Sampler, out: Path
) -> RunRecord:
    """The record of a run whose pipeline has been written."""
    return record.model_copy(
        update={
            "status": "finished" if result.collapsed is None else "collapsed",
            "sampler": {"text": sampler.describe(), "passes": sampler.passes},
            "finished": _now(),
            "seconds": result.seconds,
            "steps": result.steps,
            "images_per_second": result.images_per_second,
            "forwards": result.forwards,
            "output": hash_weights(out / "pipeline"),
            "guard": result.guard,
            "note": result.collapsed,
            "stopped": result.stopped,
        }
    )


def check_folder(out: Path, record: RunRecord, resume: bool, overwrite: bool) -> bool:
    """Whether the run in `out` is finished already; RequestError if it is another one.

    One that is to make more steps than it was is not finished.
    """
    if PartialState().is_main_process:
        recover(out)
    PartialState().wait_for_everyone()
    if not holds_run(out, resume, overwrite):
        return False
    earlier = read_record(out)
    more = check_same(out, earlier, _what_matters(earlier), _what_matters(record))
    return earlier.status != "running" and not more


def _what_matters(record: RunRecord) -> dict[str, Any]:
    """A record's entries by SECTION.NAME."""
    start = {k: v for k, v in (record.start or {}).items() if k != "source"}
    content = {"request": record.request, "material": record.material, "model": record.model}
    return dict(entries(record.settings | content | {"start": start}))


def _put_aside(out: Path) -> None:
    """Move the run in `out`, which may be a link or a disk's root, into a folder within."""
    (out / MOVING).mkdir()
    for path in content_of(out):
        path.rename(out / MOVING / path.name)
    (out / MOVING).rename(out / ASIDE)


def recover(out: Path) -> None:
    """Bring back the run that was put aside in `out`, in place of what was begun since."""
    if not is_interrupted(out):
        return
    if not (out / MOVING).exists():
        for path in content_of(out):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        (out / ASIDE).rename(out / MOVING)
    for path in (out / MOVING).iterdir():
        path.rename(out / path.name)
    (out / MOVING).rmdir()


@contextlib.contextmanager
def new_folder(
    out: Path, record: RunRecord, resume: bool, accelerator: Accelerator
) -> Iterator[None]:
    """Make the run folder for what is prepared in it; what `check_folder` let pass is replaced.

    If the preparation fails, a run that is replaced comes back, and a new folder goes but for what
    was prepared already.
    """
    main = accelerator.is_main_process
    replaced = out / ASIDE
    accelerator.wait_for_everyone()  # until all have checked the folder that the main one writes
    try:
        if main:
            out.mkdir(parents=True, exist_ok=True)
            if not resume and content_of(out):
                shutil.rmtree(replaced, ignore_errors=True)
                _put_aside(out)
            write_json(out / "record.json", record)
            for name in MEASURED:
                (out / name).unlink(missing_ok=True)  # of fewer steps
        accelerator.wait_for_everyone()
        yield
    except BaseException as error:
        if main and not resume and out.is_dir():
            begun = not (out / MOVING).exists()
            alone = begun and {path.name for path in content_of(out)} <= {"record.json"}
            if alone or (begun and replaced.exists()):
                (out / "record.json").unlink(missing_ok=True)
            recover(out)
        if isinstance(error, OSError):
            raise RequestError(
                f"{out} cannot be written ({error.strerror}): give another folder."
            ) from error
        raise
    if main:
        shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def resumable(out: Path) -> Iterator[None]:
    """Let whoever stops a run that has begun know how it goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if str(stop) or not (out / "record.json").exists():
            raise
        number = stop.signal if isinstance(stop, Stopped) else signal.SIGINT
        raise Stopped(f"stopped; add --resume to go on with {out}", number) from stop


@functools.cache
def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {
        "python": platform.python_version()
    }


@functools.cache
def environment() -> dict[str, str]:
    """The kind of system, and every installed distribution by its normalised name (PEP 503)."""
    installed: dict[str, str] = {}
    for metadata in (found.metadata for found in importlib.metadata.distributions()):
        name, version = metadata["Name"], metadata["Version"]
        if name and version:  # an interrupted installation leaves folders without either
            # The first on the path is the one that is imported.
            installed.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return {
        "operating system": platform.system(),
        "C library": " ".join(platform.libc_ver()),
        "Python implementation": platform.python_implementation(),
        **dict(sorted(installed.items())),
    }


def hardware() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
