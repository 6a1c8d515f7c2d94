"""SalUn: random label that updates the most salient weights alone."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.methods.base import Share, StepContext
from efface.methods.labelled import PUBLISHED
from efface.methods.relabel import Relabel
from efface.methods.saliency import saliency_mask, summed_gradients


@dataclass(frozen=True, kw_only=True)
class SalUn(Relabel):
    """Random label under a mask: the `salient_share` of weights with the largest |G|.

    G is the gradient of the forget set's denoising loss, summed over batches that are clipped to
    norm 1 (Fan et al., ICLR 2024, arXiv 2310.12508, eq. 3 and 4). The update is masked, not the
    gradient: momentum and weight decay would move masked weights.
    """

    salient_share: Share = Field(default=0.5, description="Share of the weights that is updated.")
    mask_batches: int = Field(
        default=20, ge=1, le=100_000, description="Batches whose gradients make the mask."
    )

    title: ClassVar[str] = "SalUn"
    summary: ClassVar[str] = "random label on the most salient weights alone (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = PUBLISHED | {"method.salient_share": 0.5}
    repaired: ClassVar[str] = (
        "masks the gradient of guided predictions, where momentum and decay still move weights"
    )

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        return summed_gradients(contexts, self.mask_batches)

    def update_mask(self, phase: str, prepared: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return saliency_mask(prepared, self.salient_share)
