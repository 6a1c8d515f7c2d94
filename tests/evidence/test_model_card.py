"""Model cards: what they say, what they never say, and that nothing else changes."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from diffusers import DiffusionPipeline
from huggingface_hub import ModelCard

from efface.diffusion.weight_files import hash_weights
from efface.errors import RequestError
from efface.evaluation.wording import SPACE, format_value
from efface.evidence.model_card import (
    escape_markdown,
    make_card,
    write_model_card,
)
from efface.records import (
    Evaluation,
    RunRecord,
    Value,
    read_evaluation,
    read_record,
    write_json,
)
from tests.hubs import Answer, hangs_up, hub, refusing_proxy, shows_a_page

HOSTILE = (
    "x\n---\nlicense: mit\n---",
    "'\"}]: &a *a !!python/object:os.system",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[link](javascript:alert(1)) ![](https://evil) `code` |cell| # head",
    "\u202egnirts\x07\x00 \ud800",
    "www.evil.example https://evil.example a@evil.example",
)


@pytest.fixture
def run(label_run: Path, tmp_path: Path) -> Path:
    """A run whose card has not been written yet."""
    copy = Path(shutil.copytree(label_run, tmp_path / "run"))
    (copy / "pipeline" / "README.md").unlink(missing_ok=True)
    return copy


def metadata(text: str) -> dict[str, Any]:
    """The block on top, read by hand: between the first two lines of three dashes."""
    lines = text.splitlines()
    assert lines[0] == "---"
    return yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))


def without_index(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "model-index"}


def base_card(run: Path, tmp_path: Path, text: str) -> None:
    """Give the run a base model with a card."""
    record = read_record(run)
    folder = tmp_path / "base"
    shutil.copytree(record.model["source"], folder, dirs_exist_ok=True)
    (folder / "README.md").write_text(text)
    model = record.model | {"source": str(folder)}
    write_json(run / "record.json", record.model_copy(update={"model": model}))


def test_a_card_says_what_was_done_and_how_it_measures(run):
    text = write_model_card(run).read_text()
    result = read_evaluation(run).get("unlearning_accuracy")
    assert result is not None
    (row,) = [line for line in text.splitlines() if line.startswith("| Unlearning accuracy")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    shown = [format_value(r.value, result.unit) for r in (result, result.baseline)]
    for cell, value in zip(cells[1:3], shown, strict=True):
        assert cell.startswith(value.replace(SPACE, " "))
    assert cells[3:] == ["higher is better", str(result.samples)]
    assert "Base model: tiny\n" in text
    assert "Forgotten: label 3 of 10\n" in text
    assert "method, SFD, took 2 steps." in text
    assert "no proof that its influence is gone" in text
    assert metadata(text)["library_name"] == "diffusers"
    assert "license" not in metadata(text)
    assert "states no licence" in text
    for digest in hash_weights(run / "pipeline").values():
        assert digest in text


def test_the_hub_reads_every_figure_from_the_model_index(run):
    path, evaluation = write_model_card(run), read_evaluation(run)
    read = ModelCard.load(path).data.eval_results or []
    assert [(r.metric_type, r.metric_value) for r in read] == [
        (result.metric, result.value) for result in evaluation.results
    ]
    for entry, result in zip(read, evaluation.results, strict=True):
        arguments = entry.metric_args or {}
        assert (arguments["low"], arguments["high"]) == (result.low, result.high)
        assert arguments["original_model"] == result.baseline.value
        assert arguments["samples"] == result.samples
    broken = evaluation.results[0].model_copy(update={"value": math.nan})
    results = [broken, *evaluation.results[1:]]
    text = make_card(read_record(run), Evaluation(results=results), None, None)
    assert ".nan" not in text
    assert len(ModelCard(text).data.eval_results or []) == len(results) - 1


def test_a_card_says_nothing_of_paths_names_or_prompts(run, image_run, tmp_path):
    text = write_model_card(run).read_text()
    assert str(Path(read_record(run).model["source"]).parent) not in text
    copy = Path(shutil.copytree(image_run, tmp_path / "images"))
    text = write_model_card(copy).read_text()
    assert "Forgotten: 2 images\n" in text
    assert "ada" not in text.lower().replace("metadata", "")
    assert "lovelace" not in text
    concept = read_record(run).model_copy(
        update={"request": {"kind": "concept", "concept": "ada lovelace", "replacement": "ada"}}
    )
    text = make_card(concept, Evaluation(results=[]), None, None)
    assert "Forgotten: a concept chosen by the owner\n" in text and "lovelace" not in text


def test_the_owner_chooses_the_words_and_they_are_kept(run):
    text = write_model_card(run, "the digit three").read_text()
    assert "Forgotten: the digit three\n" in text
    assert "label 3" not in text
    assert write_model_card(run).read_text() == text


def test_writing_a_card_again_changes_nothing(run):
    first = write_model_card(run).read_bytes()
    assert write_model_card(run).read_bytes() == first
    assert not list((run / "pipeline").glob("*.part"))


def test_a_card_changes_no_weight_and_stock_diffusers_loads_the_folder(run):
    before = hash_weights(run / "pipeline")
    write_model_card(run)
    assert hash_weights(run / "pipeline") == before == read_record(run).output
    pipe = DiffusionPipeline.from_pretrained(run / "pipeline", trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    assert len(pipe([1, 2]).images) == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(run, name):
    record, evaluation = read_record(run), read_evaluation(run)
    settings = record.settings | {"method": {"name": name}}
    hostile = record.model_copy(
        update={
            "model": record.model | {"source": f"models/{name}", "weights": {name: name}},
            "settings": settings,
            "sampler": {"text": name},
            "output": {name: name},
            "finished": name,
        }
    )
    spec = {"name": name, "label": name, "unit": name}
    results = [
        r.model_copy(update={"spec": r.spec.model_copy(update=spec)}) for r in evaluation.results
    ]
    plain = without_index(metadata(make_card(record, evaluation, None, None)))
    text = make_card(hostile, evaluation.model_copy(update={"results": results}), None, None)
    assert without_index(metadata(text)) == plain
    assert metadata(str(ModelCard(text))) == metadata(text)
    (index,) = metadata(text)["model-index"]
    metrics = [metric for result in index["results"] for metric in result["metrics"]]
    assert len(metrics) == len(results)
    for identifier in (index["name"], *(metric["type"] for metric in metrics)):
        assert re.fullmatch(r"[\w.-]*", identifier)
    assert "<script" not in text
    assert "<img" not in text
    assert "](" not in text.replace("\\](", "")
    assert text.splitlines().count("---") == 2
    assert "\x00" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("wording", HOSTILE[1:4] + HOSTILE[5:])
def test_a_hostile_wording_stays_one_value(run, wording):
    text = write_model_card(run, wording).read_text()
    found = metadata(text)
    assert found.pop("forgotten") == wording
    assert found == metadata(make_card(read_record(run), read_evaluation(run), None, None))
    assert "<script" not in text.split("---")[2]
    assert write_model_card(run).read_text() == text


@pytest.mark.parametrize("wording", ["", "  ", "two\nlines", "x" * 201, HOSTILE[0], HOSTILE[4]])
def test_a_wording_that_is_no_line_is_refused(run, wording):
    with pytest.raises(RequestError, match="does not fit a model card"):
        write_model_card(run, wording)
    assert not (run / "pipeline" / "README.md").exists()


def test_escaped_text_is_one_line_and_means_itself():
    assert escape_markdown("a\n# b  c") == "a \\# b c"
    assert escape_markdown("<b> & 2 steps: done.") == "&lt;b&gt; &amp; 2 steps: done."
    assert escape_markdown("http://x www.y a@b") == "http\\://x www\\.y a\\@b"


def test_the_licence_is_carried_over_from_the_base_models_card(run, tmp_path):
    link = "https://example.org/licence"
    base_card(
        run,
        tmp_path,
        f"---\nlicense: other\nlicense_name: open-thing\nlicense_link: {link}\n---\n# Base\n",
    )
    text = write_model_card(run).read_text()
    found = metadata(text)
    assert (found["license"], found["license_name"]) == ("other", "open-thing")
    assert found["license_link"] == link
    assert "As the base model's card says: open-thing" in text


@pytest.mark.parametrize(
    "card",
    [
        "# no metadata\n",
        "---\nlicense: [a, b]\n---\n",
        "---\nlicense: 'mit\n\n  evil: 1'\n---\n",
        "---\nlicense_name: mit\n---\n",
        "---\n- a\n---\n",
        "---\nlicense: !!python/object/apply:os.getcwd []\n---\n",
        "---\n: : :\n---\n",
        "---\ntags: 3\nmodel-index: 3\n---\n",
        "\udcff",
    ],
)
def test_a_licence_is_never_made_up(run, tmp_path, card):
    base_card(run, tmp_path, "")
    (tmp_path / "base" / "README.md").write_bytes(card.encode("utf-8", "surrogateescape"))
    text = write_model_card(run).read_text()
    assert not {"license", "license_name", "license_link"} & metadata(text).keys()
    assert "states no licence" in text


def test_the_licence_goes_down_a_chain_of_results(run, tmp_path):
    base_card(run, tmp_path, "---\nlicense: openrail\n---\n")
    write_model_card(run)
    record = read_record(run)
    later = Path(shutil.copytree(run, tmp_path / "later"))
    (later / "pipeline" / "README.md").unlink()
    model = record.model | {"source": str(run)}
    write_json(later / "record.json", record.model_copy(update={"model": model}))
    assert metadata(write_model_card(later).read_text())["license"] == "openrail"


def test_a_model_of_the_hub_is_named_as_its_base(run):
    record = read_record(run)
    hub = record.model_copy(update={"model": record.model | {"source": "owner/name"}})
    found = metadata(make_card(hub, read_evaluation(run), None, None))
    assert found["base_model"] == "owner/name"
    assert "base_model" not in metadata(make_card(record, read_evaluation(run), None, None))


@pytest.mark.parametrize("answer", [hangs_up, shows_a_page, None])
def test_a_hub_that_fails_costs_the_licence_and_not_the_card(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer | None
) -> None:
    record = read_record(run)
    model = record.model | {"source": "owner/name"}
    write_json(run / "record.json", record.model_copy(update={"model": model}))
    failing = hub(answer, tmp_path, monkeypatch) if answer else None
    with failing or refusing_proxy(tmp_path, monkeypatch):
        text = write_model_card(run).read_text()
    assert metadata(text)["base_model"] == "owner/name"
    assert "states no licence" in text


def test_a_card_of_somebody_else_is_not_overwritten(run):
    path = run / "pipeline" / "README.md"
    path.write_text("# mine\n")
    with pytest.raises(RequestError, match="was not written by efface"):
        write_model_card(run)
    with pytest.raises(RequestError, match="was not written by efface"):
        write_model_card(run, "words")
    assert path.read_text() == "# mine\n"


def test_a_run_without_a_result_or_a_base_is_refused(run, tmp_path):
    record = read_record(run)
    write_json(run / "record.json", record.model_copy(update={"model": {"source": None}}))
    with pytest.raises(RequestError, match="no result made from another model"):
        write_model_card(run)
    (tmp_path / "empty").mkdir()
    write_json(tmp_path / "empty" / "record.json", record)
    with pytest.raises(RequestError, match="no result made from another model"):
        write_model_card(tmp_path / "empty")


@pytest.mark.parametrize("labels", [[[4]], [{}], 4, True, "4", {"a": 1}, [None], None, [], [1e308]])
def test_a_request_that_is_not_known_here_may_hold_anything(run, labels):
    request = {"kind": "of another package", "labels": labels}
    record = read_record(run).model_copy(update={"request": request})
    text = make_card(record, Evaluation(results=[]), None, None)
    assert "class_labels=[0]" in text


def test_nothing_measured_is_said(run):
    record: RunRecord = read_record(run)
    text = make_card(record, Evaluation(results=[]), None, None)
    assert "Nothing was measured." in text
    assert "impression, not evidence" in text


def test_the_code_on_the_card_loads_the_model_and_generates_an_image(run: Path) -> None:
    text = write_model_card(run).read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("PATH/TO/THIS/FOLDER", str(run / "pipeline")), names)
    assert names["image"].size == (8, 8)
    forgotten = read_record(run).request["labels"]
    assert all(f"class_labels=[{label}]" not in code for label in forgotten)


def test_the_card_says_the_verdict_and_where_the_model_is_weaker(run: Path) -> None:
    evaluation = read_evaluation(run)
    text = make_card(read_record(run), evaluation, None, None)
    verdict = text.partition("## Verdict")[2].partition("## Figures")[0]
    assert "- Is it forgotten? " in verdict and "under attack? not measured" in verdict
    label = next(r.spec.label for r in evaluation.results if r.spec.side == "retain")
    worse = evaluation.model_copy(
        update={
            "results": [
                r.model_copy(update={"difference": Value(value=-0.5, low=-0.6, high=-0.4)})
                if r.spec.label == label
                else r
                for r in evaluation.results
            ]
        }
    )
    text = make_card(read_record(run), worse, None, None)
    assert f"- {label}: " in text.partition("Weaker than the original model")[2]
