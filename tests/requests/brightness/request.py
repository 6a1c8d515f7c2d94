"""A sixth kind of request, made outside the package: forget all images of a given brightness."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.requests.base import SHARED, Request, evaluate_names
from tests.requests.brightness.words import BrightnessWords

if TYPE_CHECKING:
    from efface.settings.base import Settings
    from tests.requests.brightness.material import BrightnessMaterial


class BrightnessSettings(BaseModel):
    """Addressed as `brightness.NAME`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(24, ge=10, le=10_000, description="Samples to look at.")


class ForgetBrightness(Request):
    """Forget all images above a brightness."""

    kind: Literal["brightness"] = "brightness"
    above: float = Field(gt=0, lt=1, description="Mean of the pixels, from 0 to 1.")

    section: ClassVar[str] = "brightness"
    own: ClassVar[type[BaseModel]] = BrightnessSettings
    words_class: ClassVar[type[BrightnessWords]] = BrightnessWords
    need: ClassVar[str] = "images"
    supplies: ClassVar[frozenset[str]] = frozenset({"images", "prior"})
    default_method: ClassVar[str] = "siss"
    guided: ClassVar[bool] = False
    same_sampler: ClassVar[bool] = True
    subject: ClassVar[str] = "bright images"
    measured: ClassVar[frozenset[str]] = evaluate_names(*SHARED) | {"brightness.samples"}
    attacked: ClassVar[frozenset[str]] = evaluate_names("baseline_steps")

    def describe(self) -> str:
        return f"images brighter than {self.above:g}"

    @classmethod
    def suits(cls, model: ModelInfo) -> bool:
        return model.num_classes is None and model.family is None

    def check(self, model: ModelInfo, settings: Settings) -> None:
        del settings
        if not self.suits(model):
            raise RequestError(f"{model.source} takes conditions: give an unconditional model.")

    def read(self, model: ModelInfo, settings: Settings) -> BrightnessMaterial:
        from tests.requests.brightness.material import BrightnessMaterial

        del model, settings
        return BrightnessMaterial(above=self.above)
