"""Whether a LoRA takes effect: stock diffusers with it against the pipeline that was delivered."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DiffusionPipeline
from torch import Tensor

from efface.diffusion.places import find_here
from efface.diffusion.quiet import quiet
from efface.diffusion.weight_files import hash_weights
from efface.evidence.compare import Check, agrees, differs, not_checked
from efface.records import RunRecord

PROMPTS, STEPS, SEED = ("a photograph", "a drawing"), 8, 0
TOLERANCE = 1e-3  # of pixels from 0 to 1
# What a file that anybody may have written makes diffusers raise.
UNFIT = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)


def check_lora(record: RunRecord, model: Path, lora: Path) -> list[Check]:
    """One check for each LoRA in a folder, or for a single file, by images from the same noise."""
    files = sorted(lora.glob("*.safetensors")) if lora.is_dir() else [lora]
    if not files or not files[0].is_file():
        return [differs("lora", f"there is no .safetensors file at {lora}")]
    source = find_here(str(record.model.get("source")))
    if source is None or hash_weights(source) != record.model.get("weights"):
        text = "not checked: the original model, which it changes, is not on this machine"
        return [not_checked(file.name, text) for file in files]
    options: dict[str, Any] = {
        "num_inference_steps": 1 if record.sampler.get("passes") == 1 else STEPS
    }
    if record.model.get("size") is not None:  # where the network does not name it
        options |= dict.fromkeys(("height", "width"), record.model["size"])
    try:
        delivered = _load(model)
        wanted = _draw(delivered, options)
    except UNFIT as error:
        return [differs("lora", f"stock diffusers cannot draw with {model}: {str(error)[:200]}")]
    return [_check(file, wanted, source, delivered.scheduler, options) for file in files]


def _check(
    file: Path, wanted: Tensor, source: Path, scheduler: Any, options: dict[str, Any]
) -> Check:
    try:
        base = _load(source)
        own = file.parent / "scheduler"
        known = type(scheduler)
        base.scheduler = known.from_pretrained(own) if own.is_dir() else scheduler
        untouched = _draw(base, options)
        with quiet():
            base.load_lora_weights(str(file.parent), weight_name=file.name)
        drawn = _draw(base, options)
    except UNFIT as error:
        return differs(file.name, f"stock diffusers does not load it: {str(error)[:200]}")
    off, moved, effect = (
        float((one - other).abs().max())
        for one, other in ((drawn, wanted), (untouched, wanted), (drawn, untouched))
    )
    if off > TOLERANCE and effect <= TOLERANCE:
        return differs(file.name, "it has no effect: the images are those of the original model")
    if off > TOLERANCE:
        return differs(file.name, f"its images differ by {off:.2g} from those of the model")
    if moved <= TOLERANCE:
        text = f"not checked: with it and without it, images differ by {moved:.1g} at most"
        return not_checked(file.name, text)
    return agrees(file.name, f"draws the model's images ({off:.1g} apart, {moved:.2g} without it)")


def _load(folder: Path) -> Any:
    with quiet():
        pipeline = DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(Accelerator().device)


@torch.no_grad()
def _draw(pipeline: Any, options: dict[str, Any]) -> Tensor:
    """Pixels (B, C, H, W) from 0 to 1 of `PROMPTS`, always from the same noise."""
    return pipeline(
        list(PROMPTS),
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(SEED),
        output_type="pt",
        **options,
    ).images.cpu()
