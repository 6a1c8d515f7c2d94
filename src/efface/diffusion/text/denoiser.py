"""Text-to-image models behind the one view of every network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.text.encoding import call_network
from efface.diffusion.text.families import TextFamily
from efface.diffusion.text.prompts import PromptEncoder


@dataclass(frozen=True, eq=False, kw_only=True)
class TextDenoiser(Denoiser):
    """A text-conditional network in latent space, of any family.

    The text encoders lie in `prompts`, apart from the network: copies of the denoiser share them,
    and what they have encoded. `negative_prompt` is the null condition, None the empty prompt;
    `prompt` is what a call without condition asks for, None the null condition. `folder` is the
    pipeline that the model came from: parts that efface does not change are copied from there.
    """

    family: TextFamily
    prompts: PromptEncoder
    folder: Path
    index: dict[str, Any]  # its model_index.json
    negative_prompt: str | None = None
    prompt: str | None = None

    def _output(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        if condition is None:
            condition = self._repeated(self._standing().to(x_t.device), len(x_t))
        time = t
        if self.family.flow:
            time = self.schedule.sigmas[t] * self.scheduler.config.num_train_timesteps
        output = call_network(self.network, self.family, x_t, time, condition.tensors)
        return output[:, : x_t.shape[1]]

    def encode(self, inputs: Sequence[Any]) -> Condition:
        """Prompts -> condition rows; RequestError for a prompt that every encoder would cut."""
        return self.prompts.encode(inputs).to(self.device)

    def null(self, like: Condition) -> Condition:
        return self._rows_like(self.prompts.null(self.negative_prompt), like)

    def empty(self, like: Condition) -> Condition:
        """The empty prompt, whatever guidance moves away from."""
        return self._rows_like(self.prompts.null(None), like)

    def _rows_like(self, row: Condition, like: Condition) -> Condition:
        device = next(iter(like.tensors.values())).device
        return self._repeated(row.to(device), len(like))  # one row is moved, not all of them

    def require_null(self) -> None:
        """Every text model has one: the empty prompt."""

    def with_negative_prompt(self, prompt: str | None) -> Self:
        """The same model with another null condition."""
        return replace(self, negative_prompt=prompt)

    def with_prompt(self, prompt: str | None) -> Self:
        """The same model, which asks for `prompt` where it is called without condition.

        Methods that know no conditions work on p(x | prompt) this way.
        """
        return replace(self, prompt=prompt)

    def without_encoders(self) -> Self:
        """Give up the text encoders of this model and its copies; encoded prompts stay."""
        self.prompts.null(self.negative_prompt)
        self._standing()
        self.prompts.free()
        return self

    def to(self, device: torch.device | str) -> Self:
        return replace(super().to(device), prompts=self.prompts.to(device))

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """As the stock pipeline of the family does it: flow schedules depend on the size."""
        if not self.family.flow:
            scheduler.set_timesteps(steps)
            return
        config, options = scheduler.config, {}
        if self.family.even_steps and not config.get("use_flow_sigmas"):
            options["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        if config.use_dynamic_shifting:
            tokens = self.sample_shape[1] * self.sample_shape[2] // 4
            span = config.max_image_seq_len - config.base_image_seq_len
            slope = (config.max_shift - config.base_shift) / span
            options["mu"] = config.base_shift + slope * (tokens - config.base_image_seq_len)
        scheduler.set_timesteps(steps, **options)

    def _standing(self) -> Condition:
        if self.prompt is not None:
            return self.prompts.encode([self.prompt])
        return self.prompts.null(self.negative_prompt)

    @staticmethod
    def _repeated(row: Condition, count: int) -> Condition:
        return Condition({n: t.expand(count, *t.shape[1:]) for n, t in row.tensors.items()})


def as_text_denoiser(denoiser: Denoiser) -> TextDenoiser:
    """A denoiser that is known to take prompts: the request was checked against the model."""
    assert isinstance(denoiser, TextDenoiser)
    return denoiser
