"""Forget particular images of an unconditional model."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, Field

from efface.diffusion.model_folder import ModelInfo, sample_shape
from efface.errors import ConfigError, RequestError
from efface.requests.base import EXTRACTOR, SHARED, Request, evaluate_names
from efface.requests.images.settings import ImageSettings
from efface.requests.images.words import ImageWords

if TYPE_CHECKING:
    from efface.requests.images.material import ImageMaterial
    from efface.settings.base import Settings

GENERATE = "generate"
OWN = ("resize", "mean_pool")
OWN += ("samples", "unseen", "controls", "draws", "likelihood_steps")
MEASURED = evaluate_names(*SHARED, *EXTRACTOR, "clip") | {f"images.{name}" for name in OWN}


class ForgetImages(Request):
    """Forget particular images of an unconditional model."""

    kind: Literal["images"] = "images"
    images: str = Field(json_schema_extra={"several": True})
    """The images to forget: a folder, a parquet file or datasets:OWNER/NAME."""
    retain: str = GENERATE
    """Retained images, or 'generate' to sample them from the model."""
    unseen: str | None = None
    """Images that the model was not trained on, to compare the loss with."""
    prior: float | None = Field(default=None, gt=0, lt=1)
    """Share of the images in the training data, where known."""
    image_column: str | None = None
    """The column of images in tables, where several could be."""

    section: ClassVar[str] = "images"
    own: ClassVar[type[BaseModel]] = ImageSettings
    words_class: ClassVar[type[ImageWords]] = ImageWords
    need: ClassVar[str] = "forget_images"
    keeps: ClassVar[frozenset[str]] = frozenset({"images"})
    default_method: ClassVar[str] = "siss"
    options: ClassVar[frozenset[str]] = frozenset({"judge", "size", "start"})
    guided: ClassVar[bool] = False
    same_sampler: ClassVar[bool] = True
    subject: ClassVar[str] = "images"
    measured: ClassVar[frozenset[str]] = MEASURED
    attacked: ClassVar[frozenset[str]] = evaluate_names("baseline_steps")

    @property
    def generates(self) -> bool:
        """Whether the model generates the retained images."""
        return self.retain == GENERATE

    @property
    def unseen_images(self) -> str | None:
        """Those of this request, or of the last one that gave any."""
        return next((one.unseen for one in reversed(self.together) if one.unseen), None)

    def describe(self) -> str:
        return f"the images in {self.images}"

    @classmethod
    def suits(cls, model: ModelInfo) -> bool:
        return model.family is None and model.num_classes is None and not model.vae

    def check_files(self) -> None:
        from efface.data.images import check_source

        images = [one.images for one in self.together]
        for source in (*images, self.retain, self.unseen_images):
            if source not in (None, GENERATE):
                check_source(source)

    def check(self, model: ModelInfo, settings: "Settings") -> None:
        """Raise RequestError for a model with conditions or latents, ConfigError for settings."""
        if not self.suits(model):
            kind = "works on latents" if model.vae else "is class-conditional"
            raise RequestError(
                f"{model.source} {kind}, and images can be forgotten from unconditional pixel "
                "models: give one of those, or forget a class, a concept or the image memorised "
                "for a caption."
            )
        if settings.train.stop_every and self.unseen_images is None:
            raise ConfigError(
                "train.stop_every stops at the loss of unseen images: give some with --unseen, or "
                "set train.stop_every=0."
            )

    def read(self, model: ModelInfo, settings: "Settings") -> "ImageMaterial":
        from efface.requests.images.material import read_images

        return read_images(self, sample_shape(model), settings)
