"""The command line. Heavy imports happen inside the commands, so that --help answers at once."""

from __future__ import annotations

import errno
import signal
import sys
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from efface import __version__, progress
from efface.cli.evidence import attack, bench, compare, evaluate, report, verify
from efface.cli.forgetting import request_command
from efface.cli.looking import doctor, methods, preflight, runs, sample, settings, triage
from efface.cli.making import autoencoder, classifier, convert, demo, detector, train
from efface.cli.shared import with_shared
from efface.errors import EffaceError, Stopped
from efface.requests import kinds

NO_LEAVE = "{!r} may not be read or written: change its permissions or give another path."
OF_THE_SYSTEM = {
    errno.ENOSPC: "the disk is full: make room and start again with --resume.",
    errno.EDQUOT: "the disk quota is used up: make room and start again with --resume.",
    errno.ENAMETOOLONG: "{!r} is too long for a file name: give a shorter one.",
    errno.EACCES: NO_LEAVE,
    errno.EPERM: NO_LEAVE,
    errno.EROFS: "{!r} lies on a disk that cannot be written: give another path.",
}
OUT_OF_MEMORY = (
    "the GPU's memory ran out: lower train.batch_size (or raise train.accumulation) and "
    "evaluate.batch_size, and go on with --resume; `efface preflight MODEL` says what a run takes."
)

ORDER = (  # of --help: what is done first comes first
    *("demo", "triage", "preflight", "forget", "distil", "sample", "evaluate", "attack", "report"),
    *("compare", "bench", "verify", "runs", "convert", "train", "classifier", "autoencoder"),
    *("detector", "methods", "settings", "doctor"),
)


class Commands(TyperGroup):
    """Says how a run that was stopped goes on; typer would leave without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            _leave_stopped(stop)

    def list_commands(self, ctx: Any) -> list[str]:
        """Those of other packages come last."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make a diffusion model forget, and prove it.",
)
forget_app = typer.Typer(no_args_is_help=True, help="Make a model forget, and measure it.")
app.add_typer(forget_app, name="forget")

for name, kind in kinds().items():
    own = forget_app if kind.forgets else app
    own.command(name)(with_shared(request_command(kind), computes=True))
for command in (triage, preflight, sample, evaluate, attack, bench, verify, demo):
    app.command()(with_shared(command, computes=True))
for command in (train, classifier, autoencoder, detector):
    app.command()(with_shared(command, computes=True))
for command in (report, compare, runs, convert, methods, settings, doctor):
    app.command()(with_shared(command, computes=False))


def _tell_version(given: bool) -> None:
    if given:
        typer.echo(f"efface {__version__}")
        raise typer.Exit


@app.callback()
def _efface(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Make a diffusion model forget, and prove it."""


def main() -> None:
    """Entry point: an error that the user can mend is one sentence and exit code 1."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except KeyboardInterrupt as stop:  # before a command began, or after it ended
        _leave_stopped(stop)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None or progress.speech.verbose:
            raise
        _leave(sentence, 1)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped("", number)


def _sentence(error: Exception) -> str | None:
    """What to tell the user; None for an error that is ours."""
    if isinstance(error, EffaceError):
        return str(error)
    if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
        return OF_THE_SYSTEM[error.errno].format(error.filename or "a file")
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return OUT_OF_MEMORY
    return None


def _leave_stopped(stop: KeyboardInterrupt) -> NoReturn:
    number = stop.signal if isinstance(stop, Stopped) else signal.SIGINT
    _leave(str(stop) or "stopped", 128 + number)


def _leave(sentence: str, code: int) -> NoReturn:
    typer.echo(f"efface: {sentence}", err=True)
    sys.exit(code)
