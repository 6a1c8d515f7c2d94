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


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str, encoding: str = "utf-8", newline: str | None = None) -> str:
        (tmp_path / name).write_text(content, encoding=encoding, newline=newline)
        return str(tmp_path / name)

    return write


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


ROWS = '{"prompt": "a cat"}\n{"prompt": "two bags, red", "seed": 12}\n'
CELLS = 'prompt,seed\na cat,12\n"two bags, red",13\n'
TABBED = "prompt\tseed\na cat\t12\ntwo bags, red\t13\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.tsv", TABBED),
        ("p.TSV", TABBED.replace("\n", "\r\n")),
        ("p.CSV", CELLS),
        ("p.Csv", CELLS.replace("prompt", " Prompt ")),
        ("p.csv", "\ufeff" + CELLS.replace("prompt", '"prompt"')),
        ("p.csv", CELLS + "\n\n"),
        ("p.csv", 'prompt\n" a cat "\n"two bags, red"\n""\n'),
        ("p.JSONL", ROWS),
        ("p.ndjson", ROWS.replace("\n", "\r\n")),
        ("p.NDJSON", "\ufeff" + ROWS),
        ("p.jsonl", '"a cat"\n"two bags, red"'),
        ("p.json", '["a cat", "two bags, red"]'),
        ("p.JSON", '[\n "a cat",\n "two bags, red"\n]\n'),
        ("p.json", '[{"caption": "a cat"}, {"text": "two bags, red"}]'),
        ("p.json", '\ufeff["a cat", " ", "", "a cat", "two bags, red"]'),
        ("p.TXT", "a cat\ntwo bags, red"),
        ("prompts", "a cat\ntwo bags, red\n\n"),
        (".prompts", "a cat\ntwo bags, red\n"),
        ("p.txt", "\ufeffa cat\n\ufefftwo bags, red\n"),  # two files, one behind the other
        ("p.txt", "a cat \n\t\n \u3000\n\u200b\n\x01\ntwo bags, red\na cat"),
    ],
)
def test_what_a_file_holds_is_told_by_its_suffix_in_any_case(
    write: Write, name: str, content: str
) -> None:
    assert read_prompts(write(name, content)) == ["a cat", "two bags, red"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.tsv", "prompt\ttarget\na bag\ta coat\n"),
        ("p.CSV", "target,prompt\na coat,a bag\na coat,a bag\n"),
        ("p.json", '[{"prompt": "a bag", "target": "a coat"}]'),
        ("p.NDJSON", '{"prompt": "a bag", "target": "a coat"}'),
        ("p.TXT", "a bag\ta coat\r\na bag\ta coat\r\n"),
    ],
)
def test_pairs_are_read_by_suffix_too(write: Write, name: str, content: str) -> None:
    assert read_pairs(write(name, content)) == [("a bag", "a coat")]


SUFFIXES = (".gz", ".csv.gz", ".zip", ".bz2", ".xlsx", ".xls", ".docx", ".pdf", ".yaml", ".toml")
SUFFIXES += (
    ".md",
    ".html",
    ".npy",
    ".pkl",
    ".jpg",
    ".safetensors",
    ".arrow",
    ".text",
    ".1",
    ".jsonl~",
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_suffixes_are_refused_before_and_when_they_are_read(
    write: Write, suffix: str
) -> None:
    file, last = write(f"p{suffix}", "a cat\n"), "." + suffix.rsplit(".", 1)[1]
    for read in (check_prompts, read_prompts, read_pairs):
        with pytest.raises(DataError, match=f"is a {last} file, which is not read: give a .txt"):
            read(file)


@pytest.mark.parametrize(
    "content",
    [
        '["a cat", "a dog"]',
        '[\n "a cat",\n "a dog"\n]\n',
        "[\n",
        '{\n"prompts": ["a cat"]\n}',
        '{"prompt": "a cat"}\n{"prompt": "a dog"}\n',
        '\n\n  {"prompt": "a cat"}\n',
        '"a cat"\n"a dog"\n',
        "12\n13\n",
        "[{\n",
        "null\n",
        '\ufeff["a cat"]',
        "prompt\na cat\n",
        "case_number,prompt,seed\n0,a cat,12\n",
        "Prompt;Seed\na cat;12\n",
        "a cat\t12\na dog\t13\n",
        "<!DOCTYPE html>\n<p>Not found</p>\n",
        '<?xml version="1.0"?>\n<a/>\n',
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    ],
)
def test_a_table_or_a_page_is_not_read_as_lines_of_text(write: Write, content: str) -> None:
    with pytest.raises(DataError, match="does not hold plain lines of text"):
        read_prompts(write("p.txt", content))


@pytest.mark.parametrize(
    "line",
    [
        "[a cat|a dog] in a hat",
        "{red|blue} cat",
        '"Hope", a poster',
        "12 cats",
        "null and void",
        "a prompt, a caption",
        "captions, prompts",
        "<tok> in a hat",
        "(a cat:1.2), [blurry]",
        "a cat; a dog",
    ],
)
def test_a_prompt_that_begins_like_a_table_is_one(write: Write, line: str) -> None:
    assert read_prompts(write("p.txt", f"{line}\na dog\n")) == [line, "a dog"]


INSIDE = ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\r")
INSIDE += ("\xa0", "\u3000", "\u200b", "\x07", "\x1b", "\x7f")


@pytest.mark.parametrize("sign", INSIDE)
def test_a_line_ends_at_a_newline_alone(write: Write, sign: str) -> None:
    prompts = [f"first{sign}half", "a dog"]
    assert read_prompts(write("p.txt", "\n".join(prompts) + "\n", newline="")) == prompts
    pairs = f"a{sign}bag\ta coat\nb\tc\n"
    assert read_pairs(write("q.txt", pairs, newline="")) == [(f"a{sign}bag", "a coat"), ("b", "c")]
    row = json.dumps({"prompt": prompts[0]}, ensure_ascii=False)
    assert read_prompts(write("p.jsonl", row)) == prompts[:1]
    cells = f'prompt,seed\n"{prompts[0]}",1\na dog,2\n'
    assert read_prompts(write("p.csv", cells, newline="")) == prompts
    assert read_prompts(write("p.tsv", cells.replace(",", "\t"), newline="")) == prompts


def test_carriage_returns_alone_end_no_line(write: Write) -> None:
    with pytest.raises(DataError, match="ends its lines with carriage returns: end them with new"):
        read_prompts(write("p.txt", "a cat\ra dog\r", newline=""))


@pytest.mark.parametrize(
    ("name", "content", "row", "cells"),
    [
        ("p.csv", "id,prompt\n0,a cat, sitting\n", 1, 3),
        ("p.csv", "id,prompt\n0,a cat\n1\n", 2, 1),
        ("p.csv", "prompt\na cat\na dog, a hat\n", 2, 2),
        ("p.csv", "prompt,seed\n\na cat,1\n\na dog,\nx,y,z\n", 3, 3),
        ("p.csv", "prompt,seed\na cat,1,\n", 1, 3),
        ("p.CSV", "prompt,seed\na cat\t1\n", 1, 1),
        ("p.tsv", "prompt\tseed\na cat\t1\t2\n", 1, 3),
        ("p.tsv", "prompt\tseed\na cat\t1\na dog\n", 2, 1),
        ("p.tsv", "prompt\na\tcat\n", 1, 2),
        ("p.TSV", "id\tprompt\n1\ta cat\n2\ta\tdog\n", 2, 3),
    ],
)
def test_a_row_with_other_cells_than_the_header_is_refused_by_its_number(
    write: Write, name: str, content: str, row: int, cells: int
) -> None:
    with pytest.raises(DataError, match=f"row {row} of .* has {cells} cells?, and the first line"):
        read_prompts(write(name, content))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.csv", "a cat\na dog\n", "row 1 of .* has no text under prompt or caption or text"),
        ("p.csv", "prompt;seed\na cat;1\n", "row 1 of"),
        ("p.csv", "prompt,Prompt\na cat,a dog\n", "two columns 'prompt'"),
        ("p.csv", 'prompt\n"a "red" cat"\n', "is not readable CSV"),
        ("p.csv", "", "holds no prompt"),
        ("p.json", "", "is not JSON"),
        ("p.json", '{"prompts": ["a cat"]}', "holds no list"),
        ("p.json", '["a cat", ["a dog"]]', "row 2 of .* has no text"),
        ("p.json", '["a cat", null]', "row 2 of"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.json", ROWS, "is not JSON"),
        ("p.json", "[]", "holds no prompt"),
        ("p.json", '[" "]', "holds no prompt"),
        ("p.json", r'["\ud800"]', "row 1 of"),
        ("p.jsonl", "[" * 100_000, "has a line that is not JSON"),
        ("p.jsonl", "1" * 5000, "has a line that is not JSON"),
        ("p.jsonl", '{"prompt": "a\nb"}', "has a line that is not JSON"),
        ("p.txt", "\u200b\n\u2028\n\x01\n", "holds no prompt"),
        ("p.txt", "a\0b\n", "is not UTF-8 text"),
        ("p.txt", "", "holds no prompt"),
    ],
)
def test_what_cannot_be_read_is_answered_in_a_sentence(
    write: Write, name: str, content: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        read_prompts(write(name, content))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.json"])
def test_unicode_is_read_in_every_encoding_that_marks_itself(
    write: Write, name: str, encoding: str
) -> None:
    content = {"p.txt": "caf\u00e9\n\u732b\n", "p.csv": "text\ncaf\u00e9\n\u732b\n"}
    file = write(name, content.get(name, '["caf\u00e9", "\u732b"]'), encoding)
    assert read_prompts(file) == ["caf\u00e9", "\u732b"]


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16-le", "utf-16-be", "utf-32", "cp437"]
)
def test_other_encodings_are_refused(write: Write, encoding: str) -> None:
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_prompts(write("p.txt", "caf\u00e9\n", encoding))


def test_a_file_that_is_too_large_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efface.data.prompts.MOST_BYTES", 5)
    assert read_prompts(write("p.txt", "a cat")) == ["a cat"]
    with pytest.raises(DataError, match="is larger than"):
        read_prompts(write("p.txt", "a cats"))


@pytest.mark.parametrize("other", ["A bag", "a  BAG", "\uff41 bag", "a ba\u00adg"])
def test_a_target_that_says_the_same_is_refused(write: Write, other: str) -> None:
    with pytest.raises(DataError, match="pair 2 of .* cannot be read"):
        read_pairs(write("p.txt", f"b\tc\na bag\t{other}\n"))


def test_what_was_read_is_said(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    read_prompts(write("p.txt", "a cat\na dog\n\n \na cat\n"))
    read_pairs(write("q.tsv", "prompt\ttarget\na cat\ta dog\n"))
    one, other = capsys.readouterr().err.splitlines()
    assert one.endswith("p.txt: 2 prompts; 1 repeated or empty left out.")
    assert other.endswith("q.tsv: 1 pair.")


@pytest.mark.parametrize("name", ["a\0b.txt", "a" * 300 + ".txt", "", "."])
def test_a_strange_name_is_no_file(name: str) -> None:
    with pytest.raises(DataError, match="no prompts at"):
        check_prompts(name)
