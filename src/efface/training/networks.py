"""The networks of a run: copies of the pretrained one, or adapters over it."""

from __future__ import annotations

from efface.data.randomness import derive_seed
from efface.diffusion.adapters import SharedNetwork, attention_of, share_network
from efface.diffusion.denoiser import Denoiser
from efface.methods.base import Method
from efface.training.settings import TrainConfig


def make_networks(method: Method, pretrained: Denoiser, config: TrainConfig) -> dict[str, Denoiser]:
    """The method's networks; with `train.lora_rank`, all stand on one, and the trained get a LoRA.

    Raises ConfigError where a LoRA finds nothing to change.
    """
    if config.lora_rank is None:
        return method.networks(pretrained)
    if not isinstance(pretrained.network, SharedNetwork):
        pretrained = share_network(pretrained)
    assert isinstance(pretrained.network, SharedNetwork)
    networks = method.networks(pretrained)
    for phase in method.phases:
        view = pretrained.network.adapted(
            attention_of(pretrained),
            config.lora_rank,
            config.lora_alpha or config.lora_rank,
            derive_seed(config.seed, "lora", phase),
        )
        networks[phase] = networks[phase].with_network(view)
    return networks
