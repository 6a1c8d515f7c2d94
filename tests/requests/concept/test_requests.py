"""Requests about prompts: what is refused, and what prompts become, on tiny real pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from efface.data.randomness import Shard
from efface.diffusion.loading import load_text
from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError, DataError, EffaceError, RequestError
from efface.requests.base import DistilText, ForgetClass, ForgetConcept, ForgetImages
from efface.requests.concept.prompts import (
    ConceptPrompts,
    as_text_denoiser,
    check_lengths,
    concept_source,
    encode_prompts,
    read_concept_prompts,
)
from efface.runs.forget import forget
from efface.settings.reading import read_settings
from tests.conftest import BAG, KEYWORDS, SMALL, Pipelines
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401


@pytest.mark.parametrize(
    ("request_", "changes", "error", "sentence"),
    [
        (BAG.model_copy(update={"replacement": "Bag"}), [], RequestError, "as its own replacement"),
        (BAG.model_copy(update={"replacement": "my bag"}), [], RequestError, "still names 'bag'"),
        (BAG.model_copy(update={"replacement": " "}), [], RequestError, "phrase is empty"),
        (BAG.model_copy(update={"concept": " - "}), [], RequestError, "has no words"),
        (
            BAG.model_copy(update={"also": ("a coat",)}),
            [],
            RequestError,
            "still names 'a coat', in the prompt 'a coat'",
        ),
        (BAG.model_copy(update={"also": ("",)}), [], RequestError, "concept '' has no words"),
        (BAG.model_copy(update={"also": ("Coat",)}), [], RequestError, "'Coat' was given as forg"),
        (ForgetConcept(concept="bag"), [], RequestError, "must be clear what is drawn instead"),
        (
            ForgetConcept(concept="bag", also=("tote",), negative="x.txt"),
            [],
            RequestError,
            "without a replacement phrase: write them as prompt pairs",
        ),
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
        (BAG, ["prompts.nonsense=1"], ConfigError, "share from 0 to below 1"),
        (BAG, ["prompts.nonsense_guidance=1"], ConfigError, "give more than 1"),
        (BAG, ["prompts.forget_guidance=0.5"], ConfigError, "give more than 1, or 0"),
        (BAG, ["evaluate.clip=nowhere"], DataError, "no vision model at nowhere"),
        (
            BAG,
            ["evaluate.extractor=nowhere", "evaluate.reference=digits"],
            DataError,
            "no vision model at nowhere",
        ),
        (
            BAG,
            ["evaluate.extractor=nowhere", "evaluate.reference=nothing.parquet#1-3"],
            DataError,
            "no images at nothing.parquet#1-3",
        ),
        (BAG, ["prompts.reach=1"], ConfigError, "give a share from 0 to below 1"),
        (BAG, ["prompts.reach=0.5", "prompts.reach_null=2"], ConfigError, "share from 0 to 1"),
        (BAG, ["prompts.reach_null=0.5"], ConfigError, "set prompts.reach too"),
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

    monkeypatch.setattr("efface.runs.forget.load", loaded)
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


def test_every_prompt_is_forgotten_under_all_names_and_none_that_stays_has_one(
    tmp_path: Path,
) -> None:
    config = read_settings("sfd", None, SMALL).prompts
    forget, retain = tmp_path / "forget.txt", tmp_path / "retain.txt"
    forget.write_text("a red Bag\na tote beside a shoe\na red tote bag\n")
    retain.write_text("a cat\na blue tote\na handbag\n")
    request = BAG.model_copy(
        update={"also": ("tote", "tote bag"), "forget_prompts": str(forget)}
        | {"retain_prompts": str(retain)}
    )
    prompts = read_concept_prompts(request, config)
    assert dict(zip(prompts.forget, prompts.targets, strict=True)) == {
        "a red Bag": "a red coat",
        "a red tote": "a red coat",
        "a red tote bag": "a red coat",
        "a tote beside a shoe": "a coat beside a shoe",
        "a bag beside a shoe": "a coat beside a shoe",
        "a tote bag beside a shoe": "a coat beside a shoe",
    }
    assert (prompts.retain, prompts.dropped) == (("a cat", "a handbag"), 1)


def test_a_model_that_takes_no_prompts_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    for request in (BAG, DistilText()):
        with pytest.raises(RequestError, match="takes no prompts: give a text-to-image model"):
            forget(tiny_model, request, tmp_path / "out", changes=SMALL)


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
    # Rows without condition ask for nothing, not for the keywords.
    rows = denoiser.nothing(denoiser.encode(["a cat", "a dog"])).tensors["encoder_hidden_states"]
    empty = load_text(pipelines("sd")).encode([""]).tensors["encoder_hidden_states"]
    assert_close(rows, empty.expand_as(rows))


def test_words_that_mean_nothing_are_led_away_from_what_must_go(pipelines: Pipelines) -> None:
    request = BAG.model_copy(update={"also": ("tote",)})
    away = [*SMALL, "prompts.nonsense=0.25", "prompts.reach=0.9", "train.batch_size=64"]
    settings = read_settings("sfd", None, away)
    prompts, plain = (
        read_concept_prompts(request, read_settings("sfd", None, changes).prompts)
        for changes in (away, SMALL)
    )
    kept = len(prompts.retain)
    assert prompts.away == "bag, tote" and plain.away is None
    assert prompts.negative is None  # all other rows are guided as before
    assert prompts.retain == plain.retain and len(prompts.nonsense) == round(kept / 3)
    assert len({*prompts.nonsense, *prompts.retain}) == len(prompts.nonsense) + kept
    assert prompts.digest != plain.digest
    assert prompts.notes()["nonsense_prompts"] == len(prompts.nonsense)

    denoiser = encode_prompts(load_text(pipelines("sd")), prompts)
    source = concept_source(denoiser, prompts, settings, torch.device("cpu"))
    states = "encoder_hidden_states"
    batch = source.batch(0, Shard())
    assert batch.retain.condition is not None and batch.retain.target is batch.retain.condition
    means_nothing = denoiser.encode(prompts.nonsense).tensors[states]
    asked = batch.retain.condition.tensors[states]
    found = [any(row.equal(word) for word in means_nothing) for row in asked]
    assert batch.away is not None and (batch.away.guidance[batch.away.rows] == 2.5).all()
    assert batch.away.rows.tolist() == [*found, *[False] * batch.forget.size]
    assert sum(found) == 16  # a quarter of the retained rows
    named = load_text(pipelines("sd")).encode(["bag, tote"]).tensors[states]
    assert_close(batch.away.condition.tensors[states], named)
    # Shards are parts of the batch, row by row.
    parts = [source.batch(0, Shard(index, 2)) for index in range(2)]
    led = [part.away.rows[: part.retain.size] for part in parts if part.away is not None]
    assert sorted(torch.cat(led).tolist()) == sorted(found)
    assert source.batch(0, Shard()).retain.size == sum(part.retain.size for part in parts)
    # So may the answers to prompts to forget be, with a guidance of their own.
    both = read_settings("sfd", None, [*away, "prompts.forget_guidance=2"])
    batch = concept_source(denoiser, prompts, both, torch.device("cpu")).batch(0, Shard())
    assert batch.away is not None
    assert batch.away.rows.tolist() == [*found, *[True] * batch.forget.size]
    assert (batch.away.guidance[: batch.retain.size][torch.tensor(found)] == 2.5).all()
    assert (batch.away.guidance[batch.retain.size :] == 2).all() and batch.forget.size
    alone = read_settings("sfd", None, [*SMALL, "prompts.forget_guidance=2"])
    assert read_concept_prompts(request, alone.prompts).away == "bag, tote"
    none = concept_source(denoiser, plain, read_settings("sfd", None, SMALL), torch.device("cpu"))
    assert none.batch(0, Shard()).away is None


def test_batches_ask_the_teacher_for_each_prompts_own_target(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("a bag\ta coat\nred bag\tred coat\n")
    settings = read_settings("sfd", None, [*SMALL, "train.batch_size=16"])
    request = ForgetConcept(concept="bag", prompt_pairs=str(pairs))
    prompts = read_concept_prompts(request, settings.prompts)
    denoiser = encode_prompts(load_text(pipelines("sd")), prompts)
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
