"""Which words for an item the small text-to-image model knows, before anything is forgotten.

    python benchmarks/words_drawn.py runs/scenes --detector runs/scenes-detector \
        --out benchmarks/results/scenes-words.json

A paraphrase for which the original model hardly generates the item tests nothing of forgetting. 200
samples of each word, in the templates of single items, with 25 DDIM steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from results_file import write_results
from scene_prompts import single_prompts

import efface
from efface.diffusion.sampling import MultiStep, draw_images
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.metrics.detector import load_classifier
from efface.metrics.intervals import proportion

WORDS = {
    "bag": (
        "bag", "handbag", "purse", "tote", "satchel", "backpack", "suitcase", "pouch", "clutch",
    ),
    "sandal": (
        "sandal", "flip-flop", "slipper", "espadrille", "sandals", "flip flops", "open-toed shoe",
        "summer shoe", "clog", "beach shoe", "strappy shoe", "huarache",
    ),
    "boot": (
        "boot", "bootee", "wellington", "galosh", "boots", "ankle boots", "hiking footwear",
        "winter footwear", "bootie", "gumboot", "snowshoe", "high-top shoe",
    ),
    "coat": ("coat", "jacket", "parka", "overcoat", "cardigan", "blazer"),
    "dress": ("dress", "gown", "frock", "robe", "sundress", "evening dress"),
    "t-shirt": ("t-shirt", "tee", "shirt", "blouse", "jersey", "tank top"),
    "pair of trousers": ("pair of trousers", "pair of pants", "pair of jeans", "pair of slacks"),
}  # fmt: skip
SAMPLES, STEPS, THRESHOLD, SEED = 200, 25, 0.5, 1000


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--detector", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    denoiser = as_text_denoiser(efface.load(arguments.model))
    detector = load_classifier(arguments.detector)
    rates: dict[str, dict[str, dict[str, float]]] = {}
    for item, words in WORDS.items():
        for word in words:
            prompts = single_prompts(word)
            condition = denoiser.encode([prompts[i % len(prompts)] for i in range(SAMPLES)])
            seeds = range(SEED, SEED + SAMPLES)
            images = draw_images(denoiser, MultiStep(STEPS), condition, seeds)
            scores = detector.scores(detector.probabilities(images), [item])
            rate = proportion(int((scores > THRESHOLD).sum()), SAMPLES)
            rates.setdefault(item, {})[word] = {
                "value": rate.value, "low": rate.low, "high": rate.high
            }  # fmt: skip
            print(f"{item}: {word} {rate.value:.1%}", flush=True)
            write_results(arguments.out, [SEED], {"samples": SAMPLES, "words": rates})


if __name__ == "__main__":
    main()
