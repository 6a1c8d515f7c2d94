"""What a prompt is to a text-to-image model: embeddings that can be exchanged or learned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from efface.diffusion.denoiser import Condition
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.prompts import PromptEncoder

EMBEDDINGS = ("encoder_hidden_states", "text_embeds", "pooled_projections")


class ChangedPrompts(PromptEncoder):
    """Prompts that a model takes for something else; all but `encode` is as it was."""

    def __init__(self, prompts: PromptEncoder) -> None:
        self._prompts = prompts

    def check(self, prompts: Sequence[str]) -> None:
        self._prompts.check(prompts)

    def encode(self, prompts: Sequence[str]) -> Condition:
        return self._prompts.encode(prompts)

    def null(self, negative_prompt: str | None) -> Condition:
        return self._prompts.null(negative_prompt)

    def free(self) -> None:
        self._prompts.free()

    def to(self, device: torch.device | str) -> PromptEncoder:
        self._prompts.to(device)
        return self


class ExchangedPrompts(ChangedPrompts):
    """Some prompts are taken for others."""

    def __init__(self, prompts: PromptEncoder, meant: Mapping[str, str]) -> None:
        super().__init__(prompts)
        self._meant = meant

    def encode(self, prompts: Sequence[str]) -> Condition:
        return self._prompts.encode([self._meant.get(prompt, prompt) for prompt in prompts])


class LearnedPrompt(ChangedPrompts):
    """Every prompt is taken for one condition, whose embeddings are parameters.

    They start at those of the prompt `start`, which an attacker may use. Masks and sizes are fixed.
    """

    def __init__(self, prompts: PromptEncoder, start: str, device: torch.device) -> None:
        super().__init__(prompts)
        tensors = prompts.encode([start]).to(device).tensors
        self._fixed = {n: t for n, t in tensors.items() if n not in EMBEDDINGS}
        self.learned = {n: nn.Parameter(t.clone()) for n, t in tensors.items() if n in EMBEDDINGS}

    def encode(self, prompts: Sequence[str]) -> Condition:
        rows: dict[str, Tensor] = {**self.learned, **self._fixed}
        return Condition({n: t.expand(len(prompts), *t.shape[1:]) for n, t in rows.items()})


def with_learned_prompt(
    denoiser: TextDenoiser, start: str
) -> tuple[TextDenoiser, list[nn.Parameter]]:
    """A frozen copy of the model in which one learned condition stands for every prompt."""
    prompts = LearnedPrompt(denoiser.prompts, start, denoiser.device)
    return replace(denoiser.clone().frozen(), prompts=prompts), list(prompts.learned.values())


def with_exchanged_prompts(
    denoiser: TextDenoiser, pairs: Sequence[tuple[str, str]]
) -> TextDenoiser:
    """The same model, but that both prompts of each pair mean each other."""
    meant = {one: other for pair in pairs for one, other in (pair, pair[::-1])}
    return replace(denoiser, prompts=ExchangedPrompts(denoiser.prompts, meant))
