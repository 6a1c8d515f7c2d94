"""Reads what scheduler_config.json says of noise levels and predictions (no torch)."""

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import Any

from efface.diffusion.config_files import read_json
from efface.errors import ModelError

# Schedulers of diffusers whose betas are those that the network was trained with.
KNOWN_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
# How configurations have spelled what the network predicts, with "_" for "-" and in lower case.
PREDICTIONS = {
    "epsilon": ("epsilon", "eps", "noise", "pred_noise"),
    "sample": ("sample", "original_sample", "x0", "x_0", "x_start", "pred_x0"),
    "v_prediction": ("v_prediction", "v", "v_pred", "pred_v"),
}
# What changes times and steps, and the only value of it that is known. "continuous" is EDM's.
ORDINARY = {"timestep_type": "discrete", "use_flow_sigmas": False}
ORDINARY |= {"invert_sigmas": False, "stochastic_sampling": False}
LARGEST = 100_000  # number in a configuration, of timesteps for one


def check_scheduler(name: object, known: Collection[str] = KNOWN_SCHEDULERS) -> None:
    """Raise ModelError for a scheduler whose noise levels efface would have to guess."""
    if not isinstance(name, str) or name not in known:
        raise ModelError(
            f"the scheduler {name} is not known to efface: allowed are "
            f"{', '.join(known)}. Save the pipeline with the one of these whose betas "
            "the model was trained with."
        )


def read_scheduler_config(path: Path, kind: Any, known: Collection[str]) -> dict[str, Any]:
    """The configuration of a scheduler of class `kind`, in the spelling of today's diffusers.

    Raises ModelError for a class that is not among the `known`, and for values of another type.
    """
    config = read_json(path, "it describes the noise levels")
    check_scheduler(config.get("_class_name", kind.__name__), known)
    parameters = inspect.signature(kind.__init__).parameters
    if "prediction_type" in parameters:
        config = _with_prediction_type(config, path)
    for name, parameter in parameters.items():
        given, default = config.get(name), parameter.default
        if given is not None and default is not None and not _fits(given, default):
            raise ModelError(f"{path} gives {name} as {given!r}: a value as {default!r} is needed.")
    flag = "rescale_betas_zero_snr"
    for name, value in (ORDINARY | ({} if flag in parameters else {flag: False})).items():
        if config.get(name) not in (value, None):
            raise ModelError(
                f"{path} gives {name} as {config[name]!r}, which efface does not know for a "
                f"{kind.__name__}: allowed is {value!r}."
            )
    return config


def _fits(given: Any, default: Any) -> bool:
    """Whether a value is of the type of a parameter's default; whole numbers can be floats."""
    if type(given) is not type(default) and (type(given), type(default)) != (int, float):
        return False
    least = -LARGEST if isinstance(default, float) else 0
    # The default can be -inf.
    return isinstance(given, str | list) or least <= given <= LARGEST or given == default


def _with_prediction_type(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The same configuration with what the network predicts as diffusers names it today.

    Until 2022 `predict_epsilon` told epsilon from the sample.
    """
    older = config.pop("predict_epsilon", None)
    given = config.get("prediction_type", "sample" if older is False else "epsilon")
    spelled = str(given).lower().replace("-", "_")
    kind = next((kind for kind, names in PREDICTIONS.items() if spelled in names), None)
    meant = "epsilon" if older is True else "sample" if older is False else None
    if kind is None or (older is not None and kind != meant):
        and_older = "" if older is None else f" and predict_epsilon as {older!r}"
        raise ModelError(
            f"{path} gives the prediction type as {given!r}{and_older}: {', '.join(PREDICTIONS)} "
            "are known, with which predict_epsilon must agree where it is given."
        )
    return config | {"prediction_type": kind}
