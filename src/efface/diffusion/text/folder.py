"""Checks what a text-to-image pipeline folder says about itself (no torch)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from efface.diffusion.class_networks import check_channels, check_time
from efface.diffusion.config_files import class_in, read_json
from efface.diffusion.text.families import (
    ENCODER_CLASSES,
    TOKENIZER_CLASSES,
    TextFamily,
    tokenizer_of,
)
from efface.errors import ModelError

FLOW_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler",)
# Parts with weights that efface has no use for, and hands on as they are.
PASSENGERS = ("safety_checker", "image_encoder")
ENDLESS = 10**30  # what transformers takes where a tokenizer has no limit


def check_components(index: dict[str, Any], folder: Path, family: TextFamily) -> None:
    """Raise ModelError unless all parts are there and of classes that efface knows."""
    _check_class(index, folder, family.component, (family.network,))
    _check_class(index, folder, "vae", ("AutoencoderKL",))
    for encoder in encoders_in(index, family):
        _check_class(index, folder, encoder, ENCODER_CLASSES)
        _check_class(index, folder, tokenizer_of(encoder), TOKENIZER_CLASSES)
    for name in parts_in(index):
        if not (folder / name).is_dir():
            raise ModelError(
                f"{folder}/model_index.json names a {name} that is not there: copy or download "
                "the model again."
            )


def check_network(
    config: dict[str, Any],
    scheduler: Mapping[str, Any],
    encoders: Sequence[Mapping[str, Any]],
    file: Path,
    family: TextFamily,
) -> None:
    """Raise ModelError for networks that ask for more than a prompt.

    `config` is read from `file`; the scheduler and the text encoders are given by theirs.
    """
    if config.get("time_cond_proj_dim") is not None:
        raise ModelError(
            f"{file.parent} takes guidance as an input (a consistency model): give the model "
            "that it was distilled from."
        )
    for name in ("class_embed_type", "num_class_embeds"):
        if config.get(name) is not None:
            raise ModelError(
                f"{file.parent} takes classes beside prompts ({name}): give a text-to-image model."
            )
    told = {
        "addition_embed_type": ("text_time",) if "time_ids" in family.added else (None, "text"),
        "encoder_hid_dim_type": (None, "text_proj"),
    }
    for name, known in told.items():
        if config.get(name) not in known:
            raise ModelError(
                f"{file} gives {name} as {config.get(name)!r}, for a network that is told "
                f"something else than {family.pipelines[0]} tells it: give a text-to-image model."
            )
    check_time(config, scheduler, file)
    check_channels({"in_channels": 4} | config, scheduler, file)
    _check_width(config, encoders, file)


def _check_width(
    config: Mapping[str, Any], encoders: Sequence[Mapping[str, Any]], file: Path
) -> None:
    """Raise ModelError where a U-Net takes embeddings of another width than its encoders make."""
    name = "cross_attention_dim" if config.get("encoder_hid_dim") is None else "encoder_hid_dim"
    taken, made = config.get(name), [encoder.get("hidden_size") for encoder in encoders]
    widths = [width for width in made if isinstance(width, int)]
    if isinstance(taken, int) and len(widths) == len(made) and sum(widths) != taken:
        raise ModelError(
            f"{file} gives {name} as {taken}, and the text encoders beside it make {sum(widths)}: "
            "give a pipeline whose parts belong together."
        )


def check_latents(
    source: str, family: TextFamily, network: Mapping[str, Any], vae: Mapping[str, Any]
) -> None:
    """Raise ModelError unless a network works on its VAE's latents, as their configs say."""
    taken, made = network.get("in_channels"), vae.get("latent_channels")
    if isinstance(taken, int) and family.default_size is not None:
        taken //= 4  # in squares of four
    if taken is not None and made is not None and taken != made:
        raise ModelError(
            f"{source} takes {taken} channels where its VAE has {made}: give a text-to-image "
            "model, not one that takes images in."
        )
    if vae.get("latents_mean") is not None:
        raise ModelError(
            f"the VAE of {source} shifts every channel by a mean of its own (latents_mean), which "
            "efface does not know: use a model with a plain scaling factor."
        )


def check_tokenizers(index: dict[str, Any], folder: Path, family: TextFamily) -> None:
    """Raise ModelError for a tokenizer that hands on more tokens than its encoder reads.

    Where a file is not there or leaves out the encoder's number, loading the model says so.
    """
    for encoder in encoders_in(index, family):
        name = tokenizer_of(encoder)
        path = folder / name / "tokenizer_config.json"
        if path.is_file() and (family.longest is None or index[encoder][1] != "T5EncoderModel"):
            own = read_json(path, "it describes the tokenizer")
            longest = own.get("model_max_length", own.get("max_len"))  # older releases' name
            config = read_json(folder / encoder / "config.json", "it describes the encoder")
            positions = config.get("max_position_embeddings")
            check_length(folder / name, ENDLESS if longest is None else longest, positions)


def check_length(tokenizer: Path, longest: object, positions: object) -> None:
    """Raise ModelError where a tokenizer's limit is above what its text encoder reads."""
    if isinstance(longest, int | float) and isinstance(positions, int) and longest > positions:
        raise ModelError(
            f"{tokenizer} allows {longest} tokens, and its text encoder reads {positions}: write "
            f"model_max_length {positions} into its tokenizer_config.json."
        )


def encoders_in(index: dict[str, Any], family: TextFamily) -> tuple[str, ...]:
    """Subfolders of the text encoders: all but the optional ones that the index leaves empty."""
    there = parts_in(index)
    return tuple(e for e in family.encoders if e in there or e not in family.optional)


def weights_in(index: dict[str, Any], family: TextFamily) -> tuple[str, ...]:
    """Subfolders with weights beside the network's own and the VAE."""
    return (*encoders_in(index, family), *(p for p in PASSENGERS if p in parts_in(index)))


def parts_in(index: dict[str, Any]) -> tuple[str, ...]:
    """Names of all components that model_index.json does not leave empty."""
    return tuple(name for name in index if class_in(index, name) is not None)


def _check_class(index: dict[str, Any], folder: Path, name: str, allowed: tuple[str, ...]) -> None:
    kind = class_in(index, name)
    if kind not in allowed:
        raise ModelError(
            f"{folder}/model_index.json gives its {name} as {kind}: allowed are "
            f"{', '.join(allowed)}."
        )
