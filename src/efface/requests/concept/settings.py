"""Settings of requests about prompts."""

from typing import Self

from pydantic import Field, model_validator

from efface.data.prompts import PEOPLE, SLOT, SUBJECTS, TEMPLATES
from efface.settings.reading import Section

MOST_MADE = 200_000  # prompts of templates: records of others are not to be trusted


class ConceptSettings(Section):
    """Prompts that are made rather than given, addressed as `concept.NAME`."""

    retain: int = Field(default=500, ge=1, le=1_000_000)
    """Retained prompts, at most."""
    templates: tuple[str, ...] = Field(default=TEMPLATES, min_length=1)
    """Prompts in which {} stands for the subject."""
    subjects: tuple[str, ...] = Field(default=SUBJECTS, min_length=1)
    """Subjects of retained prompts."""
    people: tuple[str, ...] = Field(default=PEOPLE, min_length=1)
    """Subjects to which the keywords of --negative are joined."""
    interpolation: float = Field(default=0.0, ge=0, lt=1)
    """Interpolate forget prompts towards retained ones up to this."""
    interpolation_null: float = Field(default=0.0, ge=0, le=1)
    """Share of these that move towards the empty prompt instead."""
    gibberish: float = Field(default=0.0, ge=0, le=0.9)
    """Share of the retained rows that have gibberish prompts."""
    gibberish_guidance: float = Field(default=2.5, gt=1, le=100)
    """Negative guidance of the teacher for gibberish prompts."""
    forget_guidance: float | None = Field(default=None, gt=1, le=100)
    """Negative guidance of the teacher for forget prompts."""
    prompt_groups: str | None = None
    """TOML or JSON of paraphrases, neighbours and compositions to measure."""
    group_samples: int = Field(default=200, ge=10, le=1_000_000)
    """Samples of each prompt group."""

    @model_validator(mode="after")
    def _check_prompts(self) -> Self:
        for name in ("templates", "subjects", "people"):
            if not all(text.strip() for text in getattr(self, name)):
                raise ValueError(f"concept.{name} holds an empty text: give words.")
        for template in self.templates:
            if template.count(SLOT) != 1:
                raise ValueError(
                    f"the template {template!r} must hold {SLOT} once: it stands for the subject."
                )
        made = len(self.templates) * (len(self.subjects) + 1)
        if made > MOST_MADE:
            raise ValueError(
                f"concept.templates and concept.subjects make {made} prompts: give fewer, at most "
                f"{MOST_MADE} come of them."
            )
        if self.interpolation_null and not self.interpolation:
            raise ValueError(
                f"concept.interpolation_null is {self.interpolation_null} and no prompt is "
                "interpolated: set concept.interpolation too, or leave it out."
            )
        return self
