"""The file format of a pack: a zip archive with exactly one way to write given contents."""

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from efface.errors import DataError, RequestError
from efface.files import write_whole

MAX_BYTES = 2**29
MAX_FILES = 10_000
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip can write
MODE = stat.S_IFREG | 0o644
UNIX = 3
SHEET = re.compile(r"[A-Za-z0-9_-]{1,64}\.png")
ALLOWED = re.compile(
    r"SHA256SUMS|report\.html"
    r"|run-[1-9][0-9]{0,3}/(?:(?:record|evaluation|attacks)\.json"
    r"|(?:provenance|evaluation)\.intoto\.json"
    r"|preparation/(?:[1-9][0-9]{0,3}/)?[a-z]{1,32}\.(?:json|safetensors)"
    rf"|metrics\.jsonl|samples/(?:grid\.json|{SHEET.pattern}))"
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What was read from a pack."""

    files: dict[str, bytes]
    damaged: list[str]  # entries whose content does not fit their checksum
    canonical: bool  # whether efface would write these very bytes
    sha256: str


def to_zip(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files: sorted, nothing compressed, no time, owner or comment.

    Nothing is compressed, so that the bytes do not depend on the version of zlib, and an archive
    that is read cannot grow. Raises RequestError for more than a pack may hold.
    """
    total = sum(map(len, files.values()))
    if total > MAX_BYTES or len(files) > MAX_FILES:
        raise RequestError(
            f"a pack of {len(files)} files and {total} bytes is too large: allowed are "
            f"{MAX_FILES} files and {MAX_BYTES} bytes. Pack fewer runs at a time."
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system, info.external_attr = UNIX, MODE << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def require_new(out: Path, overwrite: bool) -> None:
    """Raise RequestError where something is at `out` that is not to be replaced."""
    if os.path.lexists(out) and not overwrite:
        raise RequestError(
            f"{out} exists: nothing there was touched. Give another file, or add --overwrite."
        )


def write_archive(files: Mapping[str, bytes], out: Path, overwrite: bool) -> str:
    """Write a pack atomically; returns its SHA-256. RequestError if `out` must not be written."""
    require_new(out, overwrite)
    content = to_zip(files)
    write_whole(out, content, "pack")
    return hashlib.sha256(content).hexdigest()


def read_archive(path: Path) -> Archive:
    """Read an archive that anybody may have written; nothing is extracted.

    Raises DataError for one that no efface can have written: names outside the pack or given
    twice, links, compressed or encrypted entries, sizes that do not fit.
    """
    content = _read_bounded(path)
    files: dict[str, bytes] = {}
    damaged: list[str] = []
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _check_entries(entries, len(content), path)
            for entry in entries:
                try:
                    files[entry.filename] = archive.read(entry)
                except (zipfile.BadZipFile, EOFError):
                    damaged.append(entry.filename)
    except (
        zipfile.BadZipFile,
        NotImplementedError,  # of zip versions and kinds of encryption
        RuntimeError,
        ValueError,
        OSError,
        EOFError,
        struct.error,
    ) as error:
        raise DataError(
            f"{path} is no readable zip archive: get the pack again from who made it."
        ) from error
    return Archive(
        files=files,
        damaged=damaged,
        canonical=not damaged and to_zip(files) == content,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _read_bounded(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"no pack at {path}: give the zip file of `efface report --pack`.")
    # Names, twice each, and headers come on top of what is packed.
    allowed = MAX_BYTES + MAX_FILES * 512
    if path.stat().st_size > allowed:
        raise DataError(f"{path} has more than {allowed} bytes, which no pack of efface has.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the file.") from error


def _check_entries(entries: list[zipfile.ZipInfo], size: int, path: Path) -> None:
    names = [entry.orig_filename for entry in entries]
    if len(names) > MAX_FILES:
        raise DataError(f"{path} holds {len(names)} files: a pack has {MAX_FILES} at most.")
    for entry, name in zip(entries, names, strict=True):
        if not ALLOWED.fullmatch(name):
            raise DataError(
                f"{path} holds {name[:80]!r}, which no pack of efface has: do not unpack it."
            )
        stored = entry.compress_type == zipfile.ZIP_STORED
        stored = stored and entry.compress_size == entry.file_size
        if entry.external_attr >> 16 != MODE or not stored or entry.flag_bits & 1:
            raise DataError(
                f"{path} holds {name!r} as something else than a plain file (a link, or what is "
                "compressed or encrypted), and efface writes nothing else."
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} holds {twice!r} twice, so that two readers may see two things.")
    if sum(entry.file_size for entry in entries) > size:
        raise DataError(f"{path} promises more bytes than it has: its entries overlap.")
