"""Prompts read, made and changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efface.data.prompts import (
    PEOPLE,
    SLOT,
    SUBJECTS,
    TEMPLATES,
    check_prompts,
    fill_templates,
    gibberish,
    read_pairs,
    read_prompts,
    spread,
)
from efface.errors import DataError

Write = Callable[..., str]


def test_gibberish_words_are_different_and_the_same_again() -> None:
    words = gibberish(500)
    assert len(set(words)) == 500 and words == gibberish(500) and words[:9] == gibberish(9)
    assert all(word.isalpha() and word.islower() for word in words)
    without = gibberish(500, without=[words[1].upper(), f"{words[2]} and", words[4]])
    assert without[:498] == [w for w in words if w not in (words[1], words[4])]
    assert gibberish(500, seed=1) != words and gibberish(0) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "a cat\n\n  two bags, red \na cat\n"),
        ("p.txt", "\ufeffa cat\r\ntwo bags, red\r\n"),
        ("p.csv", 'id,prompt,text\n1,a cat,no\n2,"two bags, red",no\n'),
        ("p.csv", 'caption\na cat\n"two bags, red"\n'),
        ("p.jsonl", '{"text": "a cat"}\n\n{"prompt": "two bags, red", "text": "no"}\n'),
    ],
)
def test_prompts_are_read_once_each_whatever_the_format(
    write: Write, name: str, content: str
) -> None:
    assert read_prompts(write(name, content)) == ["a cat", "two bags, red"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "a bag\ta coat\n\nred bag \t red coat\n"),
        ("p.csv", "target,prompt\na coat,a bag\nred coat,red bag\n"),
        (
            "p.jsonl",
            '{"prompt": "a bag", "target": "a coat"}\n{"prompt":"red bag","target":"red coat"}',
        ),
    ],
)
def test_pairs_are_read_whatever_the_format(write: Write, name: str, content: str) -> None:
    assert read_pairs(write(name, content)) == [("a bag", "a coat"), ("red bag", "red coat")]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.txt", " \n\n", "holds no prompt: write one per line"),
        ("p.csv", "prompt\n", "holds no prompt"),
        ("p.csv", "words\na cat\n", "row 1 of .* has no text under prompt or caption or text"),
        ("p.csv", 'prompt\n"a cat\n', "is not readable CSV"),
        ("p.jsonl", '{"prompt": "a"}\nnot json\n', "has a line that is not JSON"),
        ("p.jsonl", '{"prompt": 3}\n', "row 1 of .* has no text under"),
        ("p.jsonl", '["a cat"]\n', "row 1 of .* has no text under"),
    ],
)
def test_files_without_prompts_are_refused(
    write: Write, name: str, content: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        read_prompts(write(name, content))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("\n", "holds no pair"),
        ("a bag\n", "pair 1 of .* cannot be read"),
        ("a bag\ta coat\na bag\t\n", "pair 2 of"),
        ("a bag\ta coat\tmore\n", "pair 1 of"),
        ("a bag\ta bag\n", "pair 1 of"),
    ],
)
def test_files_without_pairs_are_refused(write: Write, content: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_pairs(write("pairs.txt", content))


def test_a_missing_file_is_found_without_reading(write: Write, tmp_path: Path) -> None:
    check_prompts(write("prompts.txt", "a cat"))
    check_prompts("datasets:owner/name")
    for missing in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(DataError, match="no prompts at .*one prompt per line"):
            check_prompts(str(missing))


def test_a_missing_file_and_one_that_is_no_text_are_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no prompts at .*missing.txt \(No such file"):
        read_prompts(str(tmp_path / "missing.txt"))
    with pytest.raises(DataError, match=r"no prompts at .* \(Is a directory"):
        read_prompts(str(tmp_path))
    with pytest.raises(DataError, match="is not UTF-8 text: give a .txt file with one prom"):
        read_prompts(write("latin.txt", "café", encoding="latin-1"))


def test_parquet_is_read_where_it_has_the_columns(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = str(tmp_path / "captions.PARQUET")
    columns = {"id": [1, 2, 3], "caption": ["a bag", None, "a bag"], "target": ["a cup"] * 3}
    datasets.Dataset.from_dict(columns).to_parquet(table)
    assert read_prompts(table) == ["a bag"]
    with pytest.raises(DataError, match="row 1 of .* has no text under prompt and target"):
        read_pairs(table)
    datasets.Dataset.from_dict({"prompt": ["a bag"], "target": ["a cup"]}).to_parquet(table)
    assert read_pairs(table) == [("a bag", "a cup")]
    for column in ([1], [["a cat", "a dog"]], [{"raw": "a cat"}]):
        datasets.Dataset.from_dict({"caption": column}).to_parquet(table)
        with pytest.raises(DataError, match="row 1 of .* has no text under prompt or caption"):
            read_prompts(table)
    (tmp_path / "captions.PARQUET").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a readable parquet file"):
        read_prompts(table)


def test_the_column_of_captions_can_be_chosen(write: Write) -> None:
    file = write("list.csv", "prompt,blip caption\nfirst,a bag\nsecond,a cat\n")
    assert read_prompts(file) == ["first", "second"]
    assert read_prompts(f"{file}?caption=blip caption") == ["a bag", "a cat"]
    check_prompts(f"{file}?caption=blip caption")
    with pytest.raises(DataError, match="row 1 of .* has no text under other"):
        read_prompts(f"{file}?caption=other")
    with pytest.raises(DataError, match="no prompts at"):
        check_prompts(f"{file}x?caption=prompt")


def test_a_column_is_that_of_tables_which_do_not_name_another(write: Write) -> None:
    file = write("list.tsv", "prompt\tblip\tlong\nfirst\ta bag\tone bag\n")
    assert read_prompts(file, "blip") == ["a bag"]
    assert read_prompts(f"{file}?caption=long", "blip") == ["one bag"]
    text = write("list.txt", "a cat\n")
    assert read_prompts(text, "blip") == ["a cat"]
    for read in (read_prompts, check_prompts):
        with pytest.raises(DataError, match="list.txt is a text file without columns, .*'blip'"):
            read(f"{text}?caption=blip")


@pytest.mark.parametrize("name", ["pairs.txt", "pairs.csv", "datasets:someone/pairs"])
def test_missing_pairs_are_refused_with_what_pairs_are_read_from(name: str) -> None:
    with pytest.raises(DataError, match="pairs of prompts .*a prompt, a tab and another .* target"):
        read_pairs(name)


def test_pairs_in_columns_are_not_asked_for_tabs(write: Write) -> None:
    with pytest.raises(DataError, match="pair 1 of .*: write different texts under prompt and tar"):
        read_pairs(write("pairs.csv", "prompt,target\na bag,a bag\n"))
    with pytest.raises(DataError, match="holds no pair: write different texts under prompt and ta"):
        read_pairs(write("pairs.csv", "prompt,target\n"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Puts splits of columns on a hub in memory, and returns the name to read them by."""
    datasets = pytest.importorskip("datasets")

    def put(**splits: dict[str, list[str | None]]) -> str:
        made = {name: datasets.Dataset.from_dict(columns) for name, columns in splits.items()}

        def load(name: str, split: str | None = None) -> Any:
            assert name == "someone/prompts"
            return datasets.DatasetDict(made) if split is None else made[split]

        monkeypatch.setattr(datasets, "load_dataset", load)
        return "datasets:someone/prompts"

    return put


def test_prompts_are_read_from_the_training_split_of_a_data_set(hub: Callable[..., str]) -> None:
    train = {"id": ["1", "2", "3", "4"], "caption": [" a cat", None, "two bags, red", "a cat"]}
    name = hub(train=train, test={"caption": ["a dog"]})
    assert read_prompts(name) == ["a cat", "two bags, red"]
    both = {"text": ["no", "no"], "prompt": ["a cat", "two bags, red"]}
    assert read_prompts(hub(train=both)) == ["a cat", "two bags, red"]


def test_the_only_split_of_a_data_set_will_do(hub: Callable[..., str]) -> None:
    assert read_prompts(hub(test={"prompt": ["a cat"]})) == ["a cat"]


@pytest.mark.parametrize(
    ("splits", "named"),
    [
        ({"train": {"words": ["a cat"]}}, "no column prompt or caption or text: give another"),
        ({"train": {"prompt": [" "]}}, "holds no prompt"),
        (
            {"test": {"prompt": ["a"]}, "validation": {"prompt": ["b"]}},
            "splits test, validation: give a data set with a split 'train'",
        ),
    ],
)
def test_data_sets_without_prompts_are_refused(
    hub: Callable[..., str], splits: dict[str, Any], named: str
) -> None:
    with pytest.raises(DataError, match=f"datasets:someone/prompts .*{named}"):
        read_prompts(hub(**splits))


def test_a_data_set_that_cannot_be_fetched_is_refused() -> None:
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match=r"datasets:nobody/nothing cannot be read from the hub"):
        read_prompts("datasets:nobody/nothing")


def test_templates_hold_every_subject_once() -> None:
    assert fill_templates(["a {}", "{}"], ["cat", "a cat"]) == ["a cat", "cat", "a a cat"]
    assert all(template.count(SLOT) == 1 for template in TEMPLATES)
    assert len(fill_templates(TEMPLATES, SUBJECTS)) == len(TEMPLATES) * len(SUBJECTS)


def test_people_of_keyword_prompts_are_adults() -> None:
    assert len(PEOPLE) == 12
    young = ("boy", "girl", "child", "kid", "teen", "baby", "student", "young")
    assert not [person for person in PEOPLE for word in young if word in person]


def test_a_part_of_many_prompts_is_spread_over_all() -> None:
    many = [str(i) for i in range(100)]
    assert spread(many, 4) == ["0", "25", "50", "75"]
    assert spread(many, 100) == spread(many, 1000) == many


def test_prompts_are_kept_as_they_are(write: Write) -> None:
    hostile = "<script>alert(1)</script> \u202e {}"
    assert read_prompts(write("p.jsonl", json.dumps({"prompt": hostile}))) == [hostile]
