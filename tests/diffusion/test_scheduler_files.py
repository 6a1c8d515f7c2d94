"""Configurations of schedulers: read in every spelling, and refused in a sentence otherwise."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import diffusers
import pytest

from efface.diffusion.schedule import load_scheduler, read_schedule
from efface.diffusion.scheduler_files import KNOWN_SCHEDULERS
from efface.errors import ModelError

FLOW = "FlowMatchEulerDiscreteScheduler"
ZERO = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
WITH_FLAG = ("DDIM", "DDPM", "DPMSolverMultistep", "EulerAncestralDiscrete", "EulerDiscrete")
WITH_FLAG = tuple(f"{name}Scheduler" for name in (*WITH_FLAG, "UniPCMultistep"))
WITHOUT_FLAG = ("DEISMultistep", "DPMSolverSinglestep", "HeunDiscrete", "LMSDiscrete", "PNDM")
WITHOUT_FLAG = tuple(f"{name}Scheduler" for name in WITHOUT_FLAG)


def written(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return folder


def read(folder: Path, name: str = "DDPMScheduler", **config: Any) -> Any:
    return load_scheduler(written(folder, {"_class_name": name} | config) / "scheduler", name)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({}, "epsilon"),
        ({"predict_epsilon": True}, "epsilon"),
        ({"predict_epsilon": False}, "sample"),
        ({"predict_epsilon": None, "prediction_type": "sample"}, "sample"),
        ({"predict_epsilon": False, "prediction_type": "sample"}, "sample"),
        ({"predict_epsilon": True, "prediction_type": "eps"}, "epsilon"),
        ({"prediction_type": "Epsilon"}, "epsilon"),
        ({"prediction_type": "noise"}, "epsilon"),
        ({"prediction_type": "v-prediction"}, "v_prediction"),
        ({"prediction_type": "V_Prediction"}, "v_prediction"),
        ({"prediction_type": "v"}, "v_prediction"),
        ({"prediction_type": "v-pred"}, "v_prediction"),
        ({"prediction_type": "x0"}, "sample"),
        ({"prediction_type": "x_start"}, "sample"),
        ({"prediction_type": "original_sample"}, "sample"),
    ],
)
@pytest.mark.parametrize("name", ["DDPMScheduler", "DPMSolverMultistepScheduler"])
def test_predictions_are_read_in_every_spelling_and_kept_in_todays(tmp_path, name, config, kind):
    scheduler = read(tmp_path, name, **config)
    assert read_schedule(scheduler)[0] == scheduler.config.prediction_type == kind
    assert "predict_epsilon" not in scheduler.config


@pytest.mark.parametrize(
    "config",
    [
        {"prediction_type": "velocity"},
        {"prediction_type": "flow_prediction"},
        {"prediction_type": ""},
        {"prediction_type": None},
        {"prediction_type": ["epsilon"]},
        {"predict_epsilon": "false"},
        {"predict_epsilon": 2},
        {"predict_epsilon": [True]},
        {"predict_epsilon": False, "prediction_type": "epsilon"},
        {"predict_epsilon": True, "prediction_type": "v_prediction"},
        {"predict_epsilon": False, "prediction_type": "v_prediction"},
    ],
)
def test_predictions_that_are_not_understood_are_refused(tmp_path, config):
    with pytest.raises(ModelError, match="prediction type as .*epsilon, sample, v_prediction"):
        read(tmp_path, **config)


@pytest.mark.parametrize("name", WITH_FLAG)
def test_epsilon_is_refused_where_the_configuration_leaves_no_signal(tmp_path, name):
    with pytest.raises(ModelError, match=f"{name} ends without signal .*predicts v or the sample"):
        read(tmp_path, name, **ZERO)
    with pytest.raises(ModelError, match="ends without signal"):
        read(tmp_path, name, num_train_timesteps=3, trained_betas=[0.1, 0.5, 1.0])
    scheduler = read(tmp_path, name, **ZERO, prediction_type="v_prediction")
    assert read_schedule(scheduler)[1].has_zero_terminal_snr


@pytest.mark.parametrize("name", WITHOUT_FLAG)
def test_zero_terminal_snr_is_refused_where_the_class_does_not_know_it(tmp_path, name):
    with pytest.raises(ModelError, match=f"rescale_betas_zero_snr as True.*{name}"):
        read(tmp_path, name, rescale_betas_zero_snr=True, prediction_type="v_prediction")


@pytest.mark.parametrize(
    ("name", "config", "sentence"),
    [
        (
            "EulerDiscreteScheduler",
            {"timestep_type": "continuous", "prediction_type": "v_prediction"},
            "timestep_type as 'continuous'",
        ),
        ("DDIMScheduler", {"timestep_type": "continuous"}, "timestep_type as 'continuous'"),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True}, "use_flow_sigmas as True"),
        ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True}, "use_flow_sigmas as True"),
        (FLOW, {"invert_sigmas": True}, "invert_sigmas as True"),
        (FLOW, {"stochastic_sampling": True}, "stochastic_sampling as True"),
        ("DDIMScheduler", {"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler is not known"),
        ("EulerDiscreteScheduler", {"_class_name": FLOW + "2"}, "not known to efface"),
        ("DDPMScheduler", {"_class_name": ["DDPMScheduler"]}, "not known to efface"),
        ("DDPMScheduler", {"beta_schedule": "exp"}, "exp is not implemented"),
        ("DDIMScheduler", {"beta_schedule": "sigmoid"}, "sigmoid is not implemented"),
        ("DDIMScheduler", {"timestep_spacing": "uniform"}, "could not be loaded: uniform"),
        ("DDIMScheduler", {"trained_betas": [0.1] * 20}, "20 noise levels.*1000 betas"),
        ("DDIMScheduler", {"beta_start": 0.0}, "between 0 and 1"),
        ("DDIMScheduler", {"beta_end": 1.5}, "between 0 and 1"),
        ("DDIMScheduler", {"beta_start": -0.1}, "between 0 and 1"),
        ("DDIMScheduler", {"num_train_timesteps": 0}, "form a schedule|could not be loaded"),
        ("DDIMScheduler", {"num_train_timesteps": 10**9}, "num_train_timesteps as 1000000000"),
        ("DDIMScheduler", {"num_train_timesteps": 1000.0}, "num_train_timesteps as 1000.0"),
        ("DDIMScheduler", {"clip_sample": "false"}, "clip_sample as 'false'"),
        ("DDIMScheduler", {"beta_end": math.nan}, "beta_end as nan"),
        ("DDIMScheduler", {"steps_offset": -1}, "steps_offset as -1"),
        ("DDIMScheduler", {"steps_offset": 1000}, "could not be loaded"),
        (FLOW, {"shift": 0.0}, "form a schedule"),
        (FLOW, {"shift": -2.0}, "form a schedule"),
        (FLOW, {"shift": "3"}, "shift as '3'"),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence(tmp_path, name, config, sentence):
    with pytest.raises(ModelError, match=sentence) as caught:
        read(tmp_path, name, **config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*KNOWN_SCHEDULERS, FLOW])
def test_what_stock_diffusers_saves_is_read_unchanged(tmp_path, name):
    own = getattr(diffusers, name)()
    own.save_pretrained(tmp_path / "scheduler")
    hidden = "_use_default_values", "_diffusers_version"
    assert {
        k: v
        for k, v in load_scheduler(tmp_path / "scheduler", name).config.items()
        if k not in hidden
    } == {k: v for k, v in own.config.items() if k not in hidden} | {"_class_name": name}


WRONG = ("many", "", "0.5", [], [1.0], [None], {}, {"a": 1}, None, True, False, -1, 0, 1, 3, 2.5)
WRONG += (-0.5, 1e-3, 1e30, 10**30, math.nan, math.inf, -math.inf)


def test_no_configuration_ends_in_a_traceback(tmp_path):
    """Two hundred of them with one to three values of another type or size, of fixed seeds."""
    refused = 0
    for seed in range(200):
        rng = random.Random(seed)
        name = rng.choice([*KNOWN_SCHEDULERS, FLOW])
        if name == "LMSDiscreteScheduler" and seed % 4:
            continue  # integrates for a quarter of a second
        config = dict(getattr(diffusers, name)(num_train_timesteps=50).config)
        config.pop("_use_default_values", None)
        keys = [*config, "trained_betas", "predict_epsilon", "prediction_type", "sigma_max"]
        for key in rng.sample(keys, rng.choice((1, 1, 2, 3))):
            config[key] = rng.choice(WRONG)
        try:
            load_scheduler(written(tmp_path, config) / "scheduler", name)
        except ModelError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 100 < refused < 200
