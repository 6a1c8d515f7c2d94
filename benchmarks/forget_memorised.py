"""Forgets memorised images of the small text-to-image model, one run for each caption.

    python benchmarks/forget_memorised.py runs/scenes recipes/scenes-teacher.toml \
        recipes/scenes-siss.toml --detector runs/scenes-detector --seed 0 \
        --out benchmarks/results/scenes-siss.json

The captions are those that the teacher's recipe repeats. No prompt is modified by hand. FID is of
captions that were not trained on. The detector says whether samples of a caption still show the
item that it names, or any item at all. Runs are kept in --runs and resumed; with --caption N
(repeatable) only some are taken.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from results_file import write_results
from scene_prompts import add_scene_options, fresh_scenes, write_captions, write_reference
from variants import figures, parse_variants

import efface
from efface.data.images import load_images
from efface.diffusion.sampling import MultiStep, draw_images
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.errors import EffaceError
from efface.metrics.detector import Detector, load_classifier
from efface.metrics.intervals import proportion
from efface.records import read_evaluation, read_record
from efface.zoo.build.scenes import memorised_images
from efface.zoo.build.settings import BuildSettings, read_build_settings

SAMPLES, STEPS, THRESHOLD = 100, 25, 0.5  # of a caption, and from which score an item is shown


def main() -> None:
    arguments = parse()
    expected = tomllib.loads(arguments.recipe.read_text())["expected"]
    settings = read_build_settings(arguments.teacher_recipe, arguments.scenes)
    scenes = fresh_scenes(settings)
    controls = write_captions(scenes, arguments.runs / "captions.txt")
    reference = write_reference(scenes, range(len(scenes)), arguments.runs / "reference")
    images = write_memorised(settings, arguments.runs / "images")
    unknown = set(arguments.caption) - set(range(len(images)))
    if unknown:
        raise SystemExit(f"--caption {sorted(unknown)}: there are captions 0 to {len(images) - 1}.")
    detector = load_classifier(arguments.detector)
    evaluate = {
        "extractor": arguments.detector,
        "reference": str(reference),
    }
    changes = [f"evaluate.{key}={value!r}" for key, value in evaluate.items()]
    runs: list[dict[str, Any]] = []
    for variant, own in parse_variants(arguments.variant).items():
        for number in arguments.caption or range(len(images)):
            for seed in arguments.seed:
                scene = settings.scenes.memorised[number]
                caption = scene.caption
                request = efface.ForgetMemorised(
                    prompt=caption,
                    image=str(images[number]),
                    control_prompts=str(controls),
                )
                out = arguments.runs / f"{arguments.recipe.stem}-{variant}-{number}-seed{seed}"
                seeds = [f"train.seed={seed}", f"memorised.seed={seed}"]
                run = one_run(arguments, request, [*changes, *own, *seeds], out)
                if "results" in run:
                    models = {"value": out, "baseline": arguments.model}
                    run["items"] = {
                        model: items_shown(detector, folder, caption, scene.item, seed)
                        for model, folder in models.items()
                    }
                bars = check(run, expected)
                runs.append({"variant": variant, "caption": caption, "seed": seed} | run)
                runs[-1]["bars"] = bars
                print(describe(runs[-1]), flush=True)
                summary = summarise(runs, expected)
                content = {"expected": expected, "summary": summary, "runs": runs}
                write_results(arguments.out, arguments.seed, content)
    held = [run["bars"] | {PROMPT: True} for run in runs]  # not every prompt has to be found
    enough = all(variant["enough prompts"] for variant in summarise(runs, expected).values())
    met = enough and all(all(bars.values()) for bars in held)
    print(f"{'all bars met' if met else 'NOT all bars met'}; written to {arguments.out}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_scene_options(parser)
    parser.add_argument("--caption", action="append", type=int, default=[])
    return parser.parse_args()


def write_memorised(settings: BuildSettings, folder: Path) -> list[Path]:
    """The memorised images as PNG files, in the order of their captions."""
    images = memorised_images(load_images(settings.data.source, "train"), settings.scenes)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return paths


def one_run(
    arguments: argparse.Namespace, request: efface.ForgetMemorised, changes: list[str], out: Path
) -> dict[str, Any]:
    """The outcome of a request; one that was refused is an outcome too."""
    try:
        efface.forget(
            arguments.model,
            request,
            out,
            recipe=arguments.recipe,
            changes=changes,
            resume=out.exists(),
        )
    except EffaceError as error:
        return {"refused": str(error)} | tried_shares(out)
    record, evaluation = read_record(out), read_evaluation(out)
    return {
        "status": record.status,
        "seconds": record.seconds,
        "steps": record.steps,
        "notes": record.notes,
        "results": {r.metric: figures(r) for r in evaluation.results},
    } | tried_shares(out)


def tried_shares(out: Path) -> dict[str, Any]:
    """What the search for a modified prompt found, and after how many; {} where it failed."""
    path = out / "preparation" / "modification.json"
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return {"found": content["tried"][-1], "tried": len(content["tried"])}


@torch.inference_mode()
def items_shown(
    detector: Detector, model: Path | str, caption: str, item: str, seed: int
) -> dict[str, Any]:
    """How often samples of a caption show the item that it names, and any item at all."""
    denoiser = as_text_denoiser(efface.load(model))
    seeds = range(1000 + seed * SAMPLES, 1000 + (seed + 1) * SAMPLES)
    condition = denoiser.encode([caption] * SAMPLES)
    images = draw_images(denoiser, MultiStep(STEPS), condition, seeds)
    probabilities = detector.probabilities(images)
    shown = {
        "own": detector.scores(probabilities, [item]) > THRESHOLD,
        "any": detector.scores(probabilities, detector.labels) > THRESHOLD,
    }
    return {
        name: dataclasses.asdict(proportion(int(rows.sum()), SAMPLES))
        for name, rows in shown.items()
    }


PROMPT = "partly memorised prompt"


def check(run: dict[str, Any], expected: dict[str, float]) -> dict[str, bool]:
    """Every bar of one caption, whether it holds.

    Its image was memorised before, is gone under the caption and under the prompt that was found,
    and the rest is as good as before.
    """
    found = run.get("found")
    bars = {PROMPT: found is not None and run["tried"] > 1}
    if "results" not in run:
        return bars | {"forgotten": False}
    results = run["results"]
    share, fd = results["memorised_share"], results["fd"]
    bars["finished"] = run["status"] == "finished"
    bars["memorised before"] = share["baseline"]["value"] >= expected["memorised_before"]
    for name in ("memorised_share", "memorised_share_modified"):
        if name in results:
            bars[name] = results[name]["value"]["value"] <= expected["memorised_share"]
    most = expected["fd_over_baseline"] * fd["baseline"]["value"]
    bars["fd"] = fd["value"]["value"] <= most
    return bars


def summarise(runs: list[dict[str, Any]], expected: dict[str, float]) -> dict[str, Any]:
    """How many captions met each bar, by variant; whether enough prompts were found."""
    summary: dict[str, Any] = {}
    for variant in dict.fromkeys(run["variant"] for run in runs):
        same = [run for run in runs if run["variant"] == variant]
        names = dict.fromkeys(name for run in same for name in run["bars"])
        met = {name: sum(run["bars"].get(name, False) for run in same) for name in names}
        enough = met[PROMPT] >= expected["partly_memorised"] * len(same)
        summary[variant] = {"runs": len(same)} | met | {"enough prompts": enough}
    return summary


def describe(run: dict[str, Any]) -> str:
    head = f"{run['caption'][:30]!r} seed {run['seed']}"
    if "refused" in run:
        return f"{head}: refused: {run['refused']}"
    parts = [
        f"{metric} {found['value']['value']:.3g} ({found['baseline']['value']:.3g})"
        for metric, found in run["results"].items()
    ]
    notes = run["notes"]
    found = f"{notes['modified_prompt']!r} share {notes['modified_share']:.2g}"
    return f"{head}: {found} after {run['tried']}; {'  '.join(parts)}; {run['bars']}"


if __name__ == "__main__":
    main()
