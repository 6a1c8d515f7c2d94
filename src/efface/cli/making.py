"""Commands that make something to work with: convert, train, classifier and so on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from efface.cli.options import ImageColumn, LabelColumn, Out, Overwrite, Resume, Set
from efface.cli.output import say


def with_columns(
    changes: list[str] | None, image_column: str | None, label_column: str | None
) -> list[str]:
    """Settings, with the columns of tables that were chosen."""
    chosen = {"data.image_column": image_column, "data.label_column": label_column}
    named = [
        f"{name}={json.dumps(column)}" for name, column in chosen.items() if column is not None
    ]
    return [*(changes or []), *named]


def train(
    recipe: Annotated[
        Path, typer.Argument(help="A TOML file with [data], [network], [train], or its name.")
    ],
    out: Out,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    changes: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a small diffusion model from scratch."""
    from efface.zoo.build.train import train as train_model

    train_model(
        recipe,
        out,
        changes=with_columns(changes, image_column, label_column),
        resume=resume,
        overwrite=overwrite,
    )
    say(f"model written to {out / 'pipeline'}")


def classifier(
    recipe: Annotated[Path, typer.Argument(help="A TOML file with [data] and [judge].")],
    out: Out,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    changes: Set = None,
) -> None:
    """Train the classifier that judges samples.

    Features of its training images are kept, to compare samples with.
    """
    from efface.zoo.build.classifier import train_classifier

    config = train_classifier(recipe, out, with_columns(changes, image_column, label_column)).config
    accuracy, count = config["held_out_accuracy"], config["held_out_images"]
    low, high = config["held_out_interval"]
    say(
        f"classifier written to {out}: {accuracy:.1%} right on {count} held-out images "
        f"(95 % interval {low:.1%} to {high:.1%})"
    )


def autoencoder(
    recipe: Annotated[Path, typer.Argument(help="A TOML file with [data], [scenes].")],
    out: Out,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    changes: Set = None,
) -> None:
    """Train the autoencoder of a small text-to-image model."""
    from efface.zoo.build.scene_networks import train_autoencoder

    error = train_autoencoder(recipe, out, with_columns(changes, image_column, label_column))
    say(f"autoencoder written to {out}: held-out error {error:.3f} per pixel")


def detector(
    recipe: Annotated[Path, typer.Argument(help="A TOML file with [data], [scenes].")],
    out: Out,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    changes: Set = None,
) -> None:
    """Train a detector of items for a small text-to-image model."""
    from efface.zoo.build.scene_networks import train_detector

    detected = train_detector(recipe, out, with_columns(changes, image_column, label_column))
    say(
        f"detector written to {out}: {detected.accuracy:.1%} of its answers right on "
        f"{detected.images} held-out scenes, all of them right on {detected.exact:.1%}"
    )


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file with a whole model.")],
    config: Annotated[
        str,
        typer.Option(help="A diffusers folder of the same architecture; weights may be missing."),
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the model.")],
) -> None:
    """Make a model folder of a checkpoint in one file."""
    from efface.diffusion.single_file import convert as convert_file

    info = convert_file(checkpoint, config, out)
    say(f"model written to {out}: {info.index['_class_name']}")


def demo(
    out: Annotated[Path, typer.Option(help="A new folder.")] = Path("efface-demo"),
    overwrite: Overwrite = False,
) -> None:
    """Forget a digit and a memorised image, offline, and report."""
    from efface.runs.demo import demo as run_demo

    say(f"report written to {run_demo(out, overwrite)}")
