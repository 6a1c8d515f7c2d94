"""Forget particular images of an unconditional model: the request, and what a report says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, Field

from efface.diffusion.model_folder import ModelInfo, sample_shape
from efface.errors import ConfigError, RequestError
from efface.evaluation.wording import format_count, number_word, plural
from efface.requests.base import EXTRACTOR, SHARED, Request, evaluate_names
from efface.requests.images.settings import ImageSettings
from efface.requests.words import Phrases, Words, source_of

if TYPE_CHECKING:
    from efface.records import Evaluation, RunRecord
    from efface.requests.images.material import ImageMaterial
    from efface.settings.base import Settings

GENERATE = "generate"
OWN = ("resize", "mean_pool")
OWN += ("samples", "unseen", "controls", "draws", "likelihood_steps")
MEASURED = evaluate_names(*SHARED, *EXTRACTOR, "clip") | {f"images.{name}" for name in OWN}
FEW = 30  # images: a mean over fewer depends on which they are


class ImageWords(Words):
    """Words of a request to forget images."""

    request: ForgetImages

    label: ClassVar[str] = "images"
    pipeline_tag: ClassVar[str | None] = "unconditional-image-generation"
    unknown: ClassVar[str] = (
        "Another way to extract an image, such as a search for the noise that leads to it, further "
        "training or another sampler, may still find it."
    )

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        count = count_images(record)
        number = f"{number_word(count)} " if count > 1 else ""
        forgotten = "the image" if count == 1 else f"the {number}images"
        what = "one image" if count == 1 else f"{number or 'particular '}images"
        before = " Earlier requests named some of them." if self.request.earlier else ""
        return Phrases(
            forgotten=forgotten,
            rest="other samples",
            requested=f"The model {source_of(record)} was to forget {what}.{before}",
            many=count != 1,
        )

    def anonymous(self, record: RunRecord) -> str:
        count = count_images(record)
        return f"{format_count(count)} {plural(count, 'image')}"

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        said = [
            "This is not differential privacy: nothing is guaranteed to anybody whose image was "
            "among the training images."
        ]
        if self.request.generates:
            said.append(
                "The retained images are not training images: the original model generated them. "
                "What it generates seldom or badly was protected less."
            )
        if evaluation.results:
            said += _about_gap(evaluation, self.request.unseen_images, count_images(record))
        return said


def count_images(record: RunRecord) -> int:
    """How many images were to be forgotten; 0 where that is not recorded."""
    hashes = record.material.get("hashes")
    return len(hashes) if isinstance(hashes, list) else 0


def _about_gap(evaluation: Evaluation, unseen: str | None, count: int) -> list[str]:
    gap = evaluation.get("membership_gap")
    if gap is None:
        why = "" if unseen else ": no unseen images were given"
        return [
            "Whether the model knows the forgotten images better than unseen ones was not measured"
            f"{why}."
        ]
    if gap.retrained is None and 0 < count < FEW:
        return [
            "A plain image is easy to denoise even if it was never seen. With "
            f"{format_count(count)} {plural(count, 'image')}, only a retrained model would tell "
            "how much of a gap that explains, and none was measured."
        ]
    return []


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
    need: ClassVar[str] = "images"
    supplies: ClassVar[frozenset[str]] = frozenset({"images", "prior"})
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

    def check(self, model: ModelInfo, settings: Settings) -> None:
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

    def read(self, model: ModelInfo, settings: Settings) -> ImageMaterial:
        from efface.requests.images.material import read_images

        return read_images(self, sample_shape(model), settings)
