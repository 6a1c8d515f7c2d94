"""Writes a whole text-to-image pipeline: what was trained anew, the rest copied as it was."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
from torch import Tensor

from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.folder import parts_in
from efface.diffusion.weight_files import OTHER_VARIANTS, PICKLE_SUFFIXES
from efface.errors import ModelError

# Neither code nor pickles, and no second copy of the weights in another format.
LEFT_BEHIND = (*(f"*{s}" for s in PICKLE_SUFFIXES), *OTHER_VARIANTS, "*.py", "*.h5", "*.msgpack")

LORA_CARD = """\
# LoRA

The change that efface made to a text-to-image model, for stock diffusers. BASE is the model that
the run began with:

```python
from diffusers import DiffusionPipeline, {scheduler}

pipe = DiffusionPipeline.from_pretrained(BASE)
pipe.load_lora_weights(THIS_FOLDER, adapter_name="efface")
{use}```

{scale}`pipe.set_adapters(["efface"], [0.5])` applies half of it, a weight of 0 nothing, and
further LoRAs of the same base can stand beside it. The whole changed pipeline lies beside this
folder in `pipeline`.
"""
ONE_STEP_USE = """\
pipe.scheduler = {scheduler}.from_pretrained(THIS_FOLDER, subfolder="scheduler")
images = pipe("a prompt", num_inference_steps=1{options}).images
"""

OURS = ("default_steps", "input_scale", "sample_size")  # what efface adds to model_index.json


def write_text(
    denoiser: TextDenoiser, folder: Path, scheduler: Any, extra: Mapping[str, Any]
) -> None:
    """Write the pipeline's folder, with `scheduler` in place of its own.

    VAE, text encoders, tokenizers and what efface has no use for (a safety checker) are copied
    from the folder that the model came from. `extra` goes into model_index.json, where efface
    reads it and stock diffusers ignores it with a warning. Raises ModelError and OSError.
    """
    family = denoiser.family
    network: Any = denoiser.network
    network.save_pretrained(folder / family.component, safe_serialization=True)
    scheduler.save_pretrained(folder / "scheduler")
    for name in parts_in(denoiser.index):
        if name not in (family.component, "scheduler"):
            _copy(denoiser.folder / name, folder / name)
    own = {name: value for name, value in denoiser.index.items() if name not in OURS}
    own |= {
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", type(scheduler).__name__],
    }
    if family.default_size is not None:
        own["sample_size"] = denoiser.sample_shape[1]
    text = json.dumps(own | dict(extra), indent=2) + "\n"
    (folder / "model_index.json").write_text(text, encoding="utf-8")


def write_lora(
    denoiser: TextDenoiser, layers: Mapping[str, Tensor], folder: Path, extra: Mapping[str, Any]
) -> None:
    """Write a LoRA for the stock pipeline, with `denoiser`'s scheduler and a README.

    `extra` is what a one-step generator adds to model_index.json, empty for all others.
    """
    family, scheduler = denoiser.family, type(denoiser.scheduler).__name__
    kind = getattr(diffusers, denoiser.index["_class_name"])
    kind.save_lora_weights(folder, **{f"{family.component}_lora_layers": dict(layers)})
    denoiser.scheduler.save_pretrained(folder / "scheduler")
    use = scale = ""
    if extra:
        options = ", guidance_scale=1.0" if family.guidance_scale else ""
        if extra["input_scale"] != 1.0:
            scale = f"Hand it latents of your own, times {extra['input_scale']:.6g}. "
        use = ONE_STEP_USE.format(scheduler=scheduler, options=options)
    text = LORA_CARD.format(scheduler=scheduler, use=use, scale=scale)
    (folder / "README.md").write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise ModelError(
            f"{source} is gone, so that the pipeline cannot be written whole: put back the model "
            "that the run began with."
        )
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
