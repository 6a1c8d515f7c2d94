"""Closed-form editing: cross-attention reads words as others, by one linear map and no training."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from efface.data.batch import WordBank
from efface.diffusion.cross_attention import project_text, text_layers
from efface.methods.base import LossTerms, Method, Need, StepContext, Subject

UNET = "UNet2DConditionModel"


@dataclass(frozen=True, kw_only=True)
class Editor(Method):
    """W becomes W T in the key and value layers W of every cross-attention, with one T for all.

    Words are what the text encoder makes of their last token, as W takes it. The algebra is on the
    CPU in float64. A bias is kept: a word that W T takes to W g has the whole output of g.
    """

    change_weight: float = Field(
        default=0.5, ge=1e-9, le=1e6, description="Weight of the change of the weights; lambda."
    )
    forget_weight: float = Field(
        default=1.0, ge=0, le=1e6, description="Weight of each forgotten word; alpha."
    )
    retain_weight: float = Field(
        default=1.0, ge=0, le=1e6, description="Weight of each retained word; beta."
    )

    phases: ClassVar[tuple[str, ...]] = ()
    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions"})
    needs: ClassVar[frozenset[Need]] = frozenset({"words"})
    network_classes: ClassVar[frozenset[str]] = frozenset({UNET})
    train_defaults: ClassVar[Mapping[str, Any]] = {"steps": 1, "ema_decay": 0.0}

    @abstractmethod
    def map(self, words: WordBank, layers: Sequence[nn.Linear]) -> Tensor:
        """T, (D, D) in float64, of words in float64."""

    def redirect(self, forget: Tensor, words: WordBank) -> Tensor:
        """T of `forget` (N, D) in place of the words' own, towards their targets."""
        weights = (self.change_weight, self.forget_weight, self.retain_weight)
        return redirecting_map(forget, words.target, words.retain, weights)

    @torch.no_grad()
    def edit(self, ctx: StepContext) -> None:
        assert ctx.words is not None
        network = ctx.networks[self.delivers].network
        layers = text_layers(network)
        mapping = self.map(as_read(network, ctx.words), layers)
        for layer in layers:
            layer.weight.copy_(on_cpu(layer) @ mapping)

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        raise NotImplementedError(f"{self.title} trains nothing, and has no loss")


def redirecting_map(
    forget: Tensor, target: Tensor, retain: Tensor, weights: tuple[float, float, float]
) -> Tensor:
    """T of (N, D), (N, D) and (M, D) such that W T minimises a sum of squares, whatever W is.

    lambda |W T - W|^2 + alpha sum_i |W T c_i - W g_i|^2 + beta sum_j |W T c_j - W c_j|^2 with
    (lambda, alpha, beta) = `weights`, whose minimum is UCE's W' = (lambda W + alpha sum W g_i c_i^T
    + beta sum W c_j c_j^T) M^-1 (Gandikota et al., WACV 2024). As W is its first factor, it
    is W (1 + alpha sum_i (g_i - c_i) c_i^T M^-1).
    """
    change, alpha, beta = weights
    one = torch.eye(forget.shape[1], dtype=forget.dtype)
    m = change * one + alpha * forget.T @ forget + beta * retain.T @ retain
    rows = torch.linalg.solve(m, alpha * forget.T).T  # alpha c_i^T M^-1, as M is symmetric
    return one + (target - forget).T @ rows


def as_read(network: nn.Module, words: WordBank) -> WordBank:
    """Words in float64 on the CPU, as the cross-attention of a network takes them."""
    forget, target, retain = (
        project_text(network, states).double().cpu()
        for states in (words.forget, words.target, words.retain)
    )
    return WordBank(forget=forget, target=target, retain=retain)


def on_cpu(layer: nn.Linear) -> Tensor:
    """The weight W in float64."""
    return layer.weight.detach().cpu().double()
