"""How often "is it memorised" says so of captions that are memorised, and of ordinary ones.

    python benchmarks/false_alarms.py runs/scenes recipes/scenes-teacher.toml \
        recipes/scenes-siss.toml --out benchmarks/results/false-alarms.json

The first stage of `efface forget memorised`, without a given picture: the captions that the
teacher's recipe repeats, and --ordinary captions of single scenes, which are not among the
controls. Nothing is trained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from results_file import write_results
from scene_prompts import drawn_scenes

from efface.data.prompts import spread
from efface.diffusion.loading import load
from efface.metrics.intervals import proportion
from efface.requests.concept.prompts import as_text_denoiser
from efface.requests.memorised.detection import detect
from efface.requests.memorised.feed import memorised_sampler
from efface.requests.memorised.sampling import Drawing
from efface.requests.memorised.similarity import load_features
from efface.settings.reading import read_settings


def main() -> None:
    arguments = parse()
    teacher = read_settings("denoising", arguments.teacher_recipe, arguments.scenes)
    settings = read_settings(None, arguments.recipe)
    config = settings.memorised
    captions = list(dict.fromkeys(drawn_scenes(teacher).captions))
    controls = spread(captions, config.controls)
    ordinary = spread([c for c in captions if c not in set(controls)], arguments.ordinary)
    memorised = [pair.caption for pair in teacher.scenes.memorised]
    denoiser = as_text_denoiser(load(arguments.model))
    sampler, size = memorised_sampler(settings), settings.evaluate.batch_size
    drawing = Drawing(denoiser=denoiser, sampler=sampler, batch_size=size)
    features = load_features(config.extractor, config.extractor_sha256)
    others = denoiser.encode(controls)
    found: list[dict[str, Any]] = []
    for kind, prompts in (("memorised", memorised), ("ordinary", ordinary)):
        for prompt in prompts:
            own = denoiser.encode([prompt])
            detection = detect(drawing, own, others, None, features, config).detection
            called = {"prompt": prompt, "kind": kind, "called_memorised": detection.is_memorised}
            found.append(called | detection.to_json())
            print(called, flush=True)
            content = {"summary": summarise(found), "prompts": found}
            write_results(arguments.out, [config.seed], content)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("teacher_recipe", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--scenes", action="append", default=[], help="a change to the scenes")
    parser.add_argument("--ordinary", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def summarise(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Share of prompts that were called memorised, by kind."""
    summary = {}
    for kind in dict.fromkeys(one["kind"] for one in found):
        called = [one["called_memorised"] for one in found if one["kind"] == kind]
        rate = proportion(sum(called), len(called))
        summary[kind] = {
            "prompts": len(called), "value": rate.value, "low": rate.low, "high": rate.high
        }  # fmt: skip
    return summary


if __name__ == "__main__":
    main()
