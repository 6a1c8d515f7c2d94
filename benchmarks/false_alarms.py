"""How often captions that are memorised, and ordinary ones, are called memorised.

    python benchmarks/false_alarms.py runs/scenes recipes/scenes-teacher.toml \
        recipes/scenes-siss.toml --out benchmarks/results/false-alarms.json

The first stage of `efface forget memorised`, without a given image: the captions that the
teacher's recipe repeats, and --ordinary captions of single scenes, which are not among the
controls. Nothing is trained.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from recipe_settings import request_settings
from results_file import write_results
from scene_prompts import fresh_scenes
from torch import Tensor

from efface.data.prompts import spread
from efface.diffusion.loading import load
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.metrics.intervals import proportion
from efface.requests.memorised.detection import detect
from efface.requests.memorised.request import ForgetMemorised
from efface.requests.memorised.sampling import prompt_sampler
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import read_comparison
from efface.zoo.build.settings import read_build_settings


def main() -> None:
    arguments = parse()
    teacher = read_build_settings(arguments.teacher_recipe, arguments.scenes)
    settings = request_settings(ForgetMemorised, arguments.recipe)
    own = settings.of(MemorisedSettings)
    captions = list(dict.fromkeys(fresh_scenes(teacher).captions))
    controls = spread(captions, own.controls)
    ordinary = spread([c for c in captions if c not in set(controls)], arguments.ordinary)
    memorised = [scene.caption for scene in teacher.scenes.memorised]
    sampler = prompt_sampler(as_text_denoiser(load(arguments.model)), settings)
    comparison = read_comparison(own.extractor)
    rows: list[dict[str, Any]] = []
    for kind, prompts in (("memorised", memorised), ("ordinary", ordinary)):
        for prompt in prompts:
            found = detect(sampler, prompt, controls, None, comparison, own)
            called = {"prompt": prompt, "kind": kind, "called_memorised": found.is_memorised}
            figures = {k: v for k, v in vars(found).items() if not isinstance(v, Tensor)}
            rows.append(called | figures)
            print(called, flush=True)
            content = {"summary": summarise(rows), "prompts": rows}
            write_results(arguments.out, [own.seed], content)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("teacher_recipe", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--scenes", action="append", default=[], help="a change to the scenes")
    parser.add_argument("--ordinary", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Share of prompts that were called memorised, by kind."""
    summary = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        called = [row["called_memorised"] for row in rows if row["kind"] == kind]
        rate = proportion(sum(called), len(called))
        summary[kind] = {
            "prompts": len(called), "value": rate.value, "low": rate.low, "high": rate.high
        }  # fmt: skip
    return summary


if __name__ == "__main__":
    main()
