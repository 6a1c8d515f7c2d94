"""How often a prompt whose picture is memorised is loosened with no hand work, by way of searching.

    python benchmarks/prompt_search.py runs/scenes recipes/scenes-teacher.toml \
        recipes/scenes-siss.toml --detector runs/scenes-detector --seed 0 \
        --out benchmarks/results/prompt-search.json

The first two stages of `efface forget memorised`, for all captions that the teacher's recipe
repeats, with the ways in either order. Nothing is trained.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from forget_memorised import write_pictures
from results_file import write_results
from scene_prompts import add_scene_options, drawn_scenes, write_captions

from efface.concept_runs import as_text_denoiser
from efface.config import read_settings
from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.errors import RequestError
from efface.memorisation.drawing import Drawing, to_unit
from efface.memorisation.likeness import load_features
from efface.memorised_runs import MemorisedInputs, memorised_sampler, read_memorised
from efface.memorised_stages import Preparer, Stages
from efface.requests import ForgetMemorised

ORDERS = (("embedding", "tokens"), ("tokens", "embedding"))
BAR = 8  # of ten prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_scene_options(parser)
    arguments = parser.parse_args()
    scenes = read_settings("denoising", arguments.teacher_recipe, arguments.scenes)
    controls = write_captions(drawn_scenes(scenes), arguments.runs / "captions.txt")
    paths = write_pictures(scenes, arguments.runs / "pictures")
    captions = [pair.caption for pair in scenes.scenes.memorised]
    info = inspect_model(arguments.model)
    denoiser = as_text_denoiser(load(info))
    found: list[dict[str, Any]] = []
    for seed in arguments.seed:
        for order in ORDERS:
            changes = [f"memorised.search={list(order)}", f"memorised.seed={seed}"]
            settings = read_settings(None, arguments.recipe, changes)
            drawing = Drawing(
                denoiser=denoiser,
                sampler=memorised_sampler(settings),
                batch_size=settings.evaluate.batch_size,
            )
            for caption, path in zip(captions, paths, strict=True):
                request = ForgetMemorised(
                    prompt=caption, picture=str(path), control_prompts=str(controls)
                )
                inputs = read_memorised(request, info, settings)
                with tempfile.TemporaryDirectory() as folder:
                    preparer = Preparer(
                        stages=Stages(Path(folder)),
                        drawing=drawing,
                        config=settings.memorised,
                        prompt=caption,
                        features=load_features(None, None),
                    )
                    own = search(preparer, inputs)
                found.append({"seed": seed, "search": order, "caption": caption} | own)
                print(found[-1], flush=True)
                content = {"bar": BAR, "summary": summarise(found), "prompts": found}
                write_results(arguments.out, arguments.seed, content)


def search(preparer: Preparer, inputs: MemorisedInputs) -> dict[str, Any]:
    """What was found for one prompt, and after how many tries."""
    assert inputs.picture is not None
    detected = preparer.detect(list(inputs.controls), to_unit(inputs.picture))
    own: dict[str, Any] = {"copies": detected.detection.copies, "of": detected.detection.samples}
    try:
        modified = preparer.modify(detected, None)
    except RequestError as error:
        return own | {"way": None, "refused": str(error)}
    tried = modified.tried
    return own | {
        "way": tried.way,
        "prompt": tried.text,
        "share": tried.share,
        "tried": modified.count,
    }


def summarise(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many prompts draw their picture sometimes, by seed and order."""
    rows = []
    for seed, order in dict.fromkeys((one["seed"], one["search"]) for one in found):
        same = [one for one in found if (one["seed"], one["search"]) == (seed, order)]
        partly = [one for one in same if one["way"] not in (None, "as it is")]
        rows.append(
            {
                "seed": seed,
                "search": order,
                "prompts": len(same),
                "partly_memorised": len(partly),
                "with_text": sum(one["prompt"] is not None for one in partly),
                "tried": sum(one.get("tried", 0) for one in partly) / max(1, len(partly)),
            }
        )
    return rows


if __name__ == "__main__":
    main()
