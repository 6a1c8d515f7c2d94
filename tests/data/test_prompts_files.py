"""Files of prompts: told by their suffix, read row by row, refused with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from efface.data.prompts import (
    check_prompts,
    read_pairs,
    read_prompts,
)
from efface.errors import DataError

Write = Callable[..., str]


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
