"""Pretrained vision models of `transformers`: fetched, pinned by checksum, given images."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from torch import Tensor

from efface.diffusion.hub import asking_hub
from efface.diffusion.quiet import quiet
from efface.errors import DataError
from efface.files import hash_file

WEIGHTS = ("model.safetensors", "model-*.safetensors")
BESIDE = ("config.json", "preprocessor_config.json", "tokenizer.json", "vocab.json", "merges.txt")
FETCHED = (*WEIGHTS, *BESIDE, "model.safetensors.index.json", "tokenizer_config.json")
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError)
VISION = (
    "vision model: give a folder or hub id of `transformers` with safetensors and a "
    "preprocessor_config.json"
)


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A folder of a pretrained model, and what it is called and pinned by."""

    folder: Path
    name: str
    sha256: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Pinned:
    """A frozen network, named and pinned by checksum."""

    name: str
    sha256: str  # of weights and of what prepares the images
    network: Any

    def to(self, device: torch.device | str) -> Self:
        return replace(self, network=self.network.to(device))

    def described(self) -> dict[str, str]:
        """What a result says of its extractor."""
        return {"name": self.name, "sha256": self.sha256}


@dataclass(frozen=True, eq=False, kw_only=True)
class Pretrained(Pinned):
    """A network of `transformers` with its own image processor."""

    processor: Any

    def pixels(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1], rounded to 8 bits and prepared for the network."""
        levels = to_levels(images)
        if self.network.config.to_dict().get("num_channels") == 1:
            levels = levels.mean(1, keepdim=True).round()
        levels = levels.byte().permute(0, 2, 3, 1).cpu().numpy()
        prepared = self.processor(images=list(levels), return_tensors="pt")
        return prepared["pixel_values"].to(self.network.device)


@contextmanager
def refusing(source: str | Path, wanted: str = VISION) -> Iterator[None]:
    """Turn what libraries raise on a model they cannot read into a DataError."""
    try:
        yield
    except (*UNREADABLE, SafetensorError) as error:
        raise DataError(f"{source} is no readable ({type(error).__name__}) {wanted}.") from error


def split_pin(name: str) -> tuple[str, str | None]:
    """The name of a network, and the SHA-256 that it is pinned to: NAME or NAME@sha256:DIGEST."""
    source, _, digest = name.partition("@sha256:")
    return source, digest or None


def find_files(source: str | Path, sha256: str | None = None) -> ModelFiles:
    """Folder of a local model, or of a hub id (owner/name) after fetching it; never code.

    The digest is that of `hash_files`: weights, config, preprocessing and tokenizer. Raises
    DataError if it is not `sha256`, where that is given, if there are no safetensors, and for an
    adapter.
    """
    folder = Path(source)
    name, unless = folder.resolve().name, ""
    if not folder.is_dir():
        folder, name = _fetch(str(source)), str(source)
        unless = ", unless they were not downloaded and the hub cannot be reached"
    weights = [path for pattern in WEIGHTS for path in folder.glob(pattern)]
    if not weights:
        raise DataError(
            f"{source} has no safetensors weights{unless}: give a folder or hub id of "
            "`transformers` that has; pickles are not read."
        )
    if (folder / "adapter_config.json").exists():
        # transformers would load the model that the adapter names, which no checksum here covers.
        raise DataError(f"{source} holds an adapter: merge it into its model and give that.")
    files = [*weights, *(folder / beside for beside in BESIDE if (folder / beside).exists())]
    found = hash_files(files)
    check_digest(source, found, sha256)
    return ModelFiles(folder=folder, name=name, sha256=found)


def hash_files(files: Iterable[Path]) -> str:
    """SHA-256 over one line per file, "NAME CHECKSUM", sorted by name."""
    lines = [f"{path.name} {hash_file(path)}\n" for path in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_digest(source: str | Path, found: str, expected: str | None) -> None:
    if expected is not None and found != expected.lower():
        raise DataError(
            f"{source} has the checksum {found}, not {expected}: get the right version, or give "
            "the new checksum if it is meant."
        )


def _fetch(source: str) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source) or source.startswith("."):
        raise DataError(f"no vision model at {source}: give a folder or a hub id (owner/name).")
    from huggingface_hub import snapshot_download

    with asking_hub(f"{source} is no local folder", DataError):
        return Path(snapshot_download(source, allow_patterns=list(FETCHED)))


def find_cached(source: str) -> Path | None:
    """The folder of a hub id (owner/name) that was fetched before; None where it was not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(source, allow_patterns=list(FETCHED), local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def load_parts(kind: Any, files: ModelFiles, spare: str = "") -> dict[str, Any]:
    """The fields of a `Pretrained`: a frozen model of an auto or model class in float32.

    Its image processor is in the form that needs PIL alone. ValueError for weights of other shapes,
    or that lack. The part `spare` may lack, and is left out then, as it would be random.
    """
    from transformers import AutoImageProcessor

    with quiet():
        network, found = kind.from_pretrained(
            files.folder,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
    wrong = [name for name, *_ in found["mismatched_keys"]]
    if wrong:
        raise ValueError(f"weights of other shapes: {wrong[0]}")
    missing = set(found["missing_keys"])
    if spare and missing and all(name.startswith(f"{spare}.") for name in missing):
        setattr(network, spare, None)
    elif missing:
        raise ValueError(f"weights lack: {sorted(missing)[0]}")
    if not all(weight.isfinite().all() for weight in network.state_dict().values()):
        raise ValueError("weights that are not finite numbers")
    processor = AutoImageProcessor.from_pretrained(
        files.folder, trust_remote_code=False, backend="pil"
    )
    return {
        "name": files.name,
        "sha256": files.sha256,
        "network": network.eval().requires_grad_(False),
        "processor": processor,
    }


def to_levels(images: Tensor) -> Tensor:
    """Images (B, C, H, W) in [0, 1] as colour at the 256 levels: (B, 3, H, W), 0 to 255.

    One channel is repeated. Raises DataError for other numbers of channels than 1 and 3, and for
    images outside of [0, 1].
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        raise DataError(f"images have {channels} channels: only grey and colour ones can be seen.")
    if not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise DataError("an image has values outside of [0, 1]: scale or clamp them first.")
    return images.clamp(0, 1).mul(255).round().expand(-1, 3, -1, -1)
