"""A run stops where the pictures to forget are predicted no better than unseen ones."""

from __future__ import annotations

from pathlib import Path

import torch

from efface.data.bank import ImageBank
from efface.data.images import load_images
from efface.data.source import PairSource
from efface.methods.neggrad import NegGrad
from efface.training.settings import TrainConfig
from efface.training.stopping import Measure, UnseenStopper
from efface.training.trainer import Trainer, TrainResult


def run(tiny_unet, folder: Path, losses: list[float], resume: bool = False) -> TrainResult:
    """A trainer whose stopper reads `losses` of the pictures to forget; unseen ones have 1."""
    x = load_images("digits", "test").images[:10].float() / 127.5 - 1
    source = PairSource(bank=ImageBank(x[1:], x[:1], 0.1), retain_rows=2, forget_rows=2, seed=0)
    folder.mkdir(exist_ok=True)
    config = TrainConfig(steps=8, batch_size=2, stop_every=2, checkpoint_every=4)
    denoiser = tiny_unet(conditional=False)
    trainer = Trainer(NegGrad(), NegGrad().networks(denoiser), source, config, folder, 2)
    left = iter(losses)
    measure = Measure("loss", lambda _, images: next(left) if len(images) == 1 else 1.0, 9)
    trainer.stopper = UnseenStopper(measure, x[:1], x[1:])
    return trainer.run(resume)


def test_stops_at_the_first_check_that_reaches_the_unseen(tiny_unet, tmp_path: Path) -> None:
    result = run(tiny_unet, tmp_path, [0.2, 0.5, 1.1, 9.0])
    assert result.steps == 4
    assert result.stopped is not None
    assert result.stopped.startswith("The run stopped at step 4: ")
    assert "no better than pictures never seen" in result.stopped
    # What is resumed afterwards is finished at once.
    again = run(tiny_unet, tmp_path, [1.1], resume=True)
    assert again.steps == 4
    for key, tensor in result.denoiser.network.state_dict().items():
        assert torch.equal(tensor, again.denoiser.network.state_dict()[key])


def test_runs_to_the_end_where_nothing_is_reached(tiny_unet, tmp_path: Path) -> None:
    result = run(tiny_unet, tmp_path, [0.2, 0.5, 0.6, 0.7, 0.8])
    assert (result.steps, result.stopped) == (8, None)
