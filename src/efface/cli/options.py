"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="A diffusers folder, a hub id or zoo:NAME.")]
Out = Annotated[Path, typer.Option(help="The run folder to write.")]
Method = Annotated[
    str | None,
    typer.Option(
        help="See `efface methods`; default: the recipe's, or sfd for labels and concepts, and "
        "siss for images."
    ),
]
Result = Annotated[
    str | None,
    typer.Option(
        help="What to deliver: one-step (fast, less varied) or same-sampler (sampled as the "
        "original model is); in place of --method."
    ),
]
Start = Annotated[
    Path | None,
    typer.Option(
        help="An earlier run, of which all that it forgot is kept forgotten, or a one-step "
        "generator."
    ),
]
Recipe = Annotated[
    Path | None,
    typer.Option(
        help="A TOML file of settings, or the name of one that ships, as digits-sfd; default for "
        "prompts: concept-sfd, or memorised-siss for a memorised image."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A setting, as train.steps=500 or relearning.images=[1]. Repeatable."
    ),
]
ImageColumn = Annotated[
    str | None, typer.Option(help="The column of images in tables, where several could be.")
]
LabelColumn = Annotated[
    str | None, typer.Option(help="The column of labels in tables, where it is not `label`.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in OUT.")]
NullLabel = Annotated[
    int | None, typer.Option(help="The label that means 'no class', where the model does not say.")
]
Size = Annotated[
    int | None,
    typer.Option(
        help="Pixels of a side of the images, where the model does not say; FLUX's default: 1024."
    ),
]
Judge = Annotated[
    Path | None,
    typer.Option(help="A classifier, by folder or ONNX file; default: that of the original model."),
]
Retrained = Annotated[
    str | None,
    typer.Option(help="A model that was trained without what is forgotten, to compare with."),
]
NoEvaluate = Annotated[bool, typer.Option("--no-evaluate", help="Skip evaluation and report.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be read, trained and measured, with memory and time; write nothing.",
    ),
]
