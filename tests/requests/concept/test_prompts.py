"""Prompts of a request, read or made: what is forgotten, what replaces it, what is retained."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.errors import RequestError
from efface.requests.concept.prompts import prompts_to_retain, read_concept_prompts
from efface.requests.concept.request import ForgetConcept
from efface.requests.concept.settings import ConceptSettings

BAG = ForgetConcept(concept="bag", replacement="coat")
CONFIG = ConceptSettings(templates=("a {}",), subjects=("cat", "dog"), people=("man", "woman"))


def changed(**values: object) -> ForgetConcept:
    return BAG.model_copy(update=values)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replacement": "my bag"}, "'my bag' still names 'bag'"),
        ({"also": ("a coat",)}, "still names 'a coat', in the prompt 'a coat'"),
    ],
)
def test_a_replacement_that_names_the_concept_is_refused(
    values: dict[str, object], named: str
) -> None:
    with pytest.raises(RequestError, match=named):
        read_concept_prompts(changed(**values), CONFIG)


def test_prompts_without_the_concept_and_retained_ones_with_nothing_else_are_refused(
    tmp_path: Path,
) -> None:
    file = tmp_path / "p.txt"
    file.write_text("a red bag\na handbag\n")
    with pytest.raises(RequestError, match="prompt 'a handbag' does not contain 'bag'"):
        read_concept_prompts(changed(forget_prompts=str(file)), CONFIG)
    file.write_text("a Bag\nbag!\n")
    with pytest.raises(RequestError, match="every retained prompt names 'bag'"):
        read_concept_prompts(changed(retain_prompts=str(file)), CONFIG)
    file.write_text("a Bag\na cat\nbag!\n")
    prompts = read_concept_prompts(changed(retain_prompts=str(file)), CONFIG)
    assert (prompts.retain, prompts.dropped) == (("a cat",), 2)
    assert prompts.notes()["retain_prompts_dropped"] == 2


def test_tables_of_prompts_share_a_column_and_text_files_need_none(tmp_path: Path) -> None:
    forget, retain = tmp_path / "forget.csv", tmp_path / "retain.jsonl"
    forget.write_text("prompt,blip\na cat,a red bag\n")
    retain.write_text('{"text": "a bag", "blip": "a dog"}\n')
    files = {"retain_prompts": str(retain), "caption_column": "blip"}
    prompts = read_concept_prompts(changed(forget_prompts=str(forget), **files), CONFIG)
    assert prompts.forget == ("a red bag",) and prompts.retain == ("a dog",)
    (tmp_path / "forget.txt").write_text("a blue bag\n")
    text = changed(forget_prompts=str(tmp_path / "forget.txt"), **files)
    assert read_concept_prompts(text, CONFIG).forget == ("a blue bag",)


def test_every_prompt_is_forgotten_under_all_names_and_no_retained_one_has_one(
    tmp_path: Path,
) -> None:
    forget, retain = tmp_path / "forget.txt", tmp_path / "retain.txt"
    forget.write_text("a red Bag\na tote beside a shoe\na red tote bag\n")
    retain.write_text("a cat\na blue tote\na handbag\n")
    request = changed(
        also=("tote", "tote bag"), forget_prompts=str(forget), retain_prompts=str(retain)
    )
    prompts = read_concept_prompts(request, CONFIG)
    assert dict(zip(prompts.forget, prompts.targets, strict=True)) == {
        "a red Bag": "a red coat",
        "a red tote": "a red coat",
        "a red tote bag": "a red coat",
        "a tote beside a shoe": "a coat beside a shoe",
        "a bag beside a shoe": "a coat beside a shoe",
        "a tote bag beside a shoe": "a coat beside a shoe",
    }
    assert (prompts.retain, prompts.dropped) == (("a cat", "a handbag"), 1)


def test_keywords_stand_before_and_behind_every_subject_which_is_the_target(
    keywords: Path,
) -> None:
    request = ForgetConcept(concept="colour", negative=str(keywords))
    prompts = read_concept_prompts(request, CONFIG)
    words = keywords.read_text().splitlines()
    expected = [(f"{k} {p}", p) for p in ("man", "woman") for k in words]
    expected += [(f"{p}, {k}", p) for p in ("man", "woman") for k in words]
    assert sorted(zip(prompts.forget, prompts.targets, strict=True)) == sorted(expected)
    assert prompts.negative_prompt == ", ".join(words)


def test_gibberish_is_a_share_of_all_retained_prompts() -> None:
    config = CONFIG.model_copy(update={"gibberish": 0.25})
    request = changed(also=("tote",))
    prompts, plain = read_concept_prompts(request, config), read_concept_prompts(request, CONFIG)
    count = len(prompts.retain)
    assert prompts.retain == plain.retain and len(prompts.gibberish) == round(count / 3)
    assert not set(prompts.gibberish) & set(prompts.retain)
    assert prompts.notes()["gibberish_prompts"] == len(prompts.gibberish)
    assert set(prompts.gibberish) <= set(prompts.different)


def test_rows_are_guided_away_from_all_names_where_the_settings_say_so() -> None:
    request = changed(also=("tote",))
    plain = read_concept_prompts(request, CONFIG)
    assert plain.row_negative_prompt is None and plain.negative_prompt is None
    for settings in ({"gibberish": 0.25}, {"forget_guidance": 2.0}):
        prompts = read_concept_prompts(request, CONFIG.model_copy(update=settings))
        assert prompts.row_negative_prompt == "bag, tote"
        assert prompts.negative_prompt is None  # all other rows are guided as before
        assert prompts.digest != plain.digest


def test_what_is_retained_are_the_templates_with_subjects_and_the_replacement() -> None:
    assert read_concept_prompts(BAG, CONFIG).retain == ("a cat", "a dog", "a coat")
    assert prompts_to_retain(None, CONFIG) == ["a cat", "a dog"]
    few = CONFIG.model_copy(update={"retain": 1})
    assert read_concept_prompts(BAG, few).retain == ("a cat",)


def test_the_digest_tells_prompts_and_targets_apart(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.txt"
    request = ForgetConcept(concept="bag", prompt_pairs=str(pairs))
    digests = set()
    for content in ("a bag\ta coat\n", "a bag\ta boot\n", "my bag\ta coat\n"):
        pairs.write_text(content)
        digests.add(read_concept_prompts(request, CONFIG).digest)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("concept", "written"),
    [
        ("Zo\u00eb", "Zoe\u0308"),
        ("O'Keeffe", "O\u2019KEEFFE"),
        ("stra\u00dfe", "STRASSE"),
        ("Spider-Man", "spider\u2011man"),
        ("\u732b", "\u7ea2\u732b\u5934"),
        ("Brad Pitt", "brad\u00a0pitt"),
    ],
)
def test_a_concept_is_found_however_a_prompt_writes_it(
    tmp_path: Path, concept: str, written: str
) -> None:
    retain, forget = tmp_path / "retain.txt", tmp_path / "forget.txt"
    retain.write_text(f"a dog\na photo of {written}, large\n", encoding="utf-8")
    forget.write_text(f"a photo of {written}\n", encoding="utf-8")
    request = ForgetConcept(
        concept=concept, replacement="x", retain_prompts=str(retain), forget_prompts=str(forget)
    )
    prompts = read_concept_prompts(request, CONFIG)
    assert (prompts.retain, prompts.dropped) == (("a dog",), 1)
    expected = written.replace(concept, "x") if concept in written else "x"
    assert prompts.targets == (f"a photo of {expected}",)
    with pytest.raises(RequestError, match="own replacement"):
        ForgetConcept(concept=concept, replacement=written.replace("\u7ea2", "").rstrip("\u5934"))


def test_a_forget_prompt_in_another_spelling_is_not_retained(tmp_path: Path) -> None:
    pairs, retain = tmp_path / "pairs.txt", tmp_path / "retain.txt"
    pairs.write_text("caf\u00e9 \u2018bag\u2019\ta coat\n", encoding="utf-8")
    retain.write_text("CAFE\u0301 'bag'\na cat\n", encoding="utf-8")
    request = ForgetConcept(concept="shoe", prompt_pairs=str(pairs), retain_prompts=str(retain))
    assert read_concept_prompts(request, CONFIG).retain == ("a cat",)
