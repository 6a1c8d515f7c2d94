"""A run stops where the images to forget are predicted no better than unseen ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from efface.data.batch import ImageBank
from efface.data.images import load_images
from efface.data.source import PairSource
from efface.diffusion.denoiser import Denoiser
from efface.methods.neggrad import NegGrad
from efface.training.guard import Measure, UnseenStopper
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer, TrainResult

Run = Callable[..., TrainResult]


@pytest.fixture
def run(tiny_unet: Callable[..., Denoiser], tmp_path: Path) -> Run:
    """A run whose stopper reads `losses` of the images to forget; unseen ones have 1."""

    def run(
        losses: list[float],
        resume: bool = False,
        on_step: Callable[[int], None] | None = None,
        steps: int = 8,
    ) -> TrainResult:
        x = load_images("digits", "test").images[:10].float() / 127.5 - 1
        source = PairSource(bank=ImageBank(x[1:], x[:1], 0.1), retain_rows=2, forget_rows=2, seed=0)
        settings = TrainSettings(steps=steps, batch_size=2, stop_every=2, checkpoint_every=4)
        denoiser, left = tiny_unet(conditional=False), iter(losses)
        measure = Measure("loss", lambda _, images: next(left) if len(images) == 1 else 1.0, 9)
        stopper = UnseenStopper(measure, [x[:1]], x[1:])
        networks = NegGrad().networks(denoiser)
        trainer = Trainer(NegGrad(), networks, source, settings, tmp_path, stopper=stopper)
        result = trainer.run(resume, on_step)
        assert next(left, None) is None, "a check that was expected was not made"
        return result

    return run


def test_stops_at_the_first_check_that_reaches_the_unseen(run: Run) -> None:
    result = run([0.2, 0.5, 1.1])
    assert result.steps == 4
    assert result.stopped is not None
    assert result.stopped.startswith("The run stopped at step 4: ")
    assert "no better than unseen images (loss 1.1 against 1)" in result.stopped
    # What is resumed afterwards is finished at once, without another check.
    again = run([], resume=True)
    assert (again.steps, again.stopped) == (4, result.stopped)
    for key, tensor in result.denoiser.network.state_dict().items():
        assert torch.equal(tensor, again.denoiser.network.state_dict()[key])


def test_runs_to_the_end_where_nothing_is_reached(run: Run) -> None:
    result = run([0.2, 0.5, 0.6, 0.7, 0.8])
    assert (result.steps, result.stopped) == (8, None)
    assert run([], resume=True).stopped is None


def test_a_step_is_checked_once_even_if_the_run_is_resumed_there(
    run: Run, stopping_at: Callable[[int], Callable[[int], None]]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run([0.1, 0.2, 0.3], on_step=stopping_at(4))
    assert run([0.4, 1.5], resume=True).steps == 8


def test_a_run_that_has_forgotten_before_its_first_step_makes_none(run: Run) -> None:
    assert run([1.0]).steps == 0


def test_every_set_of_images_must_be_forgotten(tiny_unet: Callable[..., Denoiser]) -> None:
    """One that is known still goes on, however badly the others are predicted."""
    measure = Measure("brightness", lambda _, images: float(images.mean()), images=4)
    dark, grey, bright = (torch.full((2, 1, 2, 2), level) for level in (0.1, 0.5, 0.9))
    student = tiny_unet(conditional=False)
    assert UnseenStopper(measure, [bright, dark], grey).check(student) is None
    assert UnseenStopper(measure, [bright, grey], grey).check(student) is not None
