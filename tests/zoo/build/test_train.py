"""Models made from recipes: from digits, a folder and parquet, with and without classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import efface
from efface.data.images import load_images
from efface.diffusion.denoiser import ClassDenoiser, UnconditionalDenoiser
from efface.diffusion.model_folder import inspect_model
from efface.errors import ConfigError, DataError
from efface.metrics.membership_gap import denoising_losses, loss_timesteps, membership_gap
from efface.records import read_record
from efface.zoo.build.settings import SECTIONS
from efface.zoo.build.train import train

TINY = [
    "network.channels=[8, 16]",
    "network.norm_groups=4",
    "train.steps=3",
    "train.batch_size=8",
    "train.checkpoint_every=2",
]


@pytest.mark.parametrize("conditional", [True, False])
def test_a_model_is_trained_from_a_folder(conditional, digit_folder, tmp_path):
    where = [f"data.source='{digit_folder}'", f"data.conditional={str(conditional).lower()}"]
    out = train(None, tmp_path / "out", changes=[*TINY, *where])
    model = efface.load(out)
    assert isinstance(model, ClassDenoiser if conditional else UnconditionalDenoiser)
    if isinstance(model, ClassDenoiser):
        assert (model.num_classes, model.null_label) == (10, 10)
    named = {label: f"digit {label}" for label in range(10)} if conditional else {}
    assert inspect_model(out).names == named


def test_a_record_says_what_was_trained_and_with_what(tmp_path):
    record = read_record(train(None, tmp_path / "out", changes=TINY))
    assert record.status == "finished"
    assert record.request == {"kind": "train"}
    assert set(record.settings) == set(SECTIONS)
    assert record.settings["network"]["channels"] == [8, 16]


def test_a_model_is_trained_from_parquet(digit_folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = sorted(digit_folder.rglob("*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    labels = [int(file.parent.name.split()[-1]) for file in files]
    rows = datasets.Dataset.from_dict({"image": images, "label": labels})
    names = [f"the digit {label}" for label in range(10)]
    rows = rows.cast_column("label", datasets.ClassLabel(names=names))
    rows.cast_column("image", datasets.Image()).to_parquet(tmp_path / "digits.parquet")
    network = [
        "network.prediction=v_prediction",
        "network.schedule=scaled_linear",
        f"data.source='{tmp_path / 'digits.parquet'}'",
    ]
    model = efface.load(train(None, tmp_path / "out", changes=[*TINY, *network]))
    assert isinstance(model, ClassDenoiser)
    assert (model.num_classes, model.kind) == (10, "v_prediction")
    assert inspect_model(tmp_path / "out").names == dict(enumerate(names))


def test_training_leaves_out_labels_on_request(tmp_path: Path) -> None:
    """What a model without a class is made with; its embeddings stay."""
    out = train(None, tmp_path / "out", changes=[*TINY, "data.without_labels=[3]"])
    assert efface.load(out).num_classes == 10  # pyright: ignore


def test_interrupted_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = train(None, tmp_path / "whole", changes=TINY)

    def stop(step: int) -> None:
        if step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(None, tmp_path / "parts", changes=TINY, on_step=stop)
    parts = train(None, tmp_path / "parts", changes=TINY, resume=True)
    assert read_record(parts).output == read_record(whole).output


def test_the_callers_random_numbers_go_on_as_if_nothing_had_been_trained(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train(None, tmp_path / "out", changes=TINY)
    assert torch.equal(torch.rand(2), expected)


def test_conditional_training_without_labels_is_refused(digit_folder, tmp_path) -> None:
    only = next(p for p in digit_folder.iterdir())
    with pytest.raises(DataError, match="needs labelled images"):
        train(None, tmp_path / "out", changes=[*TINY, f"data.source='{only}'"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "absurd",
    [
        "train.steps=-1",
        "train.batch_size=0",
        "network.layers=0",
        "network.channels=[8, -16]",
        "network.dropout=1.5",
        "data.added_copies=-3",
        "data.mean_pool=0",
        "judge.epochs=0",
    ],
)
def test_an_absurd_number_is_refused_before_anything_is_read(absurd, tmp_path):
    key = absurd.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}[^\n]*\.$"):
        train(None, tmp_path / "out", changes=["data.source='nothing/here'", absurd])
    assert not (tmp_path / "out").exists()


def test_the_shipped_symbol_is_memorised_by_one_model_and_not_by_its_twin() -> None:
    symbol, unseen = load_images("zoo:symbol"), load_images("digits", "test")
    x, others = (i.images[:40].float() / 127.5 - 1 for i in (symbol, unseen))
    gaps = {}
    for name in ("digits-symbol", "digits-retrained"):
        model = efface.load(f"zoo:{name}")
        at = loss_timesteps(model.schedule.num_timesteps)
        losses = [denoising_losses(model, images, at, 1, 0) for images in (x, others)]
        gaps[name] = membership_gap(losses[0], losses[1], at).gap
        folder = Path(efface.__file__).parent / "zoo" / name
        assert all(p.stat().st_size < 2_000_000 for p in folder.rglob("*") if p.is_file())
    assert gaps["digits-symbol"].low > 0.5
    assert gaps["digits-retrained"].high < 0
