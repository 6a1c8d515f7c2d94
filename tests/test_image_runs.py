"""Pictures are forgotten from the command line: what is written, resumed, refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.testing import assert_close

import efface.cli
from efface.data.images import load_images
from efface.diffusion.loading import save_pipeline
from efface.methods import names, resolve
from efface.metrics.judge import JudgeConfig, train_judge
from efface.records import read_evaluation, read_record

SMALL = [
    "train.steps=4",
    "train.batch_size=8",
    "train.log_every=1",
    "evaluate.samples=20",
    "evaluate.baseline_steps=4",
    "evaluate.likelihood_tolerance=0.1",
    "evaluate.unseen=10",
    "evaluate.controls=2",
    "evaluate.draws=1",
    "images.generate=24",
    "images.generate_steps=4",
]
Fails = Callable[..., str]
WEIGHTS = "pipeline/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_unet) -> Path:
    folder = tmp_path_factory.mktemp("models") / "unconditional"
    save_pipeline(tiny_unet(conditional=False), folder)
    digits = load_images("digits", "train"), load_images("digits", "test")
    config = JudgeConfig(widths=(8, 8), epochs=1)
    train_judge("tiny judge", *digits, config).save(folder / "judge")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(("<b>one</b>.png", "two.png")):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[i : i + 4, 2:7] = 255
        Image.fromarray(pixels).save(folder / name.replace("/", "_"))
    return folder


def arguments(model: Path, pictures: Path, out: Path, *more: str) -> list[str]:
    changes = [part for setting in SMALL for part in ("--set", setting)]
    where = [str(model), "--images", str(pictures), "--out", str(out)]
    return ["forget", "images", *where, *changes, *more]


def run(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    monkeypatch.setattr(sys, "argv", ["efface", *given])
    try:
        efface.cli.main()
    except SystemExit as stopped:
        assert stopped.code in (0, None)


def test_a_run_leaves_everything_behind(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    more = ("--retain", "digits", "--unseen", "digits", "--retrained", str(model))
    run(monkeypatch, *arguments(model, pictures, out, *more))
    record, evaluation = read_record(out), read_evaluation(out)
    assert record.status == "finished"
    assert record.settings["method"]["name"] == "siss"
    assert len(record.request["names"]) == len(record.request["hashes"]) == 2
    found = {r.metric: r for r in evaluation.results}
    found.pop("normalised_similarity", None)  # none where a model puts nothing back
    assert set(found) == {
        "copy_rate", "membership_gap", "membership_auc", "forgotten_loss", "copy_similarity",
        "nll", "inception_score", "fid", "kid", "precision", "recall", "density", "coverage",
    }  # fmt: skip
    for result in found.values():
        assert result.low <= result.value <= result.high
        # The retrained model given here is the untouched one.
        assert result.retrained == result.baseline, result.metric
        assert result.protocol
    assert found["forgotten_loss"].unseen is not None
    assert [p.name for p in evaluation.pictures] == record.request["names"]
    page = (out / "report.html").read_text()
    assert "<b>one" not in page
    for name in ("before.png", "after.png", "pictures.png", "grid.json"):
        assert (out / "samples" / name).exists()
    with Image.open(out / "samples" / "pictures.png") as strips:
        assert strips.size == (3 * 8, 2 * 8)
    # What is measured again from nothing is the same to the last digit.
    before = (out / "evaluation.json").read_bytes()
    (out / "evaluation.json").unlink()
    monkeypatch.setenv("EFFACE_CACHE", "off")
    run(monkeypatch, "evaluate", str(out), "--retrained", str(model))
    assert (out / "evaluation.json").read_bytes() == before
    changed = efface.evaluate(out, changes=["evaluate.baseline_steps=6"])
    other = {r.metric: r for r in changed.results}
    assert "6 DDIM steps" in other["copy_rate"].protocol
    assert other["fid"].value != found["fid"].value
    assert other["fid"].baseline != found["fid"].baseline


def test_retained_images_can_be_drawn_by_the_model(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    more = ("--method", "posterior_subtraction", "--no-evaluate")
    run(monkeypatch, *arguments(model, pictures, out, *more))
    notes = read_record(out).notes
    dropped = notes["generated_copies_dropped"] + notes["generated_alike_dropped"]
    assert notes["generated"] + dropped == 24
    assert notes["prior"] == pytest.approx((notes["generated_copies_dropped"] + 1) / 26)


def test_a_run_stops_at_the_likelihood_of_unseen_pictures(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ascent alone drives the pictures' bits per dimension past those of the digits."""
    out = tmp_path / "run"
    more = ("--method", "neggrad", "--retain", "digits", "--unseen", "digits#0-3", "--no-evaluate")
    changes = ("train.learning_rate=1e-2", "train.ema_decay=0", "train.steps=40")
    changes += ("train.stop_every=10", "train.stop_by=likelihood")
    sets = [part for change in changes for part in ("--set", change)]
    run(monkeypatch, *arguments(model, pictures, out, *more, *sets))
    record = read_record(out)
    assert record.status == "finished"
    assert 0 < record.steps < 40
    assert record.stopped is not None
    assert f"at step {record.steps}: " in record.stopped
    own, _, others = record.stopped.partition("(bits per dimension ")[2].partition(" against ")
    assert float(own) >= float(others.rstrip(").")) > 0


@pytest.mark.parametrize("name", [n for n in names() if "forget_images" in resolve(n).needs])
def test_every_method_runs_and_changes_the_weights(
    name: str, model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    more = ("--method", name, "--retain", "digits", "--no-evaluate")
    run(monkeypatch, *arguments(model, pictures, out, *more, "--set", "train.learning_rate=1e-3"))
    before = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    after = load_file(out / WEIGHTS)
    assert any(not after[k].equal(v) for k, v in before.items())


def test_a_second_request_keeps_the_record_of_the_first(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    more = ("--retain", "digits", "--no-evaluate")
    run(monkeypatch, *arguments(model, pictures, first, *more))
    run(monkeypatch, *arguments(first, pictures, second, *more))
    earlier = read_record(second).start
    assert earlier is not None
    assert earlier["request"] == read_record(first).request
    assert earlier["output"] == read_record(first).output
    assert read_record(second).model["weights"] == read_record(first).output


def test_duplicates_among_retained_images_go_to_the_other_side(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retain = tmp_path / "retain"
    retain.mkdir()
    for i, image in enumerate(load_images("digits", "test").images[:20]):
        Image.fromarray(image[0].numpy()).save(retain / f"{i:02d}.png")
    with Image.open(pictures / "two.png") as picture:
        picture.save(retain / "same.png")
        pixels = np.array(picture)
    pixels[0, 0] = 9
    Image.fromarray(pixels).save(retain / "almost.png")
    out = tmp_path / "run"
    run(monkeypatch, *arguments(model, pictures, out, "--retain", str(retain), "--no-evaluate"))
    record = read_record(out)
    assert record.notes["exact_duplicates"] == 1
    assert record.notes["near_duplicates"] == 1
    assert len(record.request["hashes"]) == 3


def launch(launcher: list[str], given: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    return subprocess.Popen(
        [*launcher, "-m", "efface", *given],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_killed_and_resumed_is_bit_identical(model: Path, pictures: Path, tmp_path: Path) -> None:
    more = ("--retain", "digits", "--no-evaluate", "--set", "train.checkpoint_every=3")
    more = (*more, "--set", "train.steps=12", "--set", "method.rule_name=dual")
    whole = launch([sys.executable], arguments(model, pictures, tmp_path / "whole", *more))
    assert whole.wait(200) == 0
    given = arguments(model, pictures, tmp_path / "killed", *more)
    killed = launch([sys.executable], given)
    seen = random.Random(0).choice([3, 6])
    while killed.poll() is None and not list(
        (tmp_path / "killed" / "checkpoints").glob(f"*{seen}*")
    ):
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / WEIGHTS).exists(), "the run ended before it was killed"
    resumed = launch([sys.executable], [*given, "--resume"])
    assert resumed.wait(200) == 0
    a, b = load_file(tmp_path / "whole" / WEIGHTS), load_file(tmp_path / "killed" / WEIGHTS)
    assert all(tensor.equal(b[key]) for key, tensor in a.items())


@pytest.mark.slow  # tests/training/test_processes.py has two processes in the fast suite
def test_two_processes_equal_one(model: Path, pictures: Path, tmp_path: Path) -> None:
    more = ("--retain", "digits", "--no-evaluate", "--set", "method.ratio=0.3")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    logs = []
    for name, launcher in (("one", [sys.executable]), ("two", torchrun)):
        process = launch(launcher, arguments(model, pictures, tmp_path / name, *more))
        _, error = process.communicate(timeout=250)
        assert process.returncode == 0, error[-2000:]
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        logs.append([json.loads(line) for line in lines])
    compared = [k for k in logs[0][0] if k.startswith("student_") and "vanished" not in k]
    assert "student_forget_coefficient" in compared
    for a, b in zip(*logs, strict=True):
        for key in compared:
            assert a[key] == pytest.approx(b[key], rel=1e-5, abs=1e-5), (key, a["step"])
    a, b = load_file(tmp_path / "one" / WEIGHTS), load_file(tmp_path / "two" / WEIGHTS)
    for key, tensor in a.items():
        assert_close(tensor, b[key], rtol=0, atol=1e-5)


STOCK = """
import sys
sys.modules["efface"] = None
import torch
from diffusers import DDIMPipeline
pipe = DDIMPipeline.from_pretrained(sys.argv[1])
pipe.set_progress_bar_config(disable=True)
noise = [torch.Generator().manual_seed(s) for s in (5, 6)]
images = pipe(batch_size=2, generator=noise, num_inference_steps=10, output_type="np").images
torch.save(torch.from_numpy(images), sys.argv[2])
"""


def test_the_output_draws_the_same_without_efface(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from efface.diffusion.sampling import MultiStep, draw_images

    out = tmp_path / "run"
    run(monkeypatch, *arguments(model, pictures, out, "--retain", "digits", "--no-evaluate"))
    file = tmp_path / "images.pt"
    subprocess.run(
        [sys.executable, "-c", STOCK, str(out / "pipeline"), str(file)],
        check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    own = draw_images(efface.load(out), MultiStep(10), None, [5, 6])
    stock = torch.load(file, weights_only=True).permute(0, 3, 1, 2)
    assert_close(own, stock, rtol=0, atol=1e-6)


def empty(folder: Path) -> None:
    folder.mkdir()


def broken(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG no picture")


def bomb(folder: Path) -> None:
    folder.mkdir()
    Image.new("1", (20_000, 20_000)).save(folder / "a.png")


def coloured(folder: Path) -> None:
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")


def large(folder: Path) -> None:
    folder.mkdir()
    Image.new("L", (16, 16)).save(folder / "a.png")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (empty, "holds no images"),
        (broken, "no readable image"),
        (bomb, "no readable image"),
        (coloured, "images.resize=true"),
        (large, "images.resize=true"),
    ],
)
def test_pictures_that_cannot_be_used(
    make, sentence: str, fails: Fails, model: Path, tmp_path: Path
) -> None:
    make(tmp_path / "pictures")
    out = tmp_path / "run"
    error = fails(*arguments(model, tmp_path / "pictures", out))
    assert sentence in error
    assert not out.exists()


@pytest.mark.parametrize("make", [coloured, large])
def test_pictures_are_made_to_fit_when_asked(
    make, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "pictures")
    out = tmp_path / "run"
    more = ("--retain", "digits", "--no-evaluate", "--set", "images.resize=true")
    run(monkeypatch, *arguments(model, tmp_path / "pictures", out, *more))
    assert read_record(out).settings["images"]["resize"] is True


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--set", "method.mixture=1.5"), "give lambda from 0 to 1"),
        (("--set", "method.window_start=0.9", "--set", "method.window_end=0.1"), "no window"),
        (("--set", "method.ratio=0"), "above 0"),
        (("--prior", "1.5"), "between 0 and 1"),
        (("--method", "sfd"), "does not forget pictures"),
        (("--set", "train.stop_every=2"), "--unseen"),
        (("--retain", "nowhere"), "no images at nowhere"),
    ],
)
def test_requests_that_cannot_be(
    more: tuple[str, ...], sentence: str, fails: Fails, model: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert sentence in fails(*arguments(model, pictures, out, *more))
    assert not out.exists()


def test_a_conditional_model_is_refused(
    fails: Fails, tiny_model: Path, pictures: Path, tmp_path: Path
) -> None:
    error = fails(*arguments(tiny_model, pictures, tmp_path / "run"))
    assert "is class-conditional" in error


def test_sets_that_overlap_entirely_are_refused(
    fails: Fails, model: Path, pictures: Path, tmp_path: Path
) -> None:
    more = ("--retain", str(pictures))
    error = fails(*arguments(model, pictures, tmp_path / "run", *more))
    assert "all retained images are images to forget" in error


def test_triage_writes_table_json_and_page(
    fails: Fails, model: Path, pictures: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    out = tmp_path / "triage"
    given = [
        "triage",
        str(model),
        "--images",
        str(pictures),
        "--unseen",
        "digits",
        "--out",
        str(out),
    ]
    changes = ["--set", "evaluate.samples=10", "--set", "evaluate.baseline_steps=2"]
    run(monkeypatch, *given, *changes)
    content = json.loads((out / "triage.json").read_text())
    assert len(content["findings"]) == 2
    # No unseen picture differs from the others to a model that was never trained.
    assert content["false_alarm_rate"] <= 0.15
    assert content["false_alarm_pictures"] >= 100
    assert "<b>one" not in (out / "triage.html").read_text()
    assert (out / "triage.csv").read_text().count("\n") == 3
    assert (out / "nearest.png").exists()
    assert "false alarms" in capsys.readouterr().out
    assert "nothing there was touched" in fails(*given, *changes)


def test_triage_needs_enough_unseen_pictures(fails: Fails, model: Path, pictures: Path) -> None:
    given = ("triage", str(model), "--images", str(pictures), "--unseen", str(pictures))
    assert "at least 118" in fails(*given)


@pytest.mark.slow
def test_triage_knows_the_memorised_picture_and_raises_few_false_alarms() -> None:
    """A model that draws digits has samples near unseen ones: that alone is no memory."""
    small = ["evaluate.samples=60", "evaluate.baseline_steps=8"]
    found = efface.triage("zoo:digits-symbol", "zoo:symbol", "digits", changes=small)
    assert [f.verdict for f in found.findings] == ["memorised"]
    assert found.false_alarm_rate <= 0.1
    same = efface.triage("zoo:digits-retrained", "zoo:symbol", "digits", changes=small)
    assert [f.verdict for f in same.findings] == ["not distinguishable from unseen"]
