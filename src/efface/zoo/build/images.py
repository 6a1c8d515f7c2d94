"""A small model of images made from a recipe: its network, and what it is trained on."""

import diffusers
import torch

from efface.data.image_files import Reading
from efface.data.images import ImageSet, load_images
from efface.data.source import ImageSource
from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.loading import build_denoiser
from efface.errors import ConfigError, DataError
from efface.zoo.build.settings import BuildSettings, DataSettings, NetworkSettings


def training_images(data: DataSettings) -> ImageSet:
    """The images of a recipe, with those that it adds and without those that it leaves out."""
    images = read_part(data, data.source, "train").without_labels(data.without_labels)
    if data.added is not None:
        images = images.with_copies(read_part(data, data.added, "train"), data.added_copies)
    return images.mean_pooled(data.mean_pool)


def read_part(data: DataSettings, source: str, split: str) -> ImageSet:
    """Images of a recipe; tables have its columns, where their names do not say others."""
    how = Reading(image_column=data.image_column, label_column=data.label_column)
    return load_images(source, split, how=how)


def new_denoiser(settings: NetworkSettings, images: ImageSet, conditional: bool) -> Denoiser:
    """A fresh network for these images; one more class embedding means "no class"."""
    classes = _classes(images) if conditional else None
    channels, height, width = images.images.shape[1:]
    halved = len(settings.channels) - 1
    if height != width or width % 2**halved:
        raise ConfigError(
            f"images of {height} x {width} pixels do not suit network.channels: give square images "
            f"whose side can be halved {halved} times, or fewer channels."
        )
    attention = settings.attention
    network = diffusers.UNet2DModel(
        sample_size=width,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=settings.channels,
        layers_per_block=settings.layers,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]),
        norm_num_groups=settings.norm_groups,
        dropout=settings.dropout,
        num_class_embeds=None if classes is None else classes + 1,
    )
    scheduler = diffusers.DDIMScheduler(
        beta_schedule=settings.schedule,
        prediction_type=settings.prediction,
        timestep_spacing="trailing",
    )
    return build_denoiser(network, scheduler, classes, classes)


def image_source(
    settings: BuildSettings, images: ImageSet, denoiser: Denoiser, device: torch.device
) -> ImageSource:
    """The images of a recipe with their labels, which are encoded once."""
    table, labels = None, None
    if isinstance(denoiser, ClassDenoiser) and images.labels is not None:
        table = denoiser.encode(range(int(images.labels.max()) + 1)).to(device)
        labels = images.labels.to(device)
    return ImageSource(
        images=images.images.to(device),
        table=table,
        labels=labels,
        rows=settings.train.batch_size,
        seed=settings.train.seed,
        horizontal_flip=settings.data.horizontal_flip,
    )


def _classes(images: ImageSet) -> int:
    if images.labels is None:
        raise DataError(
            "a conditional model needs labelled images: sort them into one subfolder per label, "
            "or set data.conditional=false."
        )
    return len(images.label_names) or int(images.labels.max()) + 1
