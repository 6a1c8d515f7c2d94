"""The run folder: may it be used, what is written into its record."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.sampling import Sampler
from efface.errors import RequestError
from efface.evidence.environment import write_environment
from efface.records import RunRecord, hash_weights, read_record, write_json
from efface.settings.reading import Settings, read_settings
from efface.training.trainer import TrainResult

INCIDENTAL = ("checkpoint_every", "ignore_memory", "log_every", "tracker")  # of train
PACKAGES = ("efface", "torch", "diffusers", "accelerate", "safetensors", "numpy")


def new_record(
    info: ModelInfo | None,
    request: dict[str, Any],
    settings: Settings,
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
        if info.size is not None:
            model["size"] = info.size
    return RunRecord(
        status="running",
        request=request,
        model=model,
        settings=settings.to_json(),
        start=start,
        versions=versions(),
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
    compared = ("request", "model", "settings", "start")
    before, now = (_what_matters(each) for each in (earlier, record))
    differing = [name for name in compared if getattr(before, name) != getattr(now, name)]
    if differing:
        raise RequestError(
            f"{out} holds a run with another {' and '.join(differing)}: resume it with the same "
            "arguments, or give another folder."
        )
    return earlier.status != "running"


def _what_matters(record: RunRecord) -> RunRecord:
    """A record without the settings that say nothing of what comes out.

    What an earlier version knew nothing of counts as left out.
    """
    settings = read_settings(record.settings["method"]["name"]).to_json()
    for section, content in record.settings.items():
        settings[section] = settings.get(section, {}) | content
    for name in INCIDENTAL:
        settings["train"].pop(name, None)
    request = {name: value for name, value in record.request.items() if value not in (None, [])}
    return record.model_copy(update={"settings": settings, "request": request})


def make_folder(out: Path, record: RunRecord, resume: bool, accelerator: Accelerator) -> None:
    """Make the run folder and write the record; what `check_folder` let pass is replaced."""
    if accelerator.is_main_process:
        try:
            if out.exists() and not resume:
                shutil.rmtree(out)
            out.mkdir(parents=True, exist_ok=True)
            write_json(out / "record.json", record)
            write_environment(out)
        except OSError as error:
            raise RequestError(
                f"{out} cannot be written ({error.strerror}): give another folder."
            ) from error
    accelerator.wait_for_everyone()


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {
        "python": platform.python_version()
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
