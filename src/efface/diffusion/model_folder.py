"""Reads what a model folder says about itself, before any weight is loaded (no torch)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from efface.diffusion.class_networks import (
    DEFAULTS,
    UNET,
    check_class_network,
    find_network,
    labels_of,
    read_classes,
    read_names,
    unit_of,
)
from efface.diffusion.config_files import (
    LARGEST_SIDE,
    class_in,
    read_count,
    read_json,
    read_number,
    read_sides,
    read_vae,
    understanding,
)
from efface.diffusion.hub import download, download_descriptions, list_files, without_bars
from efface.diffusion.places import (
    check_average,
    find_folder,
    place_of,
    place_of_network,
    read_index,
)
from efface.diffusion.scheduler_files import KNOWN_SCHEDULERS
from efface.diffusion.text.families import TextFamily, family_of
from efface.diffusion.text.folder import (
    FLOW_SCHEDULERS,
    check_components,
    check_latents,
    check_network,
    check_tokenizers,
    encoders_in,
    weights_in,
)
from efface.diffusion.weight_files import (
    DIFFUSERS,
    TRANSFORMERS,
    check_weights,
    find_variant,
    index_name,
    names_in,
    refuse_adapters,
    refuse_lora,
    require_weights,
    weights_wanted,
)
from efface.errors import ModelError
from efface.progress import remark

NETWORK = "it describes the network"


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
    learns_variance: bool = False  # in as many further channels as the network takes
    variants: Mapping[Path, str] = field(default_factory=dict)  # in place of plain weights

    def place(self, part: str) -> Path:
        """Folder of a part of the pipeline."""
        return place_of(self.folder, part)

    @property
    def weights_folder(self) -> Path:
        """Where the network's weights lie: an average of them, where the folder has one."""
        return place_of_network(self.folder, self.component)

    @property
    def labels(self) -> tuple[int, ...]:
        """All labels; none of a model without classes."""
        return labels_of(self.num_classes or 0, self.null_label)

    @property
    def names(self) -> dict[int, str]:
        """Names of labels, where they are known."""
        return {k: name for k, name in read_names(self.index).items() if k in self.labels}


@understanding
def inspect_model(
    model: str | Path, null_label: int | None = None, size: int | None = None
) -> ModelInfo:
    """Read model_index.json and the network's config, and check the weight files' headers.

    `model` is a folder, a hub id or `zoo:NAME`; `size` the pixels of a side of its images, for
    networks that do not name it. Raises ModelError for what cannot be used.
    """
    folder = find_folder(str(model))
    on_hub = folder is None
    if folder is None:
        with without_bars():
            folder = download_descriptions(str(model))
    refuse_lora(folder)
    index = read_index(folder)
    family = family_of(index.get("_class_name"))
    if family is not None:
        check_components(index, folder, family)
        component, network_class = family.component, family.network
    else:
        component, network_class = find_network(index, folder)
    network = place_of_network(folder, component)
    config = read_json(network / "config.json", NETWORK)
    check_average(network, folder / component, config)
    classes, null = None, None
    if family is None:
        classes, null = read_classes(network_class, config, index, null_label, network)
    taken, made = config.get("in_channels"), config.get("out_channels")
    learned = isinstance(taken, int) and made == 2 * taken
    place = place_of(folder, "scheduler")
    scheduler = _read_schedule(place, class_in(index, "scheduler"), family, learned)
    info = ModelInfo(
        source=str(model),
        on_hub=on_hub,
        folder=folder,
        component=component,
        network_class=network_class,
        vae=class_in(index, "vae") is not None,
        num_classes=classes,
        null_label=null,
        default_steps=read_count(index, "default_steps", 50, folder / "model_index.json"),
        input_scale=float(read_number(index, "input_scale", 1.0, folder)),
        index=index,
        family=family,
        encoders=() if family is None else encoders_in(index, family),
        sample_size=int(read_number(index, "sample_size", 0, folder)) or None,
        learns_variance=learned,
    )
    _check_parts(info, config, scheduler)
    info = info if size is None else _sized(info, size)
    drawn_shape(info)
    info = _with_variants(info)
    _tell(info, null_label)
    if not on_hub:
        fetch_weights(info)
    return info


def _check_parts(info: ModelInfo, config: dict[str, Any], scheduler: Mapping[str, Any]) -> None:
    """Raise ModelError unless a network can be given all that it takes, by the configurations."""
    file = info.weights_folder / "config.json"
    if info.family is None:
        check_class_network(info.network_class, config, scheduler, file)
        return
    described = [info.folder / name / "config.json" for name in info.encoders]
    encoders = [read_json(path, "it describes the encoder") for path in described]
    vae = read_json(info.folder / "vae" / "config.json", "it describes the VAE")
    check_latents(info.source, info.family, config, vae)
    check_network(config, scheduler, encoders, file, info.family)
    check_tokenizers(info.index, info.folder, info.family)


def _tell(info: ModelInfo, null_label: int | None) -> None:
    """Say what was taken for granted."""
    if info.weights_folder.name == f"{info.component}_ema":
        remark(f"{info.weights_folder} holds averaged weights: they are read as the model.")
    for place, variant in info.variants.items():
        remark(
            f"{place} holds its weights only as the variant {variant!r}: they are read, and held "
            "in float32 as all others."
        )
    own = null_label if null_label is not None else info.index.get("null_label")
    if own is None and info.null_label is not None and info.network_class == UNET:
        remark(
            f"label {info.null_label} of {info.source} is the only one without a name in id2label: "
            "it is taken for the null label. Give --null-label if another is."
        )


def fetch_weights(info: ModelInfo) -> None:
    """Download the weights of a model on the hub, and check that all weight files are whole.

    Apart from `inspect_model`, so that a wrong request is found before gigabytes are fetched.
    """
    missing = missing_weights(info) if info.on_hub else []
    if missing:
        asked = f"{missing[0]} of {info.source} is not on this machine"
        download(info.source, missing, asked, info.folder.name)
        missing = missing_weights(info)
    if missing:
        # Without the network, and without a list of the files, the client says nothing of it.
        raise ModelError(
            f"{missing[0]} of {info.source} is not on this machine, and the hub cannot be "
            "reached: it may not have been downloaded. Connect to the network and try again, or "
            "give the folder of a copy that is whole."
        )
    for place, stem in _weights(info).items():
        check_weights(place, stem, info.variants.get(place))
        refuse_adapters(place, stem, info.variants.get(place))


def _weights(info: ModelInfo) -> dict[Path, str]:
    """Folders with weights that are loaded, and what their files are called."""
    stems = {info.weights_folder: DIFFUSERS}
    if info.vae:
        stems[info.place("vae")] = DIFFUSERS
    if info.family is not None:
        others = weights_in(info.index, info.family)
        stems |= {info.folder / name: TRANSFORMERS for name in others}
    return stems


def missing_weights(info: ModelInfo) -> list[str]:
    """Files of weights that a model on the hub lacks on this machine."""
    files = [
        place / name
        for place, stem in _weights(info).items()
        for name in weights_wanted(place, stem, info.variants.get(place))
    ]
    return [file.relative_to(info.folder).as_posix() for file in files if not file.is_file()]


def _with_variants(info: ModelInfo) -> ModelInfo:
    """The same model, with what its weights are read from where there are no plain ones.

    ModelError where that cannot be told, or where the hub does not have all weights, before any
    are fetched. Offline nobody knows what the hub has: then `fetch_weights` has the last word.
    """
    missing = info.on_hub and missing_weights(info)
    listed = list_files(info.source, info.folder.name) if missing else None
    if listed is not None:
        return _with_listed(info, listed)
    found = {p: find_variant(str(p), stem, names_in(p)) for p, stem in _weights(info).items()}
    return replace(info, variants={place: name for place, name in found.items() if name})


def _with_listed(info: ModelInfo, listed: Sequence[str]) -> ModelInfo:
    """The same of a model on the hub, whose files are `listed`."""
    files, found = [info.folder / name for name in listed], {}
    for place, stem in _weights(info).items():
        there = {file.name for file in files if file.parent == place}
        where = f"{'' if place == info.folder else f'{place.name} of '}{info.source}"
        variant = find_variant(where, stem, there)
        if variant is not None:
            found[place] = variant
            index = place / index_name(stem, variant)
            if index in files:
                name, asked = index.relative_to(info.folder).as_posix(), f"{index.name} of {where}"
                download(info.source, [name], f"{asked} is not on this machine", info.folder.name)
        require_weights(where, stem, weights_wanted(place, stem, variant), there, variant)
    return replace(info, variants=found)


@understanding
def sample_shape(info: ModelInfo) -> tuple[int, int, int]:
    """(C, H, W) of a sample in model space: of latents, or of images without a VAE."""
    file = info.weights_folder / "config.json"
    config = DEFAULTS.get(info.network_class, {}) | read_json(file, NETWORK)
    channels, sides = read_count(config, "in_channels", 4, file), read_sides(config, file)
    if info.family is not None and info.family.default_size is not None:  # in squares of four
        channels, sides = channels // 4, (info.family.default_size, info.family.default_size)
    if info.sample_size is not None:
        sides = (info.sample_size, info.sample_size)
    if sides is None:
        raise ModelError(
            f"{file} does not say the size of the images (sample_size is null): give their pixels "
            "with --size, or write sample_size into that file."
        )
    return channels, *sides


def drawn_shape(info: ModelInfo) -> tuple[int, int, int]:
    """(C, H, W) of the images that a model draws, decoded where it has a VAE."""
    channels, height, width = sample_shape(info)
    if not info.vae:
        return channels, height, width
    channels, factor = read_vae(info.folder)
    return channels, height * factor, width * factor


def _sized(info: ModelInfo, size: int) -> ModelInfo:
    """The same model for images of `size` x `size` pixels; ModelError where it draws none."""
    file = info.weights_folder / "config.json"
    config, packed = read_json(file, NETWORK), info.family is not None and info.family.packed
    named = read_sides(config, file) is not None and not packed
    if named or packed:
        _, height, width = drawn_shape(info)
        if (height, width) == (size, size):
            return info
        if named:
            raise ModelError(
                f"images of {size} x {size} pixels were asked for, and {info.source} makes "
                f"{height} x {width}: leave the size out."
            )
    factor = read_vae(info.folder)[1] if info.vae else 1
    unit = factor * (2 if packed else unit_of(info.network_class, config))
    if not 1 <= size <= LARGEST_SIDE or size % unit:
        raise ModelError(
            f"images of {size} x {size} pixels do not fit {info.source}: give a multiple of {unit}."
        )
    return replace(info, sample_size=size // factor, size=size)


def _read_schedule(
    place: Path, name: str | None, family: TextFamily | None, learns_variance: bool
) -> Mapping[str, Any]:
    """A scheduler's settings; ModelError where efface would have to guess or cannot sample."""
    from efface.diffusion.schedule import load_scheduler  # torch, which builds it

    known = FLOW_SCHEDULERS if family is not None and family.flow else KNOWN_SCHEDULERS
    config = load_scheduler(place, name, known).config
    wanted = str(config.get("variance_type")).startswith("learned")
    if wanted and name == "DDPMScheduler" and not learns_variance:
        raise ModelError(
            f"the scheduler in {place} takes a variance from the network "
            f"({config['variance_type']}), whose out_channels are not twice its in_channels: give "
            'the variance_type that the model was trained with, as "fixed_small".'
        )
    return config
