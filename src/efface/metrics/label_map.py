"""The label map of an ONNX classifier: names of its outputs, and how images are prepared for it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError
from torch import Tensor, nn

from efface.errors import DataError


class LabelMap(BaseModel):
    """What stands in NAME.json beside NAME.onnx."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    labels: tuple[str, ...] = Field(min_length=2)  # in the order of the outputs
    size: tuple[PositiveInt, PositiveInt]  # height and width
    mean: tuple[float, ...]  # of values in [0, 1], one per channel as the network takes them
    std: tuple[PositiveFloat, ...]
    channels: Literal["RGB", "BGR"] = "RGB"
    features: str | None = None  # an output; without one the logits are the features

    def prepare(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> what the network takes; grey is repeated, colour averaged."""
        images, wanted = images.float().cpu(), len(self.mean)
        if images.shape[1] != wanted:
            images = images.mean(1, keepdim=True).expand(-1, wanted, -1, -1)
        if images.shape[-2:] != self.size:
            images = nn.functional.interpolate(images, self.size, mode="bilinear", antialias=True)
        if self.channels == "BGR":
            images = images.flip(1)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std


def read_label_map(path: Path) -> LabelMap:
    """The label map beside an ONNX file; DataError where there is none that can be used."""
    beside = path.with_suffix(".json")
    missing = [file for file in (path, beside) if not file.is_file()]
    if missing:
        raise DataError(
            f"there is no {missing[0]}: give an ONNX file, and beside it its label map "
            f"{beside.name} with `labels`, `size`, `mean` and `std`."
        )
    try:
        labels = LabelMap.model_validate_json(beside.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{beside} is no label map: correct {place} ({first['msg']}).") from error
    if len(labels.mean) not in (1, 3) or len(labels.mean) != len(labels.std):
        raise DataError(
            f"{beside} has {len(labels.mean)} values of `mean` and {len(labels.std)} of `std`: "
            "give one of each for a network that sees grey, or three."
        )
    return labels
