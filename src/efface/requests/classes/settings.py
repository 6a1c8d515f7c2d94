"""Settings of requests to forget labels."""

from pydantic import Field

from efface.settings.reading import Section


class ClassSettings(Section):
    """What methods that need images are trained on, addressed as `class.NAME`."""

    images: str | None = None
    """Labelled images, retained ones and those to forget; default: the model generates them."""
    generate: int = Field(default=2000, ge=10, le=10_000_000)
    """Images to generate, as many of each label, where none are given."""
