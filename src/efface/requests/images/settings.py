"""Settings of requests to forget images."""

from typing import Literal

from pydantic import Field

from efface.settings.reading import Section


class ImageSettings(Section):
    """How images are prepared and measured, addressed as `images.NAME`."""

    generate: int = Field(default=2048, ge=10, le=10_000_000)
    """Retained images to generate, where none are given."""
    resize: Literal[False, True, "squash"] = Field(
        default=False,
        description="Resize the middle of images of another size, or 'squash' all of it; they are "
        "refused otherwise.",
    )
    mirrored: bool = False
    """The model was trained on mirrored images too: forget those as well."""
    mean_pool: int = Field(default=1, ge=1, le=64)
    """Average this many pixels to the side into one."""
    samples: int = Field(default=1024, ge=10, le=1_000_000)
    """Samples in which copies are sought."""
    unseen: int = Field(default=200, ge=1, le=1_000_000)
    """Unseen images to compare, at most."""
    controls: int = Field(default=32, ge=1, le=100_000)
    """Unseen images to denoise and compute likelihoods of, at most."""
    draws: int = Field(default=8, ge=1, le=10_000)
    """Noise draws per image and noise level."""
    likelihood_steps: int = Field(default=100, ge=1, le=10_000)
    """Steps of the probability flow, two passes each."""
