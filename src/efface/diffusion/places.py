"""Where models lie, and their parts: in subfolders, at the root or averaged beside (no torch)."""

import re
from pathlib import Path
from typing import Any

from efface.diffusion.class_networks import DIT, NETWORK_CLASSES
from efface.diffusion.config_files import read_json
from efface.diffusion.weight_files import PICKLE_SUFFIXES
from efface.errors import ModelError

ZOO = Path(__file__).parent.parent / "zoo"
INDEX = (
    "a diffusers pipeline folder has one; for a LoRA or other single weights give the whole base "
    "model"
)
SCHEDULER = (
    "it says with what noise the network was trained; give the folder of the whole pipeline, not "
    "that of its network"
)


def find_folder(model: str) -> Path | None:
    """Folder of a local model or a `zoo:NAME`; None for what can only be a hub id."""
    if model.startswith("zoo:"):
        name = model.removeprefix("zoo:")
        known = sorted(p.parent.name for p in ZOO.glob("*/model_index.json"))
        if name not in known:
            raise ModelError(
                f"zoo:{name} does not ship with efface: there is zoo:{', zoo:'.join(known)}."
            )
        return ZOO / name
    folder = Path(model)
    if folder.is_dir():
        # A run folder stands for the pipeline that it holds.
        inner = folder / "pipeline"
        return inner if (inner / "model_index.json").exists() else folder
    if folder.suffix in PICKLE_SUFFIXES:
        raise ModelError(
            f"{model} is a pickle, which can run code when it is opened: only safetensors are "
            "read. Convert it to a diffusers folder first."
        )
    if folder.suffix == ".safetensors" and folder.exists():
        raise ModelError(
            f"no model at {model}, but a file of weights: give the folder of a diffusers pipeline, "
            "for a LoRA the base model that it was made for; `efface convert` makes one of a whole "
            "checkpoint."
        )
    if folder.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        raise ModelError(
            f"no model at {model}: give a diffusers pipeline folder, a hub id (owner/name) "
            "or zoo:NAME."
        )
    return None


def place_of(folder: Path, part: str) -> Path:
    """Folder of a part: its subfolder, or the root where there is none, as diffusers takes it."""
    described = "scheduler_config.json" if part == "scheduler" else "config.json"
    at_root = not (folder / part).is_dir() and (folder / described).is_file()
    return folder if at_root else folder / part


def place_of_network(folder: Path, component: str) -> Path:
    """Folder of the network: an average of its weights, where there is one."""
    average = folder / f"{component}_ema"
    return average if average.is_dir() else place_of(folder, component)


def read_index(folder: Path) -> dict[str, Any]:
    """model_index.json, or what stands for it where network and scheduler lie at the root.

    ModelError for a folder that has neither.
    """
    if not (folder / "model_index.json").exists() and (folder / "config.json").is_file():
        kind = read_json(folder / "config.json", "it describes the network").get("_class_name")
        if kind in NETWORK_CLASSES:
            scheduler = read_json(folder / "scheduler_config.json", SCHEDULER).get("_class_name")
            return {
                "_class_name": "DDPMPipeline" if scheduler == "DDPMScheduler" else "DDIMPipeline",
                "transformer" if kind == DIT else "unet": ["diffusers", kind],
                "scheduler": ["diffusers", scheduler],
            }
    return read_json(folder / "model_index.json", INDEX)


def check_average(average: Path, own: Path, config: dict[str, Any]) -> None:
    """Raise ModelError where an average is that of another network than the one beside it.

    `config` is the average's; what it alone says is how it was made.
    """
    if average != own and (own / "config.json").is_file():
        other = read_json(own / "config.json", "it describes the network")
        differing = [k for k in other if k in config and k[:1] != "_" and other[k] != config[k]]
        if differing:
            raise ModelError(
                f"{average} and {own} differ in {differing[0]}, so they are not the same network: "
                "remove the one that is not the model."
            )


def find_here(model: str) -> Path | None:
    """The folder of a model that a record names; None where it is not, or no longer, here."""
    try:
        return find_folder(model)
    except (ModelError, OSError):
        return None
