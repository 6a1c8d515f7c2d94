"""From a model to its one-step generator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from efface.requests.distil.request import Distil
from efface.runs.forget import forget


def distil(
    model: str | Path,
    out: str | Path,
    *,
    retain_prompts: str | None = None,
    recipe: str | Path | None = None,
    changes: Iterable[str] = (),
    judge: str | Path | None = None,
    null_label: int | None = None,
    size: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    measure: bool = True,
) -> Path:
    """Make a one-step generator that forgets nothing, for later requests to start from.

    Arguments are those of `efface.forget`; `retain_prompts` names the prompts of a text-to-image
    model, a file or "datasets:OWNER/NAME". Returns the run folder. Raises an EffaceError.
    """
    return forget(
        model,
        Distil(retain_prompts=retain_prompts),
        out,
        recipe=recipe,
        changes=changes,
        judge=judge,
        null_label=null_label,
        size=size,
        resume=resume,
        overwrite=overwrite,
        measure=measure,
    )
