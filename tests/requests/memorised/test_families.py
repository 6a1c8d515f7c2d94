"""Every family of text-to-image models, from a memorised image to a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from efface.methods import names, resolve
from efface.records import read_record
from efface.requests.memorised.material import MemorisedGoal
from efface.requests.memorised.request import ForgetMemorised
from efface.requests.memorised.settings import LEAST_CONTROLS
from efface.runs.attack import attack
from efface.runs.forget import forget
from tests.attacks.shortening import check_attacks, shorten_attacks
from tests.diffusion.text.reading import assert_read_once, reading

pytestmark = pytest.mark.slow

KINDS = ("sd", "sd_v", "sdxl", "sd3", "sd35", "flux", "flux_schnell")
KINDS += ("pixart_alpha", "pixart_sigma")
METHODS = [name for name in names() if "images" in resolve(name).forgets]
Forget = Callable[..., Path]


@pytest.fixture
def run_of(
    sized_pipelines: Callable[[str], Path],
    request_: ForgetMemorised,
    small: Sequence[str],
    tmp_path: Path,
) -> Forget:
    """A run that forgets an image of random weights."""

    def make(kind: str, method: str = "siss") -> Path:
        changes = [change for change in small if not change.startswith("method.")]
        changes += ["memorised.copy_similarity=0.36"]  # images of random weights are similar
        if resolve(method)().asks_prior:
            changes += ["memorised.original_share=0"]
        if method == "siss":  # whose default norm is that of other latents
            changes += ["method.rule_name=relative_norm"]
        out = tmp_path / "run"
        return forget(sized_pipelines(kind), request_, out, method=method, changes=changes)

    return make


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_memorised_image_is_forgotten_from_request_to_report(
    run_of: Forget, kind: str, method: str
) -> None:
    out = run_of(kind, method)
    record = read_record(out)
    assert record.status == "finished" and record.settings["method"]["name"] == method
    assert record.output != record.model["weights"]
    assert (out / "report.html").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_every_attack_on_a_memorised_image_is_run(
    run_of: Forget, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run = run_of(kind)
    check_attacks(attack(run, changes=shorten_attacks(monkeypatch)), run, MemorisedGoal)


@pytest.mark.parametrize("kind", ["sd", "sd3"])
def test_a_run_encodes_each_prompt_once(run_of: Forget, kind: str) -> None:
    with reading() as read:
        run = run_of(kind)
    others = read_record(run).settings["evaluate"]["retain_samples"]
    # Control prompts, others to measure, both prompts and the empty one.
    assert_read_once(read, kind, LEAST_CONTROLS + others + 3)
