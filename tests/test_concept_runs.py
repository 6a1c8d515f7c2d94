"""Forgetting concepts from text-to-image models, on tiny real pipelines."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch.testing import assert_close
from typer.testing import CliRunner

from efface.cli import app
from efface.concept_runs import (
    ConceptPrompts,
    as_text_denoiser,
    check_lengths,
    concept_source,
    encode_prompts,
    read_concept_prompts,
)
from efface.config import read_settings
from efface.data.randomness import Shard
from efface.diffusion.loading import default_sampler, load, load_text
from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError, DataError, EffaceError, RequestError
from efface.evaluating import evaluate
from efface.evaluation.concepts import detector_scores
from efface.metrics.clip import load_clip
from efface.records import read_evaluation, read_record
from efface.reporting import judge_run, write_report
from efface.requests import DistilText, ForgetClass, ForgetConcept, ForgetImages
from efface.runs import forget
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401
from tests.reporting.test_page import HOSTILE, Page, assert_safe

GUIDANCES = ("teacher_guidance", "fake_score_guidance", "fake_score_training_guidance")
SMALL = [
    "train.steps=2",
    "train.batch_size=4",
    "train.learning_rate=1e-3",
    "train.checkpoint_every=1",
    "method.forget_share=0.5",
    *(f"method.{which}=1.5" for which in GUIDANCES),
    "method.fake_score_condition_dropout=0.25",
    'prompts.templates=["a {}"]',
    'prompts.subjects=["cat", "dog"]',
    'prompts.people=["man", "woman"]',
    "evaluate.forget_samples=4",
    "evaluate.retain_samples=4",
    "evaluate.baseline_steps=1",
]
GUARDED = [*SMALL, "train.guard_every=2"]
BAG = ForgetConcept(concept="bag", replacement="coat")
Pipelines = Callable[[str], Path]


@contextlib.contextmanager
def counting_encoded() -> Iterator[list[int]]:
    """Rows of every pass of any text encoder."""
    rows: list[int] = []

    def count(module: torch.nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
        if isinstance(module, transformers.CLIPTextModel):
            rows.append(len(args[0] if args else kwargs["input_ids"]))

    handle = torch.nn.modules.module.register_module_forward_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


ENCODED: dict[str, int] = {}  # prompts that went through the first text encoder, by run


@pytest.fixture(scope="module")
def runs(pipelines: Pipelines, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run on a kind of model, made once; that on Stable Diffusion has a collapse guard."""
    root = tmp_path_factory.mktemp("runs")

    def run(kind: str) -> Path:
        if not (root / kind).exists():
            changes = GUARDED if kind == "sd" else SMALL
            with counting_encoded() as rows:
                forget(pipelines(kind), BAG, root / kind, changes=changes)
            ENCODED[kind] = sum(rows)
        return root / kind

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = [f for n in ("unet", "transformer") for f in (folder / n).glob("*.safetensors")]
    return load_file(file)


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sd3"])
def test_a_run_goes_from_request_to_report(runs: Callable[[str], Path], kind: str) -> None:
    out = runs(kind)
    record = read_record(out)
    assert record.status == "finished"
    assert record.notes == {"forget_prompts": 1, "retain_prompts": 3, "retain_prompts_dropped": 0}
    assert record.sampler["passes"] == 1
    changed = {k for k, v in record.output.items() if v != record.model["weights"][k]}
    assert {name.split("/")[0] for name in changed} == {"transformer" if kind == "sd3" else "unet"}
    grid = json.loads((out / "samples" / "grid.json").read_text())
    assert grid["names"] == ["'a bag'", "'a cat'", "'a dog'", "'a coat'"]
    assert (grid["forgotten"], grid["tile"]) == ([0], 16)
    assert (out / "report.html").exists() and (out / "pipeline" / "README.md").exists()


def test_without_a_clip_nothing_is_claimed(runs: Callable[[str], Path]) -> None:
    evaluation = read_evaluation(runs("sd"))
    assert evaluation.results == [] and evaluation.curves == []
    assert set(evaluation.change) == {"weights", "samples", "retained_distance"}
    assert evaluation.change["weights"] > 0


@pytest.mark.slow
def test_stock_diffusers_draws_the_same_without_efface(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    """In a process where importing efface fails; eps, v and flow matching."""
    own, kinds = {}, ("sd", "sd_v", "sd3")
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    for kind in kinds:
        denoiser = as_text_denoiser(load(runs(kind)))
        sampler = default_sampler(inspect_model(runs(kind)), denoiser)
        with torch.no_grad():
            x0 = sampler.draw(denoiser, noise, denoiser.encode(["a bag", "a cat"]), [])
            own[kind] = denoiser.codec.decode(x0).clamp(-1, 1).add(1).div(2)
    folders = {kind: str(runs(kind) / "pipeline") for kind in kinds}
    script = f"""
import sys
sys.modules["efface"] = None
import torch
from diffusers import DiffusionPipeline
noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
drawn = {{}}
for kind, folder in {folders!r}.items():
    pipe = DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    drawn[kind] = pipe(["a bag", "a cat"], latents=noise, num_inference_steps=1,
                       guidance_scale=1.0, output_type="pt").images
torch.save(drawn, {str(tmp_path / "stock.pt")!r})
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    stock = torch.load(tmp_path / "stock.pt", weights_only=True)
    for kind in kinds:
        assert_close(stock[kind], own[kind], rtol=0, atol=1e-5)


def test_every_prompt_is_encoded_once_in_a_whole_run_that_is_guarded_and_measured(
    runs: Callable[[str], Path],
) -> None:
    assert [check["step"] for check in read_record(runs("sd")).guard] == [0, 2]
    assert ENCODED["sd"] == 5  # a bag, a cat, a dog, a coat and the empty prompt


def test_a_resumed_run_is_the_same_run_bit_for_bit(
    runs: Callable[[str], Path], pipelines: Pipelines, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        forget(pipelines("sd"), BAG, out, changes=GUARDED, on_step=stop)
    forget(pipelines("sd"), BAG, out, changes=GUARDED, resume=True, measure=False)
    whole, resumed = weights(runs("sd") / "pipeline"), weights(out / "pipeline")
    assert all(whole[name].equal(resumed[name]) for name in whole)


def test_a_run_whose_prompts_changed_is_not_resumed(pipelines: Pipelines, tmp_path: Path) -> None:
    file, out = tmp_path / "keep.txt", tmp_path / "out"
    file.write_text("a cat\n")
    request = BAG.model_copy(update={"retain_prompts": str(file)})
    forget(pipelines("sd"), request, out, changes=SMALL, measure=False)
    file.write_text("a dog\n")
    with pytest.raises(RequestError, match="holds a run with another request"):
        forget(pipelines("sd"), request, out, changes=SMALL, resume=True)
    with pytest.raises(RequestError, match="no longer hold its prompts"):
        evaluate(out)


def test_the_fake_score_learns_what_the_student_draws_and_the_student_moves(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    """Its loss after 16 steps was 0.82 (retain) and 0.89 (forget) of that at the beginning."""
    longer = [
        *SMALL,
        "train.steps=16",
        "train.learning_rate=5e-3",
        "train.ema_decay=0.0",
        "train.log_every=1",
        "train.checkpoint_every=100",
        "method.forget_share=1.0",
        "method.student_forget_weight=1.0",
        "method.fake_score_forget_weight=1.0",
        "method.fake_score_condition_dropout=0.0",
        *(f"method.{which}=1.0" for which in GUIDANCES),
    ]
    out = forget(pipelines("sd"), BAG, tmp_path / "out", changes=longer, measure=False)
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for side in ("retain", "forget"):
        learnt = np.array([step[f"fake_score_{side}_loss"] for step in steps])
        assert learnt[-6:].mean() < 0.95 * learnt[:3].mean()
        assert np.ptp([step[f"student_{side}_loss"] for step in steps]) > 1
    before, after = weights(pipelines("sd")), weights(out / "pipeline")
    moved = [float((after[name] - before[name]).abs().max()) for name in before]
    assert max(moved) > 1e-3


def test_batches_ask_the_teacher_for_each_prompts_own_target(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("a bag\ta coat\nred bag\tred coat\n")
    settings = read_settings("sfd", None, [*SMALL, "train.batch_size=16"])
    request = ForgetConcept(concept="bag", prompt_pairs=str(pairs))
    prompts = read_concept_prompts(request, settings.prompts)
    denoiser = encode_prompts(load_text(pipelines("sd")), prompts)
    assert denoiser.prompts.is_free
    source = concept_source(denoiser, prompts, settings, torch.device("cpu"))
    batch = source.batch(0, Shard())
    rows = {p: denoiser.encode([p]).tensors["encoder_hidden_states"][0] for p in prompts.different}

    def told(condition: Any) -> list[str]:
        states = condition.tensors["encoder_hidden_states"]
        return [next(p for p, row in rows.items() if row.equal(state)) for state in states]

    asked, answered = told(batch.forget.condition), told(batch.forget.target)
    assert set(zip(asked, answered, strict=True)) == {("a bag", "a coat"), ("red bag", "red coat")}
    kept = told(batch.retain.condition)
    assert kept == told(batch.retain.target) and set(kept) == {"a cat", "a dog"}


@pytest.mark.slow
def test_two_stages_begin_from_a_distilled_text_model(pipelines: Pipelines, tmp_path: Path) -> None:
    first = forget(pipelines("sd"), DistilText(), tmp_path / "first", changes=SMALL, measure=False)
    assert read_record(first).request["kind"] == "distil"
    frozen = [*SMALL, "train.learning_rate=0.0"]  # so that the start is what is written
    second = forget(
        pipelines("sd"), BAG, tmp_path / "second", changes=frozen, start=first, measure=False
    )
    begun, written = weights(first / "pipeline"), weights(second / "pipeline")
    assert all(begun[name].equal(written[name]) for name in begun)
    start = read_record(second).start
    assert start is not None and start["output"] == read_record(first).output


KEYWORDS = ("red", "green")


@pytest.fixture
def keywords(tmp_path: Path) -> Path:
    path = tmp_path / "keywords.txt"
    path.write_text("\n".join(KEYWORDS))
    return path


def test_keywords_become_the_null_condition_and_bare_subjects_the_targets(
    pipelines: Pipelines, keywords: Path
) -> None:
    settings = read_settings("sfd", None, SMALL)
    request = ForgetConcept(concept="colour", negative=str(keywords))
    prompts = read_concept_prompts(request, settings.prompts)
    expected = [(f"{k} {p}", p) for p in ("man", "woman") for k in KEYWORDS]
    expected += [(f"{p}, {k}", p) for p in ("man", "woman") for k in KEYWORDS]
    assert sorted(zip(prompts.forget, prompts.targets, strict=True)) == sorted(expected)
    denoiser = encode_prompts(load_text(pipelines("sd")), prompts)
    null = denoiser.null(denoiser.encode(["a cat"])).tensors["encoder_hidden_states"]
    fresh = load_text(pipelines("sd")).encode(["red, green"]).tensors["encoder_hidden_states"]
    assert_close(null, fresh)
    for network in settings.method.networks(denoiser).values():
        assert as_text_denoiser(network).negative_prompt == "red, green"


def test_no_keyword_gets_into_what_a_run_writes(
    pipelines: Pipelines, keywords: Path, tmp_path: Path
) -> None:
    request = ForgetConcept(concept="colour", negative=str(keywords))
    out = forget(pipelines("sd"), request, tmp_path / "out", changes=SMALL)
    grid = json.loads((out / "samples" / "grid.json").read_text())
    assert grid["names"] == ["'a cat'", "'a dog'"] and grid["forgotten"] == []
    for name in ("record.json", "evaluation.json", "samples/grid.json", "pipeline/README.md"):
        text = (out / name).read_text()
        assert not [p for k in KEYWORDS for p in (f"{k} man", f"{k},", f", {k}") if p in text]
    with pytest.raises(ConfigError, match=r"without effect at method.teacher_guidance 1"):
        changes = [*SMALL, "method.teacher_guidance=1.0"]
        forget(pipelines("sd"), request, tmp_path / "again", changes=changes)


@pytest.fixture(scope="module")
def seen(
    runs: Callable[[str], Path],
    clip_folder: Path,  # noqa: F811
) -> Path:
    evaluate(runs("sd_v"), changes=[f"evaluate.clip={str(clip_folder)!r}"])
    return runs("sd_v")


def test_a_clip_measures_the_concept_and_what_stays_beside_the_untouched_model(seen: Path) -> None:
    evaluation = read_evaluation(seen)
    assert [r.metric for r in evaluation.results] == ["concept_rate", "clip_score", "clip_iqa"]
    for result in evaluation.results:
        assert result.low <= result.value <= result.high
        assert result.baseline_one_step is not None and result.extractor is not None
        assert result.samples == 4
    (curve,) = evaluation.curves
    assert set(curve.lines) == {"result", "baseline", "baseline_one_step"}
    at_half = next(point for point in curve.lines["result"] if point.x == 0.5)
    assert at_half.value == evaluation.results[0].value
    assert (seen / "report.html").exists()


def test_the_detector_chooses_between_two_texts(clip_folder: Path) -> None:  # noqa: F811
    """Against a softmax over two logits computed one image at a time."""
    clip = load_clip(clip_folder)
    embedded = clip.embed_images(
        torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    )
    contrasts = [("a bag", "a coat"), ("a coat", "a bag"), ("red bag", "a coat")]
    scores = detector_scores(clip, embedded, contrasts)
    for image, pair, score in zip(embedded, contrasts, scores, strict=True):
        logits = [clip.temperature * float(clip.embed_prompts([text])[0] @ image) for text in pair]
        assert score == pytest.approx(1 / (1 + np.exp(logits[1] - logits[0])), rel=1e-3)


def test_hostile_prompts_stay_text_on_the_page(runs: Callable[[str], Path], tmp_path: Path) -> None:
    out = runs("sd")
    grid = json.loads((out / "samples" / "grid.json").read_text())
    (out / "samples" / "grid.json").write_text(json.dumps(grid | {"names": HOSTILE[:4]}))
    record = json.loads((out / "record.json").read_text())
    record["request"] |= {"concept": HOSTILE[0], "replacement": HOSTILE[4]}
    (out / "record.json").write_text(json.dumps(record))
    assert_safe(Page(write_report([out], tmp_path / "page.html")))


def test_the_page_says_what_was_asked_and_claims_no_more_than_was_measured(
    runs: Callable[[str], Path], seen: Path
) -> None:
    unmeasured = judge_run(read_record(runs("sd3")), read_evaluation(runs("sd3")))
    assert "forget the concept \u201cbag\u201d and to draw \u201ccoat\u201d" in unmeasured.lead
    assert "no CLIP has looked" in unmeasured.lead
    assert unmeasured.forgotten in ("unmeasured", "unchanged")
    judged = judge_run(read_record(seen), read_evaluation(seen))
    assert "A CLIP chose between" in judged.lead
    assert "Asked 4 times for the concept" in judged.told["Forget"]
    assert judged.kept in ("unmeasured", "collapsed") and judged.outcome != "forgotten"


def test_the_command_line_forgets_a_concept_and_distils_first(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    small = [part for change in SMALL for part in ("--set", change)]
    model = str(pipelines("sd"))
    common = [model, *small, "--no-evaluate"]
    first = CliRunner().invoke(app, ["distil", *common, "--out", str(tmp_path / "first")])
    assert first.exit_code == 0, first.output
    done = CliRunner().invoke(
        app,
        ["forget", "concept", *common, "--concept", "bag", "--replace", "coat"]
        + ["--start", str(tmp_path / "first"), "--out", str(tmp_path / "out")],
    )
    assert done.exit_code == 0, done.output
    assert read_record(tmp_path / "out").request["replacement"] == "coat"


@pytest.mark.parametrize(
    ("request_", "changes", "error", "sentence"),
    [
        (BAG.model_copy(update={"replacement": "Bag"}), [], RequestError, "as its own replacement"),
        (BAG.model_copy(update={"replacement": "my bag"}), [], RequestError, "still names 'bag'"),
        (BAG.model_copy(update={"replacement": " "}), [], RequestError, "phrase is empty"),
        (BAG.model_copy(update={"concept": " - "}), [], RequestError, "has no words"),
        (ForgetConcept(concept="bag"), [], RequestError, "must be clear what is drawn instead"),
        (
            BAG.model_copy(update={"negative": "x.txt"}),
            [],
            RequestError,
            "must be clear what is drawn instead",
        ),
        (
            BAG.model_copy(update={"forget_prompts": "missing.txt"}),
            [],
            DataError,
            r"no prompts at missing.txt \(No such file",
        ),
        (
            BAG.model_copy(update={"replacement": "a very long coats"}),
            [],
            RequestError,
            "'a a very long coats' has 17 tokens, and the text_encoder of this model reads at",
        ),
        (BAG, ['prompts.templates=["a cat"]'], ConfigError, r"must hold \{\} once"),
        (BAG, ["prompts.retain=0"], ConfigError, "give a number above 0"),
        (ForgetClass(labels=(0,)), [], RequestError, "is not class-conditional"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence_before_any_weight_is_read(
    pipelines: Pipelines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request_: Any,
    changes: list[str],
    error: type[EffaceError],
    sentence: str,
) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("efface.runs.load", loaded)
    with pytest.raises(error, match=sentence):
        forget(pipelines("sd"), request_, tmp_path / "out", changes=[*SMALL, *changes])
    with pytest.raises(RequestError, match="works on latents"):
        forget(pipelines("sd"), ForgetImages(images="x"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "longest"), [("sd", 14), ("flux", 14), ("pixart_sigma", 298)])
def test_lengths_are_checked_without_weights_as_the_loaded_model_checks_them(
    pipelines: Pipelines, kind: str, longest: int
) -> None:
    info, size = inspect_model(pipelines(kind)), 8 if kind == "flux" else None
    check_lengths(info, ConceptPrompts(retain=("a" * longest,)))
    with pytest.raises(RequestError) as early:
        check_lengths(info, ConceptPrompts(retain=("a" * (longest + 1),)))
    with pytest.raises(RequestError) as late:
        load_text(info, size).encode(["a" * (longest + 1)])
    assert str(early.value) == str(late.value)


def test_prompts_without_the_concept_and_retained_ones_with_nothing_else_are_refused(
    tmp_path: Path,
) -> None:
    config = read_settings("sfd", None, SMALL).prompts
    file = tmp_path / "p.txt"
    file.write_text("a red bag\na handbag\n")
    request = BAG.model_copy(update={"forget_prompts": str(file)})
    with pytest.raises(RequestError, match=r"'bag' does not occur in the prompt 'a handbag'"):
        read_concept_prompts(request, config)
    file.write_text("a Bag\nbag!\n")
    with pytest.raises(RequestError, match="at least one must stay"):
        read_concept_prompts(BAG.model_copy(update={"retain_prompts": str(file)}), config)
    file.write_text("a Bag\na cat\nbag!\n")
    prompts = read_concept_prompts(BAG.model_copy(update={"retain_prompts": str(file)}), config)
    assert (prompts.retain, prompts.dropped) == (("a cat",), 2)


def test_a_model_that_takes_no_prompts_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    for request in (BAG, DistilText()):
        with pytest.raises(RequestError, match="takes no prompts: give a text-to-image model"):
            forget(tiny_model, request, tmp_path / "out", changes=SMALL)
