"""What the small text-to-image model generates for the replacement: is it free of the concept?

    python benchmarks/answers_drawn.py runs/scenes --detector runs/scenes-detector \
        --pair bag:coat --out benchmarks/results/scenes-answers.json

Forgetting replaces "a bag beside a sandal" by "a coat beside a sandal", and learns whatever the
original model generates for that. 400 samples of such prompts with 25 DDIM steps: without guidance,
with guidance, and with the concept as the negative prompt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from results_file import write_results
from scene_prompts import compositions

import efface
from efface.diffusion.sampling import MultiStep, draw_images
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.metrics.detector import load_classifier
from efface.metrics.intervals import proportion
from efface.zoo.build.settings import SceneSettings

SAMPLES, STEPS, THRESHOLD, SEED = 400, 25, 0.5, 1000
GUIDANCES = (1.0, False), (1.5, False), (1.5, True), (2.0, True), (2.5, True)  # and negative


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--detector", required=True)
    parser.add_argument("--pair", action="append", required=True, help="CONCEPT:REPLACEMENT")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    denoiser = as_text_denoiser(efface.load(arguments.model))
    detector = load_classifier(arguments.detector)
    answers = []
    for pair in arguments.pair:
        concept, _, replacement = pair.partition(":")
        prompts = compositions(
            replacement, [item for item in SceneSettings().items if item != concept]
        )
        rows = [prompts[i % len(prompts)] for i in range(SAMPLES)]
        for guidance, negative in GUIDANCES:
            guided = denoiser.with_negative_prompt(concept if negative else None)
            sampler = MultiStep(STEPS, guidance=guidance)
            seeds = range(SEED, SEED + SAMPLES)
            images = draw_images(guided, sampler, guided.encode(rows), seeds)
            probabilities = detector.probabilities(images)
            answer: dict[str, object] = {
                "pair": pair,
                "guidance": guidance,
                "negative prompt": concept if negative else None,
            }
            for item in (concept, replacement):
                shown = int((detector.scores(probabilities, [item]) > THRESHOLD).sum())
                rate = proportion(shown, SAMPLES)
                answer[item] = {"value": rate.value, "low": rate.low, "high": rate.high}
            answers.append(answer)
            print(answer, flush=True)
            write_results(arguments.out, [SEED], {"samples": SAMPLES, "answers": answers})


if __name__ == "__main__":
    main()
