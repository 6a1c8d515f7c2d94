"""What can be refused before anything is read."""

from efface.diffusion.model_folder import ModelInfo, sample_shape
from efface.errors import ConfigError
from efface.methods.image_method import SubtractingMethod
from efface.requests.memorised.settings import MemorisedSettings
from efface.settings.base import Settings

PUBLISHED_NORM = 750.0
PUBLISHED_LATENTS = (4, 64, 64)  # of Stable Diffusion 1.x


def check_settings(model: ModelInfo, settings: Settings, captions: int = 1) -> None:
    """Raise ConfigError for settings that cannot work, of so many captions."""
    own, method = settings.of(MemorisedSettings), settings.method
    if method.asks_prior and captions > 1:
        raise ConfigError(
            f"method {settings.method_name!r} as it is set needs the share of copies among the "
            f"samples of one prompt, and here are {captions} with images of their own: use siss, "
            "with method.retain_target=noise or teacher."
        )
    if method.asks_prior and own.original_share > 0:
        raise ConfigError(
            f"method {settings.method_name!r} as it is set needs the share of copies among a "
            "prompt's samples, and the original prompt generates little else: set "
            "memorised.original_share=0."
        )
    if settings.train.stop_by != "loss":
        raise ConfigError(
            f"train.stop_by={settings.train.stop_by} compares with unseen images, and a memorised "
            "image has none to compare with: leave it out, and such a run stops where its prompts "
            "no longer generate copies."
        )
    if isinstance(method, SubtractingMethod):
        _check_start(method, settings)
        _check_norm(method, model)


def _check_start(method: SubtractingMethod, settings: Settings) -> None:
    """Refuse to forget by a share of a retain gradient that is 0 in all rows at the start."""
    share = settings.of(MemorisedSettings).control_share
    retain_only_rows = int(settings.train.batch_size * share)
    at_rest = method.retain_target == "teacher" and (
        method.retain_only_target == "teacher" or retain_only_rows == 0
    )
    if method.rule_name == "relative_norm" and at_rest:
        raise ConfigError(
            "method.retain_target=teacher with method.rule_name=relative_norm never begins here: "
            "the student equals its teacher, so the retain gradient is 0, and so is any share of "
            "it. Set method.retain_target=noise (with method.retain_only_target=teacher and "
            "memorised.control_share=0.5 for the rest) or method.rule_name=fixed_norm."
        )


def _check_norm(method: SubtractingMethod, model: ModelInfo) -> None:
    """Refuse the published norm for latents of another size: it is of a sum over latents."""
    if method.rule_name != "fixed_norm" or method.fixed_norm != PUBLISHED_NORM:
        return
    shape = sample_shape(model)
    if shape != PUBLISHED_LATENTS:
        raise ConfigError(
            f"method.fixed_norm={method.fixed_norm:g} is published for the 4x64x64 latents of "
            f"Stable Diffusion 1.x, and those of {model.source} are {'x'.join(map(str, shape))}: "
            "set method.rule_name=relative_norm, which needs no such number, or another "
            "method.fixed_norm."
        )
