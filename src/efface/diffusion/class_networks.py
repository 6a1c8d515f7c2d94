"""Networks of class-conditional and unconditional models, by their configurations (no torch)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from efface.diffusion.config_files import class_in, is_count, read_count, read_sides
from efface.diffusion.text.families import PIPELINES
from efface.errors import ModelError

UNET, DIT = "UNet2DModel", "DiTTransformer2DModel"
NETWORK_CLASSES = (UNET, DIT)
# What diffusers takes where a configuration leaves it out.
DEFAULTS: dict[str, dict[str, Any]] = {
    UNET: {"in_channels": 3, "out_channels": 3, "block_out_channels": [224, 448, 672, 896]},
    DIT: {"in_channels": 4, "num_embeds_ada_norm": 1000, "patch_size": 2, "sample_size": 32},
}
# Numbers that are read as late as in a pass, and the largest that makes sense.
NUMBERS = {"freq_shift": 1, "mid_block_scale_factor": 100, "norm_eps": 1, "dropout": 1}
NUMBERS |= {"downsample_padding": 1}
COUNTS = ("attention_head_dim", "attn_norm_num_groups", "layers_per_block", "norm_num_groups")
TIMESTEPS = "num_train_timesteps"
LEARNED = ("learned", "learned_range")  # variances that a network returns in further channels


def find_network(index: dict[str, Any], folder: Path) -> tuple[str, str]:
    """Subfolder and class of the network of a pipeline without prompts; ModelError for others."""
    if "vqvae" in index:
        raise ModelError(f"{folder} has a VQ-VAE: efface works on pixels and on AutoencoderKL.")
    for component in ("unet", "transformer"):
        kind = class_in(index, component)
        if kind in NETWORK_CLASSES:
            return component, kind
        if kind is not None:
            raise ModelError(
                f"{folder} holds a {kind}: efface works on {' and '.join(NETWORK_CLASSES)}, and on "
                f"the pipelines {', '.join(PIPELINES)}."
            )
    raise ModelError(
        f"{folder}/model_index.json names no unet and no transformer: give a diffusers pipeline."
    )


def check_class_network(
    kind: str, config: dict[str, Any], scheduler: Mapping[str, Any], file: Path
) -> None:
    """Raise ModelError for a network that takes more than a noisy image, a timestep and a label.

    `config` is read from `file`, `scheduler` is the configuration of the pipeline's scheduler.
    """
    config = DEFAULTS[kind] | config
    check_channels(config, scheduler, file)
    check_time(config, scheduler, file)
    for name, most in NUMBERS.items():
        value = 0 if config.get(name) is None else config[name]
        if not isinstance(value, int | float) or not 0 <= value <= most:
            raise ModelError(f"{file} gives {name} as {value!r}: a number is needed, 0 to {most}.")
    for name in (*COUNTS, "patch_size"):
        if config.get(name) is not None:
            read_count(config, name, 0, file)
    sides, unit = read_sides(config, file), unit_of(kind, config)
    if sides is not None and any(side % unit for side in sides):
        raise ModelError(
            f"{file} gives sample_size as {config['sample_size']!r}, and its network takes "
            f"multiples of {unit}: give a model that was trained at such a size."
        )
    if kind == DIT and sides is not None and sides[0] != sides[1]:
        raise ModelError(
            f"{file} gives sample_size as {list(sides)}, and a {kind} draws squares: give one size."
        )


def unit_of(kind: str, config: dict[str, Any]) -> int:
    """What the sides of a network's samples are multiples of."""
    config = DEFAULTS.get(kind, {}) | config
    blocks, patch = config.get("block_out_channels"), config.get("patch_size")
    if kind == UNET and isinstance(blocks, list) and 1 <= len(blocks) < 15:
        return 2 ** (len(blocks) - 1)  # halved by all blocks but the last
    return patch if kind == DIT and is_count(patch) else 1


def check_channels(config: dict[str, Any], scheduler: Mapping[str, Any], file: Path) -> None:
    """Raise ModelError unless a network returns the channels that it takes.

    Twice as many are allowed where it learns a variance too. A scheduler that has no say in that
    (DDIM) leaves the further channels alone.
    """
    taken = read_count(config, "in_channels", 0, file)
    returned = config.get("out_channels")
    twice = returned == 2 * taken
    if returned in (None, taken) or (twice and scheduler.get("variance_type") in (None, *LEARNED)):
        return
    remedy = "give a model that takes noisy images alone, not one that takes images in"
    if twice:
        remedy = (
            "where it learns a variance, set variance_type in scheduler_config.json to 'learned' "
            "or 'learned_range'"
        )
    raise ModelError(
        f"{file} says that the network takes {taken} channels and returns {returned!r}: {remedy}."
    )


def check_time(config: dict[str, Any], scheduler: Mapping[str, Any], file: Path) -> None:
    """Raise ModelError for a network that is told the time by anything but a timestep."""
    kind, wanted = config.get("time_embedding_type", "positional"), scheduler.get(TIMESTEPS, 1000)
    if kind == "learned":
        steps = read_count(config, TIMESTEPS, 0, file)
        if isinstance(wanted, int) and steps < wanted:
            raise ModelError(
                f"{file} has embeddings of {steps} timesteps ({TIMESTEPS}), and the scheduler has "
                f"{wanted}: give the scheduler that the model was trained with."
            )
    elif kind != "positional":
        raise ModelError(
            f"{file} gives time_embedding_type as {kind!r}, for a network that is told noise "
            "levels: allowed are 'positional' and 'learned', which are told timesteps."
        )


def read_classes(
    network_class: str,
    config: dict[str, Any],
    index: dict[str, Any],
    null_label: int | None,
    folder: Path,
) -> tuple[int | None, int | None]:
    """Number of classes and the null label; None for what a network does not have.

    The null label may be any row of the class embedding. Where nothing says which it is, it is the
    one row that `id2label` does not name.
    """
    file = folder / "config.json"
    if config.get("class_embed_type") is not None:
        raise ModelError(
            f"class embeddings of type {config['class_embed_type']!r} are not known to efface: "
            "allowed are plain ones (num_class_embeds)."
        )
    if network_class == DIT:
        classes = read_count(DEFAULTS[DIT] | config, "num_embeds_ada_norm", 0, file)
        rows, own = classes + 1, classes  # diffusers adds the row of "no class"
    elif config.get("num_class_embeds") is None:
        if null_label is not None:
            raise ModelError(f"{folder} takes no labels, so it has no null label: leave it out.")
        return None, None
    else:
        rows, own = read_count(config, "num_class_embeds", 0, file), index.get("null_label")
    names = read_names(index)
    unknown = sorted(set(names) - set(range(rows)))
    if unknown:
        raise ModelError(
            f"id2label in model_index.json names label {unknown[0]}, and {folder} has labels 0 to "
            f"{rows - 1}: name these alone."
        )
    if null_label is not None and own is not None and null_label != own:
        raise ModelError(
            f"null label {null_label} was given, and {folder} has {own}: leave it out."
        )
    null = own if null_label is None else null_label
    if null is None and len(names) == rows - 1 > 0:
        (null,) = set(range(rows)) - set(names)
    if null is None:
        return rows, None
    if type(null) is not int or not 0 <= null < rows or rows == 1:
        raise ModelError(
            f"null label {null!r} does not fit: the model has labels 0 to {rows - 1}, and one of "
            "several must be it."
        )
    return rows - 1, null


def read_names(index: Mapping[str, Any]) -> dict[int, str]:
    """Names of labels in a model_index.json or in a judge's configuration, empty without any.

    ModelError for anything but an object of numbers and texts.
    """
    given = index.get("id2label") or {}
    if isinstance(given, dict):
        names = {int(key): name for key, name in given.items() if key.isdecimal() and len(key) < 9}
        if len(names) == len(given) and all(isinstance(name, str) for name in names.values()):
            return names
    raise ModelError(
        "id2label does not map labels to their names: write it as in "
        '{"0": "tench", "1": "goldfish"}, or leave it out.'
    )


def write_names(names: Sequence[str]) -> dict[str, str]:
    """Names of labels for such a file; none where they are but the numbers of the labels."""
    numbered = {str(label): name for label, name in enumerate(names)}
    return {} if all(label == name for label, name in numbered.items()) else numbered


def labels_of(num_classes: int, null_label: int | None) -> tuple[int, ...]:
    """All labels: the rows of the class embedding but that of "no class"."""
    rows = range(num_classes + (null_label is not None))
    return tuple(row for row in rows if row != null_label)


def describe_labels(labels: Sequence[int]) -> str:
    """'labels 0 to 9', with what is left out between them."""
    between = sorted(set(range(labels[0], labels[-1])) - set(labels))
    gap = f" but {between[0]}, which means 'no class'" if between else ""
    return f"labels {labels[0]} to {labels[-1]}{gap}"
