"""Short runs of every kind of request and every method: SHA-256 of the weights, and all figures.

    python -m tests.fingerprint --out before.json
    python -m tests.fingerprint --out after.json --against before.json

A refactor leaves both as they were, on one machine. Two to four steps each, on tiny random models
and on those that ship.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from typer.testing import CliRunner

import efface
from efface.cli import app
from efface.methods import names, resolve
from tests.metrics.detectors import MULTI, make_random
from tests.text_pipelines import BUILD

STEPS = ["train.steps=3", "train.batch_size=8", "train.guard_every=0", "train.checkpoint_every=2"]
SAMPLES = [
    "evaluate.forget_samples=20",
    "evaluate.retain_samples=18",
    "evaluate.baseline_steps=4",
]
IMAGES = [
    *STEPS,
    "train.stop_every=0",
    "images.samples=20",
    "evaluate.baseline_steps=4",
    "images.likelihood_steps=10",
    "images.unseen=10",
    "images.controls=2",
    "images.draws=1",
    "images.generate=24",
]
TEXT = [
    "train.steps=3",
    "train.batch_size=4",
    "train.learning_rate=1e-3",
    "train.checkpoint_every=2",
    "train.mixed_precision=no",
    "train.gradient_checkpointing=false",
    "train.accumulation=1",
    "evaluate.forget_samples=10",
    "evaluate.retain_samples=10",
    "evaluate.baseline_steps=2",
    "evaluate.guidance=1.5",
]
PROMPTS = ['concept.templates=["a {}"]', 'concept.subjects=["cat", "dog"]']
MEMORISED = [
    *TEXT,
    "memorised.force=true",
    "memorised.samples=4",
    "memorised.control_images=2",
    "memorised.noises=2",
    "memorised.images=16",
    "memorised.least_rows=2",
    "memorised.copy_similarity=0.25",
]
WORDS = [
    f"{colour} {thing}"
    for colour in ("red", "blue", "big", "old", "cut", "wet", "dry", "hot")
    for thing in ("cat", "dog", "cup", "car", "bed", "pen", "hat", "box")
]
LORA = ["train.lora_rank=2", "train.lora_alpha=2.0"]
GUIDED = [
    "method.teacher_guidance=1.5",
    "method.fake_score_guidance=1.5",
    "method.fake_score_training_guidance=1.5",
]
NEGATIVE = ["concept.gibberish=0.25", "concept.forget_guidance=2.0"]
NEGATIVE += ["concept.interpolation=0.5", "concept.interpolation_null=0.25"]
# Runs that are attacked too, and with which attacks.
ATTACKS = {
    "class sfd": ("relearning", "concept_inversion", "partial_denoising"),
    "images siss": ("relearning",),
    "concept sd": ("noise_search", "partial_denoising"),
    "memorised siss": ("partial_denoising",),
}
BUDGETS = {
    "relearning": ("sampling_steps=2", "steps=[1, 2]", "images=[1, 3]", "batch_size=4"),
    "concept_inversion": ("sampling_steps=2", "steps=[1, 2]", "images=3", "batch_size=4"),
    "noise_search": ("sampling_steps=2", "tries=[1, 3]"),
    "partial_denoising": ("sampling_steps=2",),
}
ZERO = efface.ForgetClass(labels=(0,), replacement=(1,))
Run = Callable[[Path], Path]


def methods_for(need: str) -> list[str]:
    """Those that work on every network."""
    fitting = [name for name in names() if need in resolve(name).forgets]
    return [name for name in fitting if not resolve(name).network_classes]


def text_model(root: Path, kind: str) -> Path:
    folder = root / f"model-{kind}"
    if not folder.exists():
        BUILD[kind]().save_pretrained(folder)
    return folder


def class_runs() -> dict[str, Run]:
    def forget(request: Any, *changes: str, method: str = "sfd", **more: Any) -> Run:
        every = [*STEPS, *SAMPLES, *changes]
        return lambda out: efface.forget(
            "zoo:digits", request, out, method=method, changes=every, **more
        )

    def from_distilled(out: Path) -> Path:
        start = forget(efface.Distil())(out.with_name("start"))
        return forget(ZERO, start=start)(out)

    return {
        **{f"class {m}": forget(ZERO, method=m) for m in methods_for("conditions")},
        "class sfd random": forget(efface.ForgetClass(labels=(0, 3)), "train.guard_every=2"),
        "class sfd guided": forget(ZERO, *GUIDED, "method.share_student_pass=true"),
        "class sfd accumulated": forget(ZERO, "train.accumulation=2", "train.lora_rank=2"),
        "class from distilled": from_distilled,
        "distil": forget(efface.Distil()),
    }


def image_runs() -> dict[str, Run]:
    def forget(method: str, retain: str, *changes: str) -> Run:
        request = efface.ForgetImages(images="zoo:symbol", retain=retain, unseen="digits")
        return lambda out: efface.forget(
            "zoo:digits-symbol", request, out, method=method, changes=[*IMAGES, *changes]
        )

    runs = {f"images {m}": forget(m, "digits") for m in methods_for("images")}
    runs["images siss generated"] = forget("siss", "generate", "method.retain_target=subtracted")
    runs["images siss dual"] = forget("siss", "digits", "method.rule_name=dual")
    runs["images siss stopped"] = forget("siss", "digits", "train.stop_every=2")
    return runs


def text_runs(root: Path) -> dict[str, Run]:
    bag = efface.ForgetConcept(concept="bag", replacement="coat")

    def concept(kind: str, request: Any, *changes: str) -> Run:
        every = [*TEXT, *PROMPTS, *changes]
        return lambda out: efface.forget(text_model(root, kind), request, out, changes=every)

    def distil(out: Path) -> Path:
        retained = root / "retained.txt"
        retained.write_text("a cat\na dog")
        request = efface.Distil(retain_prompts=str(retained))
        return efface.forget(text_model(root, "sd"), request, out, changes=TEXT)

    def memorised(method: str, *changes: str) -> Run:
        controls = root / "controls.txt"
        controls.write_text("\n".join([*WORDS, *(f"{word} here" for word in WORDS)]))
        request = efface.ForgetMemorised(
            prompt="a red bag", modified_prompt="a bag", control_prompts=str(controls)
        )
        every = [*MEMORISED, *changes]
        if resolve(method)().asks_prior:
            every.append("memorised.original_share=0")
        if method.startswith("siss"):
            every.append("method.rule_name=relative_norm")
        return lambda out: efface.forget(
            text_model(root, "sd"), request, out, method=method, changes=every
        )

    detector = make_random(root / "detector", MULTI)
    seen = [f"evaluate.detector={detector}", 'evaluate.detector_labels=["bag"]']
    seen += ["evaluate.detector_threshold=0.4"]
    runs = {f"concept {kind}": concept(kind, bag) for kind in ("sd_v", "sd3", "flux")}
    runs["concept sd"] = concept("sd", bag, *seen)
    runs |= {
        "concept sd lora": concept("sd", bag, *LORA),
        "concept sd negative": concept("sd", bag, *NEGATIVE),
        "distil sd": distil,
    }
    runs |= {f"memorised {m}": memorised(m) for m in methods_for("images")}
    runs["memorised siss retained"] = memorised(
        "siss", "memorised.control_share=0.25", "method.retain_only_target=teacher"
    )
    return runs


def training_runs() -> dict[str, Run]:
    few = ["train.steps=3", "train.batch_size=8"]
    return {
        "train": lambda out: efface.train(Path("recipes/digits-teacher.toml"), out, changes=few)
    }


def fingerprint(run: Path) -> dict[str, Any]:
    """Hashes of a run's weights, and every figure of its evaluation."""
    weights = hashlib.sha256()
    for file in sorted((run / "pipeline").rglob("*.safetensors")):
        weights.update(hashlib.sha256(file.read_bytes()).digest())
    figures: dict[str, Any] = {}
    if (run / "evaluation.json").exists():
        content = json.loads((run / "evaluation.json").read_text())
        for result in content["results"]:
            own = [result[name] for name in ("value", "low", "high")]
            network = (result["extractor"] or {}).get("name", "no network")
            name = f"{result['spec']['name']} ({network})"
            figures[name] = [*own, *result["baseline"].values()]
    return {"weights": weights.hexdigest(), "figures": figures}


def attack(run: Path, chosen: tuple[str, ...]) -> dict[str, Any]:
    """Every point of every curve."""
    given = [part for name in chosen for part in ("--attack", name)]
    for name in chosen:
        for change in ("samples=6", *BUDGETS[name]):
            given += ["--set", f"{name}.{change}"]
    done = CliRunner().invoke(app, ["attack", str(run), *given])
    assert done.exit_code == 0, done.output
    results = json.loads((run / "attacks.json").read_text())["results"]
    return {
        f"{result['attack']} {line}": [[p["x"], p["value"], p["low"], p["high"]] for p in points]
        for result in results
        for line, points in result["curve"]["lines"].items()
    }


def compare(now: dict[str, Any], before: dict[str, Any]) -> int:
    """Print what differs; returns how many weights do."""
    differing = 0
    for name in sorted({*now, *before}):
        if name not in now or name not in before:
            print(f"{name}: only {'now' if name in now else 'before'}")
            continue
        if now[name]["weights"] != before[name]["weights"]:
            differing += 1
            print(f"{name}: WEIGHTS DIFFER")
        own, other = now[name]["figures"], before[name]["figures"]
        for figure in sorted({*own, *other}):
            if own.get(figure) != other.get(figure):
                print(f"{name}: {figure} {other.get(figure)} -> {own.get(figure)}")
    return differing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--only", default="", help="runs whose name begins so")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        os.environ["EFFACE_CACHE"] = str(root / "cache")
        runs = class_runs() | image_runs() | text_runs(root) | training_runs()
        for number, (name, run) in enumerate(runs.items()):
            if not name.startswith(given.only):
                continue
            torch.manual_seed(number)
            folder = run(root / f"run-{number}" / "run")
            found[name] = fingerprint(folder)
            if name in ATTACKS:
                found[name]["figures"] |= attack(folder, ATTACKS[name])
            print(f"{name:28} {found[name]['weights'][:16]} {len(found[name]['figures'])} figures")
            given.out.write_text(json.dumps(found, indent=1))
    if given.against is not None:
        sys.exit(compare(found, json.loads(given.against.read_text())) > 0)


if __name__ == "__main__":
    main()
