"""Run folders about prompts, a concept or a memorised image, with numbers chosen by the test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from efface.records import Attacks, Evaluation, Result, RunRecord, write_json
from efface.requests.concept.prompt_groups import GROUPS, PromptGroup
from tests.reporting.conftest import (
    Triple,
    make_record,
    make_result,
    write_sheets,
)
from tests.reporting.full_runs import make_curve

CONCEPT, REPLACEMENT = "a leather bag", "a woollen scarf"
MODEL: dict[str, Any] = {
    "source": "zoo:fashion",
    "network": "UNet2DConditionModel",
    "classes": None,
    "null_label": None,
    "family": "stable-diffusion",
    "weights": {"unet/model.safetensors": "9f" * 32},
}
GONE, BEFORE = (0.01, 0.002, 0.04), (0.94, 0.9, 0.97)


def make_concept_record(
    concept: str = CONCEPT, replacement: str = REPLACEMENT, **changes: Any
) -> RunRecord:
    request = {
        "kind": "concept", "concept": concept, "also": [f"{concept}s"], "replacement": replacement,
        "forget_prompts": None, "retain_prompts": None, "prompt_pairs": None, "negative": None,
    }  # fmt: skip
    fields = {"request": request, "material": {"digest": "d1" * 32}, "model": MODEL}
    return make_record(**fields | changes)


def make_memorised_record(
    prompt: str = "a portrait of a man", modified: str = "a portrait of a new man", **changes: Any
) -> RunRecord:
    request = {
        "kind": "memorised", "prompt": prompt, "image": None, "modified_prompt": None,
        "control_prompts": None,
    }  # fmt: skip
    fields: dict[str, Any] = {
        "request": request,
        "material": {"digest": "d1" * 32},
        "model": MODEL,
        "settings": {
            "method": {"name": "siss", "mixture": 0.5},
            "train": {"steps": 35, "seed": 0},
            "evaluate": {"baseline_steps": 50, "guidance": 1.0},
        },
        "sampler": {"text": "50 DDIM steps", "passes": 50},
        "notes": {
            "modified_prompt": modified, "modified_share": 0.5,
            "copies": 40, "others": 60,
        },
    }  # fmt: skip
    return make_record(**fields | changes)


def make_concept_evaluation(
    rate: Triple = GONE,
    detector: str = "things, bag above 0.5",
    groups: Sequence[tuple[str, str]] = (("paraphrase", "purse"), ("neighbour", "coat")),
    **changes: Any,
) -> Evaluation:
    """The concept, groups of prompts by kind and name, and neighbours together, by a detector."""
    seen = {"kind": "detector", "name": detector, "sha256": "ab" * 32}

    def found(metric: str, own: Triple, before: Triple) -> Result:
        protocol = f"result: one step; original model: 50 DDIM steps; measured with: {detector}"
        spec = group_spec(metric) if metric.count("/") else {}
        return make_result(metric, own, before, spec=spec, extractor=seen, protocol=protocol)

    results = [found("concept_rate", rate, BEFORE), found("retained_accuracy", BEFORE, BEFORE)]
    for kind, name in groups:
        stays = kind == "neighbour"
        own = BEFORE if stays else rate
        results.append(found(f"{'kept' if stays else 'concept'}_rate/{kind}/{name}", own, BEFORE))
    return Evaluation(
        results=results, curves=[make_curve("How often it is found, by threshold")], **changes
    )


def group_spec(metric: str) -> dict[str, Any]:
    """What changes in a Spec that makes it that of a group of prompts."""
    rate, kind, name = metric.split("/", 2)
    labels = ("coat",) if rate == "kept_rate" else ()
    if kind not in GROUPS:  # a record may hold any name
        return {}
    group = PromptGroup.model_construct(name=name, kind=kind, prompts=("a",), labels=labels)
    return group.spec.model_dump()


def make_memorised_evaluation(copies: tuple[int, int] = (14, 0), **changes: Any) -> Evaluation:
    """Copies among 16 samples, before and after, and how good samples of other prompts look."""

    def share(count: int) -> Triple:
        return count / 16, max(0.0, count / 16 - 0.2), min(1.0, count / 16 + 0.2)

    before, after = map(share, copies)
    protocol = "50 DDIM steps, for all models; similarity by a CLIP"
    results = [
        make_result("memorised_share", after, before, samples=16, protocol=protocol),
        make_result("clip_iqa", (0.8, 0.79, 0.81), (0.8, 0.79, 0.81)),
    ]
    return Evaluation(
        results=results, curves=[make_curve("How often it is generated, by similarity")], **changes
    )


def write_prompt_run(
    folder: Path,
    record: RunRecord,
    evaluation: Evaluation,
    prompts: Sequence[str] = (),
    attacks: Attacks | None = None,
) -> Path:
    """`prompts` are the ten rows of the sheets; the names of labels where there are fewer."""
    folder.mkdir(parents=True)
    write_json(folder / "record.json", record)
    write_json(folder / "evaluation.json", evaluation)
    if attacks is not None:
        write_json(folder / "attacks.json", attacks)
    rows = [*prompts, *map(str, range(len(prompts), 10))]
    write_sheets(folder / "samples", rows)
    grid = json.loads((folder / "samples" / "grid.json").read_text(encoding="utf-8"))
    grid |= {"asked": "prompt", "forgotten": [0, 1]}
    (folder / "samples" / "grid.json").write_text(json.dumps(grid), encoding="utf-8")
    return folder
