"""Settings of evaluation that every kind of request shares."""

from typing import Literal, Self

from pydantic import Field, model_validator

from efface.settings.reading import Section

LARGEST_SEED = 2**62  # sample i has this seed plus i


class EvaluateSettings(Section):
    """How results are measured, addressed as `evaluate.NAME`.

    Networks are named by a folder or a hub id, and pinned to a file by `@sha256:DIGEST` behind it.
    """

    forget_samples: int = Field(default=500, ge=10, le=1_000_000)
    """Samples of all that is forgotten."""
    retain_samples: int = Field(default=900, ge=10, le=1_000_000)
    """Samples of all that is retained."""
    baseline_steps: int = Field(default=50, ge=1, le=1000)
    """DDIM steps of the original model."""
    guidance: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Guidance of the original model; default: the best of 1, 1.15, 1.3 and 1.5 "
        "for a class-conditional model with real images to compare with, otherwise 1.",
    )
    batch_size: int = Field(default=250, ge=1, le=100_000)
    """Samples that are generated at once."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks."""
    seed: int = Field(default=1000, ge=0, le=LARGEST_SEED)
    """Sample i has this seed plus i."""
    extractor: str | None = None
    """A vision model for further features: a transformers model, or 'inception'."""
    reference: str | None = Field(
        default=None,
        description="Real images to compare samples with, by the extractor or, up to 32 pixels, by "
        "the principal components of their pixels; default: other samples of the original model.",
    )
    clip: str | None = None
    """A CLIP, for CLIP score and CLIP-IQA."""
    detector: str | None = None
    """An image classifier that finds the concept, or 'nudenet'."""
    detector_labels: tuple[str, ...] = ()
    """Labels of the detector that count as the concept."""
    detector_threshold: float = Field(default=0.5, ge=0, lt=1)
    """The concept is present in an image with a score above this."""

    @property
    def set_guidance(self) -> float:
        """That which was set, or 1."""
        return 1.0 if self.guidance is None else self.guidance

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        if self.detector is None and self.detector_labels:
            raise ValueError(
                "evaluate.detector_labels has no effect without evaluate.detector: give both, or "
                "neither."
            )
        if (self.detector or "nudenet").partition("@")[0] != "nudenet" and not self.detector_labels:
            raise ValueError(
                "evaluate.detector_labels is empty: name the labels of the detector that count as "
                "the concept."
            )
        return self
