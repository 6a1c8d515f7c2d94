"""Reads what a model folder says about itself, before any weight is loaded (no torch)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from efface.diffusion.class_networks import find_network, read_classes
from efface.diffusion.config_files import (
    class_in,
    read_json,
    read_number,
    read_vae,
    understanding,
)
from efface.diffusion.hub import asking_hub, hub_errors, without_bars
from efface.diffusion.text.families import TextFamily, family_of
from efface.diffusion.text.folder import (
    FLOW_SCHEDULERS,
    check_components,
    check_latents,
    check_network,
    check_tokenizers,
    encoders_in,
    parts_in,
    weights_in,
)
from efface.diffusion.weight_files import (
    DIFFUSERS,
    PICKLE_SUFFIXES,
    TRANSFORMERS,
    check_weights,
    index_name,
    refuse_lora,
    require_weights,
    weights_wanted,
)
from efface.errors import ModelError

# Schedulers whose `alphas_cumprod` is the schedule the network was trained with.
KNOWN_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
# What of a component's folder is read beside its weights; a .model file is sentencepiece's, no
# pickle. Nothing else is asked for: offline, the hub's client takes a file that was never
# downloaded for a hole in the model.
DESCRIPTIONS = (
    *("config.json", "scheduler_config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model"),
    *map(index_name, (DIFFUSERS, TRANSFORMERS)),
)
INDEX = (
    "a diffusers pipeline folder has one; for a LoRA or other single weights give the whole base "
    "model"
)
ZOO = Path(__file__).parent.parent / "zoo"


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What the JSON files of a diffusers pipeline folder say.

    `family` is that of a text-to-image model, None for all others; `encoders` are the subfolders
    of its text encoders. `sample_size` is its latents' height where the network does not say it,
    and `size` that of its images, where one was asked for that it does not draw by itself.
    """

    source: str  # as the user named it
    on_hub: bool
    folder: Path
    component: str  # subfolder of the network
    network_class: str
    vae: bool
    num_classes: int | None  # None: unconditional
    null_label: int | None
    default_steps: int
    input_scale: float
    index: dict[str, Any]
    family: TextFamily | None = None
    encoders: tuple[str, ...] = ()
    sample_size: int | None = None
    size: int | None = None

    @property
    def weights_folder(self) -> Path:
        """Where the network's weights lie: an average of them, where the folder has one."""
        average = self.folder / f"{self.component}_ema"
        return average if average.is_dir() else self.folder / self.component


@understanding
def inspect_model(
    model: str | Path, null_label: int | None = None, size: int | None = None
) -> ModelInfo:
    """Read model_index.json and the network's config, and check the weight files' headers.

    `model` is a folder, a hub id or `zoo:NAME`; `size` the pixels of a side of its images, for
    networks that do not name it (FLUX). Raises ModelError for what cannot be used.
    """
    folder = find_folder(str(model))
    on_hub = folder is None
    if folder is None:
        with without_bars():
            folder = _download_descriptions(str(model))
    refuse_lora(folder)
    index = read_json(folder / "model_index.json", INDEX)
    family = family_of(index.get("_class_name"))
    if family is not None:
        check_components(index, folder, family)
        component, network_class = family.component, family.network
    else:
        component, network_class = find_network(index, folder)
    config = read_json(folder / component / "config.json", "it describes the network")
    if family is not None:
        check_network(config, folder, family)
        vae = read_json(folder / "vae" / "config.json", "it describes the VAE")
        check_latents(str(model), family, config, vae)
        check_tokenizers(index, folder, family)
        classes, null = None, None
    else:
        classes, null = read_classes(network_class, config, index, null_label)
    known = FLOW_SCHEDULERS if family is not None and family.flow else KNOWN_SCHEDULERS
    check_scheduler(class_in(index, "scheduler"), known)
    info = ModelInfo(
        source=str(model),
        on_hub=on_hub,
        folder=folder,
        component=component,
        network_class=network_class,
        vae=bool(index.get("vae")),
        num_classes=classes,
        null_label=null,
        default_steps=int(read_number(index, "default_steps", 50, folder)),
        input_scale=float(read_number(index, "input_scale", 1.0, folder)),
        index=index,
        family=family,
        encoders=() if family is None else encoders_in(index, family),
        sample_size=int(read_number(index, "sample_size", 0, folder)) or None,
    )
    if size is not None:
        info = _sized(info, size)
    if on_hub:
        _check_listed(info)
    else:
        fetch_weights(info)
    return info


def fetch_weights(info: ModelInfo) -> None:
    """Download the weights of a model on the hub, and check that all weight files are whole.

    Apart from `inspect_model`, so that a wrong request is found before gigabytes are fetched.
    """
    missing = _missing_weights(info) if info.on_hub else []
    if missing:
        asked = f"{missing[0]} of {info.source} is not on this machine"
        _download(info.source, missing, asked, info.folder.name)
        missing = _missing_weights(info)
    if missing:
        # Without the network, and without a list of the files, the client says nothing of it.
        raise ModelError(
            f"{missing[0]} of {info.source} is not on this machine, and the hub cannot be "
            "reached: it may not have been downloaded. Connect to the network and try again, or "
            "give the folder of a copy that is whole."
        )
    for subfolder, stem in _weights(info).items():
        check_weights(info.folder / subfolder, stem)


def _weights(info: ModelInfo) -> dict[str, str]:
    """Subfolders with weights, and what their files are called."""
    stems = dict.fromkeys((info.component, f"{info.component}_ema", "vae"), DIFFUSERS)
    if info.family is not None:
        stems |= dict.fromkeys(weights_in(info.index, info.family), TRANSFORMERS)
    return {
        subfolder: stem
        for subfolder, stem in stems.items()
        if subfolder in info.index or (info.folder / subfolder).is_dir()
    }


def _missing_weights(info: ModelInfo) -> list[str]:
    """Files of weights that a model on the hub lacks on this machine."""
    names = [
        f"{subfolder}/{name}"
        for subfolder, stem in _weights(info).items()
        for name in weights_wanted(info.folder / subfolder, stem)
    ]
    return [name for name in names if not (info.folder / name).is_file()]


def _check_listed(info: ModelInfo) -> None:
    """Raise ModelError where the hub does not have all weights, before any are fetched.

    Offline nobody knows: then `fetch_weights` has the last word.
    """
    if not _missing_weights(info):
        return
    from huggingface_hub import HfApi

    try:
        listed = HfApi().list_repo_files(info.source, revision=info.folder.name)
    except hub_errors():
        return
    for subfolder, stem in _weights(info).items():
        wanted = weights_wanted(info.folder / subfolder, stem)
        here = {n.removeprefix(f"{subfolder}/") for n in listed if n.startswith(f"{subfolder}/")}
        require_weights(f"{subfolder} of {info.source}", stem, wanted, here)


@understanding
def sample_shape(info: ModelInfo) -> tuple[int, int, int]:
    """(C, H, W) of a sample in model space: of latents, or of images without a VAE."""
    config = read_json(info.folder / info.component / "config.json", "it describes the network")
    size, channels = config.get("sample_size"), config.get("in_channels")
    if info.family is not None and info.family.default_size is not None and channels:
        size, channels = info.sample_size or info.family.default_size, channels // 4
    match (channels, *size) if isinstance(size, list) else (channels, size, size):
        case (int(channels), int(height), int(width)):
            return channels, height, width
    raise ModelError(
        f"{info.folder / info.component} does not say the size of its images: sample_size is "
        f"{size!r} and in_channels {channels!r}."
    )


def drawn_shape(info: ModelInfo) -> tuple[int, int, int]:
    """(C, H, W) of the images that a model draws, decoded where it has a VAE."""
    channels, height, width = sample_shape(info)
    if not info.vae:
        return channels, height, width
    channels, factor = read_vae(info.folder)
    return channels, height * factor, width * factor


def _sized(info: ModelInfo, size: int) -> ModelInfo:
    """The same model for images of `size` x `size` pixels; ModelError where it draws none."""
    _, height, width = drawn_shape(info)
    if (height, width) == (size, size):
        return info
    if info.family is None or info.family.default_size is None:
        raise ModelError(
            f"images of {size} x {size} pixels were asked for, and {info.source} makes {height} "
            f"x {width}: leave the size out."
        )
    _, factor = read_vae(info.folder)
    if size < 1 or size % (2 * factor):  # the network takes latents in squares of four
        raise ModelError(
            f"images of {size} x {size} pixels do not fit {info.source}: give a multiple of "
            f"{2 * factor}."
        )
    return replace(info, sample_size=size // factor, size=size)


def check_scheduler(name: str | None, known: tuple[str, ...] = KNOWN_SCHEDULERS) -> None:
    """Raise ModelError for a scheduler whose noise levels efface would have to guess."""
    if name not in known:
        raise ModelError(
            f"the scheduler {name} is not known to efface: allowed are "
            f"{', '.join(known)}. Save the pipeline with the one of these whose betas "
            "the model was trained with."
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
            f"no model at {model}, but a file of weights, a LoRA perhaps: give the folder of a "
            "diffusers pipeline, for a LoRA the base model that it was made for."
        )
    if folder.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", model) or model.startswith("."):
        raise ModelError(
            f"no model at {model}: give a diffusers pipeline folder, a hub id (owner/name) "
            "or zoo:NAME."
        )
    return None


def _download_descriptions(model: str) -> Path:
    """The files that say what a hub model is, of the parts that it names alone."""
    names = ["model_index.json", "adapter_config.json"]
    folder = _download(model, names, f"{model} is no local folder")
    if not (folder / "model_index.json").exists():
        return folder  # which is refused for it
    index = read_json(folder / "model_index.json", "a diffusers pipeline folder has one")
    parts = [*parts_in(index), *(f"{part}_ema" for part in ("unet", "transformer"))]
    names = [f"{part}/{name}" for part in parts for name in DESCRIPTIONS]
    asked = f"the description of {model} is not whole on this machine"
    return _download(model, names, asked, folder.name)


def _download(model: str, names: list[str], asked: str, commit: str | None = None) -> Path:
    """Files of a hub model, never code and never pickles; returns the folder.

    `asked` begins the sentence that says that they cannot be had.
    """
    from huggingface_hub import snapshot_download

    with asking_hub(asked, ModelError):
        return Path(snapshot_download(model, allow_patterns=names, revision=commit))
