"""Networks of class-conditional and unconditional models, by their configurations (no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efface.diffusion.config_files import class_in
from efface.diffusion.text.families import PIPELINES
from efface.errors import ModelError

NETWORK_CLASSES = ("UNet2DModel", "DiTTransformer2DModel")


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


def read_classes(
    network_class: str, config: dict[str, Any], index: dict[str, Any], null_label: int | None
) -> tuple[int | None, int | None]:
    """Number of classes and the null label; None for what a network does not have."""
    if network_class == "DiTTransformer2DModel":
        classes = int(config.get("num_embeds_ada_norm") or 1000)
        # diffusers gives the label embedding one more row, for "no class".
        return classes, classes
    if config.get("class_embed_type") is not None:
        raise ModelError(
            f"class embeddings of type {config['class_embed_type']!r} are not known to efface: "
            "allowed are plain ones (num_class_embeds)."
        )
    rows = config.get("num_class_embeds")
    if rows is None:
        return None, None
    null = null_label if null_label is not None else index.get("null_label")
    if null is not None and null != rows - 1:
        raise ModelError(
            f"null label {null} does not fit: the model has labels 0 to {rows - 1}, and only the "
            "last can be it."
        )
    return (rows if null is None else rows - 1), null
