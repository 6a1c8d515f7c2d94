"""Prompts encoded once: the frozen text encoders and what they have said so far."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition
from efface.diffusion.text.encoding import encode
from efface.diffusion.text.families import TextFamily
from efface.diffusion.text.readers import Reader, check_prompts, shortened
from efface.errors import RequestError

AT_ONCE = 32  # prompts in one pass of the text encoders


class PromptEncoder:
    """The text encoders of a pipeline, apart from its network, and a cache by prompt.

    Shared by all networks of a run, so that a prompt is encoded once for all of them. Rows are
    kept on the CPU in float32. `constants` (one row each) go along with every prompt.
    """

    def __init__(
        self,
        family: TextFamily,
        pipeline: Any,
        readers: Sequence[Reader],
        constants: Mapping[str, Tensor],
    ) -> None:
        self._family = family
        self._pipeline: Any = pipeline
        self._readers = tuple(readers)
        self._constants = constants
        self._rows: dict[str, Mapping[str, Tensor]] = {}
        self._zeros_for_empty = bool(pipeline.config.get("force_zeros_for_empty_prompt", False))

    @property
    def encoded(self) -> int:
        """Prompts that went through the text encoders."""
        return len(self._rows)

    def check(self, prompts: Sequence[str]) -> None:
        """Raise RequestError for a prompt that is no text or that every encoder would cut."""
        check_prompts(prompts, self._readers)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """One row per prompt, on the CPU; only prompts not met before pass the encoders."""
        new = [p for p in dict.fromkeys(prompts) if p not in self._rows]
        if new:
            self.check(new)
        if new and self._pipeline is None:
            raise RequestError(
                f"the prompt {shortened(new[0])} was not encoded before the text encoders were "
                "given up: encode all prompts first, or load the model anew."
            )
        for start in range(0, len(new), AT_ONCE):
            part = new[start : start + AT_ONCE]
            tensors = encode(self._pipeline, part, self._family)
            on_cpu = {
                name: tensor.float().cpu() if tensor.is_floating_point() else tensor.cpu()
                for name, tensor in tensors.items()
            }
            for row, prompt in enumerate(part):
                self._rows[prompt] = {name: tensor[row] for name, tensor in on_cpu.items()}
        rows = [{**self._rows[prompt], **self._constants} for prompt in prompts]
        return Condition({name: torch.stack([r[name] for r in rows]) for name in rows[0]})

    def null(self, negative_prompt: str | None) -> Condition:
        """One row of the negative prompt; None is the empty one, as the stock pipeline has it."""
        row = self.encode([negative_prompt or ""])
        if negative_prompt is None and self._zeros_for_empty:
            kept = self._constants
            return Condition(
                {n: t if n in kept else torch.zeros_like(t) for n, t in row.tensors.items()}
            )
        return row

    def free(self) -> None:
        """Give up the text encoders, so that their memory can be used for something else."""
        self._pipeline = None

    def to(self, device: torch.device | str) -> "PromptEncoder":
        if self._pipeline is not None:
            for encoder in self._family.encoders:
                module = getattr(self._pipeline, encoder)
                if module is not None:
                    module.to(device)
        return self
