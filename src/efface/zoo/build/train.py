"""Models made from a recipe: what ships, and what experiments start from."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from accelerate import Accelerator

from efface.data.source import ImageSource
from efface.diffusion.class_networks import write_names
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline
from efface.diffusion.sampling import MultiStep
from efface.records import RunRecord, write_json
from efface.runs.folder import (
    check_folder,
    finished_record,
    new_folder,
    new_record,
    resumable,
)
from efface.runs.lock import locked
from efface.runs.place import holds_run
from efface.training.trainer import Trainer
from efface.zoo.build.fitting import seeded
from efface.zoo.build.images import image_source, new_denoiser, training_images
from efface.zoo.build.settings import BuildSettings, read_build_settings
from efface.zoo.build.text import latent_source, new_text_denoiser


def train(
    recipe: str | Path | None,
    out: str | Path,
    *,
    changes: Iterable[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Path:
    """Train a model from nothing and write the run folder `out`; returns it.

    The pipeline holds the averaged weights.
    """
    out, settings = Path(out), read_build_settings(recipe, changes)
    record = new_record(None, {"kind": "train"}, settings.method.title, settings.to_json())
    accelerator = Accelerator()
    holds_run(out, resume, overwrite, [recipe, *dict(settings.data).values()])
    with locked(out), resumable(out):
        if not check_folder(out, record, resume, overwrite):
            _carry_out(settings, record, out, accelerator, resume, on_step)
    return out


def _carry_out(
    settings: BuildSettings,
    record: RunRecord,
    out: Path,
    accelerator: Accelerator,
    resume: bool,
    on_step: Callable[[int], None] | None,
) -> None:
    """Train, and write pipeline and record."""
    with seeded(settings.train.seed), tempfile.TemporaryDirectory() as untrained:
        denoiser, source, names = _start(settings, Path(untrained), accelerator.device)
        networks = {"student": denoiser}
        trainer = Trainer(settings.method, networks, source, settings.train, out, accelerator)
        with new_folder(out, record, resume, accelerator):
            pass  # nothing is prepared in it
        result = trainer.run(resume, on_step)
        if accelerator.is_main_process:
            index = {"id2label": write_names(names)}
            save_pipeline(result.denoiser.to("cpu"), out / "pipeline", index=index)
            write_json(out / "record.json", finished_record(record, result, MultiStep(), out))
        accelerator.wait_for_everyone()


def _start(
    settings: BuildSettings, untrained: Path, device: torch.device
) -> tuple[Denoiser, ImageSource, tuple[str, ...]]:
    """A fresh model, what it is trained on, and names of labels.

    `untrained` is a folder for its frozen parts.
    """
    if settings.scenes.images:
        text = new_text_denoiser(settings, untrained).to(device)
        source = latent_source(settings, text, device)
        return text.without_encoders(), source, ()
    images = training_images(settings.data)
    denoiser = new_denoiser(settings.network, images, settings.data.conditional)
    names = images.label_names if settings.data.conditional else ()
    return denoiser, image_source(settings, images, denoiser, device), names
