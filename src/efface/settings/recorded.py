"""Which settings a run is measured or attacked with, by what it forgot; others are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from efface.errors import ConfigError, RequestError
from efface.records import RunRecord
from efface.settings.reading import Settings, read_settings

SECTIONS = ("evaluate", "images", "prompts", "memorised")  # that an evaluation reads
Read = Mapping[str, frozenset[str]]  # names by section

_DRAWN = {"baseline_steps", "batch_size", "dtype", "seed"}
_EXTRACTOR = {"extractor", "extractor_sha256", "reference"}
_CLIP = {"clip", "clip_sha256"}
_DETECTOR = {"detector", "detector_labels", "detector_sha256", "detector_threshold"}
_PREPARED = frozenset({"resize", "mean_pool"})  # of real images, wherever they are read
_ASKED = _DRAWN | _EXTRACTOR | _CLIP | {"guidance", "retain_samples"}
_LABELS = _ASKED | _DETECTOR | {"forget_samples"}
_PICTURES = {"samples", "unseen", "controls", "draws", "likelihood_tolerance"}
_PROMPTS = _LABELS | {"prompt_groups", "group_samples", "distilled"}

MEASURED: Mapping[str, Read] = {
    "class": {"evaluate": frozenset(_LABELS), "images": _PREPARED},
    "prompts": {
        "evaluate": frozenset(_PROMPTS),
        "images": _PREPARED,
        "prompts": frozenset(
            {"retain", "templates", "subjects", "people", "nonsense", "forget_guidance"}
        ),
    },
    "images": {
        "evaluate": frozenset(_DRAWN | _EXTRACTOR | _CLIP | _PICTURES),
        "images": _PREPARED | {"near_duplicate"},
    },
    "memorised": {
        "evaluate": frozenset(_ASKED),
        "images": _PREPARED,
        "memorised": frozenset({"samples", "noises", "extractor", "extractor_sha256"}),
    },
}
ATTACKED: Mapping[str, Read] = {
    "class": {"evaluate": frozenset({"baseline_steps", "guidance"})},
    "prompts": {"evaluate": frozenset({"baseline_steps", "guidance"} | _CLIP | _DETECTOR)},
    "images": {"evaluate": frozenset({"baseline_steps"})},
    "memorised": {"evaluate": frozenset({"baseline_steps", "guidance"})},
}
CALLED = {
    "class": "a class-conditional model",
    "prompts": "prompts",
    "images": "pictures",
    "memorised": "a memorised picture",
}


def measured_settings(
    record: RunRecord, changes: Sequence[str] = (), read: Mapping[str, Read] = MEASURED
) -> Settings:
    """The run's own settings, with `changes` to what is `read` of a run of its kind on top.

    ConfigError for changes to anything else, RequestError for settings of another version.
    """
    kept = [
        f"{section}.{k}={json.dumps(v, ensure_ascii=False)}"
        for section in SECTIONS
        for k, v in record.settings.get(section, {}).items()  # older runs lack the last
        if v is not None  # which is the default of all that can be left out
    ]
    name = record.settings["method"]["name"]
    try:
        read_settings(name, None, kept)
    except ConfigError as error:
        raise RequestError(
            f"the settings in record.json are not what this version of efface reads ({error}) Use "
            "the version that made the run, or run again."
        ) from error
    settings = read_settings(name, None, [*kept, *changes])  # names that do not exist first
    _refuse_others(changes, _kind(record), read)
    return settings


def _kind(record: RunRecord) -> str:
    kind = record.request.get("kind")
    if kind == "distil":
        return "prompts" if "retain_prompts" in record.request else "class"
    return "prompts" if kind == "concept" else str(kind)


def _refuse_others(changes: Sequence[str], kind: str, read: Mapping[str, Read]) -> None:
    what = "an evaluation" if read is MEASURED else "an attack"
    for change in changes:
        section, _, name = change.partition("=")[0].strip().partition(".")
        known = read[kind].get(section, frozenset())
        if name in known:
            continue
        if not known:
            raise ConfigError(
                f"--set {change!r} changes nothing of what was made: {what} of a run about "
                f"{CALLED[kind]} takes {', '.join(f'{one}.NAME' for one in read[kind])}."
            )
        raise ConfigError(
            f"--set {change!r} has no effect: of {section} {what} of a run about {CALLED[kind]} "
            f"reads {', '.join(sorted(known))}."
        )
