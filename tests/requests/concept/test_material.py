"""The prompts of a request for one model: what is refused, and what training is fed with."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.testing import assert_close

from efface.data.randomness import Shard
from efface.data.source import ConditionSource
from efface.diffusion.denoiser import Condition
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.text.denoiser import TextDenoiser, as_text_denoiser
from efface.errors import ConfigError, DataError, RequestError
from efface.evaluation.views import ClipView, DetectorView
from efface.requests.base import Feed
from efface.requests.concept.material import PromptMaterial
from efface.requests.concept.request import ForgetConcept
from efface.settings.base import Settings
from tests.text_pipelines import inspect_small, load_text

BAG = ForgetConcept(concept="bag", replacement="coat")
STATES = "encoder_hidden_states"
IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Make = Callable[..., Settings]
Pipelines = Callable[[str], Path]


@pytest.fixture
def read(pipelines: Pipelines, concept_settings: Make) -> Callable[..., PromptMaterial]:
    """Read a request for tiny Stable Diffusion, with changes to settings."""

    def read(request: ForgetConcept, *changes: str) -> PromptMaterial:
        return request.read(inspect_model(pipelines("sd")), concept_settings(*changes))

    return read


@pytest.fixture
def fed(
    pipelines: Pipelines, concept_settings: Make, tmp_path: Path
) -> Callable[..., tuple[Feed, TextDenoiser, ConditionSource]]:
    """The feed of a request with changes to settings, its denoiser and its source."""

    def make(request: ForgetConcept, *changes: str) -> tuple[Feed, TextDenoiser, ConditionSource]:
        settings = concept_settings(*changes)
        material = request.read(inspect_model(pipelines("sd")), settings)
        model = load_text(pipelines("sd"))
        feed = material.feed(model, settings, tmp_path, Accelerator())
        assert isinstance(feed.source, ConditionSource)
        return feed, as_text_denoiser(feed.denoiser), feed.source

    return make


@pytest.fixture
def encoded(pipelines: Pipelines) -> Callable[..., Tensor]:
    """Prompts as a model encodes them that no run has touched."""

    def encode(*prompts: str) -> Tensor:
        return load_text(pipelines("sd")).encode(prompts).tensors[STATES]

    return encode


def prompts_of(condition: Condition, denoiser: TextDenoiser, prompts: list[str]) -> list[str]:
    rows = {p: denoiser.encode([p]).tensors[STATES][0] for p in prompts}
    states = condition.tensors[STATES]
    return [next(p for p, row in rows.items() if row.equal(state)) for state in states]


def test_a_prompt_that_is_too_long_is_refused_without_weights(
    read: Callable[..., PromptMaterial], detected: list[str], tmp_path: Path
) -> None:
    """One to train on, or one to measure."""
    long = BAG.model_copy(update={"replacement": "a very long coats"})
    with pytest.raises(RequestError, match="'a a very long coats' has 17 tokens"):
        read(long)
    file = tmp_path / "long.json"
    file.write_text(
        '{"groups": [{"name": "g", "kind": "own", "prompts": ["a boot a boot a boot"]}]}'
    )
    with pytest.raises(RequestError, match="'a boot a boot a boot' has"):
        read(BAG, *detected, f"concept.prompt_groups={str(file)!r}")


@pytest.mark.parametrize("side", ["--replace", "forget_prompts", "prompt_pairs", "negative"])
def test_what_is_forgotten_is_never_left_out(
    read: Callable[..., PromptMaterial], tmp_path: Path, side: str
) -> None:
    file = tmp_path / "p.txt"
    file.write_text("a bag\nbag beyond this model\n")
    request: dict[str, Any] = {"replacement": "coat", side: str(file)}
    if side == "--replace":
        request = {"replacement": "coat beyond this model"}
    elif side == "prompt_pairs":
        file.write_text("a bag\ta coat\nred bag\ta coat beyond this model\n")
    if side in ("prompt_pairs", "negative"):
        del request["replacement"]
    with pytest.raises(RequestError, match="beyond this model.* reads at most 16.* shorten it"):
        read(ForgetConcept(concept="bag", **request))


def test_retained_prompts_that_are_too_long_are_left_out_and_counted(
    read: Callable[..., PromptMaterial], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.txt"
    long = "a cat on a red mat in a house by the sea"
    file.write_text(f"a cat\n{long}\na bag\na dog\n{long} bag\n")
    request = BAG.model_copy(update={"retain_prompts": str(file)})
    for change, retain in (
        ("concept.retain=500", ("a cat", "a dog")),
        ("concept.retain=1", ("a cat",)),
    ):
        capsys.readouterr()
        material = read(request, change)
        assert material.prompts.retain == retain
        counts = {"forget_prompts": 1, "retain_prompts": len(retain)}
        counts |= {"retain_prompts_dropped": 2, "retain_prompts_too_long": 1}
        assert material.prompts.notes() == counts
        said = capsys.readouterr().err
        assert "p.txt: 5 prompts." in said and "1 of 3 prompts, such as 'a cat on" in said
        assert "2 of 5 retained prompts name 'bag' and are left out." in said
    file.write_text(f"{long}\n{long} too\n")
    with pytest.raises(RequestError, match="shorten it"):
        read(request)


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_captions_of_the_usual_length_are_forgotten_and_retained_where_t5_reads_them(
    pipelines: Pipelines, concept_settings: Make, tmp_path: Path, kind: str
) -> None:
    caption = "a photograph of a {} on a wooden table beside a window, in the evening light"
    (tmp_path / "f.txt").write_text(caption.format("bag") + "\n")
    (tmp_path / "r.txt").write_text(caption.format("cat") + "\na dog\n")
    files = {"forget_prompts": str(tmp_path / "f.txt"), "retain_prompts": str(tmp_path / "r.txt")}
    request = BAG.model_copy(update=files)
    prompts = request.read(inspect_small(pipelines(kind)), concept_settings()).prompts
    assert prompts.forget == (caption.format("bag"),)
    assert prompts.targets == (caption.format("coat"),)
    assert prompts.retain == (caption.format("cat"), "a dog") and prompts.too_long == 0


@pytest.mark.parametrize(
    ("change", "kind", "named"),
    [
        ('evaluate.detector_labels=["hat"]', ConfigError, "names 'hat', which the detector"),
        ('concept.prompt_groups="none.toml"', ConfigError, "no prompt groups at none.toml"),
        ("evaluate.detector=none/here", DataError, "none/here"),
    ],
)
def test_what_cannot_be_measured_is_refused_without_weights(
    read: Callable[..., PromptMaterial],
    detected: list[str],
    change: str,
    kind: type[Exception],
    named: str,
) -> None:
    with pytest.raises(kind, match=named):
        read(BAG, *detected, change)


def test_without_nudenet_it_is_no_detector(
    read: Callable[..., PromptMaterial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(DataError, match="extra 'safety'"):
        read(BAG, "evaluate.detector=nudenet")


def test_the_digest_is_recorded_and_no_prompt(
    read: Callable[..., PromptMaterial], concept_settings: Make
) -> None:
    material = read(BAG)
    assert material.recorded() == {"digest": material.prompts.digest}
    assert read(BAG, "concept.retain=2").recorded() != material.recorded()
    assert material.retained(concept_settings()).asked == material.prompts.retain


def test_groups_are_no_part_of_what_is_forgotten(
    read: Callable[..., PromptMaterial], detected: list[str]
) -> None:
    plain, measured = read(BAG), read(BAG, *detected)
    assert plain.digest == measured.digest
    assert plain.compared_digest() != measured.compared_digest()


def test_memory_is_counted_for_prompts_forget_rows_and_a_guided_teacher(
    read: Callable[..., PromptMaterial], concept_settings: Make
) -> None:
    settings = concept_settings("train.batch_size=16")
    amounts = read(BAG).amounts(settings)
    assert (amounts.prompts, amounts.forget_rows, amounts.guided) == (4, 8, frozenset())
    for change in ("concept.gibberish=0.25", "concept.forget_guidance=2.0"):
        assert read(BAG, change).amounts(settings).guided == {"teacher"}


def test_keywords_become_the_null_condition(
    fed: Callable[..., Any], keywords: Path, encoded: Callable[..., Tensor]
) -> None:
    _, denoiser, _ = fed(ForgetConcept(concept="colour", negative=str(keywords)))
    null = denoiser.null(denoiser.encode(["a cat"])).tensors[STATES]
    assert_close(null, encoded("red, green"))
    # Rows without condition have the empty prompt, not the keywords.
    rows = denoiser.empty(denoiser.encode(["a cat", "a dog"])).tensors[STATES]
    assert_close(rows, encoded("").expand_as(rows))


def test_every_forget_prompt_has_its_own_target(fed: Callable[..., Any], tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("a bag\ta coat\nred bag\tred coat\n")
    request = ForgetConcept(concept="bag", prompt_pairs=str(pairs))
    feed, denoiser, source = fed(request, "train.batch_size=16")
    batch = source.batch(0, Shard())
    known = ["a bag", "a coat", "red bag", "red coat", "a cat", "a dog"]
    forget = prompts_of(batch.forget.condition, denoiser, known)
    targets = prompts_of(batch.forget.target, denoiser, known)
    assert set(zip(forget, targets, strict=True)) == {("a bag", "a coat"), ("red bag", "red coat")}
    retain = prompts_of(batch.retain.condition, denoiser, known)
    assert retain == prompts_of(batch.retain.target, denoiser, known)
    assert set(retain) == {"a cat", "a dog"}
    assert prompts_of(feed.retained, denoiser, known) == ["a cat", "a dog"]
    assert feed.notes["forget_prompts"] == 2


def test_measured_prompts_are_encoded_before_the_encoders_are_given_up(
    fed: Callable[..., Any], detected: list[str]
) -> None:
    _, denoiser, _ = fed(BAG, *detected)
    assert len(denoiser.encode(["a purse", "a boot"])) == 2
    with pytest.raises(RequestError, match="was not encoded"):
        denoiser.encode(["a shoe"])


def test_gibberish_is_guided_away_from_the_concept(
    fed: Callable[..., Any], read: Callable[..., PromptMaterial], encoded: Callable[..., Tensor]
) -> None:
    request = BAG.model_copy(update={"also": ("tote",)})
    changes = ["concept.gibberish=0.25", "concept.interpolation=0.9", "train.batch_size=64"]
    _, denoiser, source = fed(request, *changes)
    batch = source.batch(0, Shard())
    assert batch.retain.target is batch.retain.condition and batch.negative is not None
    gibberish = denoiser.encode(read(request, *changes).prompts.gibberish).tensors[STATES]
    found = [any(row.equal(word) for word in gibberish)
             for row in batch.retain.condition.tensors[STATES]]  # fmt: skip
    assert sum(found) == 16  # a quarter of the retained rows
    assert batch.negative.rows.tolist() == [*found, *[False] * batch.forget.size]
    assert (batch.negative.guidance[batch.negative.rows] == 2.5).all()
    assert_close(batch.negative.condition.tensors[STATES], encoded("bag, tote"))


def test_targets_may_be_guided_away_from_the_concept_too(fed: Callable[..., Any]) -> None:
    changes = ["concept.gibberish=0.25", "concept.forget_guidance=2.0", "train.batch_size=16"]
    batch = fed(BAG, *changes)[2].batch(0, Shard())
    size = batch.retain.size
    assert batch.negative.rows[size:].all() and batch.forget.size
    assert (batch.negative.guidance[size:] == 2).all()
    retained = batch.negative.rows[:size]
    assert retained.sum() == 4 and (batch.negative.guidance[:size][retained] == 2.5).all()
    assert fed(BAG)[2].batch(0, Shard()).negative is None


def test_a_finder_is_the_detector_or_a_clip_for_replaced_phrases(
    read: Callable[..., PromptMaterial],
    pipelines: Pipelines,
    concept_settings: Make,
    detected: list[str],
    clip_folder: Path,
    keywords: Path,
) -> None:
    info, clip = inspect_model(pipelines("sd")), f"evaluate.clip={str(clip_folder)!r}"
    keyed = ForgetConcept(concept="colour", negative=str(keywords))
    for request, changes, kind in ((BAG, [clip], ClipView), (keyed, detected[:3], DetectorView)):
        settings = concept_settings(*changes)
        assert isinstance(read(request, *changes).finder(info, settings, None), kind)
    for request, changes in ((BAG, []), (keyed, [clip])):
        with pytest.raises(ConfigError, match="evaluate.detector.*evaluate.clip"):
            read(request, *changes).finder(info, concept_settings(*changes), None)


def test_a_goal_has_the_prompts_of_the_run(
    read: Callable[..., PromptMaterial], view: DetectorView, concept_settings: Make
) -> None:
    settings: Any = concept_settings("evaluate.guidance=3.0")
    material = read(BAG)
    twice = dataclasses.replace(material.prompts, forget=("a bag", "a bag"), owners=(0, 0))
    for own in (material, dataclasses.replace(material, prompts=twice)):
        goal = own.goal(Path("run"), Any, settings, view)  # type: ignore[arg-type]
        assert list(goal.sought) == list(goal.conditions) == ["a bag"] and goal.guidance == 3
        assert list(goal.others) == ["a cat", "a dog", "a coat"]
        assert (goal.score(IMAGES) == view.scores(view(IMAGES))).all()
        assert (goal.threshold, goal.called) == (view.threshold, view.extractor["name"])


def test_the_feed_is_on_the_device_of_the_run(fed: Callable[..., Any]) -> None:
    feed, denoiser, source = fed(BAG)
    assert source.table.device == denoiser.device == torch.device("cpu")
    assert len(feed.retained) == 3
