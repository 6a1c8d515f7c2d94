"""The run folder: may it be used, what is written into its record."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.sampling import Sampler
from efface.diffusion.weight_files import hash_weights
from efface.errors import RequestError
from efface.records import RunRecord, read_record, write_json
from efface.training.trainer import TrainResult

INCIDENTAL = ("checkpoint_every", "ignore_memory", "log_every")  # of train
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
            "output": hash_weights(out / "pipeline"),
            "guard": result.guard,
            "note": result.collapsed,
            "stopped": result.stopped,
        }
    )


def holds_run(out: Path, resume: bool, overwrite: bool) -> bool:
    """Whether there is a run in `out` to go on with; RequestError if `out` must not be used.

    Nothing is touched, so that this can come before anything heavy.
    """
    if resume and overwrite:
        raise RequestError("both --resume and --overwrite were given: give the one you mean.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / "record.json").exists():
        raise RequestError(
            f"{out} exists and is no run of efface: nothing there was touched. Give another folder."
        )
    if overwrite:
        return False
    if not resume:
        raise RequestError(
            f"{out} holds a run already: add --resume to go on with it, --overwrite to replace "
            "it, or give another folder."
        )
    return True


def check_folder(out: Path, record: RunRecord, resume: bool, overwrite: bool) -> bool:
    """Whether the run in `out` is finished already; RequestError if it is another one."""
    if not holds_run(out, resume, overwrite):
        return False
    earlier = read_record(out)
    before, now = _what_matters(earlier), _what_matters(record)
    differing = [name for name in before if before[name] != now[name]]
    if differing:
        raise RequestError(
            f"{out} holds a run with another {' and '.join(differing)}: resume it with the same "
            "arguments, or give another folder."
        )
    return earlier.status != "running"


def _what_matters(record: RunRecord) -> dict[str, Any]:
    """A record without the settings that say nothing of what comes out."""
    train = {k: v for k, v in record.settings["train"].items() if k not in INCIDENTAL}
    return {
        "request": record.request,
        "material": record.material,
        "model": record.model,
        "settings": record.settings | {"train": train},
        "start": {k: v for k, v in (record.start or {}).items() if k != "source"},
    }


@contextlib.contextmanager
def new_folder(
    out: Path, record: RunRecord, resume: bool, accelerator: Accelerator
) -> Iterator[None]:
    """Make the run folder for what is prepared in it; what `check_folder` let pass is replaced.

    If the preparation fails, a run that is replaced comes back, and a new folder goes but for what
    was prepared already.
    """
    main = accelerator.is_main_process
    replaced = out.with_name(f".{out.name}.replaced")
    accelerator.wait_for_everyone()  # until all have checked the folder that the main one writes
    aside = main and not resume and out.exists()
    try:
        if aside:
            shutil.rmtree(replaced, ignore_errors=True)
            out.rename(replaced)
        if main:
            out.mkdir(parents=True, exist_ok=True)
            write_json(out / "record.json", record)
        accelerator.wait_for_everyone()
        yield
    except BaseException as error:
        if aside and replaced.exists():
            shutil.rmtree(out, ignore_errors=True)
            replaced.rename(out)
        elif main and not resume and {path.name for path in out.glob("*")} <= {"record.json"}:
            shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, OSError):
            raise RequestError(
                f"{out} cannot be written ({error.strerror}): give another folder."
            ) from error
        raise
    if main:
        shutil.rmtree(replaced, ignore_errors=True)


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {
        "python": platform.python_version()
    }


def environment() -> dict[str, str]:
    """The kind of system, and every installed distribution by its normalised name (PEP 503)."""
    installed: dict[str, str] = {}
    for found in importlib.metadata.distributions():
        name, version = found.metadata["Name"], found.metadata["Version"]
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
