"""Prompts from files, data sets and templates (no torch)."""

import codecs
import csv
import json
import os
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from efface.data.phrases import names, same_phrase
from efface.data.tables import HUB, read_data_set
from efface.errors import DataError
from efface.progress import note

SLOT = "{}"  # where a template takes its subject
TEMPLATES = (
    "{}",
    "a photo of {}",
    "a close-up photo of {}",
    "a painting of {}",
    "a drawing of {}",
    "a portrait of {}",
    "a black and white picture of {}",
    "a picture of {} in the city",
    "a picture of {} in the countryside",
    "{} in the morning light",
)
SUBJECTS = (
    "a man", "a woman", "an old man", "a crowd of people", "a musician", "a cook", "a dog",
    "a cat", "a horse", "a bird", "a car", "a bicycle", "a boat", "a train", "a house",
    "a bridge", "a street", "a kitchen", "a chair", "a clock", "a bowl of fruit", "a cup of tea",
    "a flower", "a forest", "a mountain", "a beach",
)  # fmt: skip
# Twelve as in the paper's recipe, adults and figures alone.
PEOPLE = (
    "man", "woman", "person", "couple", "group of adults", "dancer", "athlete", "model",
    "portrait", "figure", "statue", "silhouette",
)  # fmt: skip
CONSONANTS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "st")
VOWELS = ("a", "e", "i", "o", "u", "ee", "oo", "an", "el", "ish", "on")
CAPTION = "?caption="  # behind a source, before the name of its column
PROMPT_COLUMNS = (("prompt", "caption", "text"),)
PAIR_COLUMNS = (("prompt",), ("target",))
TEXT = ("", ".txt")
CELLS = {".csv": ",", ".tsv": "\t"}  # what separates them, by suffix
TABLES = (*CELLS, ".json", ".jsonl", ".ndjson", ".parquet")
PROMPTS = f"a .txt file with one prompt per line, a table ({', '.join(TABLES)}) or {HUB}OWNER/NAME"
PAIRS = (
    f"a .txt file with a prompt, a tab and another prompt per line, or a table ({', '.join(TABLES)}"
    ") with columns prompt and target"
)
MOST_BYTES = 2**30
# The first line of a web page, a pointer to a large file, JSON over many lines, or a table.
FOREIGN = re.compile(
    r"<!doctype|<html|<\?xml|version https://git-lfs|[\[{ ]*$|(.*[,;])?(prompt|caption) *([,;]|$)",
    re.IGNORECASE,
)

Columns = Sequence[Sequence[str]]  # the names that each may have, the first that is there counts


def read_prompts(source: str, column: str | None = None) -> list[str]:
    """Prompts of a file or data set, in order, stripped of spaces and without duplicates.

    Tables have a column `prompt`, `caption` or `text`, or the `column` that is given, also as
    SOURCE?caption=NAME; a text file has one prompt per line. Of a data set the split `train` or the
    only one is read. Says how many there are. Raises DataError.
    """
    place, columns = _with_column(source, column)
    given = [row[0] for row in _read_rows(place, columns, PROMPTS)]
    prompts = list(dict.fromkeys(text.strip() for text in given if _is_visible(text)))
    if not prompts:
        raise DataError(f"{source} holds no prompt: write one per line.")
    _say_read(source, "prompt", len(prompts), len(given))
    return prompts


def check_prompts(source: str) -> None:
    """Raise DataError unless there is something to read prompts from; nothing is read."""
    place, _ = _with_column(source)
    if not place.startswith(HUB) and not os.path.isfile(place):
        raise DataError(f"no prompts at {source}: give {PROMPTS}.")
    _suffix_of(place, PROMPTS)


def has_columns(source: str) -> bool:
    """Whether prompts come from a table or a data set, by its name."""
    return source.startswith(HUB) or Path(source.partition(CAPTION)[0]).suffix.lower() not in TEXT


def read_pairs(source: str) -> list[tuple[str, str]]:
    """Pairs of a forget prompt and its target, which replaces it.

    Tables have columns `prompt` and `target`; in a text file a tab separates the two. Says how
    many there are. Raises DataError.
    """
    if source.startswith(HUB):
        raise DataError(f"pairs of prompts come from a file, which {source} is not: give {PAIRS}.")
    remedy = "write different texts under prompt and target"
    if _suffix_of(source, PAIRS) in TEXT:
        remedy = "write a prompt, a tab and another prompt that replaces it"
    rows = _read_rows(source, PAIR_COLUMNS, PAIRS)
    pairs: dict[tuple[str, str], None] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not all(map(_is_visible, row)) or same_phrase(*row):
            raise DataError(f"pair {number} of {source} cannot be read: {remedy}.")
        pairs[row[0].strip(), row[1].strip()] = None
    if not pairs:
        raise DataError(f"{source} holds no pair: {remedy}.")
    _say_read(source, "pair", len(pairs), len(rows))
    return list(pairs)


def fill_templates(templates: Iterable[str], subjects: Sequence[str]) -> list[str]:
    """Every subject in every template, without duplicates."""
    filled = (template.replace(SLOT, s) for s in subjects for template in templates)
    return list(dict.fromkeys(filled))


def gibberish(count: int, seed: int = 0, without: Sequence[str] = ()) -> list[str]:
    """Words without meaning, all different, none of `without`: one to three open syllables."""
    rng, words = random.Random(seed), dict[str, None]()
    while len(words) < count:
        syllables = (rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3)))
        word = "".join(syllables)
        if not names(word, *without):
            words[word] = None
    return list(words)


def spread(prompts: Sequence[str], count: int) -> list[str]:
    """At most `count` prompts, spread evenly over the list."""
    if len(prompts) <= count:
        return list(prompts)
    return [prompts[i * len(prompts) // count] for i in range(count)]


def _with_column(source: str, column: str | None = None) -> tuple[str, Columns]:
    """A source, and the column of its captions: that behind "?caption=", or one of the usual.

    A `column` is that of tables whose names do not say another one.
    """
    place, mark, name = source.partition(CAPTION)
    if not mark or os.path.exists(source):
        if column is None or not has_columns(source):
            return source, PROMPT_COLUMNS
        return source, ((column,),)
    if not has_columns(place):
        raise DataError(
            f"{place} is a text file without columns, and the column {name!r} was asked for: leave "
            "it out, or give a table."
        )
    return place, ((name,),)


def _suffix_of(source: str, allowed: str) -> str:
    """How the name ends, which says what the file holds; for a data set its prefix."""
    suffix = HUB if source.startswith(HUB) else Path(source).suffix.lower()
    if suffix not in (HUB, *TEXT, *TABLES):
        raise DataError(f"{source} is a {suffix} file, which is not read: give {allowed}.")
    return suffix


def _say_read(source: str, what: str, used: int, given: int) -> None:
    also = f"; {given - used} repeated or empty left out" if given > used else ""
    note(f"{source}: {used} {what if used == 1 else what + 's'}{also}.")


def _is_visible(text: str) -> bool:
    return any(c.isprintable() and not c.isspace() for c in text)


def _read_rows(source: str, columns: Columns, allowed: str) -> Sequence[Sequence[str]]:
    """The text in every column of every row."""
    suffix = _suffix_of(source, allowed)
    if suffix in (HUB, ".parquet"):
        entries = _data_set_entries(source, columns)
    elif suffix in CELLS:
        entries = _cell_entries(source, _read_text(source, allowed), CELLS[suffix])
    elif suffix in TABLES:
        entries = _json_entries(source, _read_text(source, allowed), suffix)
    else:
        lines = [line for line in _read_lines(source, allowed) if line.strip()]
        return [line.split("\t") if len(columns) > 1 else [line] for line in lines]
    return [_texts_of(entry, columns, n, source) for n, entry in enumerate(entries, start=1)]


def _texts_of(entry: Any, columns: Columns, number: int, source: str) -> Sequence[str]:
    """The text of an entry in each column; where there is but one, the entry may be the text."""
    if isinstance(entry, str) and len(columns) == 1:
        entry = {columns[0][0]: entry}
    row = entry if isinstance(entry, dict) else {}
    texts: list[Any] = [
        next((row[name] for name in group if name in row), None) for group in columns
    ]
    # JSON may write half of a character.
    if not all(isinstance(t, str) and not re.search("[\ud800-\udfff]", t) for t in texts):
        wanted = " and ".join(" or ".join(group) for group in columns)
        raise DataError(f"row {number} of {source} has no text under {wanted}: add it.")
    return texts


def _read_text(source: str, allowed: str) -> str:
    """A file's text, in UTF-8, or in UTF-16 where its first bytes say so."""
    try:
        with open(source, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise DataError(f"{source} is larger than {MOST_BYTES >> 30} GiB: give a part of it.")
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if marked else "utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 text: give {allowed}.") from error
    except OSError as error:
        what = "pairs of prompts" if allowed == PAIRS else "prompts"
        raise DataError(f"no {what} at {source} ({error.strerror}): give {allowed}.") from error
    if "\0" in text:
        raise DataError(f"{source} is not UTF-8 text: give {allowed}.")
    if "\r" in text and "\n" not in text:
        raise DataError(f"{source} ends its lines with carriage returns: end them with newlines.")
    return text


def _read_lines(source: str, allowed: str) -> list[str]:
    """The lines of a text file; DataError for a table or a page under that name."""
    text = _read_text(source, allowed)
    lines = [line.strip("\ufeff") for line in text.split("\n")]
    first = next((line.strip() for line in lines if line.strip()), "a")
    tabs = allowed == PROMPTS and "\t" in first
    if tabs or FOREIGN.match(first) or _is_json(first) or _is_json(text):
        raise DataError(
            f"{source} does not hold plain lines of text (it begins with {first[:40]!r}): name a "
            f"table by what it is, or give {allowed}."
        )
    return lines


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _cell_entries(source: str, text: str, separator: str) -> list[dict[str, str]]:
    lines = (f"{line}\n" for line in text.split("\n"))
    try:
        rows = [row for row in csv.reader(lines, delimiter=separator, strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{source} is not readable CSV ({error}): write it anew.") from error
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(f"{source} has two columns {twice[0]!r}: leave one out.")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(names):
            raise DataError(
                f"row {number} of {source} has {len(row)} cells, and the first line {len(names)}: "
                "give every row as many, and quote a text that holds what separates them."
            )
    return [dict(zip(names, row, strict=True)) for row in rows[1:]]


def _json_entries(source: str, text: str, suffix: str) -> list[Any]:
    """The entries of a list, or one per line."""
    try:
        if suffix != ".json":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        what = "is not JSON" if suffix == ".json" else "has a line that is not JSON"
        raise DataError(f"{source} {what}: write one object per line of a .jsonl file.") from error
    if not isinstance(entries, list):
        raise DataError(f"{source} holds no list: write all prompts into one.")
    return entries


def _data_set_entries(source: str, columns: Columns) -> list[dict[str, str]]:
    rows = read_data_set(source, None)
    if source.startswith(HUB):
        if "train" not in rows and len(rows) != 1:
            raise DataError(
                f"{source} has the splits {', '.join(rows) or 'none'}: give a data set with a "
                "split 'train' or with one split, or write its prompts to a file."
            )
        rows = rows["train"] if "train" in rows else next(iter(rows.values()))
    wanted = [name for group in columns for name in group if name in rows.column_names]
    if not wanted:
        named = " or ".join(columns[0])
        raise DataError(f"{source} has no column {named}: give another, or name one so.")
    entries = rows.select_columns(wanted).to_list()
    return [{name: "" if text is None else text for name, text in e.items()} for e in entries]
