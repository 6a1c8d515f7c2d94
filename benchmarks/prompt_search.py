"""How often a prompt whose picture is memorised is loosened with no hand work, by way of searching.

    python benchmarks/prompt_search.py runs/scenes recipes/scenes-teacher.toml \
        recipes/scenes-siss.toml --detector runs/scenes-detector --seed 0 \
        --out benchmarks/results/prompt-search.json

The first two stages of `efface forget memorised`, for all captions that the teacher's recipe
repeats, with the ways in either order. Nothing is trained. A search ends at a share of copies
between memorised.least_share and most_share among its own pictures; what counts here is the share
among as many fresh ones as the synthetic set has.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from forget_memorised import write_pictures
from results_file import write_results
from scene_prompts import add_scene_options, drawn_scenes, write_captions

from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.errors import RequestError
from efface.requests.base import ForgetMemorised
from efface.requests.concept.prompts import as_text_denoiser
from efface.requests.memorised.feed import MemorisedInputs, memorised_sampler, read_memorised
from efface.requests.memorised.sampling import Drawing, seeds_for, to_unit
from efface.requests.memorised.similarity import load_features
from efface.requests.memorised.stages import Preparer, Stages
from efface.settings.reading import read_settings

ORDERS = (("embedding", "tokens"), ("tokens", "embedding"))
BAR = 0.8  # of the prompts


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
                        features=load_features(
                            settings.memorised.extractor, settings.memorised.extractor_sha256
                        ),
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
    tried, config = modified.tried, preparer.config
    seeds = seeds_for(config.seed, "synthetic", config.images)
    fresh = to_unit(preparer.drawing.of(modified.condition, seeds, "fresh pictures"))
    share = float(preparer.detector(detected).copies(fresh).mean())
    return own | {
        "way": tried.way,
        "prompt": tried.text,
        "share": tried.share,
        "fresh_share": share,
        "partly_memorised": config.least_share <= share <= config.most_share,
        "tried": modified.count,
    }


def summarise(prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many prompts draw their picture sometimes, by seed and order."""
    rows = []
    for seed, order in dict.fromkeys((one["seed"], one["search"]) for one in prompts):
        same = [one for one in prompts if (one["seed"], one["search"]) == (seed, order)]
        found = [one for one in same if one["way"] not in (None, "as it is")]
        partly = [one for one in found if one["partly_memorised"]]
        rows.append(
            {
                "seed": seed,
                "search": order,
                "prompts": len(same),
                "found": len(found),
                "partly_memorised": len(partly),
                "bar_met": len(partly) >= BAR * len(same),
                "with_text": sum(one["prompt"] is not None for one in partly),
                "tried": sum(one["tried"] for one in found) / max(1, len(found)),
            }
        )
    return rows


if __name__ == "__main__":
    main()
