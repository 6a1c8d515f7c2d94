"""The names that users call are there, listed and callable, and each stands on its own."""

from __future__ import annotations

import pydoc
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

import efface
from efface.cli import app

NAMES = """
forget evaluate attack bench compare verify sample train train_classifier preflight triage distil
load report ForgetClass ForgetConcept ForgetImages ForgetMemorised Distil methods.SFD
methods.SISS methods.NegGrad metrics.frechet_distance metrics.precision_recall
metrics.unlearning_accuracy
metrics.kid metrics.inception_score attacks.relearn attacks.concept_inversion attacks.noise_search
__version__
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_listed_and_callable(name: str) -> None:
    home, _, last = name.rpartition(".")
    place = getattr(efface, home) if home else efface
    assert last in dir(place)
    assert callable(getattr(place, last)) or name == "__version__"


NAMED_OTHERWISE = {  # a folder of this name is there, or the command names what it makes
    "autoencoder": "train_autoencoder",
    "classifier": "train_classifier",
    "detector": "train_detector",
    "methods": "methods.names",
    "runs": "list_runs",
    "settings": "list_settings",
}


@pytest.mark.parametrize("command", typer.main.get_command(app).commands)  # pyright: ignore
def test_every_command_is_a_public_function(command: str) -> None:
    home, _, last = NAMED_OTHERWISE.get(command, command).rpartition(".")
    place = getattr(efface, home) if home else efface
    assert last in dir(place) and callable(getattr(place, last))


def test_what_is_listed_is_there_and_nothing_else() -> None:
    assert dir(efface) == sorted(efface.__all__)
    for name in efface.__all__:
        assert getattr(efface, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'unlearn'"):
        efface.unlearn  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        efface.methods.Nothing  # noqa: B018


def test_help_shows_the_public_names_and_no_machinery() -> None:
    text = pydoc.plain(pydoc.render_doc(efface))
    assert "ForgetClass" in text and "forget(" in text and "_HOMES" not in text


def test_types_are_shipped() -> None:
    assert (Path(efface.__file__).parent / "py.typed").exists()


def test_metrics_take_arrays() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 4)), rng.normal(size=(300, 4)) + [3.0, 0, 0, 0]
    distance = efface.metrics.frechet_distance(a, b)
    assert distance.low < distance.value < distance.high and abs(distance.value - 9) < 1.5
    assert efface.metrics.kid(a, b).value > 0
    precision, recall = efface.metrics.precision_recall(a, a)
    assert precision.value == 1.0 and recall.value > 0.9
    assert efface.metrics.unlearning_accuracy(np.array([0, 0, 1, 2]), [0]).value == 0.5
    assert efface.metrics.inception_score(np.tile(np.eye(4), (50, 1))).value == pytest.approx(4)


def test_a_module_and_a_function_of_one_name_do_not_hide_each_other() -> None:
    import efface.runs.attack
    import efface.runs.evaluate  # noqa: F401

    assert callable(efface.metrics.kid) and callable(efface.attacks.noise_search)
    assert efface.attacks.resolve("noise_search") is efface.attacks.NoiseSearch


def test_a_model_can_be_loaded_and_called(tiny_model: Path) -> None:
    model = efface.load(tiny_model)
    x = torch.randn(2, *model.sample_shape)
    assert model(x, torch.tensor([5, 9]), model.encode([0, 1])).x0.shape == x.shape
