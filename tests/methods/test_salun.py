"""SalUn: random label, and outside the mask not a bit changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from efface.data.source import BatchSource
from efface.diffusion.denoiser import Denoiser
from efface.methods.relabel import Relabel
from efface.methods.salun import SalUn
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

Weights = dict[str, torch.Tensor]


@pytest.fixture
def train(
    tiny_unet: Callable[..., Denoiser], make_source: Callable[..., BatchSource], tmp_path: Path
) -> Callable[[Relabel, str], tuple[Weights, Weights, Trainer]]:
    def run(method: Relabel, name: str) -> tuple[Weights, Weights, Trainer]:
        """Weights before and after five steps with momentum and decay."""
        denoiser = tiny_unet()
        settings = TrainSettings(
            steps=5, batch_size=4, learning_rate=1e-2, weight_decay=0.1, ema_decay=0.0
        )
        networks, source = method.networks(denoiser), make_source(method, denoiser)
        trainer = Trainer(method, networks, source, settings, tmp_path / name)
        (tmp_path / name).mkdir()
        before = {k: v.clone() for k, v in denoiser.network.state_dict().items()}
        return before, trainer.run().denoiser.network.state_dict(), trainer

    return run


def test_masked_weights_are_bit_identical_and_half_of_them_are(train) -> None:
    method = SalUn(salient_share=0.5, mask_batches=3)
    before, after, trainer = train(method, "half")
    masks = method.update_mask("student", trainer.stepper.objects()["prepared"].tensors())
    share = sum(int(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    assert share == round(total / 2)
    moved = 0
    for name, mask in masks.items():
        assert after[name][~mask].equal(before[name][~mask])
        moved += int((after[name] != before[name])[mask].sum())
    assert moved > 0.9 * share


def test_with_all_weights_it_is_random_label(train) -> None:
    _, masked, _ = train(SalUn(salient_share=1.0, mask_batches=1), "all")
    _, plain, _ = train(Relabel(), "plain")
    assert all(masked[name].equal(plain[name]) for name in plain)
