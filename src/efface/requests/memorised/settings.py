"""Settings of requests to forget a memorised image."""

from typing import Self

from pydantic import Field, model_validator

from efface.settings.reading import Section

LEAST_CONTROLS = 59  # fewer cannot show a p-value of a third of the false-alarm rate of 5 %


class MemorisedSettings(Section):
    """How a memorised image is found and separated from others, addressed as `memorised.NAME`."""

    force: bool = False
    """Go on where nothing memorised was found."""
    seed: int = Field(default=0, ge=0, le=2**62)
    """Seed of all samples before training."""
    controls: int = Field(default=LEAST_CONTROLS, ge=LEAST_CONTROLS, le=10_000)
    """Control prompts to compare with."""
    control_images: int = Field(default=4, ge=2, le=10_000)
    """Samples of each control prompt, to compare similarity."""
    samples: int = Field(default=16, ge=2, le=100_000)
    """Samples per prompt before training: to detect and to search."""
    noises: int = Field(default=8, ge=1, le=10_000)
    """Noise draws of a text-noise norm."""
    extractor: str | None = None
    """A vision model to compare images with; default: pixels."""
    copy_similarity: float | None = Field(default=None, gt=-1, lt=1)
    """Similarity of a copy; default: calibrated on the controls."""
    tries: int = Field(default=24, ge=1, le=10_000)
    """Modified prompts to sample from, at most."""
    copy_band: tuple[float, float] = (0.2, 0.8)
    """Shares of copies between which a prompt is partly memorised."""
    images: int = Field(default=100, ge=2, le=100_000)
    """Images of the synthetic set."""
    least_rows: int = Field(default=4, ge=1, le=10_000)
    """Images on either side, at least."""
    undecided: float = Field(default=0.5, ge=0, lt=1)
    """Share of the other images, the most similar, to leave out."""
    original_share: float = Field(default=0.5, ge=0, le=1)
    """Share of pairs conditioned on the original prompt."""
    control_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of retain-only rows: samples of control prompts."""
    stop_images: int = Field(default=256, ge=1, le=100_000)
    """Samples per prompt without a copy for train.stop_every."""

    @model_validator(mode="after")
    def _check_band(self) -> Self:
        low, high = self.copy_band
        if not 0 < low < high < 1:
            raise ValueError(
                f"memorised.copy_band is {list(self.copy_band)}: give two shares between 0 and 1, "
                "the lower one first."
            )
        return self
