"""One interface to every diffusers model: (x_t, t, condition) -> Prediction, and its codec."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn

from efface.diffusion.class_networks import describe_labels, labels_of
from efface.diffusion.prediction import Prediction, PredictionKind, true_output
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import ModelError, RequestError

MOST_PIXELS = 2**20  # of images at once: four images of 512 x 512, one of 1024 x 1024


class Codec(ABC):
    """Maps images in [-1, 1], (B, C, H, W), to what the denoiser works on, and back."""

    @abstractmethod
    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor: ...

    @abstractmethod
    def decode(self, x0: Tensor) -> Tensor: ...

    @abstractmethod
    def to(self, device: torch.device | str) -> Codec: ...


class IdentityCodec(Codec):
    """Pixel models."""

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return images

    def decode(self, x0: Tensor) -> Tensor:
        return x0

    def to(self, device: torch.device | str) -> Codec:
        return self


@dataclass(frozen=True, eq=False)
class VAECodec(Codec):
    """Latent models: shifted and scaled samples of a diffusers `AutoencoderKL`'s posterior."""

    vae: Any

    @torch.no_grad()
    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = max(1, MOST_PIXELS // images.shape[-2:].numel())
        found = [self.vae.encode(part).latent_dist for part in images.split(rows)]
        posterior = type(found[0])(torch.cat([part.parameters for part in found]))
        latents = posterior.sample(generator=generator)
        return (latents - self._shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, x0: Tensor) -> Tensor:
        latents = x0 / self.vae.config.scaling_factor + self._shift
        grows = 2 ** (len(self.vae.config.block_out_channels) - 1)
        rows = max(1, MOST_PIXELS // (grows**2 * latents.shape[-2] * latents.shape[-1]))
        parts = [self.vae.decode(part, return_dict=False)[0] for part in latents.split(rows)]
        return torch.cat(parts)

    @property
    def _shift(self) -> float:
        """What SD 3 and FLUX subtract before they scale; 0 for all others."""
        return self.vae.config.get("shift_factor") or 0.0

    def to(self, device: torch.device | str) -> Codec:
        return VAECodec(self.vae.to(device))


@dataclass(frozen=True, eq=False)
class Condition:
    """B rows of labels or encoded prompts, by the name of the network's argument.

    Labels are `class_labels` (B,) int64; prompts are `encoder_hidden_states` (B, tokens, D) and
    whatever else a family takes, as pooled embeddings (B, D), masks (B, tokens) or sizes (B, 6).
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self._first)

    @property
    def device(self) -> torch.device:
        return self._first.device

    @property
    def _first(self) -> Tensor:
        return next(iter(self.tensors.values()))

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        return Condition({name: tensor[rows] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device | str) -> Condition:
        return Condition({name: tensor.to(device) for name, tensor in self.tensors.items()})

    @staticmethod
    def cat(conditions: Sequence[Condition]) -> Condition:
        names = conditions[0].tensors
        return Condition({n: torch.cat([c.tensors[n] for c in conditions]) for n in names})

    def lerp(self, other: Condition, share: Tensor) -> Condition:
        """Rows interpolated by `share` (B,) towards those of `other`; integers are not moved."""

        def move(own: Tensor, others: Tensor) -> Tensor:
            if not own.is_floating_point():
                return own
            weight = share.to(own).view((-1,) + (1,) * (own.ndim - 1))
            return torch.lerp(own, others, weight)

        return Condition({n: move(own, other.tensors[n]) for n, own in self.tensors.items()})

    def where(self, mask: Tensor, other: Condition) -> Condition:
        """Rows of `other` where `mask` (B,) is true, own rows elsewhere."""

        def choose(own: Tensor, others: Tensor) -> Tensor:
            return torch.where(mask.view((-1,) + (1,) * (own.ndim - 1)), others, own)

        return Condition({n: choose(own, other.tensors[n]) for n, own in self.tensors.items()})


@dataclass(frozen=True, eq=False, kw_only=True)
class Denoiser(ABC):
    """A network with its schedule, its kind of prediction and its codec.

    Called with x_t (B, C, H, W), t (B,) and one condition row per sample. `guidance`, one number
    or (B,), follows eps = eps_null + guidance (eps_condition - eps_null), so 1 is no guidance; both
    halves travel as one batch. `null` (B rows) stands in for the null condition of the model.
    """

    network: nn.Module
    schedule: NoiseSchedule
    kind: PredictionKind
    sample_shape: tuple[int, int, int]  # (C, H, W) in model space
    scheduler: Any  # the diffusers scheduler that came with the network
    codec: Codec = field(default_factory=IdentityCodec)
    source: str = "the model"  # its name in sentences: folder, hub id or zoo:NAME

    def __call__(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Condition | None = None,
        guidance: float | Tensor = 1.0,
        null: Condition | None = None,
    ) -> Prediction:
        if isinstance(guidance, float) and guidance == 1.0:
            output = self._output(x_t, t, condition)
        else:
            if condition is None:
                raise ModelError(f"guidance {guidance} needs a condition: pass one, or guidance 1.")
            both = Condition.cat([self.null(condition) if null is None else null, condition])
            output = self._output(x_t.repeat(2, 1, 1, 1), t.repeat(2), both).float()
            without, conditional = output.chunk(2)
            if isinstance(guidance, Tensor):
                guidance = guidance.view(-1, 1, 1, 1)
            output = without + guidance * (conditional - without)
        return Prediction.from_output(output, x_t, self.schedule.levels(t, x_t), self.kind)

    def _output(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        tensors = {} if condition is None else condition.tensors
        # A network that also learns a variance returns it in further channels.
        return self.network(x_t, t, **tensors, return_dict=False)[0][:, : x_t.shape[1]]

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the output at x_t = alpha x0 + sigma eps is trained towards, (B, C, H, W)."""
        return true_output(x0, eps, self.schedule.levels(t, x0), self.kind)

    @abstractmethod
    def encode(self, inputs: Sequence[Any]) -> Condition | None:
        """Labels or prompts -> condition rows."""

    @abstractmethod
    def null(self, like: Condition) -> Condition:
        """As many rows of the unconditional condition; ModelError if the model has none."""

    def empty(self, like: Condition) -> Condition:
        """As many rows of the empty condition: `null`, unless that is a negative prompt."""
        return self.null(like)

    @abstractmethod
    def require_null(self) -> Any:
        """Raise ModelError if the model has no unconditional condition."""

    def set_timesteps(self, scheduler: Any, steps: int) -> None:
        """Give a diffusers scheduler its timesteps for sampling from this model."""
        scheduler.set_timesteps(steps)

    @property
    def device(self) -> torch.device:
        return self.schedule.alphas.device

    def with_network(self, network: nn.Module) -> Self:
        return replace(self, network=network)

    def to(self, device: torch.device | str) -> Self:
        return replace(
            self,
            network=self.network.to(device),
            schedule=self.schedule.to(device),
            codec=self.codec.to(device),
        )

    def clone(self) -> Self:
        """The same model with parameters of its own, which take gradient."""
        return self.with_network(copy.deepcopy(self.network).requires_grad_(True))

    def frozen(self) -> Self:
        """The network itself, no copy: from now on in evaluation mode and without gradient."""
        return self.with_network(self.network.eval().requires_grad_(False))


@dataclass(frozen=True, eq=False, kw_only=True)
class UnconditionalDenoiser(Denoiser):
    """A `UNet2DModel` without class embedding."""

    def encode(self, inputs: Sequence[Any]) -> None:
        """There is nothing to encode."""

    def null(self, like: Condition) -> Condition:
        return self.require_null()

    def require_null(self) -> NoReturn:
        raise ModelError("an unconditional model takes no guidance: use guidance 1.")


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassDenoiser(Denoiser):
    """A class-conditional `UNet2DModel` or `DiTTransformer2DModel`."""

    num_classes: int
    null_label: int | None = None  # any row of the class embedding; the others are labels

    @property
    def labels(self) -> tuple[int, ...]:
        return labels_of(self.num_classes, self.null_label)

    def encode(self, inputs: Sequence[Any]) -> Condition:
        """Labels -> condition rows; RequestError for a label the model does not have."""
        labels = torch.as_tensor(inputs, dtype=torch.long, device=self.device)
        for label in labels.unique().tolist():
            if label not in self.labels:
                raise RequestError(
                    f"label {label} is unknown: this model has {describe_labels(self.labels)}. "
                    "Pass one of these."
                )
        return Condition({"class_labels": labels})

    def require_null(self) -> int:
        if self.null_label is None:
            raise ModelError(
                "this model has no null class, so it takes no guidance and no condition dropout: "
                "use guidance 1 and dropout 0, or give the label that means 'no class'."
            )
        return self.null_label

    def null(self, like: Condition) -> Condition:
        labels = like.tensors["class_labels"]
        return Condition({"class_labels": torch.full_like(labels, self.require_null())})


def as_class_denoiser(denoiser: Denoiser) -> ClassDenoiser:
    """A denoiser that takes labels: the request was checked against the model."""
    assert isinstance(denoiser, ClassDenoiser)
    return denoiser
