"""Attacks, curves and label matrices of runs, with numbers chosen by the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efface.attacks.costs import compare_budgets
from efface.records import (
    AttackResult,
    Attacks,
    Cost,
    Curve,
    Evaluation,
    Matrix,
    Point,
    SelfTest,
    Speed,
    write_json,
)
from efface.reporting.comparison import Base, compare_runs
from efface.reporting.resistance import Resistance, find_resistance
from efface.reporting.run_folder import read_run
from tests.reporting.conftest import make_evaluation, make_record
from tests.reporting.image_runs import write_image_run

TITLES = {
    "relearning": "Relearning",
    "benign_fine_tuning": "Benign fine-tuning",
    "noise_search": "Noise search",
    "membership": "Membership",
}
STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200)
OUTPUT = {"unet/model.safetensors": "4c" * 32}  # of tests.reporting.conftest.make_record


def make_points(values: dict[float, float], half: float = 0.03) -> list[Point]:
    return [
        Point(x=x, value=v, low=max(0.0, v - half), high=min(1.0, v + half))
        for x, v in values.items()
    ]


def recovery(half_at: float | None, full: float = 0.98) -> dict[float, float]:
    """A share that reaches half of `full` at a budget; None: it stays near 0."""
    if half_at is None:
        return {step: 0.01 for step in STEPS}
    return {step: full * step / (step + half_at) if step else 0.01 for step in STEPS}


def make_costs(half: float | None, most: float | None, images: int | None = None) -> list[Cost]:
    return [
        Cost(share=0.5, budget=half, images=None if half is None else images),
        Cost(share=0.9, budget=most, images=None if most is None else images),
    ]


def make_speed(*pairs: tuple[float | None, float | None], line: str = "result") -> Speed:
    """Over the seeds 1 to 6: one pair for each of them, or the same for all."""
    return compare_budgets(line, range(1, 7), pairs * (6 // len(pairs)), STEPS[-1])


def make_attack(
    attack: str = "relearning",
    half: float | None = 40,
    never: float | None = 45,
    passed: bool = True,
    **changes: Any,
) -> AttackResult:
    """`half` and `never`: steps to half for this model and for a retrained one."""
    lines = {
        "result": make_points(recovery(half)),
        "baseline": make_points({step: 0.98 for step in STEPS}),
        "weak": make_points(recovery(2)),
        "retrained": make_points(recovery(never)),
    }
    fields: dict[str, Any] = {
        "attack": attack,
        "title": TITLES.get(attack, attack),
        "summary": "the model is fine-tuned on a few of the forgotten images",
        "curve": Curve(
            name=attack,
            title=TITLES.get(attack, attack),
            x_label="training steps",
            y_label="share of images that show it",
            log_x=True,
            lines=lines,
            protocol="fine-tuning on 16 images, learning rate 0.0001, batch 16",
        ),
        "level": 0.98,
        "floor": 0.01,
        "costs": {
            "result": make_costs(half, None if half is None else 9 * half, 16),
            "baseline": make_costs(0, 0, 0),
            "weak": make_costs(2, 18, 16),
            "retrained": make_costs(never, None if never is None else 9 * never, 16),
        },
        "self_tests": [
            SelfTest(subject="the original model", passed=True, text="shows it in 98 of 100"),
            SelfTest(subject="a knowingly weak erasure", passed=passed, text="back after 2 steps"),
        ],
        "settings": {"learning_rate": 1e-4, "images": 16},
        "seeds": [0],
        "seconds": 33.2,
        "notes": ["The judge looked at 100 images at every step."],
        "speed": None if half is None else make_speed((half, never)),
    }
    return AttackResult(**fields | changes)


def make_attacks(*results: AttackResult, output: dict[str, str] | None = None) -> Attacks:
    return Attacks(output=OUTPUT if output is None else output, results=list(results))


def make_curve(title: str = "Copies by distance") -> Curve:
    xs = [0.5, 1, 1.5, 2, 2.5, 3, 4, 5]
    return Curve(
        name="copy_curve",
        title=title,
        x_label="copy distance (L2)",
        y_label="share of samples",
        lines={
            "result": make_points({x: 0.0005 * x for x in xs}, 0.004),
            "baseline": make_points({x: min(0.4, 0.02 * x * x) for x in xs}, 0.015),
            "retrained": make_points({x: 0.0004 * x for x in xs}, 0.004),
        },
        protocol="distances of 1,024 samples to the forgotten images",
    )


def make_matrix(classes: int = 10, forgotten: int = 4, instead: int = 9) -> Matrix:
    """Every label is generated as asked, but the forgotten one as another."""

    def row(label: int) -> list[float]:
        rest = 0.04 / (classes - 1)
        return [0.96 if seen == label else rest for seen in range(classes)]

    labels = list(range(classes))
    before = [row(label) for label in labels]
    after = [row(instead if label == forgotten else label) for label in labels]
    return Matrix(
        labels=labels,
        seen=labels,
        shares={"baseline": before, "result": after},
        samples=[500 if label == forgotten else 100 for label in labels],
        protocol="the label that the judge finds most likely",
    )


def make_full_evaluation() -> Evaluation:
    evaluation = make_evaluation()
    evaluation.curves = [make_curve("How often it is found, by threshold")]
    evaluation.labels_seen = make_matrix()
    evaluation.change = {"weights": 0.21, "samples": 0.9}
    evaluation.change_protocol = "weights by hand"
    for result in evaluation.results:
        result.extractor = {"name": "digits judge", "sha256": "ab" * 32}
    return evaluation


def write_class_run(folder: Path, seed: int = 0) -> Path:
    evaluation = make_full_evaluation()
    write_image_run(folder)
    settings = make_record().settings | {"train": {"seed": seed}}
    write_json(folder / "record.json", make_record(settings=settings))
    write_json(folder / "evaluation.json", evaluation)
    failed = make_attack("noise_search", None, passed=False)
    write_json(folder / "attacks.json", make_attacks(make_attack(), failed))
    return folder


def compare_folders(*folders: Path) -> list[Base]:
    runs = [read_run(folder) for folder in folders]
    return compare_runs(runs, [run.name for run in runs])


def measured(unlearning: float, retained: float):
    """`unlearning` is the share of samples without the forgotten class."""
    rate = 1 - unlearning
    return make_evaluation(
        (rate, max(0.0, rate - 0.01), rate + 0.01),
        (retained, retained - 0.01, min(1.0, retained + 0.01)),
    )


def find_attacks(*results: AttackResult) -> Resistance:
    return find_resistance(make_record(), make_attacks(*results))


def add_line(attack: AttackResult, name: str, half: float | None) -> AttackResult:
    attack.curve.lines[name] = make_points({0: 0.0, 10: 0.5})
    attack.costs[name] = make_costs(half, None)
    attack.speed = None
    return attack


def seeded(seed: int, **changes):
    settings = make_record().settings
    evaluate = settings["evaluate"] | {"seed": 1000 + seed}
    parts = {"train": settings["train"] | {"seed": seed}, "evaluate": evaluate}
    return make_record(settings=settings | parts | changes)


def on_terms(fd: float, **terms: str):
    evaluation = make_evaluation(fd=(fd, fd, fd))
    evaluation.terms = {name.replace("_", " "): value for name, value in terms.items()}
    return evaluation
