"""Files that are there whole or not at all, and JSON that anybody may have written (no torch)."""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from efface.errors import DataError, RequestError

MAX_BYTES = 2**26  # of a JSON file
LONGEST, DEEPEST = 19, 64  # digits of an integer; dictionaries and lists in one another


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to: it takes the place of `path` at the end.

    After an error what was there before stays, and nothing else is left.
    """
    # Processes that write the same file at once have one each.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):  # there may be no folder to clean
            part.unlink(missing_ok=True)


def require_empty(folder: Path) -> None:
    """Raise RequestError where something is in the place of a folder to write to."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(f"{folder} exists: nothing there was touched. Give another folder.")


def write_whole(path: Path, content: bytes, what: str) -> None:
    """Write a file, and the folder for it; RequestError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise RequestError(
            f"the {what} cannot be written to {path} ({error.strerror}): make it writable, or give "
            "another place."
        ) from error


def hash_file(file: Path) -> str:
    """SHA-256 of a file, which is read once in a process as long as its size and times stay."""
    state = file.stat()
    return _hash_once(file.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)


@functools.lru_cache(maxsize=4096)
def _hash_once(file: Path, size: int, changed: int, inode: int) -> str:
    del size, changed, inode
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_json(content: bytes, name: str, remedy: str) -> dict[str, Any]:
    """A JSON object in which no key stands twice; DataError where it is none, or too large."""
    try:
        if len(content) > MAX_BYTES:
            raise ValueError("too large")
        text = content.decode("utf-8")
        values = json.loads(text, object_pairs_hook=_unique, parse_int=_bounded)
        if isinstance(values, dict):
            _check_depth(values)
            return values
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not what efface writes: {remedy}.") from error
    raise DataError(f"{name} is not what efface writes: {remedy}.")


def _bounded(digits: str) -> int:
    """An integer that other programs read too, and that arithmetic with floats takes."""
    if len(digits) > LONGEST:
        raise ValueError("a number is too large")
    return int(digits)


def _check_depth(values: dict[str, Any]) -> None:
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        inside = [part.values() if isinstance(part, dict) else part for part in level]
        level = [part for parts in inside for part in parts if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError("nested too deeply")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: of the two values, readers differ in which they take."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values
