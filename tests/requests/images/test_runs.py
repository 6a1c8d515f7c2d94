"""Images are forgotten from the command line: what is written, kept and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import efface
from efface.data.images import load_images
from efface.methods import names, resolve
from efface.records import read_evaluation, read_record
from tests.counting import assert_drawn_once, without_store

WEIGHTS = "pipeline/unet/diffusion_pytorch_model.safetensors"
Forget = Callable[..., Path]


def test_a_run_leaves_everything_behind(
    model: Path, command: Callable[..., None], forget: Forget
) -> None:
    out = forget("--retain", "digits", "--unseen", "digits", "--retrained", str(model))
    record, evaluation = read_record(out), read_evaluation(out)
    assert record.status == "finished"
    assert record.settings["method"]["name"] == "siss"
    assert len(record.material["names"]) == len(record.material["hashes"]) == 2
    found = {r.metric: r for r in evaluation.results}
    found.pop("normalised_similarity", None)  # none where a model puts nothing back
    assert set(found) == {
        "copy_rate", "membership_gap", "membership_auc", "forgotten_loss", "copy_similarity",
        "nll", "inception_score", "fd", "kid", "precision", "recall", "density", "coverage",
    }  # fmt: skip
    for result in found.values():
        assert result.low <= result.value <= result.high
        # The retrained model given here is the untouched one.
        assert result.retrained == result.baseline, result.metric
        assert result.protocol
    assert found["forgotten_loss"].unseen is not None
    assert [p.name for p in evaluation.images] == record.material["names"]
    page = (out / "report.html").read_text()
    assert "<b>one" not in page
    for name in ("before.png", "after.png", "images.png", "grid.json"):
        assert (out / "samples" / name).exists()
    with Image.open(out / "samples" / "images.png") as strips:
        assert strips.size == (3 * 8, 2 * 8)
    assert_drawn_once(out, retrained=model)
    # What is measured again from nothing is the same to the last digit.
    before = (out / "evaluation.json").read_bytes()
    (out / "evaluation.json").unlink()
    with without_store():
        command("evaluate", str(out), "--retrained", str(model))
    assert (out / "evaluation.json").read_bytes() == before
    changed = efface.evaluate(out, changes=["evaluate.baseline_steps=6"])
    other = {r.metric: r for r in changed.results}
    assert "6 DDIM steps" in other["copy_rate"].protocol
    assert other["fd"].value != found["fd"].value
    assert other["fd"].baseline != found["fd"].baseline


def test_other_images_behind_the_same_name_are_measured_anew(
    forget: Forget, tmp_path: Path
) -> None:
    unseen, digits = tmp_path / "unseen", load_images("digits", "test").images
    unseen.mkdir()

    def write(rows: range) -> None:
        for i, row in enumerate(rows):
            Image.fromarray(digits[row][0].numpy()).save(unseen / f"{i}.png")

    write(range(12))
    out = forget("--retain", "digits", "--unseen", str(unseen))
    before = read_evaluation(out)
    assert efface.evaluate(out).key == before.key
    write(range(20, 32))
    after = efface.evaluate(out)
    assert after.key != before.key
    assert tell_apart(before.terms, after.terms) == {"unseen images"}
    gaps = [evaluation.get("membership_gap") for evaluation in (before, after)]
    assert gaps[0] is not None and gaps[1] is not None and gaps[0].value != gaps[1].value


def tell_apart(own: dict[str, str], others: dict[str, str]) -> set[str]:
    assert own.keys() == others.keys()
    return {name for name in own if own[name] != others[name]}


def test_retained_images_can_be_drawn_by_the_model(forget: Forget) -> None:
    out = forget("--method", "posterior_subtraction", "--no-evaluate")
    notes = read_record(out).notes
    dropped = notes["generated_copies_dropped"] + notes["generated_alike_dropped"]
    assert notes["generated"] + dropped == 24
    assert notes["prior"] == pytest.approx((notes["generated_copies_dropped"] + 1) / 26)


def test_a_run_stops_at_the_likelihood_of_unseen_images(forget: Forget) -> None:
    """Ascent alone drives the images' bits per dimension past those of the digits."""
    more = ("--method", "neggrad", "--retain", "digits", "--unseen", "digits#0-3", "--no-evaluate")
    changes = ("train.learning_rate=3e-2", "train.ema_decay=0", "train.steps=40")
    changes += ("train.stop_every=6", "train.stop_by=likelihood")
    sets = [part for change in changes for part in ("--set", change)]
    record = read_record(forget(*more, *sets))
    assert record.status == "finished"
    assert 0 < record.steps < 40
    assert record.stopped is not None
    assert f"at step {record.steps}: " in record.stopped
    own, _, others = record.stopped.partition("(bits per dimension ")[2].partition(" against ")
    assert float(own) >= float(others.rstrip(").")) > 0


@pytest.mark.parametrize("name", [n for n in names() if "images" in resolve(n).forgets])
def test_every_method_runs_and_changes_the_weights(name: str, model: Path, forget: Forget) -> None:
    more = ("--method", name, "--retain", "digits", "--no-evaluate")
    out = forget(*more, "--set", "train.learning_rate=1e-3")
    before = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    after = load_file(out / WEIGHTS)
    assert any(not after[k].equal(v) for k, v in before.items())


def test_a_second_request_keeps_the_record_of_the_first(forget: Forget) -> None:
    more = ("--retain", "digits", "--no-evaluate")
    first = forget(*more)
    second = forget(*more, base=first, out="second")
    earlier = read_record(second).start
    assert earlier is not None
    assert earlier["request"] == read_record(first).request
    assert earlier["output"] == read_record(first).output
    assert read_record(second).model == read_record(first).model


def test_duplicates_among_retained_images_go_to_the_other_side(
    images: Path, forget: Forget, tmp_path: Path
) -> None:
    retain = tmp_path / "retain"
    retain.mkdir()
    for i, image in enumerate(load_images("digits", "test").images[:20]):
        Image.fromarray(image[0].numpy()).save(retain / f"{i:02d}.png")
    with Image.open(images / "two.png") as image:
        image.save(retain / "same.png")
        pixels = np.array(image)
    pixels[0, 0] = 9
    Image.fromarray(pixels).save(retain / "almost.png")
    record = read_record(forget("--retain", str(retain), "--no-evaluate"))
    assert record.notes["exact_duplicates"] == 1
    assert record.notes["near_duplicates"] == 1
    assert len(record.material["hashes"]) == 3
