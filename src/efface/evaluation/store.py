"""Measurements kept by what they were made of, so that none is made twice or reused when stale."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import PIL
import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from efface.files import whole_file

PROTOCOL = 2  # raised when a measurement of the same name comes to mean something else
LIMIT_BYTES = 2 << 30  # the oldest go when a store grows beyond
Arrays = dict[str, np.ndarray]


def digest(key: Mapping[str, Any]) -> str:
    """SHA-256 of a key's JSON, with versions of the protocol and of what draws, reads and looks."""
    versions = {
        "protocol": PROTOCOL,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "pillow": PIL.__version__,
    }
    return hashlib.sha256(json.dumps([key, versions], sort_keys=True).encode()).hexdigest()


def digest_of_json(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def digest_of_array(values: np.ndarray) -> str:
    header = f"{values.dtype}{values.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(values).tobytes()).hexdigest()


class Store:
    """A folder of arrays, one file per key; without a folder nothing is kept, nor without a key.

    What cannot be read counts as missing and what cannot be written is not kept: the store only
    ever saves time.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: Mapping[str, Any] | None) -> Arrays | None:
        if self.folder is None or key is None:
            return None
        path = self._path(key)
        try:
            with safe_open(path, "np") as file:
                if (file.metadata() or {}).get("key") != json.dumps(key, sort_keys=True):
                    return None
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            os.utime(path)
        except (OSError, SafetensorError, ValueError):
            return None
        return found

    def put(self, key: Mapping[str, Any] | None, arrays: Arrays) -> None:
        if self.folder is None or key is None:
            return
        path = self._path(key)
        with contextlib.suppress(OSError, SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
            with whole_file(path) as part:
                save_file(kept, part, metadata={"key": json.dumps(key, sort_keys=True)})
            self._prune()

    def measured(self, key: Mapping[str, Any] | None, compute: Callable[[], Arrays]) -> Arrays:
        """What was kept under `key`, or computed now; None is the key of what has no name."""
        found = self.get(key)
        if found is None:
            found = compute()
            self.put(key, found)
        return found

    def _path(self, key: Mapping[str, Any]) -> Path:
        assert self.folder is not None
        return self.folder / f"{digest(key)}.safetensors"

    def _prune(self) -> None:
        assert self.folder is not None
        found = [(file.stat(), file) for file in self.folder.glob("*.safetensors")]
        size = sum(stat.st_size for stat, _ in found)
        for stat, file in sorted(found, key=lambda pair: pair[0].st_mtime):
            if size <= LIMIT_BYTES:
                return
            file.unlink(missing_ok=True)
            size -= stat.st_size


def user_store() -> Store:
    """`EFFACE_CACHE` names the folder, "off" keeps nothing; default: the user's cache folder."""
    given = os.environ.get("EFFACE_CACHE")
    if given == "off":
        return Store(None)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Store(Path(given) if given else base / "efface")
