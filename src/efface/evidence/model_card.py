"""The model card of a result: what was forgotten, how, the figures, and what is not claimed."""

import html
import math
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, hf_hub_download
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from efface.diffusion.hub import hub_errors
from efface.diffusion.places import find_here
from efface.errors import RequestError
from efface.evaluation.wording import (
    format_count,
    format_date,
    format_interval,
    format_value,
    printable,
)
from efface.files import write_whole
from efface.records import (
    Attacks,
    Evaluation,
    Result,
    RunRecord,
    read_attacks,
    read_evaluation,
    read_record,
)
from efface.reporting import judge_run
from efface.reporting.comparison import DIRECTIONS
from efface.reporting.run_folder import listed
from efface.reporting.sentences import describe_method
from efface.requests import words_of
from efface.requests.words import Words

CARD = "README.md"
TAG = "efface"
QUESTIONS = {
    "forget": "Is it forgotten?",
    "retain": "Is the rest preserved?",
    "resist": "Does it stay forgotten under attack?",
}
MAX_CARD_BYTES = 2**20
MAX_WORDING = 200  # characters
# What Markdown reads as more than text; of a bare address, the part that makes it a link.
SPECIAL = re.compile(r"([\\`*_{}\[\]#+|~!@$]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
LINK = re.compile(r"https://[A-Za-z0-9._~/%-]{1,300}")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")


def write_model_card(run: str | Path, wording: str | None = None) -> Path:
    """Write `pipeline/README.md` of a finished run; returns it.

    `wording` says what was forgotten in the owner's words and is kept when the card is written
    again without it. The default repeats no name, prompt or file name. Raises RequestError for a
    wording that does not fit, a run without a base model, or a card that efface did not write.
    """
    run = Path(run)
    record = read_record(run)
    if not (run / "pipeline").is_dir() or record.model.get("source") is None:
        raise RequestError(
            f"{run} holds no result made from another model: give the folder of a finished run."
        )
    measured = (run / "evaluation.json").exists()
    evaluation = read_evaluation(run) if measured else Evaluation(results=[])
    path = run / "pipeline" / CARD
    earlier = _earlier_wording(path)
    wording = earlier if wording is None else _checked(wording)
    content = make_card(record, evaluation, read_attacks(run), wording)
    write_whole(path, content.encode("utf-8", "replace"), "model card")
    return path


def make_card(
    record: RunRecord, evaluation: Evaluation, attacks: Attacks | None, wording: str | None
) -> str:
    """The card as text, with its metadata on top."""
    source = str(record.model["source"])
    folder = find_here(source)
    on_hub = folder is None and HUB_ID.fullmatch(source) is not None
    licence = _read_licence(folder, source if on_hub else None)
    words = words_of(record.request)
    # A base model on a disk goes by its own name alone: its path is nobody's business.
    name = source if on_hub else Path(source).name
    data = ModelCardData(
        library_name="diffusers",
        base_model=source if on_hub else None,
        pipeline_tag=words.task(record),
        tags=[TAG, "machine-unlearning"],
        forgotten=wording,
        model_name=_identifier(f"{name} {words.made}"),
        eval_results=_index(record, evaluation, words) or None,
        license=licence.get("license"),
        license_name=licence.get("license_name"),
        license_link=licence.get("license_link"),
    )
    begun = record.model.get("weights")
    verdict = judge_run(record, evaluation, attacks=attacks)
    trusted = record.model.get("network") == "UNet2DModel" and bool(record.model.get("classes"))
    text = TEMPLATES.get_template("model_card.md.jinja").render(
        title=f"{name} {words.made}",
        name=name,
        forgotten=wording or words.anonymous(record),
        finished=format_date(record.finished) if record.finished else "an unknown day",
        method=describe_method(record),
        sampler=record.sampler.get("text"),
        rows=[_row(result) for result in evaluation.results],
        use=Markup('"PATH/TO/THIS/FOLDER"' + (", trust_remote_code=True" if trusted else "")),
        call=Markup(_call(record, words)),
        trusted=trusted,
        answers=[
            (QUESTIONS[side], answer.replace("_", " "))
            for side, answer in verdict.answers.items()
            if words.forgets or side == "retain"
        ],
        weaker=[_row(f.result)[:3] for f in verdict.retained.found if f.answer == "no"],
        caveats=verdict.caveats,
        licence=licence,
        before=begun if isinstance(begun, dict) else {},
        after=record.output,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _call(record: RunRecord, words: Words) -> str:
    """The arguments of the pipeline for one image."""
    if record.model.get("classes"):
        taken = [*listed(record.request.get("labels")), record.model.get("null_label")]
        label = next(n for n in range(len(taken) + 1) if n not in taken)
        return f"class_labels=[{label}]"
    if words.task(record) != "text-to-image":
        return ""
    one_step = record.sampler.get("passes") == 1
    return '"a prompt"' + (", num_inference_steps=1, guidance_scale=1" if one_step else "")


def _row(result: Result) -> list[str]:
    """A figure as a line of the card's table."""
    cells = [
        f"{format_value(v.value, result.unit)} ({format_interval(v.low, v.high, result.unit)})"
        for v in (result.own, result.baseline)
    ]
    _, direction = DIRECTIONS[result.spec.better]
    return [result.spec.label, *cells, direction, format_count(result.samples)]


def escape_markdown(text: str) -> str:
    """Untrusted text as one line that neither Markdown nor HTML reads as anything else."""
    line = printable(" ".join(text.split()))
    return SPECIAL.sub(r"\\\1", html.escape(line, quote=False))


def _escape(value: object) -> object:
    return value if isinstance(value, Markup) else escape_markdown(str(value))


TEMPLATES = Environment(
    loader=PackageLoader("efface", "evidence"),
    finalize=_escape,  # of everything that a template fills in
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def _index(record: RunRecord, evaluation: Evaluation, words: Words) -> list[EvalResult]:
    """The figures for the `model-index`, as the Hub reads it; what is no number is left out."""
    return [
        EvalResult(
            task_type=words.task(record) or "image-generation",
            dataset_type="generated",
            dataset_name="samples of this model",
            metric_type=_identifier(result.metric),
            metric_name=escape_markdown(result.spec.label),
            metric_value=result.value,
            metric_args={
                "low": result.low,
                "high": result.high,
                "original_model": result.baseline.value,
                "samples": result.samples,
                "unit": escape_markdown(result.unit),
                "measured_with": _identifier((result.extractor or {}).get("name", "")) or None,
            },
        )
        for result in evaluation.results
        if math.isfinite(result.value)
    ]


def _identifier(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text)


def _checked(wording: str) -> str:
    line = wording.strip()
    if not line or len(line) > MAX_WORDING or printable(line) != line:
        raise RequestError(
            f"the wording {wording[:40]!r} does not fit a model card: give one line of up to "
            f"{MAX_WORDING} characters that can be printed."
        )
    return line


def _earlier_wording(path: Path) -> str | None:
    """The owner's wording in the card that is there; RequestError if efface did not write it."""
    if not path.exists():
        return None
    data = _read_metadata(path)
    if TAG not in (data.get("tags") or []):
        raise RequestError(
            f"{path} was not written by efface: nothing there was touched. Move it away first."
        )
    wording = data.get("forgotten")
    return _checked(wording) if isinstance(wording, str) else None


def _read_licence(folder: Path | None, hub_id: str | None) -> dict[str, str]:
    """The licence in the base model's card; empty where there is none. Nothing is made up."""
    path = None if folder is None else folder / CARD
    if hub_id is not None:
        try:
            path = Path(hf_hub_download(hub_id, CARD))
        except hub_errors():  # the result of a whole run does not depend on it
            return {}
    data = {} if path is None or not path.is_file() else _read_metadata(path)
    found: dict[str, str] = {}
    patterns = {"license": LICENCE, "license_name": LICENCE, "license_link": LINK}
    for key, pattern in patterns.items():
        value = data.get(key)
        if isinstance(value, str) and pattern.fullmatch(value):
            found[key] = value
    return found if "license" in found else {}


def _read_metadata(path: Path) -> dict[str, Any]:
    """Metadata of a card that anybody may have written; empty where it cannot be read."""
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            return {}
        return ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        return {}
