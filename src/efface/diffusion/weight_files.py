"""Files of weights: checked by names, sizes and headers before any is loaded, hashed (no torch)."""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from efface.diffusion.config_files import read_json
from efface.errors import ModelError
from efface.files import hash_file

# What a component's weights are called, by the library that loads it.
DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Files of any other variant (fp16, bf16, ema), of a shard of it, or its index.
OTHER_VARIANTS = tuple(
    f"{stem}{rest}"
    for stem in (DIFFUSERS, TRANSFORMERS)
    for rest in (
        ".?*.safetensors",
        "-*.?*.safetensors",
        ".safetensors.index.?*.json",
        ".safetensors.?*.index.json",
        ".?*.safetensors.index.json",
    )
)
AT_ROOT = f"{DIFFUSERS}*.safetensors"  # of a network that lies beside model_index.json
# In the names of weights beside which, or into which, adapters were put.
LORA_NAMES = re.compile(r"\.base_layer\.|\.lora_|_lora\.|\.lora\.(up|down)\.")
LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_config.json")


def check_weights(folder: Path, stem: str, variant: str | None = None) -> None:
    """Raise ModelError unless all weights are there and whole (headers against sizes)."""
    wanted = weights_wanted(folder, stem, variant)
    require_weights(str(folder), stem, wanted, names_in(folder), variant)
    for name in wanted:
        _check_header(folder / name)


def index_name(stem: str, variant: str | None = None) -> str:
    """The file that says which shard holds which weights."""
    return f"{stem}.safetensors.index{_dotted(variant)}.json"


def file_name(stem: str, variant: str | None = None) -> str:
    """The file of weights that are not sharded."""
    return f"{stem}{_dotted(variant)}.safetensors"


def _dotted(variant: str | None) -> str:
    return "" if variant is None else f".{variant}"


def plain_name(name: str, variant: str) -> str:
    """What a file of a variant is called without it."""
    return name.replace(f".{variant}", "", 1)


def names_in(folder: Path) -> set[str]:
    """Names of the files of a folder."""
    return {path.name for path in folder.glob("*") if path.is_file()}


def find_variant(where: str, stem: str, there: Collection[str]) -> str | None:
    """The variant that weights are read from: the only one `there` where none are plain.

    ModelError where there are several.
    """
    found = _variants(stem, there)
    if len(found) > 1:
        listed = f"{', '.join(map(repr, found[:-1]))} and {found[-1]!r}"
        raise ModelError(
            f"{where} holds the variants {listed} of its weights, and no plain ones, so it is not "
            f"known which is the model: remove all but one, or add {file_name(stem)}."
        )
    return found[0] if found else None


def _variants(stem: str, there: Collection[str]) -> list[str]:
    """Variants of weights that are `there` in place of plain ones."""
    plain = re.compile(rf"{stem}(-\d+-of-\d+)?\.safetensors")
    if any(map(plain.fullmatch, there)):
        return []
    # The number of a shard stands after the variant, in older releases before it.
    named = re.compile(rf"{stem}(?:-\d+-of-\d+)?\.([\w-]+?)(?:-\d+-of-\d+)?\.safetensors")
    return sorted({match[1] for match in map(named.fullmatch, there) if match})


def weights_wanted(folder: Path, stem: str, variant: str | None = None) -> list[str]:
    """Names of the files that a component is loaded from: one, or all that its index names.

    Where both are there, transformers takes the one file, and diffusers the index.
    """
    whole, index = file_name(stem, variant), folder / index_name(stem, variant)
    if not index.is_file() or (stem == TRANSFORMERS and (folder / whole).is_file()):
        return [whole]
    weights = read_json(index, "it says which file holds which weights").get("weight_map")
    names = sorted(set(map(str, weights.values()))) if isinstance(weights, dict) else []
    if not names or not all(re.fullmatch(r"[\w.-]+\.safetensors", name) for name in names):
        raise ModelError(
            f"{index} does not say which .safetensors files beside it hold the weights: copy or "
            "download the model again."
        )
    return names


def require_weights(
    where: str,
    stem: str,
    wanted: Sequence[str],
    there: Collection[str],
    variant: str | None = None,
) -> None:
    """Raise ModelError, which says what is `there` instead, unless all `wanted` files are."""
    missing = [name for name in wanted if name not in there]
    if not missing:
        return
    whole, index, names = file_name(stem, variant), index_name(stem, variant), sorted(there)
    if missing[0] != whole:
        raise ModelError(
            f"{where} lacks {missing[0]}, which its {index} names: copy or download the model "
            "again."
        )
    for name in names:
        if re.fullmatch(rf"{stem}.*-\d+-of-\d+.*\.safetensors", name):
            raise ModelError(
                f"{where} holds {name} and no {index}, which names all shards: copy or download "
                "the model again."
            )
        if name.endswith(PICKLE_SUFFIXES):
            raise ModelError(
                f"{where} holds {name}, a pickle, which can run code when it is opened: only "
                "safetensors are read. Save the model with safe_serialization=True."
            )
    raise ModelError(f"{where} holds no weights: a .safetensors file is needed, {whole}.")


def refuse_lora(folder: Path) -> None:
    """Raise ModelError for a folder of LoRA weights alone."""
    found = [name for name in LORA_FILES if (folder / name).exists()]
    if found and not (folder / "model_index.json").exists():
        raise ModelError(
            f"{folder} holds a LoRA ({found[0]}), no whole model: give the base model that it was "
            "made for."
        )


def refuse_adapters(folder: Path, stem: str, variant: str | None = None) -> None:
    """Raise ModelError for weights that were saved while a LoRA was attached to them."""
    for file in weights_wanted(folder, stem, variant):
        with safe_open(folder / file, framework="numpy") as tensors:
            lora = next(filter(LORA_NAMES.search, tensors.keys()), None)
        if lora is not None:
            raise ModelError(
                f"{folder / file} was saved while a LoRA was attached to it ({lora}): load the "
                "pipeline, call fuse_lora() and unload_lora_weights(), then save it."
            )


def _check_header(file: Path) -> None:
    """Raise ModelError where a header does not fit the file that it begins."""
    try:
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file} is truncated or no safetensors file ({error}): copy or download it again."
        ) from error


def hash_weights(folder: Path) -> dict[str, str]:
    """SHA-256 of every safetensors file of a model folder, by its relative path.

    A judge beside the model is no part of it, nor are variants (model.fp16.safetensors) that are
    not read and may have been fetched or not.
    """
    files = sorted([*folder.glob(AT_ROOT), *folder.glob("*/*.safetensors")])
    return {
        file.relative_to(folder).as_posix(): hash_file(file)
        for file in _without_unread(files)
        if file.parent.name != "judge"
    }


def _without_unread(files: Sequence[Path]) -> list[Path]:
    """All but variants that are not read."""
    read = {
        (folder, stem): _variants(stem, names_in(folder))
        for folder in {file.parent for file in files}
        for stem in (DIFFUSERS, TRANSFORMERS)
    }
    return [
        file
        for file in files
        if (variant := _variant_in(file.name)) is None
        or read.get((file.parent, re.split(r"[-.]", file.name)[0])) == [variant]
    ]


def _variant_in(name: str) -> str | None:
    """The variant that a file is of, as model.fp16.safetensors is; None for plain ones."""
    before, weights, after = name.partition(".safetensors")
    if not weights:
        return None
    own = re.sub(r"-\d+-of-\d+", "", before).partition(".")[2]
    return own or after.removeprefix(".index").removesuffix(".json").strip(".") or None


def hash_model(folder: Path) -> str:
    """One SHA-256 over all that a model folder draws with: weights, configurations, vocabularies.

    Its judge, its card and hidden files are no part of it.
    """
    files = [*folder.glob("*.json"), *folder.glob("*.py"), *folder.glob("*/*")]
    files += folder.glob(AT_ROOT)
    parts = [
        [file.relative_to(folder).as_posix(), hash_file(file)]
        for file in _without_unread(sorted(filter(Path.is_file, files)))
        if file.parent.name != "judge"
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
