"""Packs that were changed by somebody, with or without sums and Statements that fit."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from efface.evidence.archive import read_archive, to_zip
from efface.evidence.compare import Verification
from efface.evidence.statements import (
    SUMS,
    files_of,
    make_statements,
    make_sums,
    read_packed,
    read_statements,
)

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
CHEAP = "none"


def subjects(found: Verification) -> set[str]:
    assert not found.good
    return {check.subject for check in found.differences}


def flipped(content: bytes, at: int = -1) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def rewritten(packed: Path, out: Path, honest: bool, **files: bytes | None) -> Path:
    """The pack with other files; with sums and statements that fit them, if it is `honest`."""
    contents = dict(read_archive(packed).files)
    for name, content in files.items():
        contents.pop(name, None)
        if content is not None:
            contents[name] = content
    if honest:
        contents = consistent(contents)
    out.write_bytes(to_zip(contents))
    return out


def consistent(contents: dict[str, bytes]) -> dict[str, bytes]:
    run = files_of("run-1", contents)
    statements = make_statements(read_packed("run-1", run, *read_statements(run)))
    contents = contents | {f"run-1/{name}": content for name, content in statements.items()}
    return contents | {SUMS: make_sums(contents)}


def changed(packed: Path, name: str, **values: Any) -> bytes:
    content = json.loads(read_archive(packed).files[name]) | values
    return (json.dumps(content, indent=2) + "\n").encode()


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=2) + "\n")
