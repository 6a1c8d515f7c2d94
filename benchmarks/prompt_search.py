"""How often a prompt whose image is memorised is modified with no hand work, by way of searching.

    python benchmarks/prompt_search.py runs/scenes recipes/scenes-teacher.toml \
        recipes/scenes-siss.toml --detector runs/scenes-detector --seed 0 \
        --out benchmarks/results/prompt-search.json

The first two stages of `efface forget memorised`, for all captions that the teacher's recipe
repeats, with the ways in either order. Nothing is trained. A search ends at a share of copies
in memorised.copy_band among its own samples; what counts here is the share among as many fresh
ones as the synthetic set has.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from forget_memorised import write_memorised
from recipe_settings import request_settings
from results_file import write_results
from scene_prompts import add_scene_options, fresh_scenes, write_captions

from efface import ForgetMemorised
from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.text.denoiser import TextDenoiser, as_text_denoiser
from efface.errors import RequestError
from efface.requests.memorised.material import MemorisedMaterial, read_memorised
from efface.requests.memorised.sampling import (
    PromptSampler,
    memorised_sampler,
    seeds_for,
    to_unit,
)
from efface.requests.memorised.searching import UNCHANGED
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.stages import Preparer, Stages
from efface.settings.base import Settings
from efface.zoo.build.settings import read_build_settings

ORDERS = (("embedding", "tokens"), ("tokens", "embedding"))
BAR = 0.8  # of the prompts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_scene_options(parser)
    arguments = parser.parse_args()
    teacher = read_build_settings(arguments.teacher_recipe, arguments.scenes)
    controls = write_captions(fresh_scenes(teacher), arguments.runs / "captions.txt")
    paths = write_memorised(teacher, arguments.runs / "images")
    captions = [scene.caption for scene in teacher.scenes.memorised]
    info = inspect_model(arguments.model)
    denoiser = as_text_denoiser(load(info))
    prompts: list[dict[str, Any]] = []
    for seed in arguments.seed:
        for order in ORDERS:
            changes = [f"memorised.search={list(order)}", f"memorised.seed={seed}"]
            settings = request_settings(ForgetMemorised, arguments.recipe, changes)
            for caption, path in zip(captions, paths, strict=True):
                request = ForgetMemorised(
                    prompt=caption, image=str(path), control_prompts=str(controls)
                )
                own = search(read_memorised(request, info, settings), denoiser, settings)
                prompts.append({"seed": seed, "search": order, "caption": caption} | own)
                print(prompts[-1], flush=True)
                content = {"bar": BAR, "summary": summarise(prompts), "prompts": prompts}
                write_results(arguments.out, arguments.seed, content)


def search(
    material: MemorisedMaterial, denoiser: TextDenoiser, settings: Settings
) -> dict[str, Any]:
    """What was found for one prompt, and after how many tries."""
    sampler, batch_size = memorised_sampler(settings), settings.evaluate.batch_size
    with tempfile.TemporaryDirectory() as folder:
        preparer = Preparer(
            stages=Stages(Path(folder)),
            sampler=PromptSampler(denoiser=denoiser, sampler=sampler, batch_size=batch_size),
            settings=settings.of(MemorisedSettings),
            prompt=material.prompt,
            comparison=material.comparison,
        )
        return search_with(preparer, material)


def search_with(preparer: Preparer, material: MemorisedMaterial) -> dict[str, Any]:
    assert material.image is not None
    detected = preparer.detect(material.controls, to_unit(material.image))
    own: dict[str, Any] = {"copies": detected.detection.copies, "of": detected.detection.samples}
    try:
        modified = preparer.modify(detected, None)
    except RequestError as error:
        return own | {"way": None, "refused": str(error)}
    tried, settings = modified.tried, preparer.settings
    seeds = seeds_for(settings.seed, "synthetic", settings.images)
    fresh = to_unit(preparer.sampler.sample_one(modified.condition, seeds, "fresh samples"))
    share = float(preparer.detector(detected).copies(fresh).mean())
    low, high = settings.copy_band
    return own | {
        "way": tried.way,
        "prompt": tried.text,
        "share": tried.share,
        "fresh_share": share,
        "partly_memorised": low <= share <= high,
        "tried": modified.count,
    }


def summarise(prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many prompts generate their image sometimes, by seed and order."""
    rows = []
    for seed, order in dict.fromkeys((one["seed"], one["search"]) for one in prompts):
        same = [one for one in prompts if (one["seed"], one["search"]) == (seed, order)]
        found = [one for one in same if one["way"] not in (None, UNCHANGED)]
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
