"""The evidence pack: everything that a run claims, in one archive of the same bytes every time."""

from __future__ import annotations

import importlib.metadata
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from efface.errors import RequestError
from efface.evidence.archive import PICTURE, write_archive
from efface.evidence.environment import Environment, recorded_environment
from efface.evidence.manifest import (
    MANIFEST,
    REPORT,
    PipelineFiles,
    as_json,
    build_manifest,
    hash_files,
    input_weights,
    json_schemas,
    parse_record,
    run_folders,
)
from efface.records import Attacks, Evaluation, RunRecord, require_finished
from efface.reporting import write_report
from efface.requests import is_request, read_request

REQUIRED = ("record.json", "evaluation.json")
OPTIONAL = ("metrics.jsonl", "attacks.json", "environment.json", "samples/grid.json")


def pack(runs: Sequence[str | Path], out: str | Path, overwrite: bool = False) -> str:
    """Write the evidence of finished runs into the archive `out`; returns its SHA-256.

    The bytes depend on the runs and the version of efface alone. Raises RequestError for a run
    that is unfinished, contradicts itself or holds links, DataError for records that are none.
    """
    if not runs:
        raise RequestError("no run was given to pack: give the folder of at least one.")
    files: dict[str, bytes] = {}
    for number, run in enumerate(runs, start=1):
        files |= {f"run-{number}/{name}": c for name, c in collect_run(Path(run)).items()}
    files |= {f"schemas/{name}.json": schema for name, schema in json_schemas().items()}
    files[REPORT] = render_report(files)
    files[MANIFEST] = as_json(build_manifest(files, importlib.metadata.version("efface")))
    return write_archive(files, Path(out), overwrite)


def render_report(files: Mapping[str, bytes]) -> bytes:
    """The page about the runs of a pack, made of nothing but its files; DataError if it cannot."""
    with tempfile.TemporaryDirectory() as temporary:
        stage = Path(temporary)
        folders = run_folders(files)
        for name, content in files.items():
            if name.partition("/")[0] in folders:
                (stage / name).parent.mkdir(parents=True, exist_ok=True)
                (stage / name).write_bytes(content)
        # A run is called by its folder: run-1, not what the owner called it.
        return write_report([stage / folder for folder in folders], stage / REPORT).read_bytes()


def collect_run(run: Path) -> dict[str, bytes]:
    """The files of one run for a pack, by name; checked against each other and the weights."""
    if not (run / "record.json").exists():
        raise RequestError(f"{run} is no run of efface: give the folder of a finished run.")
    if not (run / "evaluation.json").exists():
        raise RequestError(f"{run} was not measured: do so with `efface evaluate` first.")
    names = [*REQUIRED, *(name for name in OPTIONAL if _exists(run / name))]
    names += [f"samples/{path.name}" for path in sorted((run / "samples").glob("*.png"))]
    files = {name: _read_plain(run, name) for name in names}
    record = parse_record(RunRecord, files["record.json"], str(run / "record.json"))
    parse_record(Evaluation, files["evaluation.json"], str(run / "evaluation.json"))
    if "attacks.json" in files:
        attacks = parse_record(Attacks, files["attacks.json"], str(run / "attacks.json"))
        if attacks.output != record.output:
            raise RequestError(
                f"{run}/attacks.json is about other weights than this run wrote: attack it anew."
            )
    if "environment.json" in files:
        parse_record(Environment, files["environment.json"], str(run / "environment.json"))
    else:
        files["environment.json"] = as_json(recorded_environment(record))
    files |= _collect_own(run, record)
    files["pipeline.json"] = as_json(_hash_pipeline(run, record))
    return files


def _collect_own(run: Path, record: RunRecord) -> dict[str, bytes]:
    """What an evaluation of such a run reads beside its models."""
    if not is_request(record.request):
        return {}
    for path in sorted((run / "preparation").glob("*.*")):
        _require_plain(run, f"preparation/{path.name}")
    return read_request(record.request).packed(run)


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()  # a broken link is refused, not passed over


def _read_plain(run: Path, name: str) -> bytes:
    """Read a file of the run folder; RequestError for what is no plain file of that folder."""
    path = run / name
    if "/" in name and name != "samples/grid.json" and not PICTURE.fullmatch(path.name):
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


def _hash_pipeline(run: Path, record: RunRecord) -> PipelineFiles:
    """Hash the result as it lies there; RequestError unless it is what the run wrote."""
    require_finished(run, record)
    for name in (*record.output, *input_weights(record)):
        if ".." in name.split("/") or name.startswith("/") or "\\" in name:
            raise RequestError(
                f"{run}/record.json names the weight file {name!r}, a path that leaves the folder: "
                "nothing was packed."
            )
    folder = run / "pipeline"
    links = [path for path in (folder, *sorted(folder.rglob("*"))) if path.is_symlink()]
    if links:
        raise RequestError(
            f"{links[0]} is a link, and may lead out of the run folder: put the file itself there."
        )
    pipeline = PipelineFiles(files=hash_files(folder))
    for name in sorted({*record.output, *pipeline.weights}):
        if record.output.get(name) != pipeline.weights.get(name):
            raise RequestError(
                f"{folder / name} is not what this run wrote, by its SHA-256: restore it, or run "
                "again."
            )
    return pipeline
