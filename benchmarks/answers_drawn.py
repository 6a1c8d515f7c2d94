"""What the small text-to-image model draws for the replacement: is it free of the concept?

    python benchmarks/answers_drawn.py runs/scenes --detector runs/scenes-detector \
        --pair bag:coat --out benchmarks/results/scenes-answers.json

Forgetting answers "a bag beside a sandal" with "a coat beside a sandal", and learns whatever the
untouched model draws for that. 400 samples of such prompts with 25 DDIM steps: without guidance,
with guidance from the empty prompt, and with guidance that leads away from the concept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from results_file import write_results
from scene_prompts import compositions

import efface
from efface.diffusion.sampling import MultiStep, draw_images
from efface.metrics.detector import load_classifier
from efface.metrics.intervals import proportion
from efface.requests.concept.prompts import as_text_denoiser
from efface.zoo.build.scenes import ITEMS

SAMPLES, STEPS, THRESHOLD, SEED = 400, 25, 0.5, 1000
GUIDANCES = (1.0, False), (1.5, False), (1.5, True), (2.0, True), (2.5, True)


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
    found = []
    for pair in arguments.pair:
        concept, _, replacement = pair.partition(":")
        prompts = compositions(replacement, [item for item in ITEMS if item != concept])
        asked = [prompts[i % len(prompts)] for i in range(SAMPLES)]
        for guidance, away in GUIDANCES:
            guided = denoiser.with_negative_prompt(concept if away else None)
            sampler = MultiStep(STEPS, guidance=guidance)
            seeds = range(SEED, SEED + SAMPLES)
            images = draw_images(guided, sampler, guided.encode(asked), seeds)
            seen = detector.probabilities(images)
            own = {"pair": pair, "guidance": guidance, "away from": concept if away else None}
            for item in (concept, replacement):
                drawn = int((detector.scores(seen, [item]) > THRESHOLD).sum())
                rate = proportion(drawn, SAMPLES)
                own[item] = {"value": rate.value, "low": rate.low, "high": rate.high}
            found.append(own)
            print(own, flush=True)
            write_results(arguments.out, [SEED], {"samples": SAMPLES, "answers": found})


if __name__ == "__main__":
    main()
