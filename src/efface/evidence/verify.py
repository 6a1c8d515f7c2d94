"""Checks an evidence pack against itself, against a model, and against a new measurement."""

from __future__ import annotations

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from efface.diffusion.model_folder import find_folder
from efface.diffusion.weight_files import PICKLE_SUFFIXES
from efface.errors import EffaceError, ModelError
from efface.evaluation.wording import printable
from efface.evidence.archive import Archive, read_archive
from efface.evidence.environment import Environment, differing_versions
from efface.evidence.manifest import (
    MANIFEST,
    REPORT,
    Manifest,
    PipelineFiles,
    as_json,
    build_manifest,
    hash_files,
    parse_member,
    run_folders,
)
from efface.evidence.networks import Given, NotHereError
from efface.evidence.pack import render_report
from efface.evidence.remeasure import Again, compare, remeasure
from efface.records import Attacks, Evaluation, Result, RunRecord

SHOWN = 100  # characters of a name
# What values of a strange kind cause where a record may hold any JSON.
UNFIT = (EffaceError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError)
LOADED = (".safetensors", ".json", ".py", *PICKLE_SUFFIXES)  # what diffusers may read of a model


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at, and what was found."""

    subject: str
    good: bool
    text: str
    looked: bool = True  # False: it could not be, and nothing is said of it


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All that was found; `sha256` is that of the pack itself."""

    sha256: str
    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        return all(check.good for check in self.checks)

    @property
    def differences(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.good)


@dataclass(frozen=True, kw_only=True)
class PackedRun:
    """The records of one run in a pack."""

    folder: str
    record: RunRecord
    evaluation: Evaluation
    pipeline: PipelineFiles
    files: Mapping[str, bytes]  # of the run, by name


def verify(
    pack: str | Path,
    model: str | Path,
    metric: str | None = None,
    judge: str | Path | None = None,
    detector: str | Path | None = None,
    clip: str | Path | None = None,
) -> Verification:
    """Check a pack that anybody may have written against the model folder `model`.

    All figures are measured again on it, or those called `metric`, or with 'none' none. `judge`,
    `detector` and `clip` are folders; default: the classifier beside the original model, and what
    the record names. What differs is among the checks; DataError is raised for an archive that is
    no pack, ModelError for no model.
    """
    archive = read_archive(Path(pack))
    folder = find_folder(str(model))
    if folder is None:
        raise ModelError(f"no model at {model}: give the folder of the model that was delivered.")
    checks = _check_files(archive)
    runs = []
    for name in run_folders(archive.files):
        run, found = _check_run(archive, name)
        runs += [] if run is None else [run]
        checks += found
    if all(check.good for check in checks):
        checks += _check_whole(archive)
    if runs:
        run, differences = _check_model(runs, folder)
        checks += differences
        if all(check.good for check in differences):
            given = Given(judge=judge, detector=detector, clip=clip)
            checks += _check_figures(run, folder, metric, given)
        else:
            checks.append(_bad("figures", "not measured again: this is another model"))
    return Verification(sha256=archive.sha256, checks=tuple(checks))


def _check_files(archive: Archive) -> list[Check]:
    """Every file against its hash in the manifest."""
    found = [_bad(name, "damaged: its content is not what was packed") for name in archive.damaged]
    if MANIFEST in archive.damaged:
        return found
    try:
        manifest = parse_member(Manifest, archive.files, MANIFEST)
    except EffaceError as error:
        return [*found, _bad(MANIFEST, str(error))]
    listed, present = manifest.files, archive.files.keys() - {MANIFEST}
    found += [_bad(n, "not in the manifest") for n in sorted(present - listed.keys())]
    missing = sorted(listed.keys() - present - set(archive.damaged))
    found += [_bad(name, "missing: the manifest lists it") for name in missing]
    for name in sorted(present & listed.keys()):
        digest = hashlib.sha256(archive.files[name]).hexdigest()
        if digest != listed[name].sha256 or len(archive.files[name]) != listed[name].bytes:
            text = f"its SHA-256 is {digest}, {MANIFEST} says {listed[name].sha256[:64]}"
            found.append(_bad(name, text))
    if not run_folders(archive.files):
        found.append(_bad("runs", "the pack holds no run"))
    return found or [_good("files", f"all {len(listed)} have the hashes of the manifest")]


def _check_run(archive: Archive, folder: str) -> tuple[PackedRun | None, list[Check]]:
    """The records of one run, alone and against each other; damaged ones were named before."""
    files = archive.files
    own = [name for name in archive.damaged if name.startswith(f"{folder}/")]
    if any(name.endswith((".json", ".safetensors")) for name in own):
        return None, [_bad(folder, "not looked at: a record of it is damaged")]
    try:
        run = PackedRun(
            folder=folder,
            record=parse_member(RunRecord, files, f"{folder}/record.json"),
            evaluation=parse_member(Evaluation, files, f"{folder}/evaluation.json"),
            pipeline=parse_member(PipelineFiles, files, f"{folder}/pipeline.json"),
            files={n.partition("/")[2]: c for n, c in files.items() if n.startswith(f"{folder}/")},
        )
        environment = parse_member(Environment, files, f"{folder}/environment.json")
        attacks = None
        if f"{folder}/attacks.json" in files:
            attacks = parse_member(Attacks, files, f"{folder}/attacks.json")
    except EffaceError as error:
        return None, [_bad(folder, str(error))]
    found = []
    if run.record.status == "running":
        found.append(_bad(f"{folder}/record.json", "the run had not finished"))
    if run.pipeline.weights != run.record.output:
        found.append(_bad(f"{folder}/pipeline.json", "other weights than record.json names"))
    if attacks is not None and attacks.output != run.record.output:
        found.append(_bad(f"{folder}/attacks.json", "about other weights than record.json names"))
    differing = differing_versions(environment, run.record)
    if differing:
        text = f"other versions than in record.json, of {', '.join(differing)[:200]}"
        found.append(_bad(f"{folder}/environment.json", text))
    return run, found or [_good(folder, "its records are whole and agree with each other")]


def _check_whole(archive: Archive) -> list[Check]:
    """The manifest, the report and the archive against what efface makes of the records."""
    manifest = parse_member(Manifest, archive.files, MANIFEST)
    try:
        expected = build_manifest(archive.files, manifest.efface)
    except EffaceError as error:
        return [_bad(MANIFEST, str(error))]
    if as_json(expected) != archive.files[MANIFEST]:
        text = "does not say of the runs what their records say"
        return [_bad(MANIFEST, text if expected != manifest else "not written by efface")]
    found = [_check_report(archive.files, manifest.efface)]
    if not archive.canonical:
        found.append(_bad("archive", "the same contents, but not the very bytes efface writes"))
    return found


def _check_report(files: Mapping[str, bytes], version: str) -> Check:
    own = importlib.metadata.version("efface")
    if version != own:
        text = (
            f"not checked against the records: it is of efface {version[:40]!r}, this is {own}, "
            "and that version alone can tell whether the page says what they do"
        )
        return _passed_over(REPORT, text)
    try:
        same = render_report(files) == files.get(REPORT)
    except UNFIT as error:
        return _bad(REPORT, f"the records make no report: {str(error)[:200]}")
    if same:
        return _good(REPORT, "says what efface makes of the records")
    return _bad(REPORT, f"not the page that efface {own} makes of the records")


def _check_model(runs: list[PackedRun], folder: Path) -> tuple[PackedRun, list[Check]]:
    """The model's files against those of the run that it is nearest to."""
    hashes = hash_files(folder)
    compared = [(run, _compare_files(run.pipeline.files, hashes)) for run in runs]
    run, differing = min(compared, key=lambda pair: len(pair[1]))
    if differing:
        return run, [_bad(name, f"{text} of {run.folder}") for name, text in differing.items()]
    count = len(run.pipeline.files)
    return run, [_good("model", f"all {count} files are those that {run.folder} wrote")]


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
    """Recorded figures measured again: each value against the recorded interval."""
    if metric == "none":
        return [_passed_over("figures", "none was measured again")]
    recorded = [r for r in run.evaluation.results if metric in (None, r.metric)]
    if not recorded:
        there = ", ".join(dict.fromkeys(r.metric for r in run.evaluation.results)) or "nothing"
        text = f"not measured in this run: there is {there}"
        return [_bad(metric, text) if metric else _passed_over("figures", "there are none")]
    try:
        with tempfile.TemporaryDirectory() as unpacked:
            for name, content in run.files.items():
                (Path(unpacked) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(unpacked) / name).write_bytes(content)
            again = remeasure(run.record, run.evaluation, Path(unpacked), folder, given)
    except NotHereError as error:
        return [_passed_over("figures", f"not checked: {error}")]
    except UNFIT as error:
        return [_bad("figures", f"not measured again: {error}")]
    there = run.evaluation.terms
    terms = {name: (there.get(name, now), now) for name, now in again.evaluation.terms.items()}
    return [_check_figure(run, result, again, terms) for result in recorded]


def _check_figure(
    run: PackedRun, result: Result, again: Again, terms: Mapping[str, tuple[str, str]]
) -> Check:
    """One figure; of several of one name, the network that it was measured with is named."""
    subject = result.metric
    if sum(other.metric == subject for other in run.evaluation.results) > 1:
        subject = f"{subject} ({(result.extractor or {}).get('name')})"
    found = again.find(result)
    if found is None:
        reasons = " ".join(again.missing.values()) or "it is not a figure of such a run."
        return _passed_over(subject, f"not checked: {reasons}")
    wrong = compare(result, found, terms)
    if wrong is not None:
        return _bad(subject, wrong)
    interval = f"{result.low:.6g} to {result.high:.6g}"
    text = f"{found.value:.6g} measured again, inside the recorded interval {interval}"
    return _good(subject, text)


def _good(subject: str, text: str) -> Check:
    return _check(subject, True, text)


def _bad(subject: str, text: str) -> Check:
    return _check(subject, False, text)


def _passed_over(subject: str, text: str) -> Check:
    return replace(_good(subject, text), looked=False)


def _check(subject: str, good: bool, text: str) -> Check:
    """Names come from the pack: nothing in them may steer a terminal or flood it."""
    return Check(subject=printable(subject[:SHOWN]), good=good, text=printable(text[: 10 * SHOWN]))
