"""Commands that measure a run and prove it: evaluate, attack, report, compare and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from efface.cli.options import Judge, Retrained, Set
from efface.cli.output import say, tell


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    judge: Judge = None,
    retrained: Retrained = None,
    changes: Set = None,
) -> None:
    """Measure a run beside the original model, and write its report."""
    from efface.runs.evaluate import evaluate as evaluate_run

    evaluate_run(run, judge=judge, retrained=retrained, changes=changes or [])
    tell(run)


def attack(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    chosen: Annotated[
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
    """Try to bring back what a run forgot; writes attacks.json and the report anew."""
    from efface.records import read_record
    from efface.reporting.attack_words import tell_attack
    from efface.reporting.resistance import find_resistance
    from efface.runs.attack import attack as attack_run

    found = attack_run(
        run,
        chosen or [],
        judge=judge,
        retrained=retrained,
        reference=reference,
        changes=changes or [],
    )
    for finding in find_resistance(read_record(run), found).findings:
        say(f"{finding.result.attack}: {tell_attack(finding)}")
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
    """Write one self-contained HTML page about runs; with --pack, all evidence in one archive."""
    from efface.errors import RequestError
    from efface.evidence.archive import require_new
    from efface.evidence.pack import pack as write_pack
    from efface.evidence.signing import read_signer, sign, signature_of
    from efface.reporting import require_replaceable, write_report

    page = out or runs[0] / "report.html"
    require_replaceable(page, runs)
    if sign_key is not None and pack is None:
        raise RequestError("--sign-key signs a pack: give its file with --pack.")
    if pack is not None:
        require_new(pack, overwrite)
        if sign_key is not None:
            require_new(signature_of(pack), overwrite)
    signer = None if sign_key is None else read_signer(sign_key)
    if wording is not None:
        from efface.evidence.model_card import write_model_card

        for run in runs:
            say(f"model card written to {write_model_card(run, wording)}")
    if pack is not None:
        if overwrite:  # it was of the pack that is replaced
            signature_of(pack).unlink(missing_ok=True)
        digest = write_pack(runs, pack, overwrite)
        say(f"evidence pack written to {pack}, SHA-256 {digest}")
        if signer is not None:
            say(f"signature written to {sign(pack, signer)}")
    say(f"report written to {write_report(runs, page)}")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[
        Path | None, typer.Option(help="A folder for CSV, JSON and plots of forget against retain.")
    ] = None,
) -> None:
    """Put runs side by side; those on different base models stand apart."""
    from efface.runs.compare import as_tables, write_comparison
    from efface.runs.compare import compare as compare_runs

    bases = compare_runs(runs)
    console = Console()
    for table in as_tables(bases):
        console.print(table)
        console.print()
    for path in write_comparison(bases, out) if out is not None else []:
        say(f"written: {path}")


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
) -> None:
    """Check an evidence pack against itself and a model, and measure its figures again."""
    from efface.evidence.networks import Given
    from efface.evidence.verify import verify as verify_pack

    given = Given(judge=judge, detector=detector, clip=clip, retrained=retrained)
    found = verify_pack(pack, model, metric, given, public_key)
    for check in found.checks:
        mark = "BAD " if not check.good else "ok  " if check.looked else "--  "
        say(f"{mark} {check.subject}: {check.text}")
    say(f"SHA-256 of the pack: {found.sha256}")
    if not found.good:
        raise typer.Exit(1)
