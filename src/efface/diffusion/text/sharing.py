"""Which pipelines are the same but for their network, so that one VAE and one table serve both."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from efface.diffusion.config_files import read_json
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.text.folder import parts_in


def differ_in_network_alone(one: ModelInfo, other: ModelInfo) -> bool:
    """Whether two text-to-image pipelines differ in their network's weights and scheduler alone.

    What a library notes of itself in a configuration does not count. Reads all other files; raises
    ModelError for a configuration that cannot be read.
    """
    if one.family is None or other.family is None:
        return False
    return _beside_weights(one) == _beside_weights(other)


def _beside_weights(info: ModelInfo) -> dict[str, Any]:
    """What each configuration says, and the digest of each other file, by its path."""
    content: dict[str, Any] = {"model_index.json": _said(info.index, "scheduler")}
    for part in set(parts_in(info.index)) - {"scheduler"}:
        for file in filter(Path.is_file, (info.folder / part).glob("[!.]*")):
            name = f"{part}/{file.name}"
            if file.name.endswith("config.json"):
                content[name] = _said(read_json(file, "it describes a part of the model"))
            elif part != info.component:
                with file.open("rb") as stream:
                    content[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return content


def _said(content: dict[str, Any], *left_out: str) -> dict[str, Any]:
    """Without the version and the folder of the library that wrote it."""
    noted = {key for key in content if key.startswith("_") and key != "_class_name"}
    left = noted | {"transformers_version", *left_out}
    return {key: value for key, value in content.items() if key not in left}
