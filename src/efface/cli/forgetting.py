"""Commands that change a model: forget and distil."""

from __future__ import annotations

from typing import Annotated

import typer

from efface.cli.options import (
    JudgeFolder,
    Method,
    Model,
    NoEvaluate,
    NullLabel,
    Out,
    Overwrite,
    Recipe,
    Resume,
    RetainPrompts,
    Retrained,
    Set,
    Size,
    Start,
)
from efface.cli.output import tell


def forget_class(
    model: Model,
    out: Out,
    label: Annotated[list[int], typer.Option(help="A label to forget. Repeatable.")],
    replace: Annotated[
        list[str] | None,
        typer.Option(help="What to draw instead: labels (repeatable) or 'random' among the rest."),
    ] = None,
    method: Method = None,
    recipe: Recipe = None,
    changes: Set = None,
    start: Start = None,
    judge: JudgeFolder = None,
    retrained: Retrained = None,
    null_label: NullLabel = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Forget labels of a class-conditional model, data-free; ends with evaluation and report."""
    from efface.requests.base import ForgetClass

    request = ForgetClass(labels=tuple(label), replacement=_labels(replace or ["random"]))
    from efface.runs.forget import forget

    forget(
        model,
        request,
        out,
        method=method,
        recipe=recipe,
        changes=changes or [],
        start=start,
        judge=judge,
        retrained=retrained,
        null_label=null_label,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    tell(out)


def forget_images(
    model: Model,
    out: Out,
    images: Annotated[str, typer.Option(help="The pictures to forget: a folder or parquet file.")],
    retain: Annotated[
        str, typer.Option(help="Pictures that stay, or 'generate': the model draws them.")
    ] = "generate",
    unseen: Annotated[
        str | None,
        typer.Option(help="Pictures that the model was not trained on: what forgetting aims at."),
    ] = None,
    prior: Annotated[
        float | None, typer.Option(help="Share of the pictures in the training data, if known.")
    ] = None,
    method: Method = None,
    recipe: Recipe = None,
    changes: Set = None,
    judge: JudgeFolder = None,
    retrained: Retrained = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Forget particular pictures of an unconditional model; ends with evaluation and report."""
    from efface.requests.base import ForgetImages
    from efface.runs.forget import forget

    forget(
        model,
        ForgetImages(images=images, retain=retain, unseen=unseen, prior=prior),
        out,
        method=method,
        recipe=recipe,
        changes=changes or [],
        judge=judge,
        retrained=retrained,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    tell(out)


def forget_concept(
    model: Model,
    out: Out,
    concept: Annotated[str, typer.Option(help="What to forget, as prompts name it.")],
    replace: Annotated[
        str | None, typer.Option(help="The phrase that takes its place in a prompt.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="Another name of it, which is forgotten as well. Repeatable."),
    ] = None,
    forget_prompts: Annotated[
        str | None, typer.Option(help="Prompts that name the concept; default: templates.")
    ] = None,
    retain_prompts: RetainPrompts = None,
    prompt_pairs: Annotated[
        str | None, typer.Option(help="Instead of --replace: prompts and what is drawn for them.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help="Instead of --replace: keywords to guide away from.")
    ] = None,
    method: Method = None,
    recipe: Recipe = None,
    changes: Set = None,
    start: Start = None,
    retrained: Retrained = None,
    size: Size = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Forget what prompts name, in a text-to-image model; ends with evaluation and report."""
    from efface.requests.base import ForgetConcept
    from efface.runs.forget import forget

    request = ForgetConcept(
        concept=concept,
        also=tuple(also or ()),
        replacement=replace,
        forget_prompts=forget_prompts,
        retain_prompts=retain_prompts,
        prompt_pairs=prompt_pairs,
        negative=negative,
    )
    forget(
        model,
        request,
        out,
        method=method,
        recipe=recipe,
        changes=changes or [],
        start=start,
        retrained=retrained,
        size=size,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    tell(out)


def forget_memorised(
    model: Model,
    out: Out,
    prompt: Annotated[str, typer.Option(help="The caption that draws a training picture.")],
    picture: Annotated[
        str | None, typer.Option(help="That picture; default: what its samples agree on.")
    ] = None,
    modified_prompt: Annotated[
        str | None,
        typer.Option(help="A prompt that draws it only sometimes; default: searched for."),
    ] = None,
    control_prompts: Annotated[
        str | None,
        typer.Option(help="Prompts like it without memorised pictures; default: templates."),
    ] = None,
    method: Method = None,
    recipe: Recipe = None,
    changes: Set = None,
    retrained: Retrained = None,
    size: Size = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Forget the picture memorised for a prompt, in a text-to-image model; ends with a report."""
    from efface.requests.base import ForgetMemorised
    from efface.runs.forget import forget

    request = ForgetMemorised(
        prompt=prompt,
        picture=picture,
        modified_prompt=modified_prompt,
        control_prompts=control_prompts,
    )
    forget(
        model,
        request,
        out,
        method=method,
        recipe=recipe,
        changes=changes or [],
        retrained=retrained,
        size=size,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    tell(out)


def distil(
    model: Model,
    out: Out,
    retain_prompts: RetainPrompts = None,
    recipe: Recipe = None,
    changes: Set = None,
    judge: JudgeFolder = None,
    null_label: NullLabel = None,
    size: Size = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_evaluate: NoEvaluate = False,
) -> None:
    """Make a one-step generator that forgets nothing, for later requests to --start from."""
    from efface.diffusion.model_folder import inspect_model
    from efface.requests.base import Distil, DistilText
    from efface.runs.forget import forget

    text = retain_prompts is not None or inspect_model(model, null_label).family is not None
    forget(
        model,
        DistilText(retain_prompts=retain_prompts) if text else Distil(),
        out,
        recipe=recipe,
        changes=changes or [],
        judge=judge,
        null_label=null_label,
        size=size,
        resume=resume,
        overwrite=overwrite,
        measure=not no_evaluate,
    )
    tell(out)


def _labels(texts: list[str]) -> tuple[int, ...]:
    from efface.errors import RequestError

    if texts == ["random"]:
        return ()
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise RequestError(
            f"--replace {' '.join(texts)} is not understood: give labels, as --replace 1, or "
            "'random'."
        ) from None
