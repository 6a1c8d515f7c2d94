"""Commands that only look: sample, triage, preflight, runs, methods, settings and doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from efface.cli.options import ImageColumn, Method, Model, NullLabel, Recipe, Set, Size
from efface.cli.output import say, show


def triage(
    model: Model,
    images: Annotated[str, typer.Option(help="The images: a folder or a parquet file.")],
    unseen: Annotated[
        str, typer.Option(help="Images that the model was not trained on, or 'digits'.")
    ],
    out: Annotated[Path | None, typer.Option(help="A new folder for table, JSON and page.")] = None,
    image_column: ImageColumn = None,
    changes: Set = None,
) -> None:
    """Has the model memorised these images at all?"""
    from efface.diffusion.places import find_folder

    find_folder(model)
    from efface.requests.images.triage import triage as examine

    found = examine(model, images, unseen, out, changes, image_column)
    rows = []
    for f in found.findings:
        row = (f"{f.loss:.4f}", f"{f.loss_p:.3f}", f"{f.similarity:.3f}", f"{f.similarity_p:.3f}")
        copies = f"{f.copies} of {found.samples}"
        rows.append((f.name, f.verdict, *row, copies, f"{f.copies_p:.3f}"))
    show(("image", "verdict", "loss", "p", "similarity", "p", "copies", "p"), rows)
    auc = found.membership.auc
    say(
        f"false alarms: {found.false_alarm_rate:.1%} of {found.false_alarm_images} unseen "
        f"images; membership AUC {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
    )
    if out is not None:
        say(f"page: {out / 'triage.html'}")


def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="A new folder for the PNG files.")],
    label: Annotated[
        list[str] | None,
        typer.Option(help="A label, by its number or name. Repeatable; default: all."),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="A prompt. Repeatable; default: the empty one.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images per label or prompt.")] = 10,
    seed: Annotated[int, typer.Option(help="Image i has seed SEED + i.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="DDIM steps; default: one for a one-step generator.")
    ] = None,
    guidance: Annotated[
        float, typer.Option(min=0, help="Classifier-free guidance; 1 is without.")
    ] = 1.0,
    null_label: NullLabel = None,
    size: Size = None,
) -> None:
    """Generate images."""
    from efface.diffusion.places import find_folder
    from efface.files import require_empty

    require_empty(out)
    find_folder(model)
    from efface.runs.sample import sample as generate

    files = generate(
        model,
        out,
        labels=label or (),
        prompts=prompt or (),
        count=count,
        seed=seed,
        steps=steps,
        guidance=guidance,
        null_label=null_label,
        size=size,
    )
    say(f"{files} images and grid.png written to {out}")


def runs(
    folder: Annotated[Path, typer.Argument(help="A folder that holds run folders.")] = Path(),
) -> None:
    """List run folders, with the status and verdict of each."""
    from efface.runs.listing import list_runs

    found = list_runs(folder)
    if not found:
        say(f"no run in {folder}")
        return
    columns = ("run", "forgets", "method", "status", "verdict")
    show(columns, [(str(r.run), r.request, r.method, r.status, r.verdict) for r in found])


def methods() -> None:
    """List the methods there are."""
    from efface.methods import names, resolve

    for name in names():
        say(f"{name:22} {resolve(name).summary}")


def doctor() -> None:
    """Check the installation."""
    from efface.cli.doctor import doctor as examine

    findings = examine()
    for finding in findings:
        say(f"{'ok  ' if finding.good else 'BAD '} {finding.text}")
    if not all(f.good for f in findings):
        raise typer.Exit(1)


def settings(
    section: Annotated[str | None, typer.Argument(help="One section; default: all.")] = None,
    method: Annotated[str, typer.Option(help="Whose settings the section `method` lists.")] = "sfd",
) -> None:
    """List the settings of recipes and of --set.

    With the type, range, default and meaning of each.
    """
    from itertools import groupby

    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from efface.runs.list_settings import list_settings

    found = list_settings(section, method)
    for _, rows in groupby(found, key=lambda row: row.name.partition(".")[0]):
        table = Table(Column("setting", no_wrap=True), *("type", "range", "default"), box=None)
        table.add_column("meaning", overflow="fold", min_width=20)
        for row in rows:
            table.add_row(*map(Text, (row.name, row.type, row.range, row.default, row.description)))
        Console().print(table)


def preflight(
    model: Model,
    kind: Annotated[
        str | None, typer.Option(help="Of request, as `concept`; default: the first that fits.")
    ] = None,
    method: Method = None,
    recipe: Recipe = None,
    changes: Set = None,
    size: Size = None,
) -> None:
    """Estimate the memory that a run would take.

    Nothing is loaded. Where it is more than is free, this says what to change and exits with 1.
    """
    from efface.diffusion.places import find_folder

    find_folder(model)
    from efface.runs.preflight import preflight as estimated

    rows, shortage = estimated(
        model, kind=kind, method=method, recipe=recipe, changes=changes or (), size=size
    )
    show(("part", "bytes"), rows)
    if shortage is not None:
        say(shortage)
        raise typer.Exit(1)
