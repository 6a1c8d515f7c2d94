"""Settings of requests to distil."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DistilSettings(BaseModel):
    """Prompts of a text-to-image model to distil, addressed as `distil.NAME`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retain: int = Field(default=500, ge=1, le=1_000_000, description="Prompts, at most.")
