"""Files that are there whole or not at all (no torch)."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from efface.errors import RequestError


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
