"""Random label: images to forget are predicted as under another label."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.methods.base import StepContext
from efface.methods.labelled import PUBLISHED, LabelledMethod, Noised


@dataclass(frozen=True, kw_only=True)
class Relabel(LabelledMethod):
    """|eps_theta(x_t, c_f) - sg eps_theta(x_t, c')|^2 + retain_weight L_R, c' the replacement.

    Random label as SalUn compares with (arXiv 2310.12508, section 5), the current model as the
    teacher. Published for CIFAR-10: a retain weight of 3.07 in equal units (1e-3 of a sum over 3072
    pixels against a mean), 1,000 steps.
    """

    title: ClassVar[str] = "random label"
    summary: ClassVar[str] = "predicts images of a label as under another (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = PUBLISHED
    repaired: ClassVar[str] = (
        "its sum against a mean hides the number of pixels in the weight, and it drops a tenth "
        "of all labels"
    )

    def forget_rows(self, ctx: StepContext, forget: Noised) -> tuple[Tensor, Tensor]:
        return forget.x_t, ctx.networks["student"](forget.x_t, forget.t, forget.target).eps
