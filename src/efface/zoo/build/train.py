"""Models and judges made from a recipe: what ships, and what experiments start from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import Accelerator
from torch import Tensor

from efface.settings.reading import DataConfig, NetworkConfig, Settings, read_settings
from efface.data.images import ImageSet, load_images
from efface.data.source import ImageSource
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import build_denoiser, save_pipeline
from efface.diffusion.sampling import MultiStep
from efface.errors import ConfigError, DataError
from efface.metrics.judge import Judge, train_judge
from efface.records import write_json
from efface.runs.folder import check_folder, finished_record, make_folder, new_record
from efface.zoo.build.text import latent_source, new_text_denoiser
from efface.training.trainer import Trainer


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
    out = Path(out)
    settings = read_settings("denoising", Path(recipe) if recipe else None, changes)
    record = new_record(None, {"kind": "train"}, settings)
    if check_folder(out, record, resume, overwrite):
        return out
    accelerator = Accelerator()
    torch.manual_seed(settings.train.seed)
    with tempfile.TemporaryDirectory() as untrained:
        denoiser, source = _start(settings, Path(untrained), accelerator.device)
        networks = {"student": denoiser}
        trainer = Trainer(settings.method, networks, source, settings.train, out, 0, accelerator)
        make_folder(out, record, resume, accelerator)
        result = trainer.run(resume, on_step)
        if accelerator.is_main_process:
            save_pipeline(result.denoiser.to("cpu"), out / "pipeline")
            write_json(out / "record.json", finished_record(record, result, MultiStep(), out))
        accelerator.wait_for_everyone()
    return out


def _start(
    settings: Settings, untrained: Path, device: torch.device
) -> tuple[Denoiser, ImageSource]:
    """A fresh model and what it is trained on; `untrained` is a folder for its frozen parts."""
    if settings.scenes.pictures:
        text = new_text_denoiser(settings, untrained).to(device)
        source = latent_source(settings, text, device)
        return text.without_encoders(), source
    images = _training_images(settings.data)
    denoiser = new_denoiser(settings.network, images, settings.data.conditional)
    return denoiser, _image_source(settings, images, denoiser, device)


def make_judge(recipe: str | Path, out: str | Path, changes: Iterable[str] = ()) -> Judge:
    """Train the classifier of a recipe, measure it on the held-out part, and save it."""
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} exists: nothing there was touched. Give another folder.")
    settings = read_settings("denoising", Path(recipe), changes)
    data = settings.data
    if data.held_out is None and data.source != "digits":
        raise ConfigError("a judge is measured on held-out images: set data.held_out.")
    train_images = _training_images(data)
    held_out = load_images(data.held_out or "digits", "test", data.size).mean_pooled(data.mean_pool)
    device = str(Accelerator().device)
    name = f"{Path(recipe).stem} judge"
    judge = train_judge(name, train_images, held_out, settings.judge, device)
    judge.save(out)
    return judge


def new_denoiser(config: NetworkConfig, images: ImageSet, conditional: bool) -> Denoiser:
    """A fresh network for these images; one more class embedding means "no class"."""
    classes = None
    if conditional:
        if images.labels is None:
            raise DataError(
                "a conditional model needs labelled images: sort them into one subfolder per "
                "label, or set data.conditional=false."
            )
        classes = len(images.label_names) or int(images.labels.max()) + 1
    network = (_unet if config.type == "UNet2DModel" else _dit)(config, images, classes)
    scheduler = diffusers.DDIMScheduler(
        beta_schedule=config.schedule,
        prediction_type=config.prediction,
        rescale_betas_zero_snr=config.zero_terminal_snr,
        clip_sample=config.clip_sample,
        timestep_spacing="trailing",
    )
    return build_denoiser(network, scheduler, classes, classes)


def _unet(config: NetworkConfig, images: ImageSet, classes: int | None) -> Any:
    attention = config.attention
    if len(attention) != len(config.channels):
        raise ConfigError(
            f"network.attention has {len(config.attention)} entries and network.channels "
            f"{len(config.channels)}: give one of each per resolution."
        )
    channels, size = images.images.shape[1], images.images.shape[-1]
    return diffusers.UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]),
        norm_num_groups=config.norm_groups,
        dropout=config.dropout,
        num_class_embeds=None if classes is None else classes + 1,
    )


def _dit(config: NetworkConfig, images: ImageSet, classes: int | None) -> Any:
    if classes is None or len(config.channels) != 2:
        raise ConfigError(
            "a DiTTransformer2DModel is class-conditional and takes network.channels = "
            "[heads, width of a head]."
        )
    heads, width = config.channels
    channels, size = images.images.shape[1], images.images.shape[-1]
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width,
        num_layers=config.layers,
        patch_size=config.patch_size,
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        num_embeds_ada_norm=classes,
        dropout=config.dropout,
        norm_num_groups=config.norm_groups,
    )


def _training_images(data: DataConfig) -> ImageSet:
    images = load_images(data.source, "train", data.size).without_labels(data.without_labels)
    if data.added is not None:
        added = load_images(data.added, "train", data.size)
        if data.added_rows:
            added = added.select(_existing(data.added_rows, len(added), data.added))
        images = images.with_copies(added, data.added_copies)
    return images.mean_pooled(data.mean_pool)


def _existing(rows: tuple[int, ...], count: int, source: str) -> Tensor:
    for row in rows:
        if not 0 <= row < count:
            raise ConfigError(
                f"data.added_rows names row {row}: {source} has rows 0 to {count - 1}."
            )
    return torch.tensor(rows)


def _image_source(
    settings: Settings, images: ImageSet, denoiser: Denoiser, device: torch.device
) -> ImageSource:
    table, labels = None, None
    if settings.data.conditional and images.labels is not None:
        table = denoiser.encode(range(int(images.labels.max()) + 1)).to(device)  # pyright: ignore
        labels = images.labels.to(device)
    return ImageSource(
        images=images.images.to(device),
        table=table,
        labels=labels,
        rows=settings.train.batch_size,
        seed=settings.train.seed,
        horizontal_flip=settings.data.horizontal_flip,
    )
