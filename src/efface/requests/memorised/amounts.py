"""What a run about a memorised image takes beside training: sampling, norms and a descent."""

from __future__ import annotations

from accelerate import Accelerator

from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.sampling import rows_of
from efface.memory.amounts import Amounts, forget_rows
from efface.memory.footprint import Holding, drawing_footprint, network_footprint
from efface.requests.memorised.embedding_descent import WEIGHT
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.text_noise import AT_ONCE
from efface.settings.base import Settings


def expected_amounts(model: ModelInfo, settings: Settings, searched: bool) -> Amounts:
    """`searched`: whether no modified prompt is given."""
    own, base = settings.of(MemorisedSettings), settings.train.base_dtype == "bfloat16"
    descends = searched and "embedding" in own.search
    takes = [_samples(model, settings), _norms(model, base)]
    if descends:
        takes.append(_descent(model, settings))
    return Amounts(
        forget_rows=forget_rows(settings),
        preparation=max(takes),
        sampling=_norms(model, settings.evaluate.dtype == "bfloat16"),
        savings={"memorised.search": [("tokens",)]} if descends else {},
    )


def _samples(model: ModelInfo, settings: Settings) -> int:
    """The largest set of samples; on the CPU it stays beside what generates it."""
    own, evaluate = settings.of(MemorisedSettings), settings.evaluate
    guided = evaluate.guidance != 1.0
    bfloat16 = settings.train.base_dtype == "bfloat16"
    drawing = drawing_footprint(model, bfloat16, evaluate.batch_size, guided)
    count = max(own.controls * own.control_images, own.samples, own.images)
    kept = count * drawing.picture if Accelerator().device.type == "cpu" else 0
    # All samples are there three times when they become bytes.
    passing = max(kept + drawing.passing, kept + drawing.decoding, 3 * kept)
    return count * drawing.condition + passing


def _norms(model: ModelInfo, bfloat16: bool) -> int:
    """Text-noise norms: many rows at once, without guidance."""
    drawing = drawing_footprint(model, bfloat16, AT_ONCE, False)
    return drawing.rows * drawing.condition + drawing.passing


def _descent(model: ModelInfo, settings: Settings) -> int:
    """A backward pass to the embedding, through frozen weights."""
    train = settings.train
    holding = Holding(lora_rank=train.lora_rank, bf16=train.base_dtype == "bfloat16")
    foot = network_footprint(model, holding)
    rows = rows_of(foot.shape, settings.of(MemorisedSettings).noises, WEIGHT)
    frozen = foot.activations_frozen
    return rows * (frozen.kept + frozen.passing + foot.condition)
