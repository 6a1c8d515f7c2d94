"""The evidence pack: everything that a run claims, in one archive of the same bytes every time."""

import importlib.metadata
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from efface.errors import RequestError
from efface.evidence.archive import SHEET, write_archive
from efface.evidence.statements import (
    SUMS,
    PackedRun,
    hash_files,
    input_weights,
    make_statements,
    make_sums,
    read_packed,
    run_folders,
    weights_among,
)
from efface.reporting import write_report
from efface.requests import is_request, read_request

REPORT = "report.html"
REQUIRED = ("record.json", "evaluation.json")
OPTIONAL = ("metrics.jsonl", "attacks.json", "samples/grid.json")


def pack(runs: Sequence[str | Path], out: str | Path, overwrite: bool = False) -> str:
    """Write the evidence of finished runs into the archive `out`; returns its SHA-256.

    The bytes depend on the runs and the version of efface alone. Raises RequestError for a run
    that is unfinished, contradicts itself or holds links, DataError for records that are none.
    """
    if not runs:
        raise RequestError("no run was given to pack: give the folder of at least one.")
    version = importlib.metadata.version("efface")
    files: dict[str, bytes] = {}
    for number, run in enumerate(runs, start=1):
        packed = collect_run(Path(run), version)
        members = {**packed.files, **make_statements(packed)}
        files |= {f"run-{number}/{name}": content for name, content in members.items()}
    files[REPORT] = render_report(files)
    files[SUMS] = make_sums(files)
    return write_archive(files, Path(out), overwrite)


def render_report(files: Mapping[str, bytes]) -> bytes:
    """The page about the runs of a pack, made of nothing but its files; DataError if it cannot."""
    folders = run_folders(files)
    with tempfile.TemporaryDirectory() as temporary:
        stage = Path(temporary)
        unpack({n: c for n, c in files.items() if n.partition("/")[0] in folders}, stage)
        # A run is called by its folder: run-1, not what the owner called it.
        return write_report([stage / folder for folder in folders], stage / REPORT).read_bytes()


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files of an archive whose names were checked into a folder of our own."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def collect_run(run: Path, version: str) -> PackedRun:
    """One run for a pack; its files are checked against each other and the weights."""
    if not (run / "record.json").exists():
        raise RequestError(f"{run} is no run of efface: give the folder of a finished run.")
    if not (run / "evaluation.json").exists():
        raise RequestError(f"{run} was not measured: do so with `efface evaluate` first.")
    # A broken link is refused, not passed over.
    names = [*REQUIRED, *(name for name in OPTIONAL if os.path.lexists(run / name))]
    names += [f"samples/{path.name}" for path in sorted((run / "samples").glob("*.png"))]
    files = {name: _read_plain(run, name) for name in names}
    for path in (*(run / "pipeline").rglob("*"), *(run / "preparation").rglob("*")):
        if path.is_symlink() or not path.is_dir():
            _require_plain(run, path.relative_to(run).as_posix())
    packed = read_packed(str(run), files, hash_files(run / "pipeline"), version)
    if packed.attacks is not None and packed.attacks.output != packed.record.output:
        raise RequestError(
            f"{run}/attacks.json is about other weights than this run wrote: attack it anew."
        )
    _check_pipeline(run, packed)
    if not is_request(packed.record.request):
        return packed
    return replace(packed, files=files | read_request(packed.record.request).packed(run))


def _read_plain(run: Path, name: str) -> bytes:
    """Read a file of the run folder; RequestError for what is no plain file of that folder."""
    path = run / name
    if "/" in name and name != "samples/grid.json" and not SHEET.fullmatch(path.name):
        raise RequestError(
            f"{path} has a name that cannot go into a pack: use letters, digits, - and _ alone."
        )
    _require_plain(run, name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror}): mend it.") from error


def _require_plain(run: Path, name: str) -> None:
    path = run / name
    inside = [run / parent for parent in PurePosixPath(name).parents]
    linked = any(folder.is_symlink() for folder in inside if folder != run)
    if linked or not stat.S_ISREG(path.lstat().st_mode):
        raise RequestError(
            f"{path} is a link or no plain file, and may lead out of the run folder: put the file "
            "itself there."
        )


def _check_pipeline(run: Path, packed: PackedRun) -> None:
    """RequestError unless the model is what the run wrote, and lies in its folder."""
    record = packed.record
    record.require_finished(run)
    for name in (*record.output, *input_weights(record)):
        if ".." in name.split("/") or name.startswith("/") or "\\" in name:
            raise RequestError(
                f"{run}/record.json names the weight file {name!r}, a path that leaves the folder: "
                "nothing was packed."
            )
    weights = weights_among(packed.subjects)
    for name in sorted({*record.output, *weights}):
        if record.output.get(name) != weights.get(name):
            raise RequestError(
                f"{run}/pipeline/{name} is not what this run wrote, by its SHA-256: restore it, or "
                "run again."
            )
