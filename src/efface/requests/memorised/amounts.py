"""What a run about a memorised image takes beside training: sampling, norms and a descent."""

from __future__ import annotations

from efface.diffusion.model_folder import ModelInfo
from efface.memory.amounts import Amounts, forget_rows
from efface.memory.footprint import rows_footprint, sampling_footprint
from efface.requests.memorised.embedding_descent import WEIGHT
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.text_noise import AT_ONCE
from efface.settings.base import Settings


def expected_amounts(model: ModelInfo, settings: Settings, searched: bool) -> Amounts:
    """`searched`: whether no modified prompt is given."""
    own = settings.of(MemorisedSettings)
    held = settings.train.base_dtype == "bfloat16"
    measured = settings.evaluate.dtype == "bfloat16"
    samples = max(own.controls * own.control_images, own.samples, own.images)
    takes = [
        sampling_footprint(model, samples, held, settings.evaluate),
        rows_footprint(model, AT_ONCE, held),
    ]
    descends = searched and "embedding" in own.search
    if descends:
        takes.append(rows_footprint(model, own.noises, held, gradient="inputs", weight=WEIGHT))
    return Amounts(
        forget_rows=forget_rows(settings),
        preparation=max(takes),
        sampling=rows_footprint(model, AT_ONCE, measured),
        savings={"memorised.search": [("tokens",)]} if descends else {},
    )
