"""Run folders as efface writes them, with numbers chosen by the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from efface.records import Evaluation, Result, RunRecord, Value, write_json
from tests.reporting.browsing import CHROMIUM, Visit
from tests.specs import spec_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

Triple = tuple[float, float, float]
RunMaker = Callable[..., Path]


def make_record(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "status": "finished",
        "request": {"kind": "class", "labels": [4], "replacement": [9]},
        "model": {
            "source": "zoo:digits",
            "network": "UNet2DModel",
            "classes": 10,
            "null_label": 10,
            "weights": {"unet/model.safetensors": "9f" * 32},
        },
        "method": "SFD",
        "settings": {
            "method": {"name": "sfd", "mixture": 0.5},
            "train": {"steps": 2000, "seed": 0, "guard_tolerance": 0.25},
            "evaluate": {"baseline_steps": 50, "guidance": 1.0},
        },
        "sampler": {"text": "one step from timestep 790", "passes": 1},
        "versions": {"efface": "0.1.0", "torch": "2.9.1"},
        "hardware": {"machine": "x86_64", "cores": 2, "threads": 2, "gpus": []},
        "started": "2026-03-02T09:14:05+00:00",
        "finished": "2026-03-02T09:17:30+00:00",
        "seconds": 204.3,
        "steps": 2000,
        "images_per_second": 1566.2,
        "forwards": 640_000,
        "output": {"unet/model.safetensors": "4c" * 32},
        "guard": [{"step": 100, "distance": 1.2}, {"step": 200, "distance": 0.1}],
    }
    return RunRecord(**fields | changes)


def make_value(triple: Triple) -> Value:
    return Value(value=triple[0], low=triple[1], high=triple[2])


def make_result(metric: str, own: Triple, baseline: Triple, **changes: Any) -> Result:
    """A figure by the name of its metric; `spec` changes fields of its Spec."""
    fields: dict[str, Any] = {
        "spec": spec_of(metric, **changes.pop("spec", {})),
        "samples": 500,
        "seeds": [1000, 1499],
        "protocol": "result: one step; original model: 50 DDIM steps",
        "baseline": make_value(baseline),
    }
    return Result(**make_value(own).model_dump(), **fields | changes)


def make_evaluation(
    rate: Triple | None = (0.01, 0.002, 0.03),
    retained: Triple | None = (0.98, 0.97, 0.99),
    fd: Triple | None = (6.0, 5.8, 6.2),
    recall: Triple | None = None,
) -> Evaluation:
    """The original model shows the forgotten class in 99.4 % and the others in 98 %, FID 5.9."""
    results = []
    if rate is not None:
        one_step = make_value((0.08, 0.06, 0.1))
        before = (0.994, 0.983, 0.998)
        results.append(make_result("class_rate", rate, before, baseline_one_step=one_step))
    if retained is not None:
        results.append(make_result("retained_accuracy", retained, (0.98, 0.97, 0.99)))
    if fd is not None:
        results.append(make_result("fd", fd, (5.9, 5.7, 6.1)))
    if recall is not None:
        results.append(make_result("recall", recall, (0.9, 0.87, 0.93)))
    judge = {"name": "digits judge", "held_out_accuracy": 0.983, "held_out_images": 360}
    return Evaluation(results=results, judge=judge)


def write_sheets(folder: Path, names: list[str] | None = None) -> None:
    folder.mkdir(parents=True)
    pixels = np.arange(80 * 80, dtype=np.uint8).reshape(80, 80)
    for name in ("before", "after"):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    grid = {
        "labels": list(range(10)),
        "names": names or [str(label) for label in range(10)],
        "columns": 10,
        "forgotten": [4],
        "tile": 8,
        "before": "50 DDIM steps, guidance 1",
        "after": "one step from timestep 790",
    }
    (folder / "grid.json").write_text(json.dumps(grid), encoding="utf-8")


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Write a run folder: make_run(name, record=..., evaluation=None for none, names=...)."""

    def make(
        name: str = "run",
        record: RunRecord | None = None,
        evaluation: Evaluation | None = make_evaluation(),  # noqa: B008
        names: list[str] | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_json(folder / "record.json", record or make_record())
        if evaluation is not None:
            write_json(folder / "evaluation.json", evaluation)
        write_sheets(folder / "samples", names)
        return folder

    return make


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium; without it, or without playwright, the test is skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def contexts(browser: Browser) -> dict[str, BrowserContext]:
    """Windows by their options: a new one costs as much as two pages."""
    return {}


@pytest.fixture
def visit_page(
    browser: Browser, contexts: dict[str, BrowserContext]
) -> Iterator[Callable[..., Visit]]:
    """Open an address; closed again after the test."""
    visits = []

    def visit(address: str, **options: Any) -> Visit:
        name = repr(sorted(options.items()))
        if name not in contexts:
            contexts[name] = browser.new_context(**options)
        visits.append(Visit(contexts[name].new_page(), address))
        return visits[-1]

    yield visit
    for opened in visits:
        opened.page.close()
