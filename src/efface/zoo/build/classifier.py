"""The classifier of a recipe: trained, measured on held-out images, and saved to judge samples."""

from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from efface.data.images import ImageSet
from efface.data.randomness import derive_seed
from efface.diffusion.class_networks import write_names
from efface.errors import ConfigError, DataError
from efface.files import require_empty
from efface.metrics.intervals import proportion
from efface.metrics.judge import Judge, ResidualClassifier, classify
from efface.zoo.build.fitting import fit, seeded, shuffled
from efface.zoo.build.images import read_part, training_images
from efface.zoo.build.settings import ClassifierSettings, read_build_settings

LABEL_SMOOTHING = 0.05


def train_classifier(recipe: str | Path, out: str | Path, changes: Iterable[str] = ()) -> Judge:
    """Train the classifier of a recipe, measure it on the held-out part, and save it."""
    out, settings = Path(out), read_build_settings(recipe, changes)
    require_empty(out)
    data = settings.data
    if data.held_out is None and data.source != "digits":
        raise ConfigError("a classifier is measured on held-out images: set data.held_out.")
    held_out = read_part(data, data.held_out or "digits", "test").mean_pooled(data.mean_pool)
    name = f"{Path(recipe).stem} classifier"
    device = str(Accelerator().device)
    judge = fit_classifier(name, training_images(data), held_out, settings.judge, device)
    judge.save(out)
    return judge


def fit_classifier(
    name: str,
    train: ImageSet,
    held_out: ImageSet,
    settings: ClassifierSettings,
    device: str = "cpu",
) -> Judge:
    """Train a classifier, measure it on held-out images, and keep reference features.

    AdamW on a one-cycle schedule. Raises DataError for images without labels.
    """
    if train.labels is None or held_out.labels is None:
        raise DataError(
            "a classifier needs labelled images: sort them into one subfolder per label."
        )
    names = train.label_names
    if names and held_out.label_names and names != held_out.label_names:
        raise DataError(
            f"the training images have the labels {', '.join(names)}, and the held-out images "
            f"{', '.join(held_out.label_names)}: give both the same."
        )
    if len(train) < settings.batch_size:
        raise DataError(
            f"{len(train)} training images are fewer than one batch of {settings.batch_size}: give "
            "more, or set judge.batch_size lower."
        )
    classes = len(names) or int(train.labels.max()) + 1
    with seeded(derive_seed(settings.seed, "judge")):
        classifier = _fitted(train.images.to(device), train.labels.to(device), classes, settings)
    _, probabilities = classify(classifier, held_out.images.float() / 255)
    correct = probabilities.argmax(1) == held_out.labels.numpy()
    accuracy = proportion(int(correct.sum()), len(held_out))
    spread = torch.linspace(0, len(train) - 1, min(settings.reference_images, len(train))).long()
    reference, _ = classify(classifier, train.images[spread].float() / 255)
    return Judge(
        classifier=classifier.cpu(),
        reference=reference,
        reference_labels=train.labels[spread].numpy(),
        config={
            "name": name,
            "channels": train.images.shape[1],
            "widths": list(settings.widths),
            "num_classes": classes,
            "id2label": write_names(names),
            "held_out_accuracy": accuracy.value,
            "held_out_interval": [accuracy.low, accuracy.high],  # exact, 95 %
            "held_out_images": len(held_out),
            "training_images": len(train),
            "seed": settings.seed,
        },
        name=name,
        digest="",
        reference_digest="",
    )


def _fitted(
    images: Tensor, labels: Tensor, classes: int, settings: ClassifierSettings
) -> ResidualClassifier:
    classifier = ResidualClassifier(images.shape[1], settings.widths, classes).to(images.device)
    steps = settings.epochs * (len(images) // settings.batch_size)
    rows = shuffled(len(images), settings.batch_size, steps)

    def loss() -> Tensor:
        batch = next(rows).to(images.device)
        logits = classifier(_augmented(images[batch].float() / 255, settings))
        return nn.functional.cross_entropy(logits, labels[batch], label_smoothing=LABEL_SMOOTHING)

    fit(classifier, loss, steps, settings.learning_rate, "training the classifier")
    return classifier


def _augmented(images: Tensor, settings: ClassifierSettings) -> Tensor:
    if settings.shift:
        x, y = torch.randint(2 * settings.shift + 1, (2,)).tolist()
        padded = nn.functional.pad(images, [settings.shift] * 4)
        images = padded[..., y : y + images.shape[-2], x : x + images.shape[-1]]
    if settings.horizontal_flip:
        flip = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        images = torch.where(flip, images.flip(-1), images)
    return images
