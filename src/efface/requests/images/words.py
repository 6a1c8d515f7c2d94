"""What a report says of forgotten images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from efface.evaluation.wording import format_count, number_word, plural
from efface.records import Evaluation, RunRecord
from efface.requests.words import Phrases, Words, source_of

if TYPE_CHECKING:
    from efface.requests.images.request import ForgetImages

FEW = 30  # images: a mean over fewer depends on which they are


class ImageWords(Words):
    """Words of a request to forget images."""

    request: "ForgetImages"

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
