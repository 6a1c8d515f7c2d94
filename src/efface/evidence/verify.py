"""Checks an evidence pack against itself, against a model, and against a new measurement."""

import importlib.metadata
import tempfile
from collections.abc import Mapping
from pathlib import Path

from efface.diffusion.places import find_folder
from efface.diffusion.weight_files import PICKLE_SUFFIXES
from efface.errors import EffaceError, ModelError
from efface.evidence.archive import Archive, read_archive
from efface.evidence.compare import (
    Check,
    Verification,
    agrees,
    compare,
    compare_images,
    differs,
    not_checked,
)
from efface.evidence.lora import check_lora
from efface.evidence.networks import Given, NotHereError
from efface.evidence.pack import REPORT, render_report, unpack
from efface.evidence.remeasure import remeasure
from efface.evidence.signing import check_signature, signature_of
from efface.evidence.statements import (
    SUMS,
    PackedRun,
    files_of,
    hash_files,
    make_statements,
    make_sums,
    read_packed,
    read_statements,
    read_sums,
    run_folders,
    weights_among,
)
from efface.reporting.attack_words import name_attack

# What values of a strange kind cause where a record may hold any JSON.
UNFIT = (EffaceError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError)
LOADED = (".safetensors", ".json", ".py", *PICKLE_SUFFIXES)  # what diffusers may read of a model


def verify(
    pack: str | Path,
    model: str | Path,
    metric: str | None = None,
    *,
    judge: str | Path | None = None,
    detector: str | Path | None = None,
    clip: str | Path | None = None,
    retrained: str | Path | None = None,
    public_key: str | Path | None = None,
    lora: str | Path | None = None,
) -> Verification:
    """Check a pack that anybody may have written against the model folder `model`.

    All figures are measured again on it, or those called `metric`, or with 'none' none. `judge`,
    `detector`, `clip` and `retrained` are what to do so with; default: what the record names. A
    signature beside the pack is checked by the `public_key` (PEM). With `lora`, a folder or a file,
    stock diffusers draws with it and the original model too. What differs is among the checks;
    DataError is raised for an archive that is no pack, ModelError for no model.
    """
    given = Given(judge=judge, detector=detector, clip=clip, retrained=retrained)
    archive = read_archive(Path(pack))
    folder = find_folder(str(model))
    if folder is None:
        raise ModelError(f"no model at {model}: give the folder of the model that was delivered.")
    checks = _check_sums(archive)
    if public_key is not None or signature_of(Path(pack)).exists():
        checks.append(check_signature(Path(pack), None if public_key is None else Path(public_key)))
    runs: list[PackedRun] = []
    for name in run_folders(archive.files):
        run, differences = _read_run(archive, name)
        runs += [] if run is None else [run]
        checks += differences
    if all(check.good for check in checks):
        checks += [check for run in runs for check in check_statements(run)]
        checks.append(_check_report(archive.files, {run.version for run in runs}))
        if not archive.canonical:
            checks.append(differs("archive", "the same contents, but not the bytes efface writes"))
    if runs:
        run, differences = _check_model(runs, folder)
        checks += differences
        if all(check.good for check in differences):
            checks += _check_figures(run, folder, metric, given)
            checks += [] if lora is None else check_lora(run.record, folder, Path(lora))
        else:
            checks.append(differs("figures", "not measured again: this is another model"))
    return Verification(sha256=archive.sha256, checks=tuple(checks))


def _check_sums(archive: Archive) -> list[Check]:
    """Every file against SHA256SUMS."""
    damaged = dict.fromkeys(archive.damaged, "damaged: its content is not what was packed")
    checks = [differs(name, text) for name, text in damaged.items()]
    if SUMS in damaged:
        return checks
    content, written = archive.files.get(SUMS, b""), make_sums(archive.files)
    try:
        sums, present = read_sums(content), read_sums(written)
    except EffaceError as error:
        return [*checks, differs(SUMS, str(error))]
    for name in sorted({*present, *sums} - damaged.keys()):
        if name not in sums:
            checks.append(differs(name, f"not in {SUMS}"))
        elif name not in present:
            checks.append(differs(name, f"missing: {SUMS} lists it"))
        elif present[name] != sums[name]:
            checks.append(
                differs(name, f"its SHA-256 is {present[name]}, {SUMS} says {sums[name]}")
            )
    if not checks and content != written:
        checks.append(differs(SUMS, "not written by efface"))
    if not run_folders(archive.files):
        checks.append(differs("runs", "the pack holds no run"))
    return checks or [agrees("files", f"all {len(sums)} have the hashes of {SUMS}")]


def _read_run(archive: Archive, folder: str) -> tuple[PackedRun | None, list[Check]]:
    """The records of one run, alone and against each other; damaged ones were named before."""
    if any(name.startswith(f"{folder}/") for name in archive.damaged):
        return None, [differs(folder, "not looked at: a file of it is damaged")]
    files = files_of(folder, archive.files)
    try:
        run = read_packed(folder, files, *read_statements(files))
    except EffaceError as error:
        return None, [differs(folder, str(error))]
    checks = []
    if run.record.status == "running":
        checks.append(differs(f"{folder}/record.json", "the run had not finished"))
    if weights_among(run.subjects) != run.record.output:
        text = "the delivered model has other weights than record.json names"
        checks.append(differs(folder, text))
    if run.attacks is not None and run.attacks.output != run.record.output:
        text = "about other weights than record.json names"
        checks.append(differs(f"{folder}/attacks.json", text))
    return run, checks or [agrees(folder, "its records are whole and agree with each other")]


def check_statements(run: PackedRun) -> list[Check]:
    """The Statements of a run against what efface makes of its records."""
    try:
        made = make_statements(run)
    except UNFIT as error:
        return [differs(run.folder, f"the records make no statement: {str(error)[:200]}")]
    text = "does not say of the run what its records say"
    return [differs(f"{run.folder}/{n}", text) for n in made if made[n] != run.files[n]]


def _check_report(files: Mapping[str, bytes], versions: set[str]) -> Check:
    own = importlib.metadata.version("efface")
    if versions != {own}:
        text = (
            f"not checked against the records: it is of efface {', '.join(versions)[:40]!r}, this "
            f"is {own}, and that version alone can tell whether the page says what they do"
        )
        return not_checked(REPORT, text)
    try:
        same = render_report(files) == files.get(REPORT)
    except UNFIT as error:
        return differs(REPORT, f"the records make no report: {str(error)[:200]}")
    if same:
        return agrees(REPORT, "says what efface makes of the records")
    return differs(REPORT, f"not the page that efface {own} makes of the records")


def _check_model(runs: list[PackedRun], folder: Path) -> tuple[PackedRun, list[Check]]:
    """The model's files against those of the run that it is nearest to."""
    hashes = hash_files(folder)
    compared = [(run, _compare_files(run.subjects, hashes)) for run in runs]
    run, differing = min(compared, key=lambda pair: len(pair[1]))
    if differing:
        return run, [differs(name, f"{text} of {run.folder}") for name, text in differing.items()]
    text = f"all {len(run.subjects)} files are those that {run.folder} wrote"
    return run, [agrees("model", text)]


def _compare_files(expected: Mapping[str, str], hashes: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with each file of a model, by its name."""
    differing = {}
    for name in sorted({*expected, *hashes}):
        if name not in hashes:
            differing[name] = "missing in the model: it is among the files"
        elif name in expected and hashes[name] != expected[name]:
            differing[name] = f"its SHA-256 is {hashes[name]}, not that"
        elif name not in expected and name.endswith(LOADED):
            differing[name] = "in the model, but not among the files"
    return differing


def _check_figures(run: PackedRun, folder: Path, metric: str | None, given: Given) -> list[Check]:
    """Figures and samples against those made again; what is never made again is named."""
    attacks = run.attacks.results if run.attacks is not None else []
    checks = [not_checked("training", "not trained again: losses, times and hardware")]
    checks += [not_checked(f"attack {name_attack(result)}", "not run again") for result in attacks]
    if metric == "none":
        return [*checks, not_checked("figures", "none was measured again")]
    names = dict.fromkeys(result.metric for result in run.evaluation.results)
    if metric is not None and metric not in names:
        there = ", ".join(names) or "nothing"
        return [*checks, differs(metric, f"not measured in this run: there is {there}")]
    sheets = {n: c for n, c in run.files.items() if n.endswith(".png")}
    try:
        with tempfile.TemporaryDirectory() as temporary:
            stage = Path(temporary)
            unpack({n: c for n, c in run.files.items() if n not in sheets}, stage)
            again = remeasure(run.record, run.evaluation, stage, folder, given)
            checks += compare(run.evaluation, again, metric)
            if metric is None:
                checks += [compare_images(name, c, stage / name) for name, c in sheets.items()]
    except NotHereError as error:
        checks.append(not_checked("figures", f"not checked: {error}"))
    except UNFIT as error:
        checks.append(differs("figures", f"not measured again: {error}"))
    return checks
