"""Commands that measure and prove: evaluate, attack, report, compare, bench and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from efface.cli.options import Judge, Retrained, Set
from efface.cli.output import say, show, tell


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    judge: Judge = None,
    retrained: Retrained = None,
    changes: Set = None,
) -> None:
    """Measure a run beside the original model, and report."""
    from efface.runs.early import check_run

    check_run(run, changes or [])
    from efface.runs.evaluate import evaluate as evaluate_run

    evaluate_run(run, judge=judge, retrained=retrained, changes=changes or [])
    tell(run)


def attack(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help="One attack by name. Repeatable; default: all that apply."),
    ] = None,
    judge: Judge = None,
    retrained: Retrained = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Real images of a forgotten class, in a subfolder for each label."),
    ] = None,
    changes: Set = None,
) -> None:
    """Try to bring back what a run forgot.

    Writes attacks.json and the report anew.
    """
    from efface.runs.early import check_run

    check_run(run)
    from efface.records import read_record
    from efface.reporting.attack_words import ATTACK_COLUMNS, attack_row, name_attack, tell_attack
    from efface.reporting.resistance import find_resistance
    from efface.runs.attack import attack as attack_run

    found = attack_run(
        run,
        attacks or [],
        judge=judge,
        retrained=retrained,
        reference=reference,
        changes=changes or [],
    )
    findings = find_resistance(read_record(run), found).findings
    show(ATTACK_COLUMNS, [attack_row(finding) for finding in findings])
    for finding in findings:
        say(f"{name_attack(finding.result)}: {tell_attack(finding)}")
    if (run / "evaluation.json").exists():
        from efface.reporting import write_report

        write_report([run], run / "report.html")
        tell(run)


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
    sign_key: Annotated[
        Path | None,
        typer.Option(help="Also sign the pack, by this private key (PEM, elliptic curve)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the pack that is there.")
    ] = False,
) -> None:
    """Write an HTML page about runs, and their evidence pack.

    The page is self-contained; with --pack, all evidence is written to one archive.
    """
    from efface.runs.early import check_run

    for run in runs:
        check_run(run)
    from efface.runs.report import report as write

    written = write(runs, out, pack=pack, wording=wording, sign_key=sign_key, overwrite=overwrite)
    for card in written.model_cards:
        say(f"model card written to {card}")
    if written.pack is not None:
        say(f"evidence pack written to {written.pack}, SHA-256 {written.sha256}")
    if written.signature is not None:
        say(f"signature written to {written.signature}")
    say(f"report written to {written.page}")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[
        Path | None, typer.Option(help="A folder for CSV, JSON and plots of forget against retain.")
    ] = None,
) -> None:
    """Put runs side by side.

    Those of different base models stand apart.
    """
    from efface.runs.early import check_run

    for run in runs:
        check_run(run)
    from rich.console import Console

    from efface.runs.compare import as_tables
    from efface.runs.compare import compare as compare_runs

    bases = compare_runs(runs, out)
    console = Console()
    for table in as_tables(bases):
        console.print(table)
        console.print()
    if out is not None:
        say(f"comparison written to {out}")


def bench(
    file: Annotated[Path, typer.Argument(help="A TOML file with methods, requests and seeds.")],
    out: Annotated[
        Path,
        typer.Option(help="A folder for runs, tables and the page; one that is there goes on."),
    ],
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once, each in a process.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="The address of a Dask scheduler whose workers make the runs, in place of --jobs."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="List the runs, and how many of them are done; write nothing."
        ),
    ] = False,
) -> None:
    """Compare methods on the same requests, seeds and budget.

    Runs that are done are not made again, so the same command goes on with what was stopped. Exits
    with 1 where a run failed.
    """
    from efface.benchmark.file import read_file

    read_file(file)
    from efface.benchmark.bench import bench as carry_out
    from efface.benchmark.bench import dry_run as forecast

    if dry_run:
        rows = forecast(file, out)
        show(
            ("row", "runs", "steps", "done", "left"),
            [(row.row, row.what, row.steps, str(row.done), str(row.left)) for row in rows],
        )
        say(f"{sum(row.left for row in rows)} runs are left")
        return
    from rich.console import Console

    from efface.benchmark.tables import as_terminal

    found = carry_out(file, out, jobs=jobs, cluster=cluster)
    Console().print(as_terminal(found))
    failed = [(row.name, reason) for row in found.rows for reason in row.failed]
    for name, reason in failed:
        say(f"{name} failed: {reason}")
    say(f"benchmark written to {out / 'bench.html'}")
    if failed:
        raise typer.Exit(1)


def verify(
    pack: Annotated[Path, typer.Argument(help="The zip file of `efface report --pack`.")],
    model: Annotated[Path, typer.Option(help="The folder of the model that was delivered.")],
    metric: Annotated[
        str | None,
        typer.Option(
            help="The figure to measure again, as evaluation.json names it, or 'none'; "
            "default: all."
        ),
    ] = None,
    judge: Judge = None,
    detector: Annotated[
        str | None, typer.Option(help="The detector of the run; default: where its record says.")
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="The CLIP of the run; default: where its record says.")
    ] = None,
    retrained: Retrained = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="Check the signature beside the pack by this public key (PEM)."),
    ] = None,
    lora: Annotated[
        Path | None,
        typer.Option(help="Also draw with this LoRA, a folder or a file, and compare the images."),
    ] = None,
) -> None:
    """Check an evidence pack against the delivered model.

    Every file, hash and page is checked, and the figures are measured again.
    """
    from efface.evidence.verify import verify as verify_pack

    found = verify_pack(
        pack,
        model,
        metric,
        judge=judge,
        detector=detector,
        clip=clip,
        retrained=retrained,
        public_key=public_key,
        lora=lora,
    )
    for check in found.checks:
        mark = "BAD " if not check.good else "ok  " if check.looked else "--  "
        say(f"{mark} {check.subject}: {check.text}")
    say(f"SHA-256 of the pack: {found.sha256}")
    if not found.good:
        raise typer.Exit(1)
