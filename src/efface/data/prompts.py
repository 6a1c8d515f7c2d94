"""Prompts from files, data sets and templates; phrases found and replaced in them (no torch)."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from efface.data.tables import HUB, read_data_set
from efface.errors import DataError

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
PROMPT_COLUMNS = ("prompt", "caption", "text")
PAIR_COLUMNS = ("prompt", "target")
PROMPTS = f"a UTF-8 text file with one prompt per line, a .csv or .jsonl file, or {HUB}OWNER/NAME"
PAIRS = (
    "a UTF-8 text file with a prompt, a tab and another prompt per line, or a .csv or .jsonl file "
    "with columns prompt and target"
)


def read_prompts(source: str) -> list[str]:
    """Prompts of a file or data set, in order, stripped of spaces and without duplicates.

    A .csv or .jsonl file, or `datasets:OWNER/NAME`, has a column `prompt`, `caption` or `text`;
    any other file has one prompt per line. Of a data set the split `train` or the only one is read.
    Raises DataError.
    """
    if source.startswith(HUB):
        found = _read_column(source)
    elif source.endswith((".csv", ".jsonl")):
        found = [row[0] for row in _read_rows(source, [PROMPT_COLUMNS], PROMPTS)]
    else:
        found = _read_text(source, PROMPTS).splitlines()
    prompts = list(dict.fromkeys(p.strip() for p in found if p.strip()))
    if not prompts:
        raise DataError(f"{source} holds no prompt: write one per line.")
    return prompts


def check_prompts(source: str) -> None:
    """Raise DataError unless there is something to read prompts from; nothing is read."""
    if not source.startswith(HUB) and not Path(source).is_file():
        raise DataError(f"no prompts at {source}: give {PROMPTS}.")


def read_pairs(source: str) -> list[tuple[str, str]]:
    """Pairs of a forget prompt and its target, which replaces it.

    A .csv or .jsonl file has columns `prompt` and `target`; in any other file a tab separates the
    two. Raises DataError.
    """
    if source.startswith(HUB):
        raise DataError(f"pairs of prompts come from a file, which {source} is not: give {PAIRS}.")
    in_columns = source.endswith((".csv", ".jsonl"))
    if in_columns:
        rows = _read_rows(source, [(name,) for name in PAIR_COLUMNS], PAIRS)
    else:
        lines = [line for line in _read_text(source, PAIRS).splitlines() if line.strip()]
        rows = [line.split("\t") for line in lines]
    remedy = (
        "write different texts under prompt and target"
        if in_columns
        else "write a prompt, a tab and another prompt that replaces it"
    )
    pairs = [tuple(part.strip() for part in row) for row in rows]
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2 or not all(pair) or pair[0] == pair[1]:
            raise DataError(f"pair {number} of {source} cannot be read: {remedy}.")
    if not pairs:
        raise DataError(f"{source} holds no pair: {remedy}.")
    return [(prompt, target) for prompt, target in pairs]


def fill_templates(templates: Iterable[str], subjects: Sequence[str]) -> list[str]:
    """Every subject in every template, without duplicates."""
    filled = (template.replace(SLOT, s) for s in subjects for template in templates)
    return list(dict.fromkeys(filled))


def gibberish(count: int, seed: int = 0) -> list[str]:
    """Words without meaning, all different: one to three open syllables."""
    rng, words = random.Random(seed), dict[str, None]()
    while len(words) < count:
        syllables = (rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3)))
        words["".join(syllables)] = None
    return list(words)


def spread(prompts: Sequence[str], count: int) -> list[str]:
    """At most `count` prompts, spread evenly over the list."""
    if len(prompts) <= count:
        return list(prompts)
    return [prompts[i * len(prompts) // count] for i in range(count)]


def names(prompt: str, *phrases: str) -> bool:
    """Whether a prompt holds one of the phrases as whole words, in any case."""
    return _pattern(phrases).search(prompt) is not None


def replace_phrase(prompt: str, phrases: Sequence[str], replacement: str) -> str:
    """The prompt with `replacement` for each of `phrases`, as whole words."""
    return _pattern(phrases).sub(lambda _: replacement, prompt)


def _pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """Any of the phrases; where one begins with another, the longer is found."""
    words = [r"\s+".join(map(re.escape, phrase.split())) for phrase in phrases]
    any_of_them = "|".join(sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{any_of_them})(?!\w)", re.IGNORECASE)


def _read_text(source: str, allowed: str) -> str:
    try:
        return Path(source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 text: give {allowed}.") from error
    except OSError as error:
        what = "pairs of prompts" if allowed == PAIRS else "prompts"
        raise DataError(f"no {what} at {source} ({error.strerror}): give {allowed}.") from error


def _read_rows(source: str, columns: Sequence[Sequence[str]], allowed: str) -> list[list[str]]:
    """One text per row and group of columns: that of the group's first column that exists."""
    text = _read_text(source, allowed)
    rows: list[Any]
    if source.endswith(".csv"):
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        except csv.Error as error:
            raise DataError(f"{source} is not readable CSV ({error}): write it anew.") from error
    else:
        rows = [_read_line(line, source) for line in text.split("\n") if line.strip()]
    found = []
    for number, row in enumerate(rows, start=1):
        content = row if isinstance(row, dict) else {}
        texts = [next((content[n] for n in group if n in content), None) for group in columns]
        if not all(isinstance(text, str) for text in texts):
            wanted = " and ".join(" or ".join(group) for group in columns)
            raise DataError(f"row {number} of {source} has no text under {wanted}: add it.")
        found.append(texts)
    return found


def _read_line(line: str, source: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(
            f"{source} has a line that is not JSON: write one object per line."
        ) from error


def _read_column(source: str) -> list[str]:
    splits = read_data_set(source, None)
    if "train" not in splits and len(splits) != 1:
        raise DataError(
            f"{source} has the splits {', '.join(splits) or 'none'}: give a data set with a split "
            "'train' or with one split, or write its prompts to a file."
        )
    rows = splits["train"] if "train" in splits else next(iter(splits.values()))
    column = next((name for name in PROMPT_COLUMNS if name in rows.column_names), None)
    if column is None:
        raise DataError(f"{source} has no column {' or '.join(PROMPT_COLUMNS)}: give another.")
    return [text for text in rows[column][:] if isinstance(text, str)]
