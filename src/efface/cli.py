"""The command line. Heavy imports happen inside the commands, so that --help answers at once."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from efface.errors import EffaceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make a diffusion model forget, and prove it.",
)
forget_app = typer.Typer(no_args_is_help=True, help="Make a model forget.")
app.add_typer(forget_app, name="forget")

Model = Annotated[str, typer.Argument(help="A diffusers folder, a hub id or zoo:NAME.")]
Out = Annotated[Path, typer.Option(help="The run folder to write.")]
Recipe = Annotated[Path | None, typer.Option(help="A TOML file of settings.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, as train.steps=500 or method.alpha=1.0. Repeatable."),
]
AttackSet = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, as relearn.images=[1,8]. Repeatable."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in OUT.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in OUT.")]
NullLabel = Annotated[
    int | None, typer.Option(help="The label that means 'no class', where the model does not say.")
]
JudgeFolder = Annotated[
    Path | None, typer.Option(help="A judge made by `efface judge`; default: the one beside MODEL.")
]
Retrained = Annotated[
    str | None, typer.Option(help="A model that never saw what was to go, to compare with.")
]
RetainPrompts = Annotated[
    str | None,
    typer.Option(help="Prompts that stay: a file or datasets:OWNER/NAME; default: templates."),
]
NoEvaluate = Annotated[bool, typer.Option("--no-evaluate", help="Skip evaluation and report.")]


@forget_app.command("class")
def forget_class(
    model: Model,
    out: Out,
    label: Annotated[list[int], typer.Option(help="A label to forget. Repeatable.")],
    replace: Annotated[
        list[str] | None,
        typer.Option(help="What to draw instead: labels (repeatable) or 'random' among the rest."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="See `efface methods`.")] = None,
    recipe: Recipe = None,
    changes: Set = None,
    start: Annotated[
        Path | None, typer.Option(help="Two-stage: a run of `efface distil` to begin from.")
    ] = None,
    judge: JudgeFolder = None,
    retrained: Retrained = None,
    null_label: NullLabel = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Forget labels of a class-conditional model, data-free; ends with evaluation and report."""
    from efface.requests import ForgetClass

    request = ForgetClass(labels=tuple(label), replacement=_labels(replace or ["random"]))
    from efface.runs import forget

    forget(
        model,
        request,
        out,
        method=method,
        recipe=recipe,
        changes=changes or [],
        start=start,
        judge=judge,
        retrained=retrained,
        null_label=null_label,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    _tell(out)


@forget_app.command("images")
def forget_images(
    model: Model,
    out: Out,
    images: Annotated[str, typer.Option(help="The pictures to forget: a folder or parquet file.")],
    retain: Annotated[
        str, typer.Option(help="Pictures that stay, or 'generate': the model draws them.")
    ] = "generate",
    unseen: Annotated[
        str | None,
        typer.Option(help="Pictures that the model was not trained on: what forgetting aims at."),
    ] = None,
    prior: Annotated[
        float | None, typer.Option(help="Share of the pictures in the training data, if known.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="See `efface methods`; default siss.")] = None,
    recipe: Recipe = None,
    changes: Set = None,
    judge: JudgeFolder = None,
    retrained: Retrained = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Forget particular pictures of an unconditional model; ends with evaluation and report."""
    from efface.requests import ForgetImages
    from efface.runs import forget

    forget(
        model,
        ForgetImages(images=images, retain=retain, unseen=unseen, prior=prior),
        out,
        method=method,
        recipe=recipe,
        changes=changes or [],
        judge=judge,
        retrained=retrained,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    _tell(out)


@forget_app.command("concept")
def forget_concept(
    model: Model,
    out: Out,
    concept: Annotated[str, typer.Option(help="What to forget, as prompts name it.")],
    replace: Annotated[
        str | None, typer.Option(help="The phrase that takes its place in a prompt.")
    ] = None,
    forget_prompts: Annotated[
        str | None, typer.Option(help="Prompts that name the concept; default: templates.")
    ] = None,
    retain_prompts: RetainPrompts = None,
    prompt_pairs: Annotated[
        str | None, typer.Option(help="Instead of --replace: prompts and what is drawn for them.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help="Instead of --replace: keywords to guide away from.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="See `efface methods`.")] = None,
    recipe: Recipe = None,
    changes: Set = None,
    start: Annotated[
        Path | None, typer.Option(help="Two-stage: a run of `efface distil` to begin from.")
    ] = None,
    retrained: Retrained = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Forget what prompts name, in a text-to-image model; ends with evaluation and report."""
    from efface.requests import ForgetConcept
    from efface.runs import forget

    request = ForgetConcept(
        concept=concept,
        replacement=replace,
        forget_prompts=forget_prompts,
        retain_prompts=retain_prompts,
        prompt_pairs=prompt_pairs,
        negative=negative,
    )
    forget(
        model,
        request,
        out,
        method=method,
        recipe=recipe,
        changes=changes or [],
        start=start,
        retrained=retrained,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    _tell(out)


@app.command()
def triage(
    model: Model,
    images: Annotated[str, typer.Option(help="The pictures: a folder or parquet file.")],
    unseen: Annotated[
        str, typer.Option(help="Pictures that the model was not trained on, or 'digits'.")
    ],
    out: Annotated[Path | None, typer.Option(help="A new folder for table, JSON and page.")] = None,
    changes: Set = None,
) -> None:
    """Has the model memorised these pictures at all?"""
    from rich.table import Table

    from efface.triaging import triage as examine_pictures

    found = examine_pictures(model, images, unseen, out, changes)
    table = Table("picture", "verdict", "loss", "p", "similarity", "p", "copies", "p", box=None)
    for f in found.findings:
        row = (f"{f.loss:.4f}", f"{f.loss_p:.3f}", f"{f.similarity:.3f}", f"{f.similarity_p:.3f}")
        copies = f"{f.copies} of {found.samples}"
        table.add_row(Text(f.name), f.verdict, *row, copies, f"{f.copies_p:.3f}")
    Console().print(table)
    auc = found.membership.auc
    _say(
        f"false alarms: {found.false_alarm_rate:.1%} of {found.false_alarm_pictures} unseen "
        f"pictures; membership AUC {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
    )
    if out is not None:
        _say(f"page: {out / 'triage.html'}")


@app.command()
def distil(
    model: Model,
    out: Out,
    retain_prompts: RetainPrompts = None,
    recipe: Recipe = None,
    changes: Set = None,
    judge: JudgeFolder = None,
    null_label: NullLabel = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Make a one-step generator that forgets nothing, for later requests to --start from."""
    from efface.diffusion.model_folder import inspect_model
    from efface.requests import Distil, DistilText
    from efface.runs import forget

    text = retain_prompts is not None or inspect_model(model, null_label).family is not None
    forget(
        model,
        DistilText(retain_prompts=retain_prompts) if text else Distil(),
        out,
        recipe=recipe,
        changes=changes or [],
        judge=judge,
        null_label=null_label,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    _tell(out)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file with [data], [network], [train].")],
    out: Out,
    changes: Set = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a small diffusion model from nothing."""
    from efface.recipes import train as train_model

    train_model(recipe, out, changes=changes or [], resume=resume, overwrite=overwrite)
    _say(f"model written to {out / 'pipeline'}")


@app.command()
def judge(
    recipe: Annotated[Path, typer.Argument(help="A TOML file with [data] and [judge].")],
    out: Out,
    changes: Set = None,
) -> None:
    """Train the classifier that judges samples, and keep features of its training images."""
    from efface.recipes import make_judge

    made = make_judge(recipe, out, changes or [])
    accuracy, count = made.config["held_out_accuracy"], made.config["held_out_images"]
    _say(f"judge written to {out}: {accuracy:.1%} right on {count} held-out images")


@app.command()
def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="A new folder for the PNG files.")],
    label: Annotated[
        list[int] | None, typer.Option(help="A label. Repeatable; default: all.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Images per label.")] = 10,
    seed: Annotated[int, typer.Option(help="Image i has seed SEED + i.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="DDIM steps; default: one for a one-step generator.")
    ] = None,
    guidance: float = 1.0,
    null_label: NullLabel = None,
) -> None:
    """Draw images."""
    from efface.sheets import draw_sheet

    files = draw_sheet(model, out, label, count, seed, steps, guidance, null_label)
    _say(f"{files} images and grid.png written to {out}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    judge: JudgeFolder = None,
    retrained: Retrained = None,
    changes: Set = None,
) -> None:
    """Measure a run beside the untouched model, and write its report."""
    from efface.evaluating import evaluate as evaluate_run

    evaluate_run(run, judge=judge, retrained=retrained, changes=changes or [])
    _tell(run)


@app.command()
def attack(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    chosen: Annotated[
        list[str] | None,
        typer.Option("--attack", help="One attack by name. Repeatable; default: all that apply."),
    ] = None,
    judge: JudgeFolder = None,
    retrained: Retrained = None,
    changes: AttackSet = None,
) -> None:
    """Try to bring back what a run forgot; writes attacks.json and the report anew."""
    from rich.table import Table

    from efface.attacking import attack as attack_run
    from efface.attacking import summarise

    found = attack_run(run, chosen or [], judge=judge, retrained=retrained, changes=changes or [])
    table = Table("attack", "50 % back", "90 % back", "at full budget", "self-tests", box=None)
    for row in summarise(found):
        table.add_row(*map(Text, row))
    Console().print(table)
    if (run / "evaluation.json").exists():
        from efface.reporting import write_report

        write_report([run], run / "report.html")
        _tell(run)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[Path | None, typer.Option(help="Default: report.html in the first run.")] = None,
    pack: Annotated[
        Path | None, typer.Option(help="Also write an evidence pack: a new zip file.")
    ] = None,
    wording: Annotated[
        str | None,
        typer.Option(help="What was forgotten, in your words, for the model cards of the runs."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the pack that is there.")
    ] = False,
) -> None:
    """Write one self-contained HTML page about runs; with --pack, all evidence in one archive."""
    from efface.reporting import write_report

    _say(f"report written to {write_report(runs, out or runs[0] / 'report.html')}")
    if wording is not None:
        from efface.evidence.model_card import write_model_card

        for run in runs:
            _say(f"model card written to {write_model_card(run, wording)}")
    if pack is not None:
        from efface.evidence.pack import pack as write_pack

        digest = write_pack(runs, pack, overwrite)
        _say(f"evidence pack written to {pack}, SHA-256 {digest}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[
        Path | None, typer.Option(help="A folder for CSV, JSON and plots of forget against retain.")
    ] = None,
) -> None:
    """Put runs side by side; those on different base models stand apart."""
    from efface.comparing import as_tables, write_comparison
    from efface.comparing import compare as compare_runs

    bases = compare_runs(runs)
    console = Console()
    for table in as_tables(bases):
        console.print(table)
        console.print()
    for path in write_comparison(bases, out) if out is not None else []:
        _say(f"written: {path}")


@app.command()
def verify(
    pack: Annotated[Path, typer.Argument(help="The zip file of `efface report --pack`.")],
    model: Annotated[Path, typer.Option(help="The folder of the model that was delivered.")],
    metric: Annotated[
        str | None,
        typer.Option(
            help="What to measure again; default: unlearning accuracy or copy rate; none."
        ),
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="The judge of the run; default: beside the base model.")
    ] = None,
) -> None:
    """Check an evidence pack against itself and a model, and measure one figure again."""
    from efface.evidence.verify import verify as verify_pack

    found = verify_pack(pack, model, metric, judge)
    for check in found.checks:
        _say(f"{'ok  ' if check.good else 'BAD '} {check.subject}: {check.text}")
    _say(f"SHA-256 of the pack: {found.sha256}")
    if not found.good:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="A new folder.")] = Path("efface-demo"),
    overwrite: Overwrite = False,
) -> None:
    """Forget a digit in the model that ships, offline, and write a report to look at."""
    from efface.demo import run_demo

    _say(f"report written to {run_demo(out, overwrite)}")


@app.command()
def methods() -> None:
    """List the methods there are."""
    from efface.methods import names, resolve

    console = Console()
    for name in names():
        console.print(f"{name:16} {resolve(name).summary}", highlight=False, soft_wrap=True)


@app.command()
def doctor() -> None:
    """Check the installation."""
    from efface.doctor import examine

    findings = examine()
    for finding in findings:
        _say(f"{'ok  ' if finding.good else 'BAD '} {finding.text}")
    if not all(f.good for f in findings):
        raise typer.Exit(1)


def _labels(texts: list[str]) -> tuple[int, ...]:
    from efface.errors import RequestError

    if texts == ["random"]:
        return ()
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise RequestError(
            f"--replace {' '.join(texts)} is not understood: give labels, as --replace 1, or "
            "'random'."
        ) from None


def _tell(run: Path) -> None:
    """The verdict of a run, where it was measured, and where to look."""
    if (run / "evaluation.json").exists():
        from efface.records import read_attacks, read_evaluation, read_record
        from efface.reporting import judge_run

        verdict = judge_run(read_record(run), read_evaluation(run), attacks=read_attacks(run))
        _say(verdict.headline)
        _say(f"report: {run / 'report.html'}")
    _say(f"model: {run / 'pipeline'}")


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point: an error that the user can mend is one sentence and exit code 1."""
    try:
        app()
    except EffaceError as error:
        Console(stderr=True).print(
            f"efface: {error}", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        Console(stderr=True).print(
            "efface: the disk is full: make room and start again with --resume.", markup=False
        )
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("efface: stopped; go on with --resume", markup=False)
        sys.exit(130)
