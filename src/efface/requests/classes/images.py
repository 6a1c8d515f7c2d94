"""Labelled images for methods that need some: those that were given, or the model's own."""

import torch
from torch import Tensor

from efface.data.batch import ImageBank, in_turn
from efface.data.images import ImageSet, read_at, to_model
from efface.data.source import LabelledSource
from efface.diffusion.denoiser import ClassDenoiser
from efface.diffusion.model_folder import ModelInfo, drawn_shape
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError
from efface.evaluation.subjects import number_labels
from efface.progress import Bar
from efface.requests.classes.settings import ClassSettings
from efface.settings.base import Settings

GENERATED_SEED = 9_500_000  # away from the seeds of training and evaluation
CODE_SEED = 9_400_000  # of what a VAE samples


def read_labelled(source: str, model: ModelInfo) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) uint8 at a model's size and the model's numbers of their labels (N,).

    DataError for images without labels.
    """
    images: ImageSet = read_at(source, drawn_shape(model), resize=True)
    if images.labels is None:
        raise DataError(
            f"{source} has no labels, and class.images must name labelled images: give a folder "
            "with one subfolder per label, or a table with a column of labels."
        )
    return images.images, torch.from_numpy(number_labels(model, images.labels.numpy()))


def generate_labelled(
    denoiser: ClassDenoiser, labels: tuple[int, ...], settings: Settings
) -> tuple[Tensor, Tensor]:
    """As many samples of every label, (N, C, H, W) uint8, and their labels (N,)."""
    own, steps = settings.of(ClassSettings), settings.evaluate.baseline_steps
    asked = in_turn(labels, max(own.generate, len(labels)))
    seeds = range(GENERATED_SEED, GENERATED_SEED + len(asked))
    sampler = MultiStep.within(denoiser, steps)
    with Bar("generating training images", len(asked), unit="images") as bar:
        drawn = draw_images(denoiser, sampler, denoiser.encode(asked), seeds, on_batch=bar.advance)
    return (drawn * 255).round().byte(), torch.tensor(asked)


def labelled_source(
    denoiser: ClassDenoiser,
    labelled: tuple[Tensor, Tensor],
    replacements: dict[int, tuple[int, ...]],
    retain: tuple[int, ...],
    rows: tuple[int, int],
    seed: int,
) -> LabelledSource:
    """Batches of `rows` retained images and images to forget; DataError where a side has none."""
    images, labels = labelled
    names = denoiser.labels
    row = {label: number for number, label in enumerate(names)}
    sides, found = [], []
    for side, wanted in (("retained", retain), ("forgotten", tuple(replacements))):
        of_them = torch.isin(labels, torch.tensor(wanted))
        if not of_them.any() and (side == "retained" or rows[1]):
            raise DataError(
                f"none of the {len(labels)} labelled images has a {side} label: give some of both, "
                "or leave class.images out."
            )
        generator = torch.Generator().manual_seed(CODE_SEED)
        x0 = denoiser.codec.encode(to_model(images[of_them]).to(denoiser.device), generator)
        sides.append(x0)
        found.append(torch.tensor([row[label] for label in labels[of_them].tolist()]))
    prior = len(sides[1]) / (len(sides[0]) + len(sides[1]))
    return LabelledSource(
        bank=ImageBank(sides[0], sides[1], prior),
        table=denoiser.encode(names).to(denoiser.device),
        labels=(found[0], found[1]),
        replacements={row[k]: [row[v] for v in own or retain] for k, own in replacements.items()},
        retain_rows=rows[0],
        forget_rows=rows[1],
        seed=seed,
    )
