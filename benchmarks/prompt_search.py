"""How often a prompt whose image is memorised is modified with no hand work, as words.

    python benchmarks/prompt_search.py runs/scenes recipes/scenes-teacher.toml \
        recipes/scenes-siss.toml --detector runs/scenes-detector --seed 0 \
        --out benchmarks/results/prompt-search.json

The first two stages of `efface forget memorised`, for all captions that the teacher's recipe
repeats. Nothing is trained. A search ends at a share of copies
in memorised.copy_band among its own samples; what counts here is the share among as many fresh
ones as the synthetic set has.
"""

from __future__ import annotations

import argparse
from typing import Any

from forget_memorised import write_memorised
from recipe_settings import request_settings
from results_file import write_results
from scene_prompts import add_scene_options, fresh_scenes, write_captions

from efface import ForgetMemorised
from efface.diffusion.loading import load
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.errors import RequestError
from efface.requests.memorised.detection import detect, detector_of
from efface.requests.memorised.material import MemorisedMaterial, read_memorised
from efface.requests.memorised.sampling import PromptSampler, prompt_sampler, to_unit
from efface.requests.memorised.searching import modify
from efface.requests.memorised.settings import MemorisedSettings
from efface.zoo.build.settings import read_build_settings

BAR = 0.8  # of the prompts

Found = dict[str, Any]


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
    prompts: list[Found] = []
    for seed in arguments.seed:
        changes = [f"memorised.seed={seed}"]
        settings = request_settings(ForgetMemorised, arguments.recipe, changes)
        own, sampler = settings.of(MemorisedSettings), prompt_sampler(denoiser, settings)
        for caption, path in zip(captions, paths, strict=True):
            request = ForgetMemorised(
                prompt=caption, image=str(path), control_prompts=str(controls)
            )
            found = search(read_memorised(request, info, settings), sampler, own)
            prompts.append({"seed": seed, "caption": caption} | found)
            print(prompts[-1], flush=True)
            content = {"bar": BAR, "summary": summarise(prompts), "prompts": prompts}
            write_results(arguments.out, arguments.seed, content)


def search(material: MemorisedMaterial, sampler: PromptSampler, own: MemorisedSettings) -> Found:
    """What was found for one prompt, and after how many tries."""
    (caption,) = material.captions
    assert caption.image is not None
    image, comparison = to_unit(caption.image), material.comparison
    detection = detect(sampler, caption.prompt, material.controls, image, comparison, own)
    detector = detector_of(detection, comparison)
    found: Found = {"copies": detection.copies, "of": detection.samples}
    try:
        modification = modify(sampler, detector, own, caption.prompt, None)
    except RequestError as error:
        return found | {"prompt": None, "refused": str(error)}
    prompt = modification.prompt
    fresh = to_unit(sampler.sample([prompt.text], own.images, "synthetic"))
    share = float(detector.copies(fresh).mean())
    low, high = own.copy_band
    return found | {
        "prompt": prompt.text,
        "share": prompt.share,
        "fresh_share": share,
        "partly_memorised": low <= share <= high,
        "tried": len(modification.tried),
    }


def summarise(prompts: list[Found]) -> list[Found]:
    """How many prompts generate their image sometimes, by seed; unchanged ones do not count."""
    rows = []
    for seed in dict.fromkeys(one["seed"] for one in prompts):
        same = [one for one in prompts if one["seed"] == seed]
        found = [one for one in same if one["prompt"] not in (None, one["caption"])]
        partly = [one for one in found if one["partly_memorised"]]
        rows.append(
            {
                "seed": seed,
                "prompts": len(same),
                "found": len(found),
                "partly_memorised": len(partly),
                "bar_met": len(partly) >= BAR * len(same),
                "tried": sum(one["tried"] for one in found) / max(1, len(found)),
            }
        )
    return rows


if __name__ == "__main__":
    main()
