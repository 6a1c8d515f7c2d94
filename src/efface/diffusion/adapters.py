"""LoRA: networks that hold small adapters of their own over one shared frozen base."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.families import UNET_ATTENTION
from efface.errors import ConfigError

AnyDenoiser = TypeVar("AnyDenoiser", bound=Denoiser)
ADAPTER = "default"  # peft's name of the one adapter that a view has
OWN = ".lora_"  # in the name of every tensor of an adapter, and of no other
CAST = ("encoder_hidden_states", "pooled_projections")  # inputs in the network's own precision


class SharedNetwork(nn.Module):
    """A view of a frozen base network, with or without a LoRA of its own.

    Every view has a module tree of its own whose base tensors are the very same objects, so that
    views can be passed in any order, and be recomputed, without anything being switched. Copies are
    further views. Parameters, buffers and state are the adapter's alone; `to` moves the base as
    well, for all views at once. Takes and returns float32, whatever the base is held in.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.tree: Any = _view(base).requires_grad_(False)

    def adapted(
        self, targets: tuple[str, ...], rank: int, alpha: float, seed: int
    ) -> "SharedNetwork":
        """A view with a LoRA that changes nothing at first (Hu et al., ICLR 2022, eq. 3).

        `targets` are ends of names of linear layers. Raises ConfigError where none has such a name.
        """
        names = [f".{name}" for name, _ in self.tree.named_modules()]
        if not any(name.endswith(f".{target}") for name in names for target in targets):
            raise ConfigError(
                "train.lora_rank was set, and the network has no attention layers that a LoRA "
                "could change: leave it out to train the whole network."
            )
        view = SharedNetwork(self.tree)
        config = LoraConfig(r=rank, lora_alpha=cast(int, alpha), target_modules=list(targets))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, view.tree, ADAPTER)
        for parameter in view.parameters():
            parameter.data = parameter.data.float()
        return view

    def forward(self, sample: Tensor, *args: Any, **inputs: Any) -> tuple[Tensor]:
        """The base's output in float32; to be called with `return_dict=False`."""
        dtype = self.tree.dtype
        own = {name: x.to(dtype) if name in CAST else x for name, x in inputs.items()}
        return (self.tree(sample.to(dtype), *args, **own)[0].float(),)

    def enable_gradient_checkpointing(self) -> None:
        self.tree.enable_gradient_checkpointing()

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Those of the adapter alone."""
        for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
            if OWN in name:
                yield name, parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """None: an adapter has no buffers, and those of the base never change."""
        return iter(())

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The adapter's tensors alone."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Copy an adapter of the same rank; KeyError or RuntimeError for any other."""
        for name, parameter in self.named_parameters():
            parameter.copy_(state_dict[name])

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedNetwork":
        del memo  # no tensor outside of this module belongs to an adapter
        other = SharedNetwork.__new__(SharedNetwork)
        nn.Module.__init__(other)
        other.tree = _view(self.tree)
        other.training = self.training
        return other

    def base(self) -> Any:
        """The network that this is a view of, without adapter; its tensors are the shared ones."""
        plain = _view(self.tree)
        for name, layer in self._layers():
            plain.set_submodule(name, layer.base_layer)
        return plain

    @torch.no_grad()
    def fused(self, base: nn.Module) -> nn.Module:
        """A plain network: `base` with this adapter added, sharing what the adapter leaves alone.

        `base` is the network that the view is of, possibly in a higher precision.
        """
        plain = _view(base)
        for name, layer in self._layers():
            linear = plain.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            change = layer.get_delta_weight(ADAPTER)
            linear.weight = nn.Parameter(linear.weight + change, requires_grad=False)
        return plain

    @torch.no_grad()
    def lora_layers(self) -> dict[str, Tensor]:
        """The adapter as diffusers' `save_lora_weights` takes it.

        Its scale alpha / rank is within the second factor, so that loaders that know no alpha
        reproduce it.
        """
        tensors = {}
        for name, layer in self._layers():
            scale = layer.scaling[ADAPTER]
            tensors[f"{name}.lora_A.weight"] = layer.lora_A[ADAPTER].weight.clone()
            tensors[f"{name}.lora_B.weight"] = layer.lora_B[ADAPTER].weight * scale
        return tensors

    def _layers(self) -> Iterator[tuple[str, Any]]:
        for name, module in self.tree.named_modules():
            if isinstance(module, LoraLayer):
                yield name, module


def share_network(denoiser: AnyDenoiser) -> AnyDenoiser:
    """The same model, whose copies all stand on its one network."""
    return denoiser.with_network(SharedNetwork(denoiser.network))


def attention_of(denoiser: Denoiser) -> tuple[str, ...]:
    """Ends of the names of the linear layers in a model's attention."""
    return denoiser.family.attention if isinstance(denoiser, TextDenoiser) else UNET_ATTENTION


def _view(tree: nn.Module) -> Any:
    """Copy a module tree and the tensors of its adapters; base tensors stay the same objects."""
    shared: dict[int, Any] = {id(buffer): buffer for buffer in tree.buffers()}
    shared |= {id(p): p for name, p in tree.named_parameters() if OWN not in name}
    return copy.deepcopy(tree, shared)
