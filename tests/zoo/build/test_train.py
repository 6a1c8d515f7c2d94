"""Models made from recipes: from digits, a folder and parquet, with and without classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import efface
from efface.data.images import load_images
from efface.diffusion.denoiser import ClassDenoiser, UnconditionalDenoiser
from efface.errors import ConfigError, DataError
from efface.metrics.judge import load_judge
from efface.metrics.membership_gap import denoising_losses, loss_timesteps, membership_gap
from efface.zoo.build.train import make_judge, train
from efface.records import read_record

TINY = [
    "network.channels=[8, 16]",
    "network.norm_groups=4",
    "train.steps=3",
    "train.batch_size=8",
    "train.checkpoint_every=2",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits as PNG files, a folder per label."""
    folder = tmp_path_factory.mktemp("images")
    digits = load_images("digits", "test")
    assert digits.labels is not None
    for i in range(40):
        label = folder / f"digit {int(digits.labels[i])}"
        label.mkdir(exist_ok=True)
        Image.fromarray(digits.images[i, 0].numpy()).save(label / f"{i}.png")
    return folder


@pytest.mark.parametrize("conditional", [True, False])
def test_a_model_is_trained_from_a_folder(conditional: bool, folder: Path, tmp_path: Path) -> None:
    where = [f"data.source='{folder}'", f"data.conditional={str(conditional).lower()}"]
    out = train(None, tmp_path / "out", changes=[*TINY, *where])
    model = efface.load(out)
    assert isinstance(model, ClassDenoiser if conditional else UnconditionalDenoiser)
    if isinstance(model, ClassDenoiser):
        assert (model.num_classes, model.null_label) == (10, 10)
    assert read_record(out).status == "finished"


def test_a_transformer_is_trained_from_parquet(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = sorted(folder.rglob("*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    labels = [int(file.parent.name.split()[-1]) for file in files]
    rows = datasets.Dataset.from_dict({"image": images, "label": labels})
    rows.cast_column("image", datasets.Image()).to_parquet(tmp_path / "digits.parquet")
    network = [
        "network.type=DiTTransformer2DModel",
        "network.channels=[2, 8]",
        "network.patch_size=2",
        "network.prediction=v_prediction",
        "network.zero_terminal_snr=true",
        f"data.source='{tmp_path / 'digits.parquet'}'",
    ]
    out = train(None, tmp_path / "out", changes=[*TINY, *network])
    model = efface.load(out)
    assert model.schedule.has_zero_terminal_snr
    assert type(model.network).__name__ == "DiTTransformer2DModel"


def test_training_leaves_out_labels_on_request(tmp_path: Path) -> None:
    """What a model that never knew a class is made with; its embeddings stay."""
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


def test_tensorboard_gets_the_losses_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    changes = [*TINY, "train.tracker=tensorboard", "train.log_every=1"]
    out = train(None, tmp_path / "out", changes=changes)
    assert list((out / "tensorboard").glob("events*"))
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_judge_states_its_held_out_accuracy(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[judge]\nepochs = 2\nwidths = [8, 16]\n")
    judge = make_judge(recipe, tmp_path / "judge")
    config = json.loads((tmp_path / "judge" / "config.json").read_text())
    assert config["held_out_images"] == 450
    assert 0.3 < config["held_out_accuracy"] <= 1
    assert load_judge(tmp_path / "judge").name == judge.name
    with pytest.raises(ConfigError, match="nothing there was touched"):
        make_judge(recipe, tmp_path / "judge")


def test_the_shipped_judge_and_model_are_small_and_good() -> None:
    """Accuracy is recomputed from the weights, on digits that neither was trained on."""
    folder = Path(efface.__file__).parent / "zoo" / "digits"
    judge = load_judge(folder / "judge")
    digits = load_images("digits", "test")
    assert digits.labels is not None
    seen = judge.observe(digits.images.float() / 255, digits.labels.numpy())
    accuracy = float((seen.seen == seen.asked).mean())
    assert accuracy == pytest.approx(judge.config["held_out_accuracy"], abs=1e-9)
    assert accuracy > 0.98
    assert all(p.stat().st_size < 2_000_000 for p in folder.rglob("*") if p.is_file())


def test_conditional_training_without_labels_is_refused(folder: Path, tmp_path: Path) -> None:
    only = next(p for p in folder.iterdir())
    with pytest.raises(DataError, match="needs labelled images"):
        train(None, tmp_path / "out", changes=[*TINY, f"data.source='{only}'"])
    assert not (tmp_path / "out").exists()


def test_the_shipped_pipeline_is_the_one_that_is_written() -> None:
    source = Path(efface.__file__).parent
    shipped = source / "zoo" / "digits" / "pipeline.py"
    assert shipped.read_bytes() == (source / "diffusion" / "class_pipeline.py").read_bytes()


def test_the_shipped_symbol_is_known_to_one_model_and_not_to_its_twin() -> None:
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
